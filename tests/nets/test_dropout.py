"""Masks by row: the same however a batch is cut up, of the right share, and unlike each other."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from verydeep.nets.dropout import ChannelDropout, Dropout, draw_masks, kept_values
from verydeep.nets.registry import create_net


@given(seed=some.integers(0, 2**63), rows=some.integers(1, 20), values=some.integers(1, 70), cut=some.integers(0, 20))
def test_rows_are_the_same_however_the_batch_is_cut(seed: int, rows: int, values: int, cut: int) -> None:
    cut = min(cut, rows)
    whole = kept_values((seed, 3, 1), 0, rows, values, 0.5)
    parts = [kept_values((seed, 3, 1), first, count, values, 0.5) for first, count in ((0, cut), (cut, rows - cut))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_share_and_the_independence_are_those_of_chance(fraction: float) -> None:
    kept = kept_values((0, 0, 0), 0, 1000, 1000, fraction)
    deviation = (fraction * (1 - fraction)) ** 0.5
    assert abs(kept.mean() - (1 - fraction)) < 4 * deviation / 1000
    for axis in (0, 1):  # of a thousand means of a thousand values
        assert kept.mean(axis=axis).std() == pytest.approx(deviation / 1000**0.5, rel=0.1)
    others = [kept_values(key, first, 1000, 1000, fraction) for key, first in
              (((1, 0, 0), 0), ((0, 1, 0), 0), ((0, 0, 1), 0), ((0, 0, 0), 1000))]  # fmt: skip
    for other in others:
        assert abs(np.corrcoef(kept.ravel(), other.ravel())[0, 1]) < 0.005


def test_a_net_drops_the_same_of_a_picture_whatever_it_comes_with() -> None:
    torch.manual_seed(0)
    net = create_net("vgg-a", num_classes=5, width=0.05, crop=32, hidden=40).train()
    pixels = torch.rand(6, 3, 32, 32) * 255

    def scores(first: int, last: int) -> torch.Tensor:
        draw_masks(net, seed=1, step=2, first=first)
        return net(pixels[first:last])

    whole = scores(0, 6)
    torch.testing.assert_close(torch.cat([scores(0, 1), scores(1, 4), scores(4, 6)]), whole)
    assert not torch.equal(scores(0, 6), net.eval()(pixels))
    draw_masks(net.train(), seed=1, step=3, first=0)
    assert not torch.allclose(net(pixels), whole)


def test_what_is_kept_is_raised_and_all_may_be_dropped() -> None:
    layer = Dropout(0.25).train()
    draw_masks(layer, 0, 0, 0)
    outputs = layer(torch.ones(64, 100, 1, 1))
    torch.testing.assert_close(outputs.unique(), torch.tensor([0.0, 4 / 3]))
    layer.p = 1.0
    assert layer(torch.ones(2, 3, 4, 4)).sum() == 0
    assert torch.equal(layer.eval()(torch.ones(2, 3, 1, 1)), torch.ones(2, 3, 1, 1))


def test_channels_are_dropped_for_the_whole_batch_in_whatever_parts_it_comes() -> None:
    layer, maps = ChannelDropout(0.5).train(), torch.rand(7, 30, 3, 3) + 1
    draw_masks(layer, 0, 0, 0)
    whole = layer(maps)
    draw_masks(layer, 0, 0, 4)
    torch.testing.assert_close(layer(maps[4:]), whole[4:])
    dropped = (whole == 0).flatten(2).all(dim=2)
    assert (dropped == dropped[0]).all()
    assert 0 < dropped[0].sum() < 30
    torch.testing.assert_close(whole[:, ~dropped[0]], 2 * maps[:, ~dropped[0]])
