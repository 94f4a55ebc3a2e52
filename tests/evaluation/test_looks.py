import threading
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.errors import PictureError
from verydeep.evaluation.looks import Look, ahead, group_by_shape, looks
from verydeep.evaluation.protocol import parse

SHAPES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=60)


def views(shapes):
    return [Look(i, 1.0, np.zeros((*shape, 3), np.uint8)) for i, shape in enumerate(shapes)]


@given(shapes=SHAPES, pixels=st.integers(1, 80), pending=st.integers(1, 200))
def test_groups_are_of_one_shape_and_hold_every_view_once(shapes, pixels, pending):
    groups = list(group_by_shape(views(shapes), pixels, pending))
    assert sorted(look.image for group in groups for look in group) == list(range(len(shapes)))
    for group in groups:
        assert len({look.picture.shape for look in group}) == 1
        assert len(group) == 1 or sum(look.picture.size for look in group) <= 3 * pixels


@given(shapes=SHAPES, pixels=st.integers(1, 80), pending=st.integers(1, 200))
def test_views_that_wait_have_never_more_pixels_than_may_wait(shapes, pixels, pending):
    taken = []
    source = views(shapes)

    def watched():
        for look in source:
            waiting = [look for look in taken if look.image not in gone]
            assert sum(look.picture.size for look in waiting) <= 3 * pending
            taken.append(look)
            yield look

    gone = set()
    for group in group_by_shape(watched(), pixels, pending):
        gone |= {look.image for look in group}


def test_a_full_group_leaves_at_once_and_where_too_many_wait_the_fullest():
    shapes = [(2, 2), (3, 3), (2, 2), (1, 5), (3, 3), (1, 5), (1, 5)]
    full = [[look.image for look in group] for group in group_by_shape(views(shapes), pixels=8, pending=100)]
    assert full[:2] == [[1], [0, 2]]
    crowded = [[look.image for look in group] for group in group_by_shape(views(shapes), pixels=100, pending=31)]
    assert crowded[0] == [1, 4]


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
    assert [look.image for look in found] == [0, 0, 0, 1, 1, 1]
    assert [min(look.picture.shape[:2]) for look in found] == [32, 40, 48] * 2
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


def test_a_picture_that_cannot_be_rescaled_is_named(make_data):
    with pytest.raises(PictureError, match=r"^1\.png: a picture of 20000x1"):
        list(looks(make_data([(32, 32), (1, 20_000)]), parse("dense", 224), 224, threads=1))


def test_no_picture_is_left_out_in_silence(make_data):
    data = make_data([(32, 32)] * 3)
    data = replace(data, pictures=(data.pictures[0], np.zeros((0, 0, 3), np.uint8), data.pictures[2]))
    with pytest.raises(PictureError, match=r"made/1\.png: is empty"):
        list(looks(data, parse("centre", 32), 32, threads=2))
