import json

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision import models, transforms
from torchvision.models.vgg import VGG, cfgs, make_layers

from verydeep.data.folders import open_folders
from verydeep.errors import NetError, WeightsError
from verydeep.evaluation.posteriors import posteriors
from verydeep.nets.export import export_net
from verydeep.nets.registry import create_net, load_net
from verydeep.nets.stack import Stack
from verydeep.nets.torchvision_layout import THEIRS, torchvision_normalisation, torchvision_state
from verydeep.weights.found import IMAGENET_MEAN, IMAGENET_STD

CLASSES = ("cat", "dog", "eel", "fox", "gnu")


def shapes(crop):
    """Number, height and width of pictures with one cell, with a row of cells, with more."""
    return (1, crop, crop), (1, crop + 1, 2 * crop + 2), (3, 2 * crop + 32, crop + 33), (2, crop + 32, crop + 32)


@torch.no_grad()
def check(net, run, pixels, tried=None):
    """Compare what a file says with what the net says, at several sizes."""
    for shape in tried or shapes(net.crop):
        pictures = pixels(*shape)
        scores, score_map = run(pictures.float())
        due = net.score_map(pictures)
        scale = due.abs().max().item()
        torch.testing.assert_close(score_map, due, rtol=0, atol=1e-4 * scale)
        torch.testing.assert_close(scores, due.mean((2, 3)), rtol=0, atol=1e-4 * scale)
        if shape[1:] == (net.crop, net.crop):
            torch.testing.assert_close(scores, net(pictures), rtol=0, atol=1e-4 * scale)


CROPS = {  # a net of each family, small; pools of alexnet-caffe, zfnet, cnn-s, spp-net and googlenet round up
    "vgg-d-bn": 64, "alexnet": 67, "alexnet-caffe": 64, "zfnet": 64, "cnn-s": 64, "overfeat-fast": 71, "spp-net": 96,
    "googlenet": 64, "deepcnet-5-100": 32, "nagadomi": 24, "cifar-fast": 32,
}  # fmt: skip


def ran(file):
    """A function that runs an ONNX file."""
    session = onnxruntime.InferenceSession(file)
    return lambda shown: map(torch.from_numpy, session.run(None, {"pixels": shown.numpy()}))


@pytest.mark.slow  # torch's exporter takes seconds
@pytest.mark.parametrize("name", CROPS)
def test_an_onnx_file_says_what_the_net_says_at_any_number_and_size(name, narrow, pixels, tmp_path):
    net = narrow(name, crop=CROPS[name])
    export = export_net(net, tmp_path / "net.onnx", card={"data": "photos"})
    assert (export.format, export.file) == ("onnx", str(tmp_path / "net.onnx"))
    assert export.difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    check(net, ran(tmp_path / "net.onnx"), pixels)
    assert session.get_inputs()[0].shape == ["n", 3, "height", "width"]
    assert [output.name for output in session.get_outputs()] == ["scores", "score_map"]
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["verydeep"])
    assert (metadata["net"], metadata["data"], metadata["crop"]) == (name, "photos", net.crop)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg-d", "googlenet"])
