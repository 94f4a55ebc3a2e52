import os
import sys
import time

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from verydeep.data.ilsvrc_classes import ilsvrc_names
from verydeep.errors import NetError, WeightsError
from verydeep.nets.registry import load_net, load_own_net
from verydeep.nets.zoo import unreachable
from verydeep.pictures.preset import PillowPreset


class Runs:
    """An object whose pickle runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No network, and caches with nothing in them."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def noise(n, height, width):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


MAPPED = {  # net: the part of it that makes the last map
    "torchvision:alexnet": "features",
    "torchvision:vgg11": "features",
    "torchvision:vgg16_bn": "features",
    "torchvision:resnet18": "layer4",
    "torchvision:mobilenet_v3_small": "features",
    "torchvision:densenet121": "features",
    "torchvision:efficientnet_b0": "features",
    "torchvision:convnext_tiny": "features",
    "torchvision:googlenet": "inception5b",
    "torchvision:inception_v3": "Mixed_7c",
    "torchvision:swin_t": "permute",
    "torchvision:squeezenet1_1": "classifier.2",
    "torchvision:shufflenet_v2_x0_5": "conv5",
    "timm:resnet10t": "layer4",
    "timm:test_efficientnet": "bn2",
    "timm:test_convnext": "stages",
    "timm:test_nfnet": "final_conv",
    "timm:mobilenetv4_conv_small_035": "blocks",
    "timm:efficientvit_b0": "head.in_conv",
    "timm:dla46_c": "level5",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPPED)
@torch.no_grad()
def test_a_cell_is_what_the_net_makes_of_one_crops_worth_of_its_last_map(name):
    net, _ = load_net(name)
    part = net.module.get_submodule(MAPPED[name])
    sides = [net.crop + 40, net.crop + 75]
    sides = [side - (side - net.crop) % net.multiple for side in sides]
    maps = []
    hook = part.register_forward_hook(lambda module, inputs, output: maps.append(output))
    net(noise(1, net.crop, net.crop))
    pixels = net.prepared(noise(1, *sides))
    net.module(pixels)
    hook.remove()
    (rows, columns), (height, width) = (found.shape[2:] for found in maps)
    score_map = net.score_map(noise(1, *sides))
    assert score_map.shape == (1, 1000, height - rows + 1, width - columns + 1)
    assert score_map.shape[3] > 1
    for top, left in {(0, 0), (height - rows, 1)}:
        window = (slice(None), slice(None), slice(top, top + rows), slice(left, left + columns))
        hook = part.register_forward_hook(lambda module, inputs, output, window=window: output[window])
        torch.testing.assert_close(score_map[:, :, top, left], net.module(pixels), rtol=1e-3, atol=1e-4)
        hook.remove()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torchvision:vit_b_16", r"it takes no picture larger than its crop \(Wrong image height! Expected 224"),
        ("torchvision:maxvit_t", "it takes no picture larger than its crop"),
        ("timm:test_vit", "no step was seen in it that pools"),
        ("timm:swin_tiny_patch4_window7_224", r"it takes no picture larger than its crop \(Input height"),
    ],
)
def test_transformers_of_fixed_size_have_crops_only(name, reason):
    net, _ = load_net(name)
    with pytest.raises(NetError, match=reason):
        net.score_map(noise(1, net.crop + 64, net.crop + 64))
    assert net(noise(1, net.crop, net.crop)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "crop", "preset"),
    [
        ("torchvision:mobilenet_v3_small", 224, PillowPreset("torchvision", 256, interpolation="bilinear")),
        ("torchvision:efficientnet_b0", 224, PillowPreset("torchvision", 256, interpolation="bicubic")),
        ("timm:resnet10t", 176, PillowPreset("timm", 201, interpolation="bicubic")),
        ("timm:test_vit", 160, PillowPreset("timm", 168, interpolation="bicubic")),
    ],
)
def test_nets_come_with_their_own_preset_and_wnids(name, crop, preset):
    net, card = load_net(name)
    assert (net.name, net.crop, net.preset) == (name, crop, preset)
    assert net.classes == tuple(ilsvrc_names())
    assert card["names"] == ilsvrc_names()


def test_weights_that_cannot_be_had_are_random_always_the_same_and_said_to_be():
    net, card = load_net("torchvision:squeezenet1_1")
    assert card["weights"] == "random: no trained ones could be had"
    (remark,) = card["remarks"]
    assert "torchvision:squeezenet1_1: its weights are random, since" in remark
    assert "squeezenet1_1-b8a52dc0.pth is not there, and download.pytorch.org does not give it (HF_HUB" in remark
    again, _ = load_net("torchvision:squeezenet1_1")
    assert all(one.equal(other) for one, other in zip(net.parameters(), again.parameters(), strict=True))


def test_weights_in_torchs_cache_are_taken(tmp_path):
    from torchvision import models

    module = models.squeezenet1_1(weights=None)
    path = tmp_path / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    path.parent.mkdir(parents=True)
    torch.save(module.state_dict(), path)
    net, card = load_net("torchvision:squeezenet1_1")
    assert card == {"names": ilsvrc_names(), "weights": "torchvision:squeezenet1_1.IMAGENET1K_V1", "remarks": []}
    assert all(one.equal(other) for one, other in zip(net.module.parameters(), module.parameters(), strict=True))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"dc0.pth: is not a whole .*; copy it again, or remove it, and it is fetch"):
        load_net("torchvision:squeezenet1_1")
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"^torchvision:squeezenet1_1: cannot be made \(Error.* damaged, remove it"):
        load_net("torchvision:squeezenet1_1")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_in_torchs_cache_that_would_run_a_command_is_refused_and_does_not(zipped, tmp_path):
    path = tmp_path / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    path.parent.mkdir(parents=True)
    torch.save({"more": Runs(f"touch {tmp_path}/ran")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"refused, it would call posix\.system, which") as error:
        load_net("torchvision:squeezenet1_1")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)  # as torchvision does: the file is of the kind that is meant
    assert (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnasnet0_5", "googlenet"])
def test_nets_whose_weights_need_more_than_their_tensors_get_it(name, tmp_path):
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT
    path = tmp_path / "torch" / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    quick = {"init_weights": False} if name == "googlenet" else {}
    module = models.get_model(name, weights=None, **quick)
    torch.save(module.state_dict(), path)
    theirs = models.get_model(name, weights=weights).eval()
    net, _ = load_net(f"torchvision:{name}")
    pixels = noise(2, net.crop, net.crop)
    with torch.no_grad():
        assert torch.equal(net(pixels), theirs(net.prepared(pixels)))


def test_weights_in_the_cache_of_the_hub_are_taken(tmp_path):
    import timm

    module = timm.create_model("test_resnet")
    where = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (where / "refs").mkdir(parents=True)
    (where / "refs" / "main").write_text("0123")
    (where / "snapshots" / "0123").mkdir(parents=True)
    save_file(module.state_dict(), where / "snapshots" / "0123" / "model.safetensors")
    net, card = load_net("timm:test_resnet")
    assert (card["weights"], card["remarks"]) == ("timm:test_resnet", [])
    assert all(one.equal(other) for one, other in zip(net.module.parameters(), module.parameters(), strict=True))


def test_a_file_in_the_cache_of_the_hub_that_would_run_a_command_is_refused_and_does_not(tmp_path):
    where = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (where / "refs").mkdir(parents=True)
    (where / "refs" / "main").write_text("0123")
    (where / "snapshots" / "0123").mkdir(parents=True)
    path = where / "snapshots" / "0123" / "pytorch_model.bin"
    torch.save({"more": Runs(f"touch {tmp_path}/ran")}, path)
    with pytest.raises(WeightsError, match=r"^timm:test_resnet: cannot be made \(") as error:
        load_net("timm:test_resnet")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "torchvision has no net resnet19; did you mean resnet18?"),
        ("torchvision:raft_large", "torchvision has no net raft_large; did you mean"),
        ("torchvision:resnet18.V3", "torchvision has no weights V3; did you mean IMAGENET1K_V1?"),
        ("torchvision:vgg16.IMAGENET1K_FEATURES", "has no weights IMAGENET1K_FEATURES; did you mean IMAGENET1K_V1?"),
        ("torchvision:", "torchvision has no net ; did you mean"),
        ("timm:resnet19", "timm has no net resnet19; did you mean resnet1"),
        ("timm:vgg16.tv", "timm has no weights vgg16.tv; did you mean vgg16.tv_in1k?"),
        ("timm:hf-hub:timm/resnet18", "timm has no net hf-hub:timm/resnet18; did you mean"),
        ("timm:vit_small_patch14_dinov2", "has no classes, only features; name a net that classifies"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_the_nearest(name, message):
    with pytest.raises(NetError, match=message.replace("?", r"\?")):
        load_net(name)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_where_the_library_is_missing_the_install_line_is_said(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(NetError, match=rf"{library}:resnet18: {library} is missing; pip install 'verydeep\[zoo\]'"):
        load_net(f"{library}:resnet18")


@pytest.mark.parametrize("name", ["torchvision:vgg16", "timm:vgg16.tv_in1k", "net.onnx"])
def test_other_peoples_nets_are_not_taken_where_layers_must_have_names(name):
    with pytest.raises(NetError, match="can be tested, but its layers have no names here"):
        load_own_net(name)


def test_a_server_that_does_not_answer_costs_no_time(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    start = time.perf_counter()
    assert "refused" in unreachable("http://127.0.0.1:9/net.pth")
    assert time.perf_counter() - start < 6
