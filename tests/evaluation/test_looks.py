import threading
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.errors import PictureError
from verydeep.evaluation.looks import Look, ahead, group_by_shape, looks, order_by_shape
from verydeep.evaluation.protocol import parse
from verydeep.nets.canvas import roomy

SHAPES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=60)


def views(shapes):
    return [Look(i, 1.0, np.zeros((*shape, 3), np.uint8)) for i, shape in enumerate(shapes)]


@given(shapes=SHAPES, step=st.integers(1, 4))
def test_groups_of_one_canvas_hold_every_view_once_and_none_that_is_larger(shapes, step):
    groups = list(group_by_shape(views(shapes), 80, step=step))
    assert sorted(look.image for group in groups for look in group) == list(range(len(shapes)))
    for group in groups:
        (canvas,) = {roomy(*look.picture.shape[:2], step) for look in group}
        assert len(group) == 1 or len(group) * canvas[0] * canvas[1] <= 80


@given(shapes=SHAPES, pixels=st.integers(1, 80), pending=st.integers(1, 4))
def test_groups_are_of_one_shape_and_hold_every_view_once(shapes, pixels, pending):
    groups = list(group_by_shape(views(shapes), pixels, pending))
    assert sorted(look.image for group in groups for look in group) == list(range(len(shapes)))
    for group in groups:
        assert len({look.picture.shape for look in group}) == 1
        assert len(group) == 1 or sum(look.picture.size for look in group) <= 3 * pixels


@given(shapes=SHAPES, pixels=st.integers(1, 80), pending=st.integers(1, 4))
def test_views_that_wait_never_have_more_pixels_than_may_wait(shapes, pixels, pending):
    taken, gone = [], set()

    def watched():
        for look in views(shapes):
            waiting = [look for look in taken if look.image not in gone]
            assert sum(look.picture.size for look in waiting) <= 3 * pending * pixels
            taken.append(look)
            yield look

    for group in group_by_shape(watched(), pixels, pending):
        gone |= {look.image for look in group}


def test_a_full_group_leaves_at_once_and_where_too_many_wait_the_first_that_began():
    shapes = [(2, 2), (3, 3), (2, 2), (1, 2), (2, 1), (1, 3), (1, 2)]
    groups = [[look.image for look in group] for group in group_by_shape(views(shapes), pixels=8, pending=1)]
    assert groups == [[1], [0, 2], [3, 6], [4], [5]]


def test_pictures_come_by_shape_the_largest_first(make_data):
    data = make_data([(40, 50), (32, 64), (33, 33), (64, 32), (80, 100), (32, 64)])
    assert list(order_by_shape(data, parse("dense@32", 32), 32, threads=2)) == [3, 1, 5, 0, 4, 2]
    found = [look.image for look in looks(data, parse("dense@32,64", 32), 32, threads=2)]
    assert found == [3, 3, 1, 1, 5, 5, 0, 0, 4, 4, 2, 2]


def test_no_header_is_read_for_crops_which_all_have_one_shape(make_data):
    class Unsized(type(make_data([]))):
        def size(self, index):
            raise AssertionError("read")

    plain = make_data([(40, 50), (33, 32)])
    data = Unsized(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
    assert list(order_by_shape(data, parse("centre@32,40", 32), 32, threads=1)) == [0, 1]
    with pytest.raises(AssertionError, match="read"):
        order_by_shape(data, parse("dense", 32), 32, threads=1)


def test_a_picture_is_decoded_once_for_all_scales_and_its_views_count_alike(make_data):
    decoded = Counter()

    @dataclass(frozen=True, eq=False, kw_only=True)
    class Counted(type(make_data([]))):
        def picture(self, index, at_least=None):
            assert at_least is None  # tests are on whole pictures
            decoded[index] += 1
            return super().picture(index)

    plain = make_data([(40, 50), (33, 32)])
    data = Counted(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
    found = list(looks(data, parse("dense@32,40,48", 32), 32, threads=2))
    assert decoded == {0: 1, 1: 1}
    assert [(look.image, min(look.picture.shape[:2])) for look in found] == [
        (image, scale) for image in (0, 1) for scale in (32, 40, 48)
    ]
    assert {look.weight for look in found} == {1 / 3}


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_keep_the_order_and_are_at_most_two_items_each_ahead(threads):
    begun, lock = [], threading.Lock()

    def work(item):
        with lock:
            begun.append(item)
        return item**2

    for item, square in enumerate(ahead(work, range(50), threads)):
        assert square == item**2
        assert len(begun) <= item + 2 * threads + 1


@pytest.mark.parametrize("protocol", ["dense", "centre"])
def test_a_picture_that_cannot_be_rescaled_is_named(make_data, protocol):
    with pytest.raises(PictureError, match=r"^1\.png: a picture of 20000x1"):
        list(looks(make_data([(32, 32), (1, 20_000)]), parse(protocol, 224), 224, threads=1))


def test_no_picture_is_left_out_in_silence(make_data):
    data = make_data([(32, 32)] * 3)
    data = replace(data, pictures=(data.pictures[0], np.zeros((0, 0, 3), np.uint8), data.pictures[2]))
    with pytest.raises(PictureError, match=r"made/1\.png: is empty"):
        list(looks(data, parse("centre", 32), 32, threads=2))
