import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.evaluation.posteriors import posteriors
from verydeep.pictures.resize import rescale


@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(st.integers(10, 90), st.integers(10, 90)), scale=st.integers(32, 70))
def test_centre_looks_at_the_crop_in_the_middle_with_odd_margins_rounded_down(make_net, make_data, shape, scale):
    net, data = make_net(), make_data([shape])
    rescaled = rescale(data.pictures[0], scale)
    top, left = ((side - 32) // 2 for side in rescaled.shape[:2])
    crop = torch.from_numpy(rescaled[top : top + 32, left : left + 32].copy()).permute(2, 0, 1)
    by_hand = net(crop[None]).softmax(dim=1).detach()
    np.testing.assert_allclose(posteriors(net, data, f"centre@{scale}", device="cpu").values, by_hand, rtol=1e-4)


def test_centre_crops_of_all_shapes_and_scales_go_through_the_net_together(make_net, make_data):
    net = make_net()
    posteriors(net, make_data([(40, 50), (60, 33), (48, 48), (90, 41)]), "centre@32,40", device="cpu", batch=8)
    assert net.shown == [(8, 3, 32, 32)]


def test_centre_is_mirrored_when_asked(make_net, make_data):
    net, data = make_net(), make_data([(32, 32)])
    pixels = torch.from_numpy(data.pictures[0]).permute(2, 0, 1)[None]
    by_hand = (net(pixels).softmax(dim=1) + net(pixels.flip(-1)).softmax(dim=1)) / 2
    found = posteriors(net, data, "centre@32+mirror", device="cpu").values
    np.testing.assert_allclose(found, by_hand.detach(), rtol=1e-5)
