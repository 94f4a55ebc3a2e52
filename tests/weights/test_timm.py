import pytest
import torch
from safetensors.torch import save_file
from timm.layers import ClassifierHead
from timm.models import save_for_hf
from timm.models.vgg import VGG, ConvMlp, cfgs
from torch import nn
from torchvision.transforms.v2.functional import normalize, to_dtype

from verydeep.nets.registry import create_net, load_net

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def narrow(configuration, classes=10, norm=None):
    """timm's own net, a sixteenth as wide."""
    torch.manual_seed(0)
    widths = [width if width == "M" else width // 16 for width in cfgs[configuration]]
    net = VGG(widths, num_classes=classes, norm_layer=norm, mlp_ratio=1 / 64)
    net.pre_logits, net.head = ConvMlp(32, 24), ClassifierHead(24, classes, pool_type="avg")
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.dim() == 1:
            tensor.data.uniform_(0.5, 1.5)
    return net.eval()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("configuration", "norm", "name"), [("vgg13", None, "vgg-b"), ("vgg16", nn.BatchNorm2d, "vgg-d-bn")]
)
def test_scores_of_a_photograph_are_timms(configuration, norm, name, tmp_path, photograph):
    theirs = narrow(configuration, norm=norm)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours, card = load_net(tmp_path / "model.safetensors")
    assert (ours.name, card["library"], ours.crop) == (name, "timm", 224)
    expected = theirs(normalize(to_dtype(photograph(224), torch.float32, scale=True), MEAN, STD))
    torch.testing.assert_close(ours(photograph(224)), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.inference_mode()
def test_what_timm_saves_for_the_hub_brings_its_preset_and_its_classes(tmp_path, photograph, refused):
    theirs = narrow("vgg11", classes=3)
    preset = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    theirs.pretrained_cfg = {"architecture": "vgg11", "input_size": (3, 224, 224), "num_classes": 3, **preset}
    labels = ["cat", "dog", "eel"]
    save_for_hf(theirs, tmp_path, model_config={"label_names": labels}, safe_serialization=True)
    ours, _ = load_net(tmp_path / "model.safetensors")
    assert ours.classes == ("cat", "dog", "eel")
    expected = theirs(normalize(to_dtype(photograph(224), torch.float32, scale=True), **preset))
    torch.testing.assert_close(ours(photograph(224)), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    for damaged in ("{", '{"pretrained_cfg": {"mean": [1]}}', "[1]", '{"label_names": 7}'):
        (tmp_path / "config.json").write_text(damaged)
        line = refused(load_net, tmp_path / "model.safetensors")
        assert line.startswith(f"{tmp_path}/config.json: is no config of timm's (")


def test_a_net_without_classes_needs_some_and_starts_its_last_layer_at_random(tmp_path, refused):
    theirs = narrow("vgg11", classes=0)
    torch.save(theirs.state_dict(), tmp_path / "some.pth")
    assert refused(load_net, tmp_path / "some.pth").endswith(
        "has no layer of class scores; give classes, and the layers it lacks start at random"
    )
    sizes = {"width": 1 / 16, "hidden": 24, "weights": tmp_path / "some.pth"}
    net = create_net("vgg-a", classes=("cat", "dog"), **sizes)
    assert torch.equal(net.fc6.weight, theirs.state_dict()["pre_logits.fc1.weight"])
    assert net.fc8.weight.shape == (2, 24, 1, 1)
    assert net.fc8.weight.std() > 0
