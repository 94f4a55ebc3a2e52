"""The blocks of docs/transfer.md do what they show."""

import re
import shlex
from pathlib import Path

import pytest

from verydeep.cli.app import run

PAGE = (Path(__file__).parents[2] / "docs" / "transfer.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def desk(tmp_path, monkeypatch, draw_picture):
    """A folder with what the page talks of: photos of two classes, a holiday picture."""
    for place, name in enumerate(("cat", "dog")):
        for number in range(6):
            colour = (180, 90, 60) if place else (60, 90, 180)
            draw_picture(tmp_path / "photos" / name / f"{number}.png", colour, 10 * place + number, 72, 96)
    draw_picture(tmp_path / "holiday.jpg", (60, 90, 180), 99, 72, 96)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.slow  # describes pictures by the bundled net
@pytest.mark.filterwarnings("ignore:.*least populated class")
def test_the_library_does_what_the_page_shows_from_top_to_bottom(desk, capsys):
    names = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "transfer.md", "exec"), names)
            assert capsys.readouterr().out
    assert run(["predict", "holiday.jpg", "--net", "model", "--device", "cpu"]) == 0


@pytest.mark.slow  # the same
def test_the_commands_of_the_page_run(desk, capsys):
    for language, block in BLOCKS:
        for line in block.splitlines() if language == "sh" else ():
            command, *arguments = shlex.split(line)
            assert command == "verydeep"
            assert run(arguments) == 0, capsys.readouterr().err
            assert capsys.readouterr().out
