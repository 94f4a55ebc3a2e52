from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from verydeep.errors import PictureError
from verydeep.pictures.resize import rescale, rescaled_size, resize

sides = st.integers(1, 90)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(sides, sides, sides, sides)
@settings(deadline=None)
def test_resize_is_pillows_bilinear(height, width, new_height, new_width):
    picture = noise(height, width)
    pillow = Image.fromarray(picture).resize((new_width, new_height), Image.Resampling.BILINEAR)
    resized = resize(picture, new_height, new_width)
    # Both round after each of the two passes, torch from weights of 16 bits, Pillow of 22: a pixel in a million is two
    # levels away.
    np.testing.assert_allclose(resized, np.asarray(pillow), rtol=0, atol=2)
    assert (np.abs(resized.astype(int) - pillow) > 1).mean() < 0.01


def test_resize_of_a_photograph_is_pillows_on_average_too(photo):
    resized = resize(photo, 256, 384).astype(int)
    pillow = np.asarray(Image.fromarray(photo).resize((384, 256), Image.Resampling.BILINEAR))
    assert np.abs(resized - pillow).max() <= 1
    assert np.abs(resized - pillow).mean() < 0.05


def test_resize_to_the_same_size_changes_nothing():
    picture = noise(13, 17)
    assert np.array_equal(resize(picture, 13, 17), picture)


def test_resize_of_one_colour_stays_that_colour():
    assert np.array_equal(np.unique(resize(np.full((31, 47, 3), 201, np.uint8), 13, 90)), [201])


def test_resize_takes_windows_and_read_only_pictures():
    picture = noise(40, 50)
    window = picture[3:33, 5:45]
    expected = resize(window.copy(), 20, 30)
    picture.flags.writeable = False
    assert np.array_equal(resize(window, 20, 30), expected)
    assert np.array_equal(resize(picture[3:33, 5:45], 20, 30), expected)
    assert np.array_equal(resize(window[:, ::-1], 20, 30), resize(window[:, ::-1].copy(), 20, 30))


def test_resize_gives_an_ordinary_array():
    resized = resize(noise(40, 50), 20, 30)
    assert resized.flags.c_contiguous
    assert resized.flags.writeable


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600))
@settings(deadline=None)
def test_rescaled_size_has_the_smallest_side_and_the_other_rounded_halves_up(height, width, smallest_side):
    short, long = min(height, width), max(height, width)
    expected = floor(Fraction(long * smallest_side, short) + Fraction(1, 2))
    if smallest_side * expected > 250e6:
        return
    rescaled = rescaled_size(height, width, smallest_side)
    assert rescaled == ((smallest_side, expected) if height <= width else (expected, smallest_side))


@pytest.mark.parametrize(
    ("size", "smallest_side", "rescaled"),
    [((375, 500), 256, (256, 341)), ((500, 375), 384, (512, 384)), ((4, 5), 2, (2, 3)), ((64, 64), 56, (56, 56))],
)
def test_rescaled_sizes_by_hand(size, smallest_side, rescaled):
    assert rescaled_size(*size, smallest_side) == rescaled


def test_rescale_gives_the_rescaled_size(photo):
    assert rescale(photo, 100).shape == (*rescaled_size(427, 640, 100), 3)


def test_a_ribbon_that_would_become_a_bomb_is_refused():
    with pytest.raises(PictureError, match="picture of 50000x1 px would become 256 px by 12800000 px; remove it"):
        rescale(np.zeros((1, 50_000, 3), np.uint8), 256)
