from functools import cache
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import verydeep
from verydeep.errors import NetError

CROP, CHANNELS, CLASSES = 24, 6, ("a", "b", "c", "d")


class Trunk(nn.Module):
    """Two strided convolutions with zero padding, so that borders matter: a crop of 24 gives 6 × 6 cells."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, 2, 1), nn.Conv2d(5, CHANNELS, 3, 2, 1)

    def forward(self, pixels):
        return self.second(self.first(pixels).relu()).relu()


class Squeezed(Trunk):
    """The same, each channel scaled by what a pooling over the whole picture says."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, pixels):
        maps = super().forward(pixels)
        return maps * self.gate(F.adaptive_avg_pool2d(maps, 1)).sigmoid()


class Net(nn.Module):
    """A trunk and something after it."""

    def __init__(self, head, rest=None, trunk=Trunk):
        super().__init__()
        self.trunk, self.rest, self.head = trunk(), rest or nn.Linear(CHANNELS, len(CLASSES)), head

    def forward(self, pixels):
        return self.head(self, self.trunk(pixels))


class Remembering(Net):
    """Shapes by the number of pictures that came in."""

    def forward(self, pixels):
        n = pixels.size(0)
        return self.rest(F.adaptive_avg_pool2d(self.trunk(pixels), 1).view(n, -1))


def hidden(cells):
    return nn.Sequential(nn.Linear(CHANNELS * cells, 7), nn.ReLU(), nn.Dropout(), nn.Linear(7, len(CLASSES)))


def mean_by_hand(window):
    return sum(window[:, :, i, j] for i, j in product(range(6), range(6))) / 36


def bins_by_hand(window):
    """Four bins a side: of six cells those from floor(6 i / 4) to ceil(6 (i + 1) / 4)."""
    ends = [(0, 2), (1, 3), (3, 5), (4, 6)]
    return torch.stack(
        [window[:, :, a:b, c:d].mean((2, 3)) for (a, b), (c, d) in product(ends, ends)], dim=-1
    ).unflatten(-1, (4, 4))


def channels_last(net, maps):
    return net.rest(maps.permute(0, 2, 3, 1).mean((1, 2)))


