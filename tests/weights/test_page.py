"""The blocks of docs/weights.md do what they show; those that need a network at least ask for what exists."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import vgg

from verydeep.cli.app import run
from verydeep.weights.cards import weight_cards

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
NETWORK = re.compile(r'weights="(?:hf:|https:|\w+/)')


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with what the page talks of: weights of torchvision's, names of classes, photographs."""
    torch.manual_seed(0)
    features = vgg.make_layers([width if width == "M" else width // 32 for width in vgg.cfgs["D"]])
    with torch.device("meta"):
        net = vgg.VGG(features, num_classes=2, init_weights=False)
    net.classifier = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    torch.save(net.state_dict(), tmp_path / "theirs.pth")
    (tmp_path / "classes.txt").write_text("0\n1\n")
    generator = np.random.default_rng(0)
    for name in "01":
        (tmp_path / "photos" / name).mkdir(parents=True)
        picture = generator.integers(0, 256, (48, 56, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "photos" / name / "some.png")
    monkeypatch.chdir(tmp_path)


def blocks(language, network):
    return [block for name, block in BLOCKS if name == language and bool(NETWORK.search(block)) == network]


@pytest.mark.slow  # evaluates twice
@pytest.mark.parametrize("block", [block for block in blocks("sh", False) if "import" in block])
def test_the_commands_of_the_page_run(block, desk, capsys):
    for line in block.splitlines():
        command, *arguments = shlex.split(line, comments=True)
        assert command == "verydeep"
        assert run(arguments) == 0, capsys.readouterr().err
        assert capsys.readouterr().out


@pytest.mark.parametrize("block", [block for block in blocks("python", False) if "theirs.pth" in block])
def test_the_library_does_what_the_page_shows(block, desk, capsys):
    exec(compile(block, "weights.md", "exec"), {})
    assert capsys.readouterr().out == "vgg-d 32 torchvision\n"


@pytest.mark.parametrize("block", blocks("python", True))
def test_published_names_of_the_page_have_cards(block):
    compile(block, "weights.md", "exec")
    asked = re.findall(r'create_net\("([\w-]+)", weights="(\w+/\w+)"', block)
    cards = {(card.net, card.name) for card in weight_cards()}
    assert set(asked) <= cards
    assert asked or "://" in block
