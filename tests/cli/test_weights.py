import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import vgg

from verydeep.cli.app import run
from verydeep.nets.registry import load_net


@pytest.fixture
def theirs(tmp_path):
    """A narrow VGG net of torchvision's for pictures of 32 px and three classes, in a file."""
    torch.manual_seed(0)
    widths = [width if width == "M" else width // 32 for width in vgg.cfgs["A"]]
    features = vgg.make_layers(widths)
    with torch.device("meta"):
        net = vgg.VGG(features, num_classes=3, init_weights=False)
    net.classifier = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    torch.save(net.state_dict(), tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


def test_weights_of_others_become_a_file_that_is_evaluated(theirs, tmp_path, pictures, capsys):
    (tmp_path / "classes.txt").write_text("cat\ndog\neel\n")
    out = tmp_path / "net.safetensors"
    command = ["weights", "import", str(theirs), "--out", str(out), "--classes", str(tmp_path / "classes.txt")]
    assert run([*command, "--json", str(tmp_path / "found.json")]) == 0
    assert capsys.readouterr().out == (
        f"{out}: vgg-a in the layout of torchvision, 3 classes from cat to eel, crop 32 px, 9,375 parameters, mean "
        "123.675, 116.28, 103.53, deviation 58.395, 57.12, 57.375\n"
    )
    [row] = json.loads((tmp_path / "found.json").read_text())
    assert (row["net"], row["library"], row["width"]) == ("vgg-a", "torchvision", 1 / 32)
    net, card = load_net(out)
    assert net.classes == ("cat", "dog", "eel")
    assert card["weights"] == str(theirs)
    assert torch.equal(load_file(out)["conv1_1.weight"], torch.load(theirs)["features.0.weight"])
    assert run(["evaluate", str(out), str(pictures), "--protocol", "centre@36"]) == 0
    assert "centre@36" in capsys.readouterr().out


def test_preprocessing_and_net_can_be_said(theirs, tmp_path, capsys):
    out = str(tmp_path / "net.safetensors")
    options = ["--net", "vgg11", "--mean", "1,2,3", "--std", "4,5,6"]
    assert run(["weights", "import", str(theirs), "--out", out, *options]) == 0
    net, _ = load_net(out)
    assert (net.mean.flatten().tolist(), net.std.flatten().tolist()) == ([1, 2, 3], [4, 5, 6])
    assert run(["weights", "import", str(theirs), "--out", out, "--mean", "grey"]) == 2
    assert "grey is not three numbers" in capsys.readouterr().err
    assert run(["weights", "import", str(theirs), "--out", out, "--std", "1,0,1"]) == 2
    assert "--std 1,0,1 is not above 0" in capsys.readouterr().err


MISTAKES = {
    "another net": (["--net", "vgg-d"], "theirs.pth: conv1_2.weight is missing; load it as vgg-a, with its width"),
    "no net": (["--net", "vgg-z"], "vgg-z is not a net; did you mean"),
    "too few classes": (["--classes", "two.txt"], "theirs.pth: fc8.weight is 3×8×1×1, this net has 2×8×1×1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistake, theirs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    options, line = MISTAKES[mistake]
    assert run(["weights", "import", "theirs.pth", "--out", "net.safetensors", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1
    assert not (tmp_path / "net.safetensors").exists()


def test_no_network_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    out = ["--out", str(tmp_path / "net.safetensors")]
    assert run(["weights", "import", "http://127.0.0.1:9/vgg16-397923af.pth", *out]) == 2
    error = capsys.readouterr().err
    assert error.startswith("http://127.0.0.1:9/vgg16-397923af.pth: cannot be had (")
    assert error.count("\n") == 1
    assert run(["weights", "import", "torchvision/imagenet1k_v1", *out]) == 2
    assert "name one of them" in capsys.readouterr().err


def test_published_weights_are_listed(tmp_path, capsys):
    assert run(["weights", "list", "--json", str(tmp_path / "list.json")]) == 0
    assert "torchvision/imagenet1k_v1" in capsys.readouterr().out
    rows = json.loads((tmp_path / "list.json").read_text())
    assert {"oxford/ilsvrc2014", "keras/imagenet", "bvlc/ilsvrc2012"} <= {row["name"] for row in rows}
