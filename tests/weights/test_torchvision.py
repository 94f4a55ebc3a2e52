import re

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models import vgg
from torchvision.transforms.v2.functional import normalize, to_dtype

from verydeep.nets.export import export_net
from verydeep.nets.registry import create_net, load_net

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def narrow(configuration, batch_norm=False, classes=10):
    """torchvision's own net, a sixteenth as wide."""
    torch.manual_seed(0)
    widths = [width if width == "M" else width // 16 for width in vgg.cfgs[configuration]]
    features = vgg.make_layers(widths, batch_norm=batch_norm)
    with torch.device("meta"):  # the full classifier would take half a gigabyte
        net = vgg.VGG(features, num_classes=classes, init_weights=False)
    net.classifier[0], net.classifier[3] = nn.Linear(32 * 49, 24), nn.Linear(24, 24)
    net.classifier[6] = nn.Linear(24, classes)
    return lively(net)


def lively(net):
    """The same net, with nothing in it that is 0 or 1 by chance."""
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if tensor.dim() == 1:
            tensor.data.uniform_(0.5, 1.5)
        elif "classifier" in name:
            nn.init.kaiming_uniform_(tensor)
    return net.eval()


def their_scores(net, picture):
    return net(normalize(to_dtype(picture, torch.float32, scale=True), MEAN, STD))


def relative(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.inference_mode()
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("configuration", "name"), [("A", "vgg-a"), ("B", "vgg-b"), ("D", "vgg-d"), ("E", "vgg-e")])
def test_scores_of_a_photograph_are_torchvisions(configuration, name, batch_norm, tmp_path, photograph):
    theirs = narrow(configuration, batch_norm)
    torch.save(theirs.state_dict(), tmp_path / "some.pth")
    ours, card = load_net(tmp_path / "some.pth")
    assert (ours.name, ours.crop, ours.width, ours.hidden) == (name + "-bn" * batch_norm, 224, 1 / 16, 24)
    assert card["library"] == "torchvision"
    assert relative(ours(photograph(224)), their_scores(theirs, photograph(224))) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("form", ["zip", "pickles", "safetensors", "checkpoint", "parallel", "half", "of 2017"])
def test_every_form_of_file_gives_the_same_net(form, tmp_path):
    state = narrow("A", batch_norm=True).state_dict()
    path = tmp_path / "some.file"
    match form:
        case "safetensors":
            save_file(state, path)
        case "checkpoint":
            torch.save({"epoch": 7, "state_dict": state}, path)
        case "parallel":
            torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
        case "half":
            torch.save({name: tensor.half() if tensor.dim() > 1 else tensor for name, tensor in state.items()}, path)
        case "of 2017":
            torch.save({name: tensor for name, tensor in state.items() if "num_batches" not in name}, path)
        case _:
            torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    net, _ = load_net(path)
    tolerance = 1e-3 if form == "half" else 0
    torch.testing.assert_close(net.conv3_2.weight, state["features.11.weight"], rtol=tolerance, atol=0)
    assert torch.equal(net.fc6.weight.flatten(1), state["classifier.0.weight"]) or form == "half"
    assert torch.equal(net.norm5_2.running_var, state["features.26.running_var"])


@torch.inference_mode()
@pytest.mark.slow  # makes a net of 61 million weights
@pytest.mark.parametrize(
    ("name", "options", "left_out"),
    [("alexnet", {}, {}), ("googlenet", {"init_weights": False, "transform_input": True}, {"aux_logits": False})],
)
def test_alexnet_and_googlenet_are_torchvisions_own_variants_and_go_back_as_they_came(
    name, options, left_out, tmp_path, photograph
):
    torch.manual_seed(0)
    theirs = lively(torchvision.models.get_model(name, num_classes=10, **options))
    torch.save(theirs.state_dict(), tmp_path / "some.pth")
    ours, _ = load_net(tmp_path / "some.pth")
    assert ours.name == f"{name}-torchvision"
    scores = their_scores(theirs, photograph(224))
    assert relative(ours(photograph(224)), scores) < 1e-5
    export_net(ours, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    again = torchvision.models.get_model(name, num_classes=10, **options, **left_out).eval()
    again.load_state_dict(back)
    assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in back.items())
    assert torch.equal(their_scores(again, photograph(224)), scores)


def test_googlenets_classifier_of_another_shape_is_refused_in_one_line(tmp_path, refused):
    with torch.device("meta"):
        theirs = torchvision.models.googlenet(num_classes=10, init_weights=False, aux_logits=False).state_dict()
    for shape in ((10,), (10, 7)):
        zeros = {name: torch.zeros_like(value, device="cpu") for name, value in theirs.items()}
        torch.save(zeros | {"fc.weight": torch.zeros(shape)}, tmp_path / "some.pth")
        assert "loss3/classifier.weight" in refused(load_net, tmp_path / "some.pth")


def test_1000_classes_are_those_of_imagenet(tmp_path):
    torch.save(narrow("A", classes=1000).state_dict(), tmp_path / "some.pth")
    net = create_net("vgg11", weights=tmp_path / "some.pth", width=1 / 16, hidden=24)
    assert net.classes[0] == "n01440764"
    assert net.classes[999] == "n15075141"
    assert load_net(tmp_path / "some.pth")[0].classes == net.classes


@pytest.mark.parametrize(
    ("name", "sizes", "line"),
    [
        ("vgg-e", {}, "conv3_4.weight is missing; load it as vgg-d, with its width, crop and classes"),
        ("vgg-a", {}, "conv1_2.weight is not in this net; load it as vgg-d, with its width, crop and classes"),
        ("vgg-d", {"num_classes": 5}, "fc8.weight is 10×24×1×1, this net has 5×24×1×1"),
        ("vgg-d", {"crop": 256}, "fc6.weight is 24×32×7×7, this net has 24×32×8×8"),
        ("vgg-d", {"width": 1 / 8}, "conv1_1.weight is 4×3×3×3, this net has 8×3×3×3"),
    ],
)
def test_another_net_is_refused_by_layer_and_shapes(name, sizes, line, tmp_path, refused):
    torch.save(narrow("D").state_dict(), tmp_path / "some.pth")
    given = {"num_classes": 10, "width": 1 / 16, "hidden": 24} | sizes
    said = refused(lambda: create_net(name, weights=tmp_path / "some.pth", **given))
    assert said.startswith(f"{tmp_path}/some.pth: {line}")


def test_a_net_of_nobodys_is_refused(tmp_path, refused):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "some.pth")
    assert "its names (weight, bias, …) are of no layout that is known here" in refused(load_net, tmp_path / "some.pth")
    state = narrow("D").state_dict()
    cut = {name: tensor for name, tensor in state.items() if not re.match(r"features\.(0|2)\.", name)}
    torch.save(cut, tmp_path / "some.pth")
    assert "of no layout" in refused(load_net, tmp_path / "some.pth")
    del state["features.12.bias"]
    torch.save(state, tmp_path / "some.pth")
    assert "features.12.bias is missing" in refused(load_net, tmp_path / "some.pth")
    odd = narrow("D").state_dict() | {"classifier.0.weight": torch.zeros(24, 32 * 48)}
    torch.save(odd, tmp_path / "some.pth")
    assert "has 1536 inputs, which no square map of 32 channels has" in refused(load_net, tmp_path / "some.pth")
