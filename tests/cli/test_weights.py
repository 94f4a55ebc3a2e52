import json
import os
from pathlib import Path

import h5py
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import vgg

from verydeep.cli.app import run
from verydeep.nets.registry import create_net, load_net, save_net


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


class Runs:
    """An object whose pickle runs a command."""

    def __reduce__(self):
        return os.system, ("touch ran",)


DAMAGED = {  # file: what is said of it
    "half.pth": "half.pth: is not a whole archive (File is not a zip file); copy it again",
    "half-old.pth": "half-old.pth: is not a whole file of PyTorch's (",
    "half.safetensors": "half.safetensors: is not a whole safetensors file (",
    "half-ours.safetensors": "half-ours.safetensors: is not a whole safetensors file (",
    "half.h5": "half.h5: is not a whole file of Keras' (",
    "half.caffemodel": "half.caffemodel: is not a whole file of weights (",
    "empty.pth": "empty.pth: is not a whole file of weights (",
    "code.pth": "code.pth: refused, it would call posix.system, which weights have no need of; save net.state_dict()",
    "code-old.pth": "code-old.pth: refused, it would call posix.system, which weights have no need of; save net.st",
}


@pytest.fixture
def damaged(theirs, tmp_path, monkeypatch):
    """The folder of these files, in which the commands are given."""
    monkeypatch.chdir(tmp_path)
    tensors = torch.load(theirs)
    torch.save(tensors, "half-old.pth", _use_new_zipfile_serialization=False)
    save_file(tensors, "half.safetensors")
    save_net("half-ours.safetensors", create_net("vgg-a", width=1 / 32, crop=32, num_classes=3))
    with h5py.File("half.h5", "w") as file:
        file["block1_conv1/block1_conv1/kernel:0"] = tensors["features.0.weight"].permute(2, 3, 1, 0).numpy()
    layer = b"\x0a\x07conv1_1\x3a\x06\x2a\x04\x00\x00\x80\x3f"  # its name, and a blob of one number
    Path("half.caffemodel").write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
    theirs.rename("half.pth")
    for path in tmp_path.glob("half*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    Path("empty.pth").touch()
    torch.save({**tensors, "more": Runs()}, "code.pth")
    torch.save({**tensors, "more": Runs()}, "code-old.pth", _use_new_zipfile_serialization=False)
    return tmp_path


@pytest.mark.parametrize("name", DAMAGED)
def test_cut_files_and_pickles_with_code_end_in_one_line_and_two(name, damaged, pictures, capsys):
    for command in (["weights", "import", name, "--out", "net.safetensors"], ["evaluate", name, str(pictures)]):
        assert run(command) == 2
        error = capsys.readouterr().err
        assert error.startswith(DAMAGED[name])
        assert error.count("\n") == 1
        assert error[:-1].isprintable()
    assert not (damaged / "net.safetensors").exists()
    assert not (damaged / "ran").exists()


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
