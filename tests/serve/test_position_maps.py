import numpy as np
import pytest
import torch
from torch import nn

import verydeep
from verydeep.pictures.resize import rescale
from verydeep.serve.position_maps import ACROSS, MOST_PIXELS, position_maps

CPU = torch.device("cpu")


@pytest.fixture
def unpadded():
    """A net whose every position is a crop without surroundings."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 16, stride=8), nn.Flatten(2), nn.Unflatten(2, (-1, 1)))
    module = nn.Sequential(module[0], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return verydeep.wrap(module, classes=("a", "b", "c", "d"), mean=127, std=60, crop=16)


def test_a_position_says_what_the_net_says_of_the_crop_that_lies_there(unpadded, picture):
    maps = position_maps(unpadded, picture, CPU)
    assert [each.smallest_side for each in maps] == [32, 48, 64]
    for each in maps:
        rescaled = rescale(picture, each.smallest_side)
        height, width, _ = rescaled.shape
        for row, column in np.ndindex(each.posteriors.shape[1:]):
            top = (each.first[0] + row * each.step[0]) * height - 8
            left = (each.first[1] + column * each.step[1]) * width - 8
            assert (top, left) == pytest.approx((8 * row, 8 * column))
            crop = rescaled[round(top) : round(top) + 16, round(left) : round(left) + 16]
            with torch.no_grad():
                alone = unpadded(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None])[0].softmax(dim=0)
            torch.testing.assert_close(torch.from_numpy(each.posteriors[:, row, column]), alone)


def test_positions_of_our_nets_are_those_of_the_score_map_and_those_between(served, picture):
    (each, *_) = position_maps(served.net, picture, CPU)
    rescaled = torch.from_numpy(rescale(picture, each.smallest_side)).permute(2, 0, 1)[None]
    with torch.no_grad():
        coarse = served.net.score_map(rescaled)[0].softmax(dim=0)
    torch.testing.assert_close(torch.from_numpy(each.posteriors[:, ::2, ::2]), coarse)
    assert each.step == pytest.approx((16 / rescaled.shape[2], 16 / rescaled.shape[3]))
    assert each.posteriors.sum(axis=0) == pytest.approx(1, abs=1e-5)


def test_of_a_long_picture_maps_that_would_be_huge_are_left_out(unpadded):
    maps = position_maps(unpadded, np.zeros((10, 20_000, 3), np.uint8), CPU)
    assert [each.smallest_side for each in maps] == [32]  # one there always is
    assert 48 * 48 * 2000 > MOST_PIXELS > 16 * ACROSS[-1] * 16 * ACROSS[-1]
