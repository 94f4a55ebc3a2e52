import errno
import os
import signal
import subprocess
import sys

import pytest
import typer

import verydeep
from verydeep.cli import app as command_line
from verydeep.cli.app import run


def one_line(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_help_and_version_end_well(capsys):
    assert run([]) == run(["--help"]) == run(["nets", "--help"]) == 0
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.endswith(f"verydeep {verydeep.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nets", "--jsn", "x"], "--jsn"),
        (["evalute"], "evaluate"),
        (["evaluate"], "Missing argument"),
        (["evaluate", "vgg-a", "nowhere", "--batch", "0"], "batch"),
        (["nets", "vgg-z"], "vgg-z is not a net"),
        (["nets", "missing.safetensors"], "missing.safetensors: no such file"),
        (["nets", "--json", "no/such/folder.json"], "no/such is not a folder"),
        (["nets", "--json", "."], "is a folder; name a file"),
        (["evaluate", "vgg-a", "no/such/pictures"], "no/such/pictures: does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, words, capsys):
    assert run(arguments) == 2
    assert words in one_line(capsys)


@pytest.fixture
def failing(monkeypatch):
    """A way to have a command raise an error."""

    def fail(error):
        app = typer.Typer()

        @app.command()
        def command(word: str) -> None:
            raise error

        monkeypatch.setattr(command_line, "app", app)

    return fail


def test_a_full_disk_is_one_line_and_status_2(failing, capsys):
    failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/checkpoint"))
    assert run(["go"]) == 2
    assert one_line(capsys) == "runs/a/checkpoint: the disk is full; make room and give the command again\n"


def test_an_error_of_several_lines_is_said_on_one(failing, capsys):
    failing(verydeep.VerydeepError("first\n  second"))
    assert run(["go"]) == 2
    assert one_line(capsys) == "first second\n"


def test_a_bug_keeps_its_traceback(failing):
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run(["go"])


def test_an_interruption_is_one_line_and_status_130(failing, capsys):
    failing(KeyboardInterrupt())
    assert run(["go"]) == 130
    assert one_line(capsys) == "verydeep: interrupted\n"


@pytest.mark.slow  # another process imports torch
@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_ctrl_c_ends_a_command_with_one_line(tmp_path):
    net = verydeep.create_net("vgg-a", num_classes=3, width=1 / 64, crop=32)
    verydeep.save_net(tmp_path / "net.safetensors", net)
    command = [sys.executable, "-m", "verydeep", "predict", "--net", str(tmp_path / "net.safetensors"), "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert "vgg-a with 3 classes" in process.stderr.readline()  # now it waits for standard input
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "verydeep: interrupted\n"
    assert process.returncode == 130


@pytest.mark.slow  # another process imports torch
def test_a_reader_who_has_seen_enough_gets_no_error():
    command = [sys.executable, "-m", "verydeep", "nets"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(timeout=60)


def test_python_m_verydeep_is_the_command():
    result = subprocess.run([sys.executable, "-m", "verydeep", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"verydeep {verydeep.__version__}\n"
