"""Scores with the last pool at every offset, against windows one by one and against the published sizes."""

import pytest
import torch

from verydeep.errors import NetError
from verydeep.nets.layers import place
from verydeep.nets.registry import create_net

EXACT = {"rtol": 1e-4, "atol": 1e-4}  # single precision, sums in another order
SIZES = [  # picture, map before the last pool, interleaved class map. Source: Sermanet et al. 2014, table 5
    ((245, 245), (17, 17), (3, 3)),
    ((281, 317), (20, 23), (6, 9)),
    ((317, 389), (23, 29), (9, 15)),
    ((389, 461), (29, 35), (15, 21)),
    ((425, 497), (32, 38), (18, 24)),
    ((461, 569), (35, 44), (21, 30)),
]


@pytest.mark.parametrize(("picture", "before", "fine"), SIZES)
def test_sizes_are_those_of_overfeats_table(picture, before, fine):
    with torch.device("meta"):
        net = create_net("overfeat-accurate", width=0.01)
        pixels = torch.zeros(1, 3, *picture)
        assert dict(net.maps(pixels))["relu6"].shape[-2:] == before
        assert net.fine_score_map(pixels).shape == (1, 1000, *fine)
        assert net.score_map(pixels).shape[-2:] == tuple(cells // 3 for cells in fine)


@pytest.mark.parametrize(("name", "between"), [("overfeat-accurate", 12), ("overfeat-fast", 16), ("nagadomi", 4)])
def test_cells_are_every_window_in_turn_for_a_net_without_padding(name, between, small, bare, windows):
    net = bare(small(name))
    *_, last = place(net.plan, net.crop)
    generator = torch.Generator().manual_seed(0)
    sides = last.receptive_field + 2 * between + 1, last.receptive_field + 5 * between
    picture = torch.randint(0, 256, (1, 3, *sides), generator=generator)
    crops, cells = windows(picture, last.receptive_field, between)
    fine = net.fine_score_map(picture)
    assert fine.shape == (1, 5, *cells) == (1, 5, 3, 6)
    torch.testing.assert_close(fine.flatten(2)[0].T, net.scores(crops)[:, :, 0, 0], **EXACT)


@pytest.mark.parametrize("name", ["overfeat-fast", "cnn-f", "cnn-s", "vgg-c", "alexnet-small"])
@pytest.mark.parametrize("more", [0, 23, 50])
def test_cells_of_the_score_map_are_among_them(name, more, small):
    net = small(name)
    pixels = torch.randint(0, 256, (2, 3, net.crop + more, net.crop), generator=torch.Generator().manual_seed(more))
    fine, coarse = net.fine_score_map(pixels), net.score_map(pixels)
    step = next(layer.stride for layer in reversed(net.plan) if layer.kind == "pool")
    torch.testing.assert_close(fine[:, :, ::step, ::step], coarse, **EXACT)


def test_nets_and_pictures_that_cannot_are_refused_in_one_line():
    with pytest.raises(NetError, match="googlenet: has no last pool before its last layers to lay at every offset"):
        create_net("googlenet", width=0.05).fine_score_map(torch.zeros(1, 3, 256, 256))
    with pytest.raises(NetError, match="nagadomi: 23 × 24 px is less than its crop"):
        create_net("nagadomi", width=0.05).fine_score_map(torch.zeros(1, 3, 24, 23))
