"""Every protocol against a version written here from the papers: loops over crops, fractions, no code of ours.

Only the rescaled picture comes from the library, which has its own tests.
"""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.evaluation.posteriors import posteriors
from verydeep.nets.registry import create_net
from verydeep.pictures.resize import rescale, resize

CROP = 32
SIDES = st.integers(20, 100)


def nearest(fraction):
    return floor(fraction + Fraction(1, 2))


def windows_of_centre(height, width):
    return [((height - CROP) // 2, (width - CROP) // 2, CROP)]


def windows_of_ten_crop(height, width):
    side = min(height, width)
    top, left = floor(Fraction(height - side, 2)), floor(Fraction(width - side, 2))
    last, middle = side - CROP, floor(Fraction(side - CROP, 2))
    return [
        (top, left, CROP),
        (top, left + last, CROP),
        (top + last, left, CROP),
        (top + last, left + last, CROP),
        (top + middle, left + middle, CROP),
    ]


def windows_of_multi_crop(height, width):
    found = []
    for row in range(5):
        for column in range(5):
            top = nearest(Fraction(row * (height - CROP), 4))
            left = nearest(Fraction(column * (width - CROP), 4))
            found.append((top, left, CROP))
    return found


def windows_of_googlenet(height, width):
    side, found = min(height, width), []
    for third in (Fraction(0), Fraction(1, 2), Fraction(1)):
        top, left = floor(third * (height - side)), floor(third * (width - side))
        found += [(top + y, left + x, CROP) for y in (0, side - CROP) for x in (0, side - CROP)]
        found.append((top + (side - CROP) // 2, left + (side - CROP) // 2, CROP))
        found.append((top, left, side))  # the square itself, to be resized
    return found


def windows_of_spp(height, width):
    if CROP in (height, width):  # six with their mirror images, though of a square all three are one
        long = max(height, width) - CROP
        starts = (0, floor(Fraction(long, 2)), long)
        return [(start, 0, CROP) if height > width else (0, start, CROP) for start in starts]
    tops, lefts = ((0, floor(Fraction(side - CROP, 2)), side - CROP) for side in (height, width))
    return [(top, left, CROP) for top in tops for left in lefts]


def windows_of_nagadomi(height, width):
    larger = nearest(Fraction(7 * CROP, 6))
    return [
        (nearest(Fraction(row * (height - side), 2)), nearest(Fraction(column * (width - side), 2)), side)
        for side in (CROP, larger)
        for row in range(3)
        for column in range(3)
    ]


WINDOWS = {
    "nagadomi-36": windows_of_nagadomi,
    "centre": windows_of_centre,
    "ten-crop": windows_of_ten_crop,
    "multi-crop": windows_of_multi_crop,
    "googlenet-144": windows_of_googlenet,
    "spp-96": windows_of_spp,
}


def posterior_of(net, pixels):
    """The soft-max of one view's scores, averaged over positions where it is larger than the crop."""
    pixels = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        scores = net(pixels) if pixels.shape[-2:] == (CROP, CROP) else net.score_map(pixels).mean((-2, -1))
    return scores.double().softmax(dim=1)[0].numpy()


def both_ways(net, pixels, mirror):
    images = [pixels, pixels[:, ::-1]] if mirror else [pixels]
    return [posterior_of(net, image) for image in images]


def by_crops(net, picture, name, scales, mirror):
    """The mean over all crops of all scales, one after another."""
    found = []
    for scale in scales:
        rescaled = rescale(picture, scale)
        for top, left, side in WINDOWS[name](*rescaled.shape[:2]):
            window = rescaled[top : top + side, left : left + side]
            assert window.shape == (side, side, 3)
            found += both_ways(net, resize(window, CROP, CROP) if side > CROP else window, mirror)
    return np.mean(found, axis=0), len(found)


def by_whole_pictures(net, picture, scales, mirror):
    return np.mean([p for scale in scales for p in both_ways(net, rescale(picture, scale), mirror)], axis=0)


def assert_same(found, by_hand):
    np.testing.assert_allclose(found, by_hand, rtol=2e-4, atol=2e-6)  # single precision, sums in another order


NETS = st.one_of(
    st.just("sliding"),
    st.builds(dict, name=st.sampled_from(["vgg-a", "vgg-c", "vgg-b-5x5"]), seed=st.integers(0, 99)),
)


@pytest.fixture(scope="module")
def build(make_net):
    """A net that slides without padding, or one of the paper's with random weights."""

    def build(drawn):
        if drawn == "sliding":
            return make_net(CROP)
        torch.manual_seed(drawn["seed"])
        net = create_net(drawn["name"], width=0.05, crop=CROP, hidden=8, classes="abcdefg")
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1)
        net.std.fill_(70)
        return net

    return build


shapes = st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=2)
several_scales = st.lists(st.integers(CROP, 70), min_size=1, max_size=3, unique=True)


@pytest.mark.parametrize("name", ["centre", "ten-crop", "multi-crop"])
@settings(max_examples=8, deadline=None)
@given(drawn=NETS, shapes=shapes, scales=several_scales, mirror=st.booleans(), batch=st.integers(1, 40))
def test_crops_of_all_scales_count_alike(build, make_data, name, drawn, shapes, scales, mirror, batch):
    net, data = build(drawn), make_data(shapes)
    text = f"{name}@{','.join(map(str, scales))}{'+' if mirror else '-'}mirror"
    found = posteriors(net, data, text, device="cpu", batch=batch, threads=1).values
    each = {"centre": 1, "ten-crop": 5, "multi-crop": 25}[name] * len(scales) * (1 + mirror)
    for picture, posterior in zip(data.pictures, found, strict=True):
        by_hand, crops = by_crops(net, picture, name, scales, mirror)
        assert crops == each
        assert_same(posterior, by_hand)


@settings(max_examples=8, deadline=None)
@given(drawn=NETS, shapes=shapes, scale=st.integers(38, 70), mirror=st.booleans())
def test_nagadomi_shows_36_crops(build, make_data, drawn, shapes, scale, mirror):
    net, data = build(drawn), make_data(shapes)
    text = f"nagadomi-36@{scale}{'+' if mirror else '-'}mirror"
    found = posteriors(net, data, text, device="cpu", threads=1).values
    for picture, posterior in zip(data.pictures, found, strict=True):
        by_hand, crops = by_crops(net, picture, "nagadomi-36", [scale], mirror)
        assert crops == 18 * (1 + mirror)
        assert_same(posterior, by_hand)


@settings(max_examples=8, deadline=None)
@given(drawn=NETS, shapes=shapes, scale=st.integers(CROP, 40), mirror=st.booleans())
def test_shifts_are_the_middle_twice_and_moved_by_a_pixel_over_the_mirrored_edge(
    build, make_data, drawn, shapes, scale, mirror
):
    net, data = build(drawn), make_data(shapes)
    found = posteriors(net, data, f"shifts@{scale}{'+' if mirror else '-'}mirror", device="cpu", threads=1).values
    for picture, posterior in zip(data.pictures, found, strict=True):
        padded = np.pad(rescale(picture, scale), ((1, 1), (1, 1), (0, 0)), mode="reflect")
        top, left, _ = windows_of_centre(padded.shape[0] - 2, padded.shape[1] - 2)[0]
        views = [padded[top + by : top + by + CROP, left + by : left + by + CROP] for by in (0, 1, 1, 2)]
        assert_same(posterior, np.mean([each for view in views for each in both_ways(net, view, mirror)], axis=0))


@settings(max_examples=12, deadline=None)
@given(drawn=NETS, shapes=shapes, scales=several_scales, mirror=st.booleans())
def test_dense_is_the_mean_of_whole_pictures(build, make_data, drawn, shapes, scales, mirror):
    net, data = build(drawn), make_data(shapes)
    text = f"dense@{','.join(map(str, scales))}{'+' if mirror else '-'}mirror"
    found = posteriors(net, data, text, device="cpu", threads=1).values
    assert_same(found, [by_whole_pictures(net, picture, scales, mirror) for picture in data.pictures])


@pytest.mark.parametrize("positions", ["softmax-first", "maximum"])
@settings(max_examples=6, deadline=None)
@given(drawn=NETS, shape=st.tuples(SIDES, SIDES), scales=several_scales, mirror=st.booleans())
def test_the_soft_max_at_every_position_comes_before_their_mean_or_maximum(
    build, make_data, positions, drawn, shape, scales, mirror
):
    net, data = build(drawn), make_data([shape])
    text = f"dense@{','.join(map(str, scales))}{'+' if mirror else '-'}mirror+{positions}"
    views = []
    for scale in scales:
        rescaled = torch.from_numpy(rescale(data.pictures[0], scale)).permute(2, 0, 1)[None]
        for pixels in [rescaled, rescaled.flip(-1)] if mirror else [rescaled]:
            with torch.inference_mode():
                scores = net.score_map(pixels)[0].double().flatten(1).T  # a row a position
            everywhere = torch.stack([row.exp() / row.exp().sum() for row in scores]).numpy()
            views.append(everywhere.mean(axis=0) if positions == "softmax-first" else everywhere.max(axis=0))
    by_hand = np.mean(views, axis=0)
    assert_same(posteriors(net, data, text, device="cpu", threads=1).values[0], by_hand / by_hand.sum())


@pytest.mark.parametrize("name", ["dense", "multi-crop", "dense+multi-crop"])
@settings(max_examples=6, deadline=None)
@given(drawn=NETS, shape=st.tuples(SIDES, SIDES), scales=several_scales, mirror=st.booleans(), batch=st.integers(1, 9))
def test_hcp_takes_the_largest_score_over_all_that_is_seen(build, make_data, name, drawn, shape, scales, mirror, batch):
    net, data = build(drawn), make_data([shape])
    text = f"{name}@{','.join(map(str, scales))}{'+' if mirror else '-'}mirror+hcp"
    seen = []
    for scale in scales:
        rescaled = rescale(data.pictures[0], scale)
        windows = [(0, 0, *rescaled.shape[:2])] if "dense" in name else []
        if "multi-crop" in name:
            windows += [(top, left, side, side) for top, left, side in windows_of_multi_crop(*rescaled.shape[:2])]
        for top, left, height, width in windows:
            pixels = torch.from_numpy(rescaled[top : top + height, left : left + width].copy()).permute(2, 0, 1)[None]
            for shown in [pixels, pixels.flip(-1)] if mirror else [pixels]:
                with torch.inference_mode():
                    seen += [*net.score_map(shown)[0].double().flatten(1).T]  # a hypothesis a position
    by_hand = torch.stack(seen).amax(dim=0).softmax(dim=0)
    assert_same(posteriors(net, data, text, device="cpu", threads=1, batch=batch).values[0], by_hand)


@settings(max_examples=6, deadline=None)
@given(drawn=NETS, shapes=shapes, scales=several_scales, mirror=st.booleans())
def test_dense_and_multi_crop_is_the_mean_of_the_two(build, make_data, drawn, shapes, scales, mirror):
    net, data = build(drawn), make_data(shapes)
    text = f"dense+multi-crop@{','.join(map(str, scales))}{'+' if mirror else '-'}mirror"
    found = posteriors(net, data, text, device="cpu", threads=1).values
    for picture, posterior in zip(data.pictures, found, strict=True):
        crops, _ = by_crops(net, picture, "multi-crop", scales, mirror)
        assert_same(posterior, (by_whole_pictures(net, picture, scales, mirror) + crops) / 2)


@settings(max_examples=6, deadline=None)
@given(drawn=NETS, shapes=shapes, scales=several_scales)
def test_a_sum_counts_its_terms_by_their_weights_some_mirrored_and_some_not(build, make_data, drawn, shapes, scales):
    net, data = build(drawn), make_data(shapes)
    written = ",".join(map(str, scales))
    text = f"2*centre@{written} + ten-crop@{scales[0]} + 0.5*dense@{written}-mirror"
    found = posteriors(net, data, text, device="cpu", threads=1).values
    for picture, posterior in zip(data.pictures, found, strict=True):
        centre, _ = by_crops(net, picture, "centre", scales, mirror=False)
        ten, _ = by_crops(net, picture, "ten-crop", scales[:1], mirror=True)
        whole = by_whole_pictures(net, picture, scales, mirror=False)
        assert_same(posterior, (2 * centre + ten + whole / 2) / 3.5)


@settings(max_examples=6, deadline=None)
@given(drawn=NETS, shape=st.tuples(SIDES, SIDES))
def test_googlenet_shows_144_crops(build, make_data, drawn, shape):
    net, data = build(drawn), make_data([shape])
    scales = [round(CROP * side / 224) for side in (256, 288, 320, 352)]
    by_hand, crops = by_crops(net, data.pictures[0], "googlenet-144", scales, mirror=True)
    assert crops == 144
    assert_same(posteriors(net, data, "googlenet-144", device="cpu", threads=1).values[0], by_hand)


@settings(max_examples=6, deadline=None)
@given(drawn=NETS, shape=st.tuples(SIDES, SIDES))
def test_spp_shows_96_crops_and_two_whole_pictures(build, make_data, drawn, shape):
    net, data = build(drawn), make_data([shape])
    scales = [round(CROP * side / 224) for side in (224, 256, 300, 360, 448, 560)]
    by_hand, crops = by_crops(net, data.pictures[0], "spp-96", scales, mirror=True)
    assert crops == 96
    assert_same(posteriors(net, data, "spp-96", device="cpu", threads=1).values[0], by_hand)
    whole = by_whole_pictures(net, data.pictures[0], scales[1:2], mirror=True)
    with_whole = posteriors(net, data, "spp-96+2", device="cpu", threads=1).values[0]
    assert_same(with_whole, (96 * by_hand + 2 * whole) / 98)


def test_a_net_that_takes_any_size_sees_a_whole_picture_once_and_densely_in_windows(make_data):
    data = make_data([(50, 90)])
    net = create_net("spp-net-vgg-a-30", width=0.05, crop=CROP, hidden=8, classes="abcdefg", start="he")
    net.std.fill_(70)
    scales = [round(CROP * side / 224) for side in (224, 256, 300, 360, 448, 560)]
    crops, count = by_crops(net, data.pictures[0], "spp-96", scales, mirror=True)
    pixels = torch.from_numpy(rescale(data.pictures[0], scales[1])).permute(2, 0, 1)[None]
    with torch.inference_mode():
        whole = sum(net(shown).double().softmax(dim=1)[0].numpy() for shown in (pixels, pixels.flip(-1)))
        windows = net.score_map(pixels)
    assert windows.shape[-1] > 1
    found = posteriors(net, data, "spp-96+2", device="cpu", threads=1).values[0]
    assert_same(found, (count * crops + whole) / 98)
    dense = posteriors(net, data, f"dense@{scales[1]}", device="cpu", threads=1).values[0]
    assert_same(dense, by_whole_pictures(net, data.pictures[0], scales[1:2], mirror=True))
    assert np.abs(whole / 2 - dense).max() > 1e-4


def offset_pools_by_hand(net, pixels):
    """The largest posterior of each class over all positions of all nine offsets, step by step as OverFeat's page."""
    maps = (pixels - net.mean) / net.std
    for name, layer in net.named_children():
        if name == "pool6":
            break
        maps = layer(maps)
    found = []
    for top in range(3):
        for left in range(3):
            units = net.pool6(maps[:, :, top:, left:])
            for layer in list(net.children())[list(dict(net.named_children())).index("fc7") :]:
                units = layer(units)
            found += [cell.softmax(dim=1) for cell in units.flatten(2).unbind(dim=2)]
    return torch.stack(found).amax(dim=0)


def test_fine_takes_the_largest_posterior_over_all_offsets_of_the_last_pool(make_data):
    net, data = (
        create_net("overfeat-accurate", width=0.03, crop=95, classes="abcdefg", start="he"),
        make_data([(50, 61)]),
    )
    scales = (149, 173)
    found = posteriors(net, data, "fine@149,173+maximum", device="cpu", threads=1).values[0]
    by_scale = []
    with torch.no_grad():
        for scale in scales:
            pixels = torch.from_numpy(rescale(data.pictures[0], scale)).permute(2, 0, 1)[None].float()
            both = [offset_pools_by_hand(net, shown)[0] for shown in (pixels, pixels.flip(-1))]
            by_scale.append(sum(both) / 2)
    maxima = sum(by_scale) / 2
    assert_same(found, (maxima / maxima.sum()).numpy())
    coarse = posteriors(net, data, "dense@149,173+maximum", device="cpu", threads=1).values[0]
    assert abs(coarse - found).max() > 1e-3
