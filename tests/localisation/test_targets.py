from dataclasses import replace

import numpy as np
import pytest

from verydeep.data.annotations import Boxes
from verydeep.localisation.targets import BoxViews, mean_target, nearest_crop, seen, to_target
from verydeep.pictures.views import View

SIZE = (48, 80)  # height, width


def boxes_of(*boxes, size=SIZE):
    """A box a picture."""
    return Boxes(
        np.array(boxes, np.float64), np.arange(len(boxes) + 1, dtype=np.int64), np.array([size] * len(boxes), np.int64)
    )


def views_of(boxes, **options):
    return BoxViews(32, (32, 48), boxes=boxes, **options)


def from_target(target, view):
    """A target → the box in the rescaled picture."""
    x, y, w, h = (number * view.width for number in target)
    x = view.width - x if view.mirrored else x
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) + np.array([view.left, view.top] * 2)


def test_a_target_is_the_box_in_crops():
    assert to_target(np.array([10.0, 20, 26, 28]), View(4, 2, 32, 32)) == pytest.approx((16 / 32, 20 / 32, 0.5, 0.25))
    mirrored = View(4, 2, 32, 32, mirrored=True)
    assert to_target(np.array([10.0, 20, 26, 28]), mirrored) == pytest.approx((1 - 16 / 32, 20 / 32, 0.5, 0.25))
    assert to_target(np.array([2.0, 4, 10, 12]), mirrored)[0] == pytest.approx(28 / 32)


def test_boxes_go_into_crops_and_back():
    boxes = boxes_of([10, 12, 50, 40])
    for seed in range(100):
        view, target = views_of(boxes).window(0, 36, 60, np.random.default_rng(seed))
        np.testing.assert_allclose(from_target(target, view), boxes.of(0, (36, 60))[0], atol=1e-9)


def test_at_least_half_of_the_box_is_seen():
    boxes = boxes_of([60, 30, 78, 46])
    shares = []
    for seed in range(200):
        view, _ = views_of(boxes).window(0, *SIZE, np.random.default_rng(seed))
        shares.append(seen(boxes.of(0)[0], view))
    assert min(shares) >= 0.5
    assert min(shares) < 0.9  # that is all that is asked


def test_a_box_that_no_crop_sees_half_of_is_put_in_the_middle():
    boxes = boxes_of([0, 0, 80, 48])
    views = views_of(boxes)
    for seed in range(20):
        view, _ = views.window(0, *SIZE, np.random.default_rng(seed))
        assert (view.left, view.top) == (24, 8)


def test_the_nearest_crop_stays_in_the_picture():
    assert nearest_crop(np.array([70.0, 0, 80, 10]), View(0, 0, 32, 32, True), *SIZE) == View(0, 48, 32, 32, True)


def test_of_several_boxes_each_is_taken():
    two = Boxes(np.array([[0.0, 0, 20, 20], [40, 20, 60, 40]]), np.array([0, 2]), np.array([SIZE]))
    widths = set()
    for seed in range(50):
        view, target = views_of(two).window(0, *SIZE, np.random.default_rng(seed))
        widths.add(round(float(from_target(target, view)[0])))
    assert widths == {0, 40}


def test_without_mirroring_nothing_is_mirrored():
    views = views_of(boxes_of([10, 12, 50, 40]), mirror=False)
    assert not any(views.window(0, *SIZE, np.random.default_rng(seed))[0].mirrored for seed in range(50))


def test_the_mean_target_is_that_of_views_drawn_by_the_seed():
    boxes = boxes_of(*([10 + i, 12, 50, 40] for i in range(20)))
    mean = mean_target(views_of(boxes), seed=0)
    assert mean[0] == pytest.approx(0.5, abs=0.2)
    np.testing.assert_array_equal(mean, mean_target(views_of(boxes), seed=0))
    assert (mean != mean_target(views_of(boxes), seed=1)).any()
    assert mean.shape == mean_target(replace(views_of(boxes), mirror=False), seed=0).shape == (4,)
