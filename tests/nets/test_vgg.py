import subprocess
import sys

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from verydeep.errors import NetError
from verydeep.nets.layers import place
from verydeep.nets.module import module
from verydeep.nets.registry import NETS, create_net
from verydeep.nets.stack import Stack
from verydeep.nets.vgg import NETS as PAPERS

TABLE_1 = {  # the convolutions of each block, typed anew
    "vgg-a": "3/3/3 3/3 3/3 3",
    "vgg-a-lrn": "3/3/3 3/3 3/3 3",
    "vgg-b": "3 3/3 3/3 3/3 3/3 3",
    "vgg-b-5x5": "5/5/5/5/5",
    "vgg-c": "3 3/3 3/3 3 1/3 3 1/3 3 1",
    "vgg-d": "3 3/3 3/3 3 3/3 3 3/3 3 3",
    "vgg-e": "3 3/3 3/3 3 3 3/3 3 3 3/3 3 3 3",
}
NAMES = [net.name for net in PAPERS]
EXACT = {"rtol": 1e-4, "atol": 1e-4}  # single precision, sums in another order


def scores_by_hand(net, pixels):
    """Scores of crops as the paper's page has them: a flattened last map, then products of matrices."""
    weights = net.state_dict()
    maps = (pixels.float() - net.mean) / net.std
    plain = net.name.removesuffix("-bn")
    for block, convolutions in enumerate(TABLE_1[plain].split("/"), start=1):
        for index, kernel in enumerate(map(int, convolutions.split()), start=1):
            here = f"{block}_{index}"
            assert weights[f"conv{here}.weight"].shape[-1] == kernel
            maps = F.conv2d(maps, weights[f"conv{here}.weight"], weights[f"conv{here}.bias"], padding=(kernel - 1) // 2)
            if net.name.endswith("-bn"):
                named = (weights[f"norm{here}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
                maps = F.batch_norm(maps, *named)
            maps = F.relu(maps)
        if net.name == "vgg-a-lrn" and block == 1:
            maps = normalised_by_hand(maps)
        maps = F.max_pool2d(maps, 2)
    units = maps.flatten(1)
    for layer in ("fc6", "fc7", "fc8"):
        units = F.linear(units, weights[f"{layer}.weight"].flatten(1), weights[f"{layer}.bias"])
        units = units if layer == "fc8" else F.relu(units)
    return units


def normalised_by_hand(maps):
    """b_i = a_i / (k + α Σ a_j²)^β over the five channels around i. Source: Krizhevsky et al. 2012, section 3.3."""
    k, alpha, beta, channels = 2, 1e-4, 0.75, maps.shape[1]
    outputs = torch.empty_like(maps)
    for i in range(channels):
        around = range(max(0, i - 2), min(channels - 1, i + 2) + 1)
        outputs[:, i] = maps[:, i] / (k + alpha * sum(maps[:, j] ** 2 for j in around)) ** beta
    return outputs


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("crop", [32, 75, 96])
def test_scores_are_those_by_hand(name, crop, narrow, pixels):
    net = narrow(name, crop=crop)
    torch.testing.assert_close(net(pixels(2, crop)), scores_by_hand(net, pixels(2, crop)), **EXACT)


def test_local_response_normalisation_is_the_formula():
    torch.manual_seed(0)
    maps = 200 * torch.rand(2, 9, 4, 3)  # so large that the sum of squares matters more than k
    lrn = module(next(layer for layer in NETS["vgg-a-lrn"].plan if layer.kind == "lrn"), dropout=0.0)
    torch.testing.assert_close(lrn(maps), normalised_by_hand(maps))
    names = [layer.name for layer in NETS["vgg-a-lrn"].plan]
    assert names[:4] == ["conv1_1", "relu1_1", "lrn1", "pool1"]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(NAMES),
    crop=st.integers(32, 130),
    more=st.tuples(st.integers(0, 31), st.integers(0, 31)),
    width=st.sampled_from([1 / 64, 0.02, 1 / 32]),
    num_classes=st.integers(1, 4),
)
def test_the_scores_of_a_crop_are_the_one_cell_of_its_score_map(pixels, name, crop, more, width, num_classes):
    net = create_net(name, crop=crop, width=width, num_classes=num_classes)
    scores = net(pixels(2, crop))
    assert scores.shape == (2, num_classes)
    assert torch.equal(net.score_map(pixels(2, crop))[:, :, 0, 0], scores)
    # Pixels that fill no window of their own add no cell.
    larger = pixels(1, crop // 32 * 32 + more[0], crop // 32 * 32 + more[1])
    if min(larger.shape[-2:]) >= crop:
        assert net.score_map(larger).shape == (1, num_classes, 1, 1)


@given(st.integers(224, 800), st.integers(224, 800))
@settings(deadline=None, max_examples=20)
def test_a_score_map_has_a_cell_for_each_window(height, width):
    with torch.device("meta"):
        cells = create_net("vgg-a", width=1 / 32).score_map(torch.zeros(1, 3, height, width)).shape[-2:]
    assert cells == (height // 32 - 6, width // 32 - 6)


@pytest.mark.parametrize(
    ("height", "width", "cells"),
    [(256, 341, (2, 4)), (384, 512, (6, 10)), (512, 683, (10, 15)), (288, 384, (3, 6)), (352, 469, (5, 8))],
)
def test_score_maps_of_the_papers_scales_have_the_published_sizes(height, width, cells):
    with torch.device("meta"):
        assert create_net("vgg-d").score_map(torch.zeros(1, 3, height, width)).shape == (1, 1000, *cells)


def without_padding(net):
    """The same net, whose cells are then functions of their receptive field alone."""
    for layer in net.children():
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
    return net


def windows(pixels, side, tops, lefts):
    return torch.cat([pixels[..., top : top + side, left : left + side] for top in tops for left in lefts])


@pytest.mark.parametrize("name", TABLE_1)
def test_a_score_map_is_every_window_in_turn_for_a_net_without_padding(name, narrow, pixels):
    net = without_padding(narrow(name))
    seen = list(place(net.plan, net.crop))[-1].receptive_field
    picture = pixels(1, seen + 2 * 32 + 5, seen + 3 * 32)
    one_by_one = net.score_map(windows(picture, seen, tops=(0, 32, 64), lefts=(0, 32, 64, 96)))
    together = net.score_map(picture)
    assert one_by_one.shape == (12, 5, 1, 1)
    assert together.shape == (1, 5, 3, 4)
    torch.testing.assert_close(together.flatten(2)[0].T, one_by_one[:, :, 0, 0], **EXACT)


@pytest.mark.parametrize("name", ["vgg-a", "vgg-c", "vgg-d"])
def test_cells_far_from_the_borders_see_real_surroundings_not_padding(name, narrow, pixels):
    net, bare = narrow(name), without_padding(narrow(name))
    seen = list(place(net.plan, net.crop))[-1].receptive_field
    margin = (seen - net.crop) // 2  # what a cell sees around its window
    picture = pixels(1, 352, 384)
    inside = [i for i in range(10) if 32 * i >= margin and 32 * i + net.crop + margin <= 352]
    assert len(inside) >= 3
    cells = net.score_map(picture)[0][:, inside][:, :, inside]
    by_window = bare.score_map(windows(picture, seen, *[[32 * i - margin for i in inside]] * 2))
    torch.testing.assert_close(cells.flatten(1).T, by_window[:, :, 0, 0], **EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_its_pictures_give_alone(name, narrow, pixels):
    net, batch = narrow(name), pixels(3, 96, 130)
    alone = torch.cat([net.score_map(picture[None]) for picture in batch])
    torch.testing.assert_close(net.score_map(batch), alone, **EXACT)
    assert net.score_map(batch[:0]).shape == (0, *alone.shape[1:])


def test_pixels_of_any_type_and_layout_give_the_same_scores(narrow, pixels):
    net, batch = narrow("vgg-b"), pixels(2, 64)
    scores = net(batch)
    assert torch.equal(net(batch.float()), scores)
    for other in (batch.double(), batch.half(), batch.long(), batch.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(net(other), scores, **EXACT)
    in_doubles = net.double()(batch)
    assert in_doubles.dtype == torch.float64
    torch.testing.assert_close(in_doubles.float(), scores, **EXACT)


def test_a_net_in_channels_last_memory_gives_the_same_scores(narrow, pixels):
    plain, other = narrow("vgg-a-lrn"), narrow("vgg-a-lrn").to(memory_format=torch.channels_last)
    torch.testing.assert_close(other.score_map(pixels(2, 100)), plain.score_map(pixels(2, 100)), **EXACT)


def test_the_net_subtracts_its_own_mean_and_divides_by_its_own_deviation(narrow, pixels):
    net, batch = narrow("vgg-a"), pixels(1, 64).float()
    scores = net(batch)
    batch = (batch - net.mean) / net.std
    net.mean.zero_()
    net.std.fill_(1)
    torch.testing.assert_close(net(batch), scores, **EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name, narrow, pixels):
    net = narrow(name, dropout=0.2).train()
    torch.manual_seed(0)
    F.cross_entropy(net(pixels(4, 64)), torch.arange(4)).backward()
    for parameter, tensor in net.named_parameters():
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all(), parameter
        assert tensor.grad.count_nonzero() > 0, parameter


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", ["vgg-a-lrn", "vgg-b-5x5", "vgg-d-bn"])
def test_no_layer_works_in_place(name, mode, narrow, pixels):
    net = narrow(name).train(mode == "train")
    kept = []
    for layer in net.children():
        layer.register_forward_hook(lambda module, inputs, output: kept.append((output, output.clone())))
    batch = pixels(2, 64).float()
    before = batch.clone()
    net(batch)
    assert torch.equal(batch, before)
    assert len(kept) == len(net.plan)
    for output, copy in kept:
        assert torch.equal(output, copy)


def test_dropout_is_that_of_the_paper_and_sleeps_in_eval_mode(narrow, pixels):
    net = narrow("vgg-e", dropout=0.5)
    assert [(layer, m.p) for layer, m in net.named_children() if isinstance(m, nn.Dropout)] == [
        ("dropout6", 0.5), ("dropout7", 0.5),
    ]  # fmt: skip
    names = [layer.name for layer in net.plan]
    assert names[-7:] == ["fc6", "relu6", "dropout6", "fc7", "relu7", "dropout7", "fc8"]
    assert not net.training
    assert torch.equal(net(pixels(1, 64)), net(pixels(1, 64)))


def test_what_is_not_a_crop_is_refused_in_one_line(narrow, pixels):
    net = narrow("vgg-a")
    with pytest.raises(NetError, match="vgg-a: 96 × 96 px is not its crop, 64 × 64 px; see score_map"):
        net(pixels(1, 96))
    with pytest.raises(NetError, match="vgg-a: 100 × 63 px is less than its crop, 64 px; rescale the picture"):
        net.score_map(pixels(1, 63, 100))


@pytest.mark.slow  # in a process of its own, without the tests' check of shapes
@pytest.mark.parametrize("shape", ["3, 64, 64", "1, 1, 64, 64"])
def test_what_is_no_batch_of_pictures_is_refused_in_one_line(shape):
    code = f"import torch, verydeep; verydeep.create_net('vgg-a', width=0.05, crop=64)(torch.zeros({shape}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    wanted = f"vgg-a: pixels are {shape.replace(', ', ' × ')}; give n × 3 × height × width, RGB"
    assert ended.stderr.splitlines()[-1].endswith(wanted)


TORCHVISION = {"vgg-a": "vgg11", "vgg-b": "vgg13", "vgg-d": "vgg16", "vgg-e": "vgg19"}
TORCHVISION |= {f"{ours}-bn": f"{theirs}_bn" for ours, theirs in TORCHVISION.items()}


@pytest.mark.parametrize(("ours", "theirs"), TORCHVISION.items())
def test_parameters_come_in_torchvisions_order(ours, theirs):
    with torch.device("meta"):
        net, other = create_net(ours), getattr(torchvision.models, theirs)()
    for mine, (name, their) in zip(net.parameters(), other.named_parameters(), strict=True):
        # A fully connected layer is a kernel here and a matrix there, of the same numbers in the same order.
        flat = mine.shape if name.startswith("features") or mine.dim() == 1 else mine.flatten(1).shape
        assert flat == their.shape


def in_torchvision(net, other):
    """Torchvision's net with our weights, copied in order, and its buffers, by kind."""
    pairs = zip(net.parameters(), other.named_parameters(), strict=True)
    state = {name: mine.detach().reshape(their.shape) for mine, (name, their) in pairs}
    buffers = [buffer for name, buffer in net.named_buffers() if name not in ("mean", "std")]
    state |= dict(zip((name for name, _ in other.named_buffers()), buffers, strict=True))
    other.load_state_dict(state, assign=True)
    return other.eval()


@pytest.mark.parametrize(("ours", "theirs"), TORCHVISION.items())
def test_torchvisions_net_made_narrow_gives_our_scores(ours, theirs, narrow, pixels):
    from torchvision.models.vgg import VGG as TorchvisionVGG
    from torchvision.models.vgg import cfgs, make_layers

    letter = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}[theirs.removesuffix("_bn")]
    channels = [entry if entry == "M" else entry // 32 for entry in cfgs[letter]]
    net = narrow(ours, crop=224)
    with torch.device("meta"):
        other = TorchvisionVGG(make_layers(channels, batch_norm=theirs.endswith("_bn")))
        for place, sizes in ((0, (16 * 49, 128)), (3, (128, 128)), (6, (128, 5))):
            other.classifier[place] = nn.Linear(*sizes)
    batch = pixels(2, 224)
    theirs = in_torchvision(net, other)((batch - net.mean) / net.std)
    torch.testing.assert_close(net(batch), theirs, **EXACT)


@pytest.mark.slow
def test_torchvisions_vgg16_with_our_weights_gives_our_scores(pixels):
    net = create_net("vgg-d", start="he")
    net.mean.copy_(torch.tensor([123.68, 116.779, 103.939])[:, None, None])
    with torch.device("meta"):
        other = torchvision.models.vgg16()
    batch = pixels(1, 224)
    with torch.inference_mode():
        theirs = in_torchvision(net, other)(batch - net.mean)
        scores = net(batch)
    # Of scores of some hundreds, sums of up to 25,088 numbers in another order.
    torch.testing.assert_close(scores, theirs, rtol=1e-4, atol=1e-4 * scores.abs().max().item())


def test_a_net_is_a_module_like_any_other(narrow, pixels):
    from copy import deepcopy

    net = narrow("vgg-a")
    copy = deepcopy(net)
    assert isinstance(copy, Stack)
    assert torch.equal(copy(pixels(1, 64)), net(pixels(1, 64)))
    assert (copy.name, copy.classes, copy.crop, copy.plan) == (net.name, net.classes, net.crop, net.plan)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(pixels(1, 64))
    torch.testing.assert_close(rough.float(), net(pixels(1, 64)), rtol=0.1, atol=0.1 * rough.abs().max().item())