def test_an_onnx_file_of_the_published_crop_says_what_the_net_says_at_larger_sizes(name, narrow, pixels, tmp_path):
    net = narrow(name, crop=224)
    export_net(net, tmp_path / "net.onnx")
    check(net, ran(tmp_path / "net.onnx"), pixels, [(2, 224, 224), (1, 256, 341), (1, 384, 288)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg-d-bn", "alexnet-caffe", "spp-net", "googlenet", "deepcnet-5-100"])
def test_an_exported_program_says_what_the_net_says_at_any_number_and_size(name, narrow, pixels, tmp_path):
    net = narrow(name, crop=CROPS[name])
    assert export_net(net, tmp_path / "net.pt2").difference < 1e-5
    extra = {"verydeep.json": ""}
    check(net, torch.export.load(tmp_path / "net.pt2", extra_files=extra).module(), pixels)
    assert json.loads(extra["verydeep.json"])["net"] == name


@pytest.mark.slow
def test_an_exported_net_that_is_loaded_again_tests_as_before(narrow, tmp_path, photos):
    net = narrow("vgg-a-bn", classes=CLASSES)
    export_net(net, tmp_path / "net.onnx")
    again, _ = load_net(tmp_path / "net.onnx")
    assert (again.classes, again.crop, again.no_score_map) == (CLASSES, 64, "")
    for protocol in ("centre@64", "ten-crop@72", "dense@64,96"):
        ours, theirs = (posteriors(each, photos, protocol, device="cpu") for each in (net, again))
        np.testing.assert_allclose(theirs.values, ours.values, rtol=1e-3, atol=1e-5)


@pytest.fixture
def photos(tmp_path, pixels):
    for number, (height, width) in enumerate([(70, 101), (120, 80)]):
        (tmp_path / "photos" / "cat").mkdir(parents=True, exist_ok=True)
        transforms.functional.to_pil_image(pixels(1, height, width)[0]).save(tmp_path / f"photos/cat/{number}.png")
    return open_folders(tmp_path / "photos", "val")


def test_our_own_file_is_what_save_net_writes(narrow, pixels, tmp_path):
    net = narrow("vgg-d")
    export = export_net(net, tmp_path / "net.safetensors", card={"data": "photos"})
    again, card = load_net(tmp_path / "net.safetensors")
    assert (export.difference, card["data"]) == (None, "photos")
    torch.testing.assert_close(again(pixels(1, 64)), net(pixels(1, 64)), rtol=0, atol=0)


class Mistraced(Stack):
    """A net of which the exporter sees something else."""

    def scores(self, pixels):
        return super().scores(pixels) * (1.001 if torch.compiler.is_exporting() else 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.onnx", "net.pt2"])
def test_a_file_that_says_something_else_is_not_kept(name, narrow, tmp_path):
    net = narrow("vgg-a")
    other = Mistraced(net.name, net.plan, net.classes, net.crop).eval()
    other.load_state_dict(net.state_dict())
    (tmp_path / name).write_text("the old one")
    with pytest.raises(
        NetError, match=r"net\.\w+: differs from the net by 1\.\de-03 of its scores at 64 × 64 px; not kept"
    ):
        export_net(other, tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "the old one")]


@pytest.mark.parametrize(("ours", "theirs"), THEIRS.items())
def test_the_names_and_shapes_of_a_state_dict_are_torchvisions(ours, theirs):
    without_draw = {"init_weights": False} if ours.startswith("googlenet") else {}  # or else it warns
    with torch.device("meta"):
        due = models.get_model(theirs.name, **without_draw, **theirs.options).state_dict()
        found = torchvision_state(create_net(ours))
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in due.items()
    }


def narrow_torchvision(letter, width, hidden, classes, batch_norm):
    """torchvision's own net, with fewer channels."""
    channels = [each if each == "M" else round(each * width) for each in cfgs[letter]]
    net = VGG(make_layers(channels, batch_norm), init_weights=False)
    net.classifier = nn.Sequential(
        nn.Linear(channels[-2] * 49, hidden), nn.ReLU(), nn.Dropout(),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(),
        nn.Linear(hidden, classes),
    )  # fmt: skip
    return net.eval()


def narrow_alexnet(width, hidden, classes):
    """torchvision's AlexNet, with fewer channels."""
    with torch.device("meta"):
        net = models.AlexNet(classes)
    inputs = 3
    for place, conv in enumerate(net.features):
        if isinstance(conv, nn.Conv2d):
            outputs = round(width * conv.out_channels)
            net.features[place] = nn.Conv2d(inputs, outputs, conv.kernel_size, conv.stride, conv.padding)
            inputs = outputs
    net.classifier[1], net.classifier[4] = nn.Linear(inputs * 36, hidden), nn.Linear(hidden, hidden)
    net.classifier[6] = nn.Linear(hidden, classes)
    return net.eval()


@torch.no_grad()
def test_torchvisions_alexnet_and_googlenet_say_the_same_with_the_normalisation_that_is_named(narrow, pixels, tmp_path):
    pairs = {
        "alexnet-torchvision": (narrow_alexnet(1 / 32, 20, 5), {"crop": 224, "hidden": 20}),
        "googlenet-torchvision": (
            models.googlenet(num_classes=5, aux_logits=False, init_weights=False).eval(), {"width": 1.0}
        ),
    }  # fmt: skip
    for name, (theirs, sizes) in pairs.items():
        net = narrow(name, **sizes)
        export = export_net(net, tmp_path / f"{name}.pth")
        theirs.load_state_dict(torch.load(tmp_path / f"{name}.pth", weights_only=True))
        mean, std = torchvision_normalisation(net)
        rounded = (tuple(round(value, 6) for value in values) for values in (mean, std))
        assert "Normalize(mean={}, std={})".format(*rounded) in export.takes
        prepare = transforms.Compose([transforms.ConvertImageDtype(torch.float), transforms.Normalize(mean, std)])
        shown = pixels(2, net.crop)
        torch.testing.assert_close(theirs(prepare(shown)), net(shown), rtol=1e-4, atol=1e-4)
    assert export.gives.endswith("torchvision.models.googlenet(num_classes=5, aux_logits=False, transform_input=False)")


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "letter", "file"), [("vgg-a", "A", "net.pth"), ("vgg-d-bn", "D", "theirs.safetensors")]
)
def test_torchvision_says_the_same_with_the_normalisation_that_is_named(name, letter, file, narrow, pixels, tmp_path):
    net = narrow(name, crop=224, hidden=20)
    export = export_net(net, tmp_path / file, to="torchvision")
    theirs = narrow_torchvision(letter, 1 / 32, 20, 5, name.endswith("-bn"))
    if file.endswith(".pth"):
        theirs.load_state_dict(torch.load(tmp_path / file, weights_only=True))
    else:
        theirs.load_state_dict(load_file(tmp_path / file))
    mean, std = torchvision_normalisation(net)
    assert str(tuple(round(value, 6) for value in mean)) in export.takes
    prepare = transforms.Compose([transforms.ConvertImageDtype(torch.float), transforms.Normalize(mean, std)])
    torch.testing.assert_close(theirs(prepare(pixels(2, 224))), net(pixels(2, 224)), rtol=1e-4, atol=1e-4)


