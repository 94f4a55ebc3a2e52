from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.errors import PictureError
from verydeep.pictures.views import (
    View,
    centre_crop,
    corners_and_centre,
    grid,
    random_crop,
    random_resized_crop,
    squares,
    thirds,
    whole,
)

sides = st.integers(1, 600)
seeds = st.integers(0, 2**32)


@given(sides, sides, sides)
@settings(deadline=None)
def test_centre_crop_is_the_middle_one_of_all_places_the_upper_left_of_two(height, width, crop):
    if crop > min(height, width):
        with pytest.raises(PictureError, match=f"{width}x{height} px holds no crop of {crop} px"):
            centre_crop(height, width, crop)
        return
    tops, lefts = range(height - crop + 1), range(width - crop + 1)
    assert centre_crop(height, width, crop) == View(
        tops[(len(tops) - 1) // 2], lefts[(len(lefts) - 1) // 2], crop, crop
    )


def test_whole_picture_is_a_view():
    assert whole(30, 40) == View(0, 0, 30, 40)


@given(sides, sides, st.integers(1, 600), seeds)
@settings(deadline=None)
def test_random_crops_lie_inside(height, width, crop, seed):
    crop = min(crop, height, width)
    view = random_crop(height, width, crop, np.random.default_rng(seed))
    assert (view.height, view.width) == (crop, crop)
    assert 0 <= view.top <= height - crop
    assert 0 <= view.left <= width - crop


def test_random_crops_take_every_place_and_both_ways_equally_often():
    generator = np.random.default_rng(0)
    draws = 12_000
    counts = Counter(random_crop(7, 8, 5, generator) for _ in range(draws))
    every = {View(top, left, 5, 5, mirrored) for top, left, mirrored in product(range(3), range(4), (False, True))}
    assert set(counts) == every
    expected = draws / len(every)
    # Chi squared of 23 degrees of freedom: more than 60 comes once in 30,000 seeds.
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 60


def test_a_picture_of_the_crops_size_has_one_place():
    assert random_crop(5, 5, 5, np.random.default_rng(3)) in {View(0, 0, 5, 5), View(0, 0, 5, 5, mirrored=True)}


def test_random_crop_of_a_small_picture_is_refused():
    with pytest.raises(PictureError, match="30x20 px holds no crop of 24 px; rescale it to 24 or more"):
        random_crop(20, 30, 24, np.random.default_rng(0))


@given(sides, sides, seeds)
@settings(deadline=None)
def test_random_resized_crops_lie_inside(height, width, seed):
    view = random_resized_crop(height, width, np.random.default_rng(seed))
    assert 0 <= view.top < view.top + view.height <= height
    assert 0 <= view.left < view.left + view.width <= width


@given(st.integers(200, 600), st.integers(200, 600), seeds)
@settings(deadline=None)
def test_random_resized_crops_keep_to_area_and_aspect(height, width, seed):
    area, aspect = (0.2, 0.5), (0.8, 1.25)
    view = random_resized_crop(height, width, np.random.default_rng(seed), area, aspect)
    # Half a pixel of rounding at each side; the rectangle taken when ten draws fail may be larger, not of other aspect.
    assert aspect[0] * 0.98 < view.width / view.height < aspect[1] * 1.02
    assert view.height * view.width > area[0] * height * width * 0.98


def test_random_resized_crops_have_the_mean_area_and_aspect_that_were_asked_for():
    generator = np.random.default_rng(0)
    views = [random_resized_crop(500, 500, generator, (0.1, 0.5), (0.5, 2.0)) for _ in range(4000)]
    areas = [view.height * view.width / 500**2 for view in views]
    ratios = [np.log(view.width / view.height) for view in views]
    # A deviation of 0.115 and of 0.40 over 4000 draws, so five standard errors are 0.009 and 0.032.
    assert np.mean(areas) == pytest.approx(0.3, abs=0.009)
    assert np.mean(ratios) == pytest.approx(0, abs=0.032)
    assert np.mean([view.mirrored for view in views]) == pytest.approx(0.5, abs=0.04)


def test_a_ribbon_gives_the_largest_allowed_rectangle_in_its_middle():
    view = random_resized_crop(12, 1000, np.random.default_rng(0), area=(1.0, 1.0))
    assert (view.top, view.left, view.height, view.width) == (0, 492, 12, 16)


@pytest.mark.parametrize(
    ("smallest_side", "starts"),
    [
        (224, [0, 0, 0, 0, 0]),
        (256, [0, 8, 16, 24, 32]),
        (384, [0, 40, 80, 120, 160]),
        (512, [0, 72, 144, 216, 288]),
        (226, [0, 1, 1, 2, 2]),  # halves are rounded up
        (237, [0, 3, 7, 10, 13]),
    ],
)
def test_a_grid_reaches_from_border_to_border(smallest_side, starts):
    tall = grid(smallest_side, 384, 224, 5)
    assert [(view.top, view.left) for view in tall] == list(product(starts, [0, 40, 80, 120, 160]))
    assert {(view.height, view.width, view.shape) for view in tall} == {(224, 224, (224, 224))}
    wide = grid(384, smallest_side, 224, 5)
    assert sorted((view.left, view.top) for view in wide) == sorted((view.top, view.left) for view in tall)


def test_a_middle_is_where_that_of_the_centre_crop_is():
    assert [(view.top, view.left) for view in thirds(11, 20, 8)] == list(product([0, 1, 3], [0, 6, 12]))
    assert thirds(11, 20, 8)[4] == centre_crop(11, 20, 8)


def test_squares_lie_at_the_ends_and_in_the_middle_of_the_longer_side():
    assert squares(6, 11) == [View(0, 0, 6, 6), View(0, 2, 6, 6), View(0, 5, 6, 6)]
    assert squares(11, 6) == [View(0, 0, 6, 6), View(2, 0, 6, 6), View(5, 0, 6, 6)]
    assert squares(6, 6) == [View(0, 0, 6, 6)] * 3


def test_corners_and_centre_are_those_of_the_part():
    found = corners_and_centre(View(10, 20, 9, 9), 4)
    assert [(view.top, view.left) for view in found] == [(10, 20), (10, 25), (12, 22), (15, 20), (15, 25)]


@pytest.mark.parametrize("crops", [lambda h, w, crop: grid(h, w, crop, 5), thirds])
def test_a_picture_smaller_than_the_crop_has_no_crops(crops):
    with pytest.raises(PictureError, match="30x20 px holds no crop of 24 px"):
        crops(20, 30, 24)


def test_a_view_that_is_resized_has_the_shape_of_its_square():
    assert View(0, 0, 30, 40, side=24).shape == (24, 24)
    assert View(0, 0, 30, 40).shape == (30, 40)