KINDS = {  # name: the module, and by hand what it makes of a window of 6 × 6 cells
    "adaptive pooling to one cell": (
        lambda: Net(lambda net, maps: net.rest(F.adaptive_avg_pool2d(maps, 1).flatten(1))),
        lambda net, window: net.rest(mean_by_hand(window)),
    ),
    "the mean over the last two axes": (
        lambda: Net(lambda net, maps: net.rest(maps.mean([2, 3]))),
        lambda net, window: net.rest(mean_by_hand(window)),
    ),
    "the mean over one axis, then the other": (
        lambda: Net(lambda net, maps: net.rest(maps.mean(3).mean(2))),
        lambda net, window: net.rest(mean_by_hand(window)),
    ),
    "the mean, its axes kept": (
        lambda: Net(lambda net, maps: net.rest(torch.mean(maps, dim=(-2, -1), keepdim=True)[:, :, 0, 0])),
        lambda net, window: net.rest(mean_by_hand(window)),
    ),
    "pooling with a window of fixed size": (
        lambda: Net(lambda net, maps: net.rest(F.avg_pool2d(maps, 6).flatten(1))),
        lambda net, window: net.rest(mean_by_hand(window)),
    ),
    "pooling, then a convolution": (
        lambda: Net(lambda net, maps: net.rest(F.adaptive_avg_pool2d(maps, 1)).flatten(1), nn.Conv2d(CHANNELS, 4, 1)),
        lambda net, window: F.linear(mean_by_hand(window), net.rest.weight[:, :, 0, 0], net.rest.bias),
    ),
    "a convolution, then pooling": (
        lambda: Net(
            lambda net, maps: F.adaptive_avg_pool2d(net.rest(maps).relu(), 1).flatten(1), nn.Conv2d(CHANNELS, 4, 1)
        ),
        lambda net, window: mean_by_hand(net.rest(window).relu()),
    ),
    "a map of scores": (
        lambda: Net(lambda net, maps: net.rest(maps), nn.Conv2d(CHANNELS, 4, 1)),
        lambda net, window: mean_by_hand(net.rest(window)),
    ),
    "the largest cell": (
        lambda: Net(lambda net, maps: net.rest(F.adaptive_max_pool2d(maps, 1).flatten(1))),
        lambda net, window: net.rest(window.flatten(2).max(-1).values),
    ),
    "mean and largest side by side": (
        lambda: Net(
            lambda net, maps: net.rest(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)), nn.Linear(2 * CHANNELS, 4)
        ),
        lambda net, window: net.rest(torch.cat([mean_by_hand(window), window.flatten(2).max(-1).values], 1)),
    ),
    "generalised mean": (
        lambda: Net(
            lambda net, maps: net.rest(F.avg_pool2d(maps.clamp(min=1e-6) ** 3, maps.shape[2:]).flatten(1) ** (1 / 3))
        ),
        lambda net, window: net.rest(mean_by_hand(window.clamp(min=1e-6) ** 3) ** (1 / 3)),
    ),
    "channels last": (
        lambda: Net(channels_last),
        lambda net, window: net.rest(mean_by_hand(window)),
    ),
    "adaptive pooling to the crop's own cells, then linear layers": (
        lambda: Net(lambda net, maps: net.rest(torch.flatten(F.adaptive_avg_pool2d(maps, (6, 6)), 1)), hidden(36)),
        lambda net, window: net.rest(window.reshape(len(window), -1)),
    ),
    "adaptive pooling to fewer cells, then linear layers": (
        lambda: Net(lambda net, maps: net.rest(torch.flatten(F.adaptive_avg_pool2d(maps, (4, 4)), 1)), hidden(16)),
        lambda net, window: net.rest(bins_by_hand(window).flatten(1)),
    ),
    "flattening, then linear layers": (
        lambda: Net(lambda net, maps: net.rest(maps.view(maps.size(0), -1)), hidden(36)),
        lambda net, window: net.rest(window.reshape(len(window), -1)),
    ),
    "shaping by the number of pictures that came in": (
        lambda: Remembering(None),
        lambda net, window: net.rest(mean_by_hand(window)),
    ),
    "a pooling in the trunk, too": (
        lambda: Net(lambda net, maps: net.rest(maps.mean([2, 3])), trunk=Squeezed),
        lambda net, window: net.rest(mean_by_hand(window)),
    ),
}


@cache
def wrapped(make):
    torch.manual_seed(0)
    return verydeep.wrap(make(), classes=CLASSES, mean=[120, 110, 100], std=[60, 50, 40], crop=CROP)


def noise(n, height, width):
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)


def normalised(pixels):
    return (pixels - torch.tensor([120.0, 110, 100])[:, None, None]) / torch.tensor([60.0, 50, 40])[:, None, None]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None)