def test_weights_of_torchvisions_own_normalisation_go_back_as_they_came(narrow):
    net = narrow("vgg-a", crop=224)
    with torch.no_grad():
        net.mean.copy_(torch.tensor(IMAGENET_MEAN)[:, None, None])
        net.std.copy_(torch.tensor(IMAGENET_STD)[:, None, None])
    assert torchvision_state(net)["features.0.weight"].equal(net.conv1_1.weight)
    torch.testing.assert_close(torchvision_normalisation(net), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


@pytest.mark.parametrize(
    ("name", "file", "to", "line"),
    [
        ("vgg-c", "net.pth", None, "vgg-c: torchvision has no such net; it has vgg-a, vgg-b, vgg-d"),
        ("googlenet", "net.pth", None, "googlenet: torchvision has no such net; .*, googlenet-torchvision"),
        ("alexnet-torchvision", "net.pth", None, "torchvision's alexnet squeezes its last map to 6 × 6 cells, of crop"),
        ("vgg-d", "net.pth", None, "vgg-d: torchvision's vgg16 squeezes its last map to 7 × 7 cells, of crop 64"),
        ("vgg-d", "net.bin", None, r"net\.bin: of which format\? end it in \.onnx, \.pt2, \.pth, \.safetensors, or"),
        ("vgg-d", "net.bin", "tflite", r"net\.bin: 'tflite' is not a format; use one of onnx, torch-export"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_in_one_line(name, file, to, line, narrow, tmp_path):
    with pytest.raises(NetError, match=line) as error:
        export_net(narrow(name), tmp_path / file, to)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("file", ["net.onnx", "net.pt2"])
def test_a_net_without_a_score_map_is_refused_in_one_line(file, narrow, tmp_path):
    line = (
        "nagadomi-zca: has no score map, since a crop is whitened as a whole, and such a file gives one; use safetens"
    )
    with pytest.raises(NetError, match=line) as error:
        export_net(narrow("nagadomi-zca", crop=24), tmp_path / file)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


def test_a_net_in_training_is_refused(narrow, tmp_path):
    with pytest.raises(NetError, match=r"vgg-a: is in training mode, with dropout; call its eval\(\)"):
        export_net(narrow("vgg-a").train(), tmp_path / "net.onnx")


def test_a_folder_that_is_not_there_is_named(narrow, tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere/net\.onnx: .*nowhere is not a folder; make it first"):
        export_net(narrow("vgg-a"), tmp_path / "nowhere" / "net.onnx")
