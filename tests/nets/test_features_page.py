"""The blocks of docs/features.md, and of what docs/weights.md says of files for others, do what they show."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import verydeep
from verydeep.cli.app import run
from verydeep.nets.registry import create_net, load_net, save_net

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page, language, after=""):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text[text.index(after) :], flags=re.DOTALL | re.MULTILINE)


def commands(text):
    return [shlex.split(line, comments=True)[1:] for line in text.splitlines() if line.startswith("verydeep")]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with what the pages talk of: photos, a run, a file of vgg-d's weights."""
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        picture = generator.integers(0, 256, (60, 70 + number, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "photos" / f"{number}.jpg")
    (tmp_path / "runs" / "photos").mkdir(parents=True)
    for name, file in (("vgg-a-bn", "runs/photos/net.safetensors"), ("vgg-d", "vgg-d.safetensors")):
        save_net(tmp_path / file, create_net(name, width=1 / 64, num_classes=2))
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_the_page_on_features_does_what_it_shows(desk, capsys):
    for arguments in commands("".join(blocks("features.md", "sh"))):
        assert run(arguments) == 0, capsys.readouterr().err
    capsys.readouterr()
    exec("".join(blocks("features.md", "python")), {})
    first, *rows = capsys.readouterr().out.splitlines()
    assert (
        first
        == "{'relu4_2': [1, 256, 12, 16], 'conv5_2': [1, 256, 6, 8], 'pool5': [1, 256, 3, 4], 'fc7': [1, 512, 2, 3]}"
    )
    assert sum(line.startswith("photos/0.jpg") for line in rows) == 2


@pytest.mark.slow
def test_the_page_on_weights_does_what_it_shows_of_files_for_others(desk, capsys):
    for arguments in commands("".join(blocks("weights.md", "sh", after="## Out"))):
        assert run(arguments) == 0, capsys.readouterr().err
    running, hub = blocks("weights.md", "python", after="## Out")
    found = {}
    exec(running, found)
    assert found["scores"].shape == (1, 2)
    without_network = "".join(line for line in hub.splitlines(keepends=True) if "push_to_hub" not in line)
    net, card = load_net("vgg-d.safetensors")
    known = {"verydeep": verydeep, "net": net, "card": card}
    exec(without_network, known)
    assert known["net"].name == "vgg-d"
