from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.evaluation.posteriors import posteriors
from verydeep.nets.registry import create_net
from verydeep.pictures.resize import rescale

SIDES = st.integers(20, 90)


def every_crop_in_turn(net, picture, scales, mirror=True):
    """Section 3.2 by hand: loops over scales, mirror images and windows."""
    found = []
    for smallest_side in scales:
        for mirrored in (False, True) if mirror else (False,):
            pixels = rescale(picture, smallest_side)[:, ::-1] if mirrored else rescale(picture, smallest_side)
            pixels = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
            step, side = net.stride[0], net.crop
            crops = [
                pixels[:, top : top + side, left : left + side]
                for top in range(0, pixels.shape[1] - side + 1, step)
                for left in range(0, pixels.shape[2] - side + 1, step)
            ]
            scores = sum(net(crop[None])[0] for crop in crops) / len(crops)
            found.append(scores.softmax(dim=0))
    return (sum(found) / len(found)).detach().numpy()


@settings(max_examples=25, deadline=None)
@given(
    shapes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=6),
    scales=st.lists(st.integers(32, 70), min_size=1, max_size=3, unique=True),
    mirror=st.booleans(),
    batch=st.integers(1, 6),
)
def test_dense_agrees_with_every_crop_in_turn_for_a_net_without_padding(
    make_net, make_data, shapes, scales, mirror, batch
):
    net, data = make_net(), make_data(shapes)
    protocol = f"dense@{','.join(map(str, scales))}{'+' if mirror else '-'}mirror"
    found = posteriors(net, data, protocol, device="cpu", batch=batch, threads=2)
    by_hand = [every_crop_in_turn(net, picture, scales, mirror) for picture in data.pictures]
    np.testing.assert_allclose(found.values, by_hand, rtol=1e-4, atol=1e-6)  # sums in another order


def test_scores_are_averaged_before_the_soft_max(make_net, make_data):
    data = make_data([(32, 40)])  # two positions
    net = make_net()
    scores = net.score_map(torch.from_numpy(data.pictures[0]).permute(2, 0, 1)[None])[0, :, 0].detach()
    found = posteriors(net, data, "dense@32-mirror", device="cpu").values[0]
    np.testing.assert_allclose(found, scores.mean(dim=1).softmax(dim=0), rtol=1e-5)
    assert np.abs(found - scores.softmax(dim=0).mean(dim=1).numpy()).max() > 1e-3


def test_several_scales_are_the_mean_of_each(make_net, make_data):
    net, data = make_net(), make_data([(50, 71), (40, 40), (33, 90)])
    together = posteriors(net, data, "dense@32,48,64", device="cpu").values
    alone = [posteriors(net, data, f"dense@{scale}", device="cpu").values for scale in (32, 48, 64)]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=1e-5)


def test_a_picture_and_its_mirror_image_have_the_same_posterior(make_net, make_data):
    net, data = make_net(), make_data([(50, 71)])
    mirrored = replace(data, pictures=tuple(picture[:, ::-1].copy() for picture in data.pictures))
    one, other = (posteriors(net, d, "dense@50", device="cpu").values for d in (data, mirrored))
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_picture_of_the_crops_size_is_its_centre_crop(make_data):
    net = create_net("vgg-d", width=0.05, crop=64, hidden=8, classes="abcdefg")
    data = make_data([(64, 64), (64, 64)])
    dense, centre = (posteriors(net, data, f"{name}@64-mirror", device="cpu").values for name in ("dense", "centre"))
    with torch.inference_mode():
        by_hand = net(torch.from_numpy(np.stack(data.pictures)).permute(0, 3, 1, 2)).softmax(dim=1)
    np.testing.assert_allclose(dense, by_hand, rtol=1e-4)
    np.testing.assert_allclose(centre, by_hand, rtol=1e-4)


def test_a_net_of_the_paper_agrees_with_its_own_score_map(make_data):
    net = create_net("vgg-a", width=0.05, crop=64, hidden=8, classes="abcdefg")
    data = make_data([(90, 131), (64, 100), (150, 70)])
    found = posteriors(net, data, "dense@80", device="cpu").values
    for picture, posterior in zip(data.pictures, found, strict=True):
        pixels = torch.from_numpy(rescale(picture, 80).copy()).permute(2, 0, 1)[None]
        with torch.inference_mode():
            maps = [net.score_map(pixels), net.score_map(pixels.flip(-1))]
        by_hand = sum(scores.mean(dim=(-2, -1)).softmax(dim=1) for scores in maps) / 2
        np.testing.assert_allclose(posterior, by_hand[0], rtol=1e-4)
