from math import ceil, floor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from verydeep.nets.pyramid import Pyramid, bins

LEVELS = st.sampled_from([(1, 2, 3, 6), (1, 2, 3, 4), (3,)])


def by_hand(maps, levels):
    """The vector of one map [c, h, w], a cell at a time, by the paper's rule."""
    channels, height, width = maps.shape
    vector = []
    for n in levels:
        for channel in range(channels):
            for i in range(1, n + 1):
                for j in range(1, n + 1):
                    rows = range(floor((i - 1) / n * height), ceil(i / n * height))
                    columns = range(floor((j - 1) / n * width), ceil(j / n * width))
                    vector.append(max(maps[channel, y, x].item() for y in rows for x in columns))
    return torch.tensor(vector)


@settings(max_examples=20, deadline=None)
@given(levels=LEVELS, height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_map_of_any_size_gives_one_vector_of_maxima_of_bins(levels, height, width, seed):
    maps = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    found = Pyramid(levels, window=5).of_whole(maps)
    assert found.shape == (2, 3 * sum(level**2 for level in levels), 1, 1)
    for one, vector in zip(maps, found, strict=True):
        assert torch.equal(vector.flatten(), by_hand(one, levels))


@settings(max_examples=20, deadline=None)
@given(levels=LEVELS, window=st.integers(1, 7), more=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_every_window_of_a_larger_map_has_the_vector_that_it_has_alone(levels, window, more):
    maps = torch.randn(2, 3, window + more[0], window + more[1], generator=torch.Generator().manual_seed(window))
    pyramid = Pyramid(levels, window)
    found = pyramid(maps)
    assert found.shape[2:] == (more[0] + 1, more[1] + 1)
    for u in range(more[0] + 1):
        for v in range(more[1] + 1):
            alone = pyramid.of_whole(maps[:, :, u : u + window, v : v + window])
            assert torch.equal(found[:, :, u, v], alone.flatten(1))


def test_windows_and_strides_of_the_paper_for_13_cells():
    """Windows and strides 3/2, 4/3, 5/4, 7/6 and 13/1 (section 2.3) are these bins; of 10 cells and 6 bins none are."""
    for count, window, stride in ((6, 3, 2), (4, 4, 3), (3, 5, 4), (2, 7, 6), (1, 13, 13)):
        assert list(bins(13, count)) == [(stride * place, stride * place + window) for place in range(count)]
    assert list(bins(10, 6)) == [(0, 2), (1, 4), (3, 5), (5, 7), (6, 9), (8, 10)]
    assert F.max_pool2d(torch.zeros(1, 1, 10, 10), ceil(10 / 6), floor(10 / 6)).shape[-1] == 9  # not 6


@pytest.mark.parametrize("side", [13, 14, 17])
def test_gradients_flow_through_windows_as_through_the_whole(side):
    pyramid = Pyramid((1, 2, 3, 6), 13)
    maps = torch.randn(1, 2, side, side, dtype=torch.double, requires_grad=True)
    weight = torch.randn(100, dtype=torch.double)
    (sliding,) = torch.autograd.grad((pyramid(maps)[0, :, -1, -1] * weight).sum(), maps)
    (alone,) = torch.autograd.grad((pyramid.of_whole(maps[:, :, -13:, -13:]).flatten() * weight).sum(), maps)
    torch.testing.assert_close(sliding, alone)
