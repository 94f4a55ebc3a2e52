import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.data.boxes import areas, clip, from_inclusive, iou, mirror, scale, to_inclusive

side = st.floats(0, 100, width=32)
box = st.tuples(side, side, side, side).map(
    lambda b: np.array([min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])], np.float64)[None]
)


@pytest.mark.parametrize("first", [0, 1])
def test_inclusive_pixels_there_and_back(first):
    pixels = np.array([[first, first, 10.0, 20.0]])
    boxes = from_inclusive(pixels, first)
    assert (boxes[0, :2] == 0).all()
    np.testing.assert_array_equal(to_inclusive(boxes, first), pixels)
    assert areas(boxes)[0] == (11 - first) * (21 - first)


@given(box, box)
def test_iou_is_symmetrical_and_between_0_and_1(a, b):
    there, back = iou(a, b)[0, 0], iou(b, a)[0, 0]
    assert there == back
    assert 0 <= there <= 1 + 1e-9


def test_iou_counts_cells():
    a, b = np.array([[0.0, 0, 4, 4]]), np.array([[2.0, 1, 6, 5], [0, 0, 4, 4], [4, 0, 8, 4], [3, 3, 1, 1]])
    np.testing.assert_allclose(iou(a, b), [[6 / 26, 1, 0, 0]])


def test_a_box_without_an_area_meets_nothing():
    nothing = np.array([[2.0, 2, 2, 5]])
    assert iou(nothing, nothing)[0, 0] == 0


@given(box)
def test_mirroring_twice_and_scaling_there_and_back_change_nothing(a):
    np.testing.assert_allclose(mirror(mirror(a, 100), 100), a, atol=1e-9)
    np.testing.assert_allclose(scale(scale(a, (100, 100), (37, 53)), (37, 53), (100, 100)), a, atol=1e-9)


def test_clipping_leaves_what_lies_inside():
    np.testing.assert_array_equal(clip(np.array([[-5.0, 2, 60, 90]]), height=40, width=50), [[0, 2, 50, 40]])
