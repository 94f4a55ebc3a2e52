"""`verydeep train --plan`, measured in small."""

import json
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from verydeep.cli.app import run
from verydeep.cli.numbers import TakesNumbers

RECIPE = 'net = "vgg-a"\nwidth = 0.05\ncrop = 32\nhidden = 16\n[optimizer]\nbatch = 12\n'


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "small.toml").write_text(RECIPE + '[compute]\ndevice = "cpu"\ndata_type = "float32"\nthreads = 1\n')
    return tmp_path / "small.toml"


@pytest.mark.slow  # two processes find each other
def test_a_plan_says_what_more_processes_would_take_and_trains_nothing(recipe, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "plan.json"
    assert run(["train", str(recipe), str(pictures), "--plan", "--processes", "2", "4", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    assert [row["processes"] for row in rows] == [1, 2, 4]
    assert [row["pictures"] for row in rows] == [12, 6, 3]
    assert rows[0]["speed_up"] == 1
    assert all(row["step"] > 0 and row["memory"] > 0 for row in rows)
    assert rows[1]["all_reduce"] > 0
    said = capsys.readouterr()
    assert "vgg-a, a batch of 12 pictures" in said.out
    assert "measured on cpu" in said.err
    assert "between two processes here" in said.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--processes", "4"], "are for --plan"),
        (["--network", "10"], "are for --plan"),
        (["--plan", "--processes", "0"], "Invalid value for '--processes'"),
        (["--plan", "--processes", "13"], "optimizer.batch is 12, for 13 processes"),
    ],
)
def test_mistakes_end_in_a_line(recipe, pictures, capsys, arguments, line):
    assert run(["train", str(recipe), str(pictures), *arguments]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert line in last


@pytest.mark.parametrize(
    ("arguments", "numbers", "word"),
    [
        (["--processes", "4", "8", "64"], [4, 8, 64], "-"),
        (["--processes", "4", "--processes", "8"], [4, 8], "-"),
        (["word", "--processes", "4", "8", "--flag"], [4, 8], "word"),
        (["--processes", "4", "8", "word"], [4, 8], "word"),
        (["--flag", "7"], [], "7"),
    ],
)
def test_an_option_takes_several_numbers_one_after_the_other(arguments, numbers, word):
    app = typer.Typer()

    @app.command(cls=TakesNumbers)
    def command(
        word: Annotated[str, typer.Argument()] = "-",
        processes: Annotated[list[int], typer.Option()] = [],  # noqa: B006 - typer copies it
        flag: bool = False,
    ) -> None:
        print(json.dumps([list(processes), word]))

    assert json.loads(CliRunner().invoke(app, arguments).output) == [numbers, word]
