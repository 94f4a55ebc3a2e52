from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from verydeep.pictures.crop import source_window, take
from verydeep.pictures.resize import rescale, rescaled_size, resize
from verydeep.pictures.views import View, random_crop, whole


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fused_crop(picture, smallest_side, view):
    """As training takes it: the window of the picture as decoded, resized."""
    return take(picture, source_window(*picture.shape[:2], smallest_side, view, side=view.height))


@given(st.integers(1, 12), st.integers(1, 12), st.data())
@settings(deadline=None)
def test_take_is_each_pixel_of_the_window_in_turn(height, width, data):
    picture = noise(height, width)
    view = View(
        top := data.draw(st.integers(0, height - 1)),
        left := data.draw(st.integers(0, width - 1)),
        data.draw(st.integers(1, height - top)),
        data.draw(st.integers(1, width - left)),
        data.draw(st.booleans()),
    )
    taken = take(picture, view)
    assert taken.shape == (view.height, view.width, 3)
    for y in range(view.height):
        for x in range(view.width):
            from_left = view.width - 1 - x if view.mirrored else x
            assert np.array_equal(taken[y, x], picture[top + y, left + from_left])


@pytest.mark.parametrize(("top", "left", "height", "width"), [(-3, 2, 9, 5), (4, -1, 8, 20), (-6, -6, 22, 30)])
def test_a_view_over_the_edge_is_of_the_picture_mirrored_there(top, left, height, width):
    picture = np.random.default_rng(0).integers(0, 256, (10, 18, 3), np.uint8)
    padded = np.pad(picture, ((6, 6), (6, 6), (0, 0)), mode="reflect")
    due = padded[top + 6 : top + 6 + height, left + 6 : left + 6 + width]
    assert np.array_equal(take(picture, View(top, left, height, width, over_edge=True)), due)


def test_fused_crop_of_a_picture_that_needs_no_rescaling_is_the_crop():
    picture = noise(40, 50)
    view = View(3, 7, 24, 24, mirrored=True)
    assert np.array_equal(fused_crop(picture, 40, view), take(picture, view))


@pytest.mark.parametrize("smallest_side", [25, 40, 64])
def test_fused_crop_of_the_whole_is_of_the_whole_picture(smallest_side):
    view = whole(*rescaled_size(40, 50, smallest_side))
    assert source_window(40, 50, smallest_side, view) == whole(40, 50)


@given(st.integers(20, 80), st.integers(20, 80), st.integers(16, 60), st.integers(0, 2**32))
@settings(deadline=None)
def test_fused_crop_is_pillows_of_a_box_at_most_half_a_pixel_away(height, width, smallest_side, seed):
    picture = noise(height, width, seed)
    rescaled_height, rescaled_width = rescaled_size(height, width, smallest_side)
    view = random_crop(rescaled_height, rescaled_width, 16, np.random.default_rng(seed))
    across, down = Fraction(width, rescaled_width), Fraction(height, rescaled_height)
    exact = (view.left * across, view.top * down, (view.left + 16) * across, (view.top + 16) * down)
    box = tuple(floor(side + Fraction(1, 2)) for side in exact)
    window = Image.fromarray(picture).crop(box).resize((16, 16), Image.Resampling.BILINEAR)
    expected = np.asarray(window)[:, ::-1] if view.mirrored else np.asarray(window)
    # Of noise, one pixel in a million is two levels away: torch's weights have 16 bits, Pillow's 22.
    np.testing.assert_allclose(fused_crop(picture, smallest_side, view), expected, rtol=0, atol=2)


@given(st.integers(20, 80), st.integers(20, 80), st.integers(16, 60), st.integers(0, 2**32))
@settings(deadline=None)
def test_fused_crop_looks_at_nothing_outside_its_window(height, width, smallest_side, seed):
    picture = noise(height, width, seed)
    view = random_crop(*rescaled_size(height, width, smallest_side), 16, np.random.default_rng(seed))
    source = source_window(height, width, smallest_side, view)
    expected = fused_crop(picture, smallest_side, view)
    picture[: source.top] = picture[source.top + source.height :] = 0
    picture[:, : source.left] = picture[:, source.left + source.width :] = 0
    assert np.array_equal(fused_crop(picture, smallest_side, view), expected)


def test_fused_crop_is_near_the_crop_of_the_rescaled_photograph(photo):
    generator = np.random.default_rng(0)
    differences = []
    for _ in range(20):
        smallest_side = int(generator.integers(256, 512, endpoint=True))
        view = random_crop(*rescaled_size(*photo.shape[:2], smallest_side), 224, generator)
        exact = take(rescale(photo, smallest_side), view).astype(int)
        differences.append(fused_crop(photo, smallest_side, view) - exact)
    # Up to half a pixel beside: 4.4 grey levels here, none of it a change of brightness.
    assert np.mean(np.abs(differences)) < 6
    assert abs(np.mean(differences)) < 0.05


def test_fused_crop_of_a_slope_is_half_a_pixels_rise_away_at_most():
    slope = np.repeat(np.linspace(0, 250, 251).astype(np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2)
    generator = np.random.default_rng(0)
    for smallest_side in range(64, 256, 7):
        view = random_crop(*rescaled_size(*slope.shape[:2], smallest_side), 64, generator)
        exact = take(rescale(slope, smallest_side), view).astype(int)
        inner = np.abs(fused_crop(slope, smallest_side, view) - exact)[2:-2, 2:-2]
        assert inner.max() <= 2  # half a level of shift, half a level of rounding in each of the two


def test_mirrored_crops_are_crops_mirrored(photo):
    plain, mirrored = View(10, 20, 64, 64), View(10, 20, 64, 64, mirrored=True)
    assert np.array_equal(take(photo, mirrored), take(photo, plain)[:, ::-1])
    assert np.array_equal(fused_crop(photo, 300, mirrored), fused_crop(photo, 300, plain)[:, ::-1])
    assert np.array_equal(take(photo, replace(mirrored, side=32)), take(photo, replace(plain, side=32))[:, ::-1])


def test_fused_crop_of_a_view_of_a_picture_decoded_a_pixel_smaller_stays_inside():
    picture = noise(167, 250)  # half of 333 x 500, whose rescaled picture is 577 px wide instead of 575
    view = View(384 - 224, 577 - 224, 224, 224)
    assert fused_crop(picture, 384, view).shape == (224, 224, 3)


def test_resized_crop_is_the_window_resized(photo):
    view = View(30, 40, 120, 200)
    expected = Image.fromarray(photo).crop((40, 30, 240, 150)).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(take(photo, replace(view, side=64)), np.asarray(expected), rtol=0, atol=1)


def test_a_view_with_a_side_is_its_window_resized_and_then_mirrored():
    picture = noise(40, 50)
    by_hand = resize(picture[3:33, 7:37], 24, 24)
    assert np.array_equal(take(picture, View(3, 7, 30, 30, side=24)), by_hand)
    assert np.array_equal(take(picture, View(3, 7, 30, 30, mirrored=True, side=24)), by_hand[:, ::-1])
