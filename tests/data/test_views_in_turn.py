import numpy as np

from verydeep.data.views_in_turn import ViewsInTurn
from verydeep.pictures.crop import take
from verydeep.pictures.resize import rescale
from verydeep.pictures.views import View, corners_and_centre_of_square, nine_at_two_sizes


def test_in_thirty_six_epochs_a_picture_is_seen_in_each_of_its_views_once(small_pictures, made):
    data, views = small_pictures(3, 32), ViewsInTurn(24, nine_at_two_sizes)
    places = nine_at_two_sizes(32, 32, 24)
    assert len(places) == 18
    for first in (0, 36):
        seen = [made(views, data, [2], 7, first + epoch).views[0] for epoch in range(36)]
        due = [
            take(data.picture(2), View(v.top, v.left, v.height, v.width, m, v.side))
            for v in places
            for m in (False, True)
        ]
        assert sorted(view.tobytes() for view in seen) == sorted(view.tobytes() for view in due)
        assert [view.tobytes() for view in seen] != [view.tobytes() for view in due]  # and in an order of its own


def test_ten_crops_of_the_rescaled_picture_come_in_ten_epochs(small_pictures, made):
    data, views = small_pictures(2, 40), ViewsInTurn(24, corners_and_centre_of_square, 32)
    seen = {made(views, data, [1], 7, epoch).views[0].tobytes() for epoch in range(10)}
    rescaled = rescale(data.picture(1), 32)
    places = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
    windows = [rescaled[top : top + 24, left : left + 24] for top, left in places]
    assert seen == {np.ascontiguousarray(w).tobytes() for window in windows for w in (window, window[:, ::-1])}


def test_pictures_do_not_depend_on_those_beside_them(small_pictures, made):
    data, views = small_pictures(9, 32), ViewsInTurn(24, nine_at_two_sizes)
    together = made(views, data, range(9), 1, 40).views
    for index in range(9):
        assert np.array_equal(made(views, data, [index], 1, 40).views[0], together[index])


def test_nine_crops_and_nine_larger_windows_are_those_of_the_recipe():
    views = nine_at_two_sizes(32, 32, 24)
    assert [(view.top, view.left) for view in views[:9]] == [(top, left) for top in (0, 4, 8) for left in (0, 4, 8)]
    assert [(view.top, view.left) for view in views[9:]] == [(top, left) for top in (0, 2, 4) for left in (0, 2, 4)]
    assert {(view.height, view.side) for view in views} == {(24, None), (28, 24)}
