from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from verydeep.nets.layers import Layer, count_macs, place
from verydeep.nets.registry import NETS, create_net
from verydeep.nets.vgg import NETS as PAPERS

PUBLISHED = {  # weight layers, parameters, multiply-adds at 224 × 224. Source: tables 1 and 2; computed apart from ours
    "vgg-a": (11, 132_863_336, 7_609_090_048),
    "vgg-a-lrn": (11, 132_863_336, 7_609_090_048),
    "vgg-b": (13, 133_047_848, 11_308_466_176),
    "vgg-b-5x5": (8, 134_503_528, 9_356_017_664),
    "vgg-c": (16, 133_638_952, 11_770_888_192),
    "vgg-d": (16, 138_357_544, 15_470_264_320),
    "vgg-e": (19, 143_667_240, 19_632_062_464),
}
BIASES = {"vgg-a": 11_944, "vgg-b": 12_136, "vgg-b-5x5": 10_664, "vgg-c": 13_416, "vgg-d": 13_416, "vgg-e": 14_696}
BLOCKS = {  # parameters of the five blocks
    "vgg-a": (1_792, 73_856, 885_248, 3_539_968, 4_719_616),
    "vgg-b": (38_720, 221_440, 885_248, 3_539_968, 4_719_616),
    "vgg-c": (38_720, 221_440, 951_040, 3_802_624, 4_982_272),
    "vgg-d": (38_720, 221_440, 1_475_328, 5_899_776, 7_079_424),
    "vgg-e": (38_720, 221_440, 2_065_408, 8_259_584, 9_439_232),
}
RECEPTIVE_FIELDS = {  # after the last convolution of each block and after its pool, px; then of fc6 and later
    "vgg-a": ((3, 4), (8, 10), (26, 30), (62, 70), (134, 150), 342),
    "vgg-a-lrn": ((3, 4), (8, 10), (26, 30), (62, 70), (134, 150), 342),
    "vgg-b": ((5, 6), (14, 16), (32, 36), (68, 76), (140, 156), 348),
    "vgg-b-5x5": ((5, 6), (14, 16), (32, 36), (68, 76), (140, 156), 348),
    "vgg-c": ((5, 6), (14, 16), (32, 36), (68, 76), (140, 156), 348),
    "vgg-d": ((5, 6), (14, 16), (40, 44), (92, 100), (196, 212), 404),
    "vgg-e": ((5, 6), (14, 16), (48, 52), (116, 124), (252, 268), 460),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_depth_parameters_and_macs_are_the_published_ones(name):
    assert (NETS[name].layers, NETS[name].parameters, NETS[name].macs) == PUBLISHED[name]


@pytest.mark.parametrize("name", [net.name for net in PAPERS])
@pytest.mark.parametrize("sizes", [{}, {"num_classes": 10, "width": 0.3, "crop": 100, "hidden": 77}])
def test_parameters_counted_are_those_of_the_modules(name, sizes):
    with torch.device("meta"):
        net = create_net(name, **sizes)
    counted = {layer.name: layer.parameters for layer in net.plan}
    for layer, module in net.named_children():
        assert counted[layer] == sum(parameter.numel() for parameter in module.parameters()), layer
    assert sum(counted.values()) == sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("name", BIASES)
def test_biases_are_as_many_as_published(name):
    with torch.device("meta"):
        net = create_net(name)
    assert sum(parameter.numel() for parameter in net.parameters() if parameter.dim() == 1) == BIASES[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_have_the_published_parameters(name):
    blocks = Counter()
    for layer in NETS[name].plan:
        blocks[layer.name[:5]] += layer.parameters
    assert tuple(blocks[f"conv{block}"] for block in range(1, 6)) == BLOCKS[name]


@pytest.mark.parametrize(("classes", "parameters"), [(200, 135_079_944), (100, 134_670_244), (10, 134_301_514)])
def test_d_for_other_classes_has_the_published_parameters(classes, parameters):
    assert sum(layer.parameters for layer in NETS["vgg-d"].build(num_classes=classes)) == parameters


@pytest.mark.parametrize("name", RECEPTIVE_FIELDS)
def test_receptive_fields_and_strides_are_the_published_ones(name):
    placed = {each.layer.name: each for each in place(NETS[name].plan, crop=224)}
    for block, expected in enumerate(RECEPTIVE_FIELDS[name][:5], start=1):
        last = [layer for layer in placed if layer.startswith(f"conv{block}_")][-1]
        assert (placed[last].receptive_field, placed[f"pool{block}"].receptive_field) == expected
        assert (placed[last].stride, placed[f"pool{block}"].stride) == (2 ** (block - 1), 2**block)
    assert {placed[layer].receptive_field for layer in ("fc6", "fc7", "fc8")} == {RECEPTIVE_FIELDS[name][5]}
    assert placed["fc8"].stride == 32


def test_the_normalised_nets_have_the_receptive_fields_of_the_plain_ones():
    for letter in "abde":
        ends = [list(place(NETS[name].plan, crop=224))[-1] for name in (f"vgg-{letter}", f"vgg-{letter}-bn")]
        assert ends[0] == ends[1]


@pytest.mark.parametrize("name", ["vgg-a", "vgg-b-5x5", "vgg-c", "vgg-e"])
def test_a_cell_sees_its_receptive_field_and_nothing_else(name, narrow):
    """By the gradient, with means in place of maxima, which would hide what they do not choose."""
    net = narrow(name, crop=32)
    expected = {each.layer.name: each for each in place(net.plan, crop=32)}
    maps = pixels = torch.ones(1, 3, 352, 352, requires_grad=True)
    for layer, module in net.named_children():
        if isinstance(module, nn.Conv2d):
            module.weight.data.abs_()
        maps = nn.AvgPool2d(2)(maps) if isinstance(module, nn.MaxPool2d) else module(maps)
        if layer in ("conv3_1", "pool2", "pool5"):
            middle = maps.shape[-1] // 2
            spans = []
            for column in (middle, middle + 1):
                (seen,) = torch.autograd.grad(maps[0, 0, middle, column], pixels, retain_graph=True)
                columns = seen.sum((0, 1, 2)).nonzero().flatten().tolist()
                spans.append((columns[0], columns[-1] + 1))
            assert spans[0][1] - spans[0][0] == expected[layer].receptive_field
            assert spans[1][0] - spans[0][0] == expected[layer].stride


@given(st.integers(32, 400))
def test_sides_are_those_of_the_maps(crop):
    with torch.device("meta"):
        net = create_net("vgg-b-5x5", width=1 / 64, crop=crop, num_classes=2)
        maps = torch.zeros(1, 3, crop, crop)
        for placed, module in zip(place(net.plan, crop), net.children(), strict=True):
            maps = module(maps)
            assert tuple(maps.shape) == (1, placed.layer.outputs, placed.side, placed.side)


def test_macs_are_the_additions_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        net = create_net("vgg-c", width=0.25, crop=96, num_classes=7)
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, 3, 96, 96))
    assert counter.get_total_flops() == 2 * count_macs(net.plan, 96)


def test_a_layer_without_weights_costs_nothing():
    for kind in ("relu", "pool", "lrn", "dropout"):
        layer = Layer("some", kind, 8, 8, kernel=2, stride=2)
        assert (layer.parameters, count_macs([layer], 8)) == (0, 0)