@given(n=st.integers(1, 3), height=st.integers(24, 60), width=st.integers(24, 60))
@torch.no_grad()
def test_a_cell_is_what_the_module_makes_of_one_crops_worth_of_cells(kind, n, height, width):
    make, by_hand = KINDS[kind]
    net = wrapped(make)
    assert net.no_score_map == ""
    pixels = noise(n, height, width)
    cells = net.module.trunk(normalised(pixels))
    rows, columns = cells.shape[2] - 5, cells.shape[3] - 5
    expected = torch.empty(n, len(CLASSES), rows, columns)
    for i, j in product(range(rows), range(columns)):
        expected[:, :, i, j] = by_hand(net.module, cells[:, :, i : i + 6, j : j + 6])
    torch.testing.assert_close(net.score_map(pixels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_one_cell_of_a_crop_is_what_the_module_says_itself(kind):
    net = wrapped(KINDS[kind][0])
    pixels = noise(3, CROP, CROP)
    own = net.module(normalised(pixels))
    own = own.mean((2, 3)) if own.dim() == 4 else own
    torch.testing.assert_close(net(pixels), own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.score_map(pixels), own[:, :, None, None], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_padding_a_cell_is_the_scores_of_the_crop_at_its_place():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    module = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    net = verydeep.wrap(module, classes=CLASSES, mean=0, crop=20)
    pixels = noise(2, 31, 42)
    score_map = net.score_map(pixels)
    assert score_map.shape == (2, 4, 3, 6)
    for i, j in product(range(3), range(6)):
        crop = pixels[:, :, 4 * i : 4 * i + 20, 4 * j : 4 * j + 20]
        torch.testing.assert_close(score_map[:, :, i, j], net(crop), rtol=1e-4, atol=1e-4)


class Even(nn.Module):
    """Adds a map of half the size, doubled: sides must be even, as in many nets that go down and up."""

    def __init__(self):
        super().__init__()
        self.trunk, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4)

    def forward(self, pixels):
        maps = self.trunk(pixels)
        return self.last((maps + F.interpolate(F.max_pool2d(maps, 2), scale_factor=2)).mean((2, 3)))


@torch.no_grad()
def test_a_module_that_takes_even_sides_only_is_shown_no_more_than_multiples_of_32_beside_the_crop():
    net = verydeep.wrap(Even(), classes=CLASSES, mean=128, std=60, crop=64)
    assert (net.no_score_map, net.multiple) == ("", 32)
    pixels = noise(2, 97, 130)
    torch.testing.assert_close(net.score_map(pixels), net.score_map(pixels[:, :, :96, :128]))


class Tokens(nn.Module):
    """A transformer in small: patches, places of a fixed number, a mean over tokens."""

    def __init__(self, places):
        super().__init__()
        self.patches, self.last = nn.Conv2d(3, 8, 6, 6), nn.Linear(8, 4)
        self.places = nn.Parameter(torch.randn(1, 16, 8)) if places else 0.0

    def forward(self, pixels):
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        return self.last((tokens + self.places).mean(1))


class Noted(nn.Module):
    """Gives the scores of a crop in whatever size: adaptive pooling of the picture itself."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3 * CROP * CROP, 4)

    def forward(self, pixels):
        return self.last(F.interpolate(pixels, (CROP, CROP)).flatten(1))


class Mixed(nn.Module):
    """Adds what another map says of the whole picture."""

    def __init__(self):
        super().__init__()
        self.trunk, self.last = Trunk(), nn.Linear(CHANNELS, 4)

    def forward(self, pixels):
        whole = self.trunk.first(pixels).mean((1, 2, 3))
        return self.last(self.trunk(pixels).mean((2, 3))) + whole[:, None]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Tokens(places=True), r"it takes no picture larger than its crop \(The size of tensor a"),
        (lambda: Tokens(places=False), "no step was seen in it that pools or flattens a map"),
        (Mixed, "its scores cannot be had at every position"),
        (lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())), "no step"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_where_there_is_no_score_map_the_reason_is_said(make, reason):
    net = wrapped(make)
    with pytest.raises(NetError, match=reason):
        net.score_map(noise(1, 40, 40))
    assert net.no_score_map
    assert "\n" not in net.no_score_map
    assert net(noise(2, CROP, CROP)).shape == (2, 4)


@torch.no_grad()
def test_a_module_that_only_pretends_to_take_any_size_is_not_believed():
    net = wrapped(Noted)
    if not net.no_score_map:  # squeezing the picture is its map's end: a cell is then a window of the picture itself
        pixels = noise(1, 30, 33)
        torch.testing.assert_close(net.score_map(pixels)[:, :, 2, 5], net(pixels[:, :, 2:26, 5:29]))
