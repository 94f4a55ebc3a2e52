import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.cli.app import run
from verydeep.nets.registry import load_net
from verydeep.training.recipe import parse_recipe

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
ELSEWHERE = ("make ", "pip ", "python -m verydeep demo", "verydeep serve")  # sets up, or has tests of its own


def blocks(language):
    return [block for name, block in BLOCKS if name == language]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with what the README talks of: photos, a holiday picture, a Tiny-ImageNet of few pictures."""
    generator = np.random.default_rng(0)

    def draw(path, height, width):
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((width, height)).save(path)

    draw(tmp_path / "holiday.jpg", 96, 128)
    for name in ("cat", "dog"):
        for number in range(6):
            draw(tmp_path / "photos" / name / f"{number}.jpg", 72 + 8 * number, 96)
    root = tmp_path / "tiny-imagenet-200"
    wnids = load_net("tiny-imagenet")[0].classes
    for number, wnid in enumerate(wnids[:4]):
        draw(root / "train" / wnid / "images" / f"{wnid}_0.JPEG", 64, 64)
        draw(root / "val" / "images" / f"val_{number}.JPEG", 64, 64)
    annotations = (f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63\n" for number, wnid in enumerate(wnids[:4]))
    (root / "val" / "val_annotations.txt").write_text("".join(annotations))
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    (root / "words.txt").write_text("".join(f"{wnid}\ta word\n" for wnid in wnids))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("block", blocks("python"))
def test_the_library_does_what_the_readme_shows(block, desk, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.slow  # one of them trains
@pytest.mark.parametrize("block", blocks("sh"))
def test_the_commands_of_the_readme_run(block, desk, capsys):
    for line in block.splitlines():
        if not line.startswith(ELSEWHERE):
            command, *arguments = shlex.split(line, comments=True)
            assert command == "verydeep"
            assert run(arguments) == 0, capsys.readouterr().err
            assert capsys.readouterr().out


@pytest.mark.parametrize("block", blocks("toml"))
def test_the_recipes_of_the_readme_are_recipes(block):
    parse_recipe(tomllib.loads(block), "README.md")


@pytest.mark.parametrize("path", re.findall(r"\]\(([^:)#]+)\)", README))
def test_the_files_that_the_readme_links_are_there(path):
    assert (Path(__file__).parents[1] / path).exists()
