"""The commands of docs/cifar.md run, on a few pictures; and the recipes that it names are there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from verydeep.cli.app import run
from verydeep.nets.registry import ALIASES, NETS
from verydeep.training.recipe import recipes

PAGE = (Path(__file__).parents[2] / "docs" / "cifar.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0]
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


@pytest.mark.slow  # a net at full width
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "cifar-10-batches-bin").mkdir()
    generator = np.random.default_rng(0)
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        records = generator.integers(0, 256, (2, 3073), np.uint8)
        records[:, 0] %= 10
        (tmp_path / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 3
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "verydeep"
        dry = (
            ["--dry-run"] if arguments[0] == "reproduce" else []
        )  # the whole of it takes minutes, however few pictures
        assert run([*arguments, *dry]) == 0, capsys.readouterr().err
        assert capsys.readouterr().out


def test_the_nets_and_recipes_of_the_page_are_there():
    rows = re.findall(r"^\| `([\w-]+)` \| `([\w-]+)`", PAGE, flags=re.MULTILINE)
    assert {recipe for recipe, _ in rows} <= recipes().keys()
    assert {net for _, net in rows} <= NETS.keys() | ALIASES.keys()
    assert len(rows) == 5
