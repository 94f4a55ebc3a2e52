"""SPP-net against its arithmetic and itself written by hand."""

import pytest
import torch
from torch.nn import functional as F

from verydeep.errors import NetError
from verydeep.nets.layers import place
from verydeep.nets.local_response import NormaliseWithin
from verydeep.nets.registry import NETS

COUNTS = {  # inputs of fc6, parameters, multiply-adds at 224, those of convolutions at 180
    "spp-net": (12_800, 77_037_672, 1_182_712_960, 664_700_928),
    "spp-net-30": (7_680, 56_066_152, 1_161_741_440, 664_700_928),
    "spp-net-vgg-a": (25_600, 134_960_488, 7_611_187_200, 4_728_572_928),
    "spp-net-vgg-a-30": (15_360, 93_017_448, 7_569_244_160, 4_728_572_928),
    "spp-net-vgg-d": (25_600, 140_454_696, 15_472_361_472, 9_739_127_808),
    "spp-net-vgg-d-30": (15_360, 98_511_656, 15_430_418_432, 9_739_127_808),
    "spp-net-vgg-e": (25_600, 145_764_392, 19_634_159_616, 12_360_895_488),
    "spp-net-vgg-e-30": (15_360, 103_821_352, 19_592_216_576, 12_360_895_488),
}
EXACT = {"rtol": 1e-4, "atol": 1e-4}  # single precision, sums in another order


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_arithmetic(name):
    net = NETS[name]
    inputs, parameters, macs, at_180 = COUNTS[name]
    assert next(layer.inputs for layer in net.plan if layer.name == "fc6") == inputs
    assert (net.parameters, net.macs) == (parameters, macs)
    convolutions = [layer for layer in net.plan if layer.name.startswith(("conv", "lrn", "pool"))]
    assert sum(placed.macs for placed in place(convolutions, 180)) == at_180


def test_maps_of_zf_5_have_the_published_sides():
    layers = [layer for layer in NETS["spp-net"].plan if layer.kind in ("conv", "pool")]
    trunk = [layer for layer in NETS["spp-net"].plan if layer.kind not in ("fc", "pyramid", "dropout")][:14]
    sides = {side: [each.side for each in place(trunk, side) if each.layer in layers] for side in (224, 180)}
    assert sides[224] == [110, 55, 26, 13, 13, 13, 13]
    assert sides[180] == [88, 44, 20, 10, 10, 10, 10]


def conv5_by_hand(net, pixels):
    """The last map before the pyramid, from the paper's table 1 and the released file's paddings."""
    weights = net.state_dict()

    def conv(number, maps, stride=1, padding=0):
        return F.conv2d(maps, weights[f"conv{number}.weight"], weights[f"conv{number}.bias"], stride, padding).relu()

    def norm(maps):
        squares = F.pad(maps, (1, 1, 1, 1)).square()
        sums = sum(squares[:, :, y : y + maps.shape[2], x : x + maps.shape[3]] for y in range(3) for x in range(3))
        return maps / (1 + 5e-5 / 9 * sums) ** 0.75

    maps = conv(1, (pixels - net.mean) / net.std, 2, 1)
    maps = F.max_pool2d(norm(maps), 3, 2, ceil_mode=True)
    maps = F.max_pool2d(norm(conv(2, maps, 2)), 3, 2, ceil_mode=True)
    for number in (3, 4, 5):
        maps = conv(number, maps, 1, 1)
    return maps


def scores_by_hand(net, maps, levels):
    """Scores of a map as one picture: the levels' maxima, channel by channel, then products of matrices."""
    units = torch.cat([F.adaptive_max_pool2d(maps, level).flatten(1) for level in levels], dim=1)
    weights = net.state_dict()
    for layer in ("fc6", "fc7", "fc8"):
        units = F.linear(units, weights[f"{layer}.weight"].flatten(1), weights[f"{layer}.bias"])
        units = units if layer == "fc8" else units.relu()
    return units


@pytest.mark.parametrize(("name", "levels"), [("spp-net", (1, 2, 3, 6)), ("spp-net-30", (1, 2, 3, 4))])
@pytest.mark.parametrize(("height", "width"), [(96, 96), (77, 77), (64, 130), (200, 150)])
def test_a_picture_of_any_size_is_one_vector(narrow, pixels, name, levels, height, width):
    net, shown = narrow(name, crop=96), pixels(2, height, width)
    by_hand = scores_by_hand(net, conv5_by_hand(net, shown), levels)
    torch.testing.assert_close(net(shown), by_hand, **EXACT)


@pytest.mark.parametrize(("name", "crop", "stride"), [("spp-net", 96, 16), ("spp-net-vgg-a-30", 64, 16)])
@pytest.mark.parametrize("more", [(0, 0), (16, 48), (40, 21)])
def test_a_score_map_has_the_scores_of_each_window_of_the_last_map(narrow, pixels, name, crop, stride, more):
    net = narrow(name, crop=crop)
    levels = next(layer.levels for layer in net.plan if layer.kind == "pyramid")
    shown = pixels(2, crop + more[0], crop + more[1])
    maps = dict(net.maps(shown))["relu5" if name == "spp-net" else "relu5_2"]
    window = next(layer.kernel for layer in net.plan if layer.kind == "pyramid")
    found = net.score_map(shown)
    assert net.stride == stride
    assert found.shape[2:] == tuple(side - window + 1 for side in maps.shape[2:])
    for u in range(found.shape[2]):
        for v in range(found.shape[3]):
            cut = maps[:, :, u : u + window, v : v + window]
            torch.testing.assert_close(found[:, :, u, v], scores_by_hand(net, cut, levels), **EXACT)
    if more == (0, 0):
        torch.testing.assert_close(net(shown), found.flatten(1), **EXACT)


@pytest.mark.parametrize("name", ["spp-net", "spp-net-vgg-d"])
def test_a_picture_that_leaves_no_cell_is_refused(narrow, pixels, name):
    net = narrow(name, crop=64)
    assert net(pixels(1, net.least_side)).shape == (1, 5)
    with pytest.raises(NetError, match=f"px is less than {net.least_side} px, the least that it takes"):
        net(pixels(1, 100, net.least_side - 1))


def test_normalisation_within_a_channel_has_its_gradient():
    maps = 30 * torch.randn(1, 2, 4, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(NormaliseWithin(alpha=0.01), maps.requires_grad_())
