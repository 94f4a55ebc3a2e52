import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.data.feed import Feed
from verydeep.data.shifted_views import ShiftedViews, draw
from verydeep.pictures.colour import RGBShift

SIDE = 12


def placings(picture, view, shift):
    """Where a view may have come from: rows down, columns right, mirrored or not; by numpy's own padding."""
    padded = np.pad(picture, ((shift, shift), (shift, shift), (0, 0)), mode="reflect")
    return [
        (top - shift, left - shift, mirrored)
        for top in range(2 * shift + 1)
        for left in range(2 * shift + 1)
        for mirrored in (False, True)
        if np.array_equal(view, padded[top : top + SIDE, left : left + SIDE][:, :: -1 if mirrored else 1])
    ]


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_every_view_is_the_picture_moved_over_its_mirrored_edge(small_pictures, made, shift):
    data = small_pictures()
    found = made(ShiftedViews(SIDE, shift), data, range(40))
    places = [placings(data.pixels[index], found.views[index], shift) for index in range(40)]
    assert all(len(each) == 1 for each in places)
    assert not found.shifts.any()


def test_all_shifts_and_both_sides_come_equally_often(small_pictures, made):
    data, views = small_pictures(200), ShiftedViews(SIDE, 1)
    counts = dict.fromkeys(
        [(top, left, side) for top in (-1, 0, 1) for left in (-1, 0, 1) for side in (False, True)], 0
    )
    for epoch in range(10):
        found = made(views, data, range(200), 0, epoch)
        for index in range(200):
            (place,) = placings(data.pixels[index], found.views[index], 1)
            counts[place] += 1
    expected = 2000 / 18
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 41  # exceeded once in a thousand, with 17 degrees of freedom


def test_alternate_sides_show_both_sides_of_each_picture_in_two_epochs_and_half_of_them_first(small_pictures, made):
    data, views = small_pictures(), ShiftedViews(SIDE, 0, mirror="alternate")
    sides = []
    for epoch in range(4):
        found = made(views, data, range(40), 5, epoch)
        sides.append([placings(data.pixels[index], found.views[index], 0)[0][2] for index in range(40)])
    assert sides[0] == sides[2] == [not side for side in sides[1]] == [not side for side in sides[3]]
    assert 10 < sum(sides[0]) < 30


def test_a_view_is_never_mirrored_where_it_is_not_to_be(small_pictures, made):
    data = small_pictures()
    assert np.array_equal(made(ShiftedViews(SIDE, 0, mirror=False), data, range(40)).views, data.pixels)


@given(
    indices=st.lists(st.integers(0, 39), min_size=1, max_size=9),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 1000),
    mirror=st.sampled_from([False, True, "alternate"]),
)
def test_what_becomes_of_a_picture_depends_on_seed_epoch_and_index_alone(
    small_pictures, made, indices, seed, epoch, mirror
):
    data = small_pictures()
    shift = RGBShift(np.eye(3), np.ones(3))
    views = ShiftedViews(SIDE, 2, mirror, 4, (1, 2, 3), shift, 0.5)
    together = made(views, data, indices, seed, epoch)
    draw.cache_clear()
    for place, index in enumerate(indices):
        alone = made(views, data, [index], seed, epoch)
        assert np.array_equal(alone.views[0], together.views[place])
        assert np.array_equal(alone.shifts[0], together.shifts[place])


def test_what_is_cut_out_is_a_square_of_the_mean_colour_whose_centre_is_anywhere(small_pictures, made):
    data = small_pictures(300)
    data.pixels[data.pixels == 9] = 10
    found = made(ShiftedViews(SIDE, 0, mirror=False, cutout=4, colour=(9, 9, 9)), data, range(300))
    cut = (found.views == 9).all(axis=3)
    assert np.array_equal(np.where(cut[..., None], data.pixels, found.views), data.pixels)
    tops, lefts = set(), set()
    for square in cut:
        rows, columns = np.flatnonzero(square.any(axis=1)), np.flatnonzero(square.any(axis=0))
        assert square.sum() == len(rows) * len(columns)
        assert all(2 <= len(side) <= 4 and side[-1] - side[0] == len(side) - 1 for side in (rows, columns))
        tops.add(rows[0])
        lefts.add(columns[0])
    assert tops == lefts == {*range(SIDE - 2)}


def test_colours_move_along_the_axes_by_their_deviations(small_pictures, made):
    data = small_pictures(2000)
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    found = made(
        ShiftedViews(SIDE, 0, rgb_shift=RGBShift(axes, np.array([50.0, 20.0, 5.0])), sigma=0.1), data, range(2000)
    )
    along = found.shifts @ axes
    np.testing.assert_allclose(along.std(axis=0), [5, 2, 0.5], rtol=0.1)
    np.testing.assert_allclose(np.corrcoef(along.T), np.eye(3), atol=0.1)


def test_a_feed_of_them_is_the_same_for_any_number_of_threads(small_pictures):
    data = small_pictures(600)
    feeds = [Feed(data, ShiftedViews(SIDE, 2), 500, seed=1, threads=threads) for threads in (1, 3)]
    for one, other in zip(feeds[0].batches(2), feeds[1].batches(2), strict=True):
        assert np.array_equal(one.views, other.views)
        assert np.array_equal(one.labels, other.labels)
    for feed in feeds:
        feed.close()
