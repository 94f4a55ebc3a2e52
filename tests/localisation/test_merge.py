import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.data.boxes import iou
from verydeep.localisation.merge import (
    Merged,
    best_first,
    in_order,
    literal_match,
    match,
    merge,
    merge_literally,
    shapes_of,
)

corner, side = st.integers(0, 12), st.integers(1, 8)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
boxes_with_scores = st.lists(st.tuples(box, st.integers(0, 4)), min_size=1, max_size=10)


def arrays(drawn):
    boxes, scores = zip(*drawn, strict=True)
    return np.array(boxes, np.float64), np.array(scores, np.float64)


def one_match(a, b):
    return match(shapes_of(a[None]), shapes_of(b[None]))[0]


def merge_by_loops(boxes, scores, threshold=0.5):
    """What `merge` says it does, pair by pair."""
    found = in_order(boxes, scores, np.ones(len(boxes), np.int64))
    rows = [(found.boxes[i], found.scores[i], found.members[i]) for i in range(len(found))]
    luck = np.random.Generator(np.random.Philox(0))
    while True:
        order = luck.permutation(len(rows))
        partners = []
        for i, (a, _, _) in enumerate(rows):
            best = min(((one_match(a, b), order[j], j) for j, (b, _, _) in enumerate(rows) if j != i), default=None)
            partners.append(best[2] if best is not None and best[0] <= np.float32(threshold) else None)
        merged = list(rows)
        for i, j in enumerate(partners):
            if j is not None and i < j and partners[j] == i:
                (a, score_a, m), (b, score_b, n) = rows[i], rows[j]
                merged[i] = (m / (m + n) * a + (1 - m / (m + n)) * b, score_a + score_b, m + n)
                merged[j] = None
        if None not in merged:
            return best_first(Merged(*(np.array(column) for column in zip(*rows, strict=True))))
        rows = [row for row in merged if row is not None]


def equal(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "members"))


@given(boxes_with_scores, st.sampled_from([0.2, 0.5, 0.9, 1.5]))
@settings(max_examples=60, deadline=None)
def test_all_at_once_is_pair_by_pair(drawn, threshold):
    assert equal(merge(*arrays(drawn), threshold), merge_by_loops(*arrays(drawn), threshold))


def test_all_at_once_is_pair_by_pair_where_blocks_and_windows_matter():
    generator = np.random.default_rng(0)
    centres, sides = generator.uniform(0, 200, (60, 2)), generator.uniform(20, 90, (60, 2))
    boxes, scores = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1), generator.random(60)
    assert equal(merge(boxes, scores), merge_by_loops(boxes, scores))


@given(boxes_with_scores, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_boxes_does_not_matter_not_even_where_they_tie(drawn, random):
    shuffled = list(drawn)
    random.shuffle(shuffled)
    assert equal(merge(*arrays(drawn)), merge(*arrays(shuffled)))


@given(boxes_with_scores)
@settings(max_examples=60, deadline=None)
def test_merging_what_is_merged_changes_nothing(drawn):
    once = merge(*arrays(drawn))
    assert equal(merge(once.boxes, once.scores, members=once.members), once)


@given(boxes_with_scores)
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_and_a_merged_box_is_the_mean_of_its_members(drawn):
    boxes, scores = arrays(drawn)
    found = merge(boxes, scores)
    assert found.members.sum() == len(boxes)
    assert found.scores.sum() == pytest.approx(scores.sum())
    np.testing.assert_allclose(found.members @ found.boxes, boxes.sum(0), rtol=1e-9)
    assert (np.diff(found.scores) <= 0).all()


def test_merging_ends_where_no_two_boxes_match():
    generator = np.random.default_rng(1)
    boxes = np.array([100, 100, 200, 200]) + generator.normal(0, 20, (200, 4))
    found = merge(boxes, np.ones(200))
    apart = match(shapes_of(found.boxes)[:, :, None], shapes_of(found.boxes)[:, None])
    assert 1 < len(found) < 100
    assert (apart[~np.eye(len(found), dtype=bool)] > 0.5).all()


def test_match_is_the_distance_in_mean_diagonals_and_what_iou_lacks():
    a, b = np.array([[0.0, 0, 30, 40]]), np.array([[6.0, 0, 36, 80]])
    by_hand = np.hypot(6, 20) / ((50 + np.hypot(30, 80)) / 2) + 1 - iou(a, b)[0, 0]
    assert match(shapes_of(a), shapes_of(b))[0] == pytest.approx(by_hand, rel=1e-6)
    assert match(shapes_of(a), shapes_of(a))[0] == 0


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_stay_as_they_are(count):
    found = merge(np.array([[1.0, 2, 3, 4]] * count).reshape(-1, 4), np.ones(count))
    assert len(found) == count


def spread(generator):
    centres, sides = generator.uniform(0, 500, (10_000, 2)), generator.uniform(20, 200, (10_000, 2))
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)


def around_one_thing(generator):
    return np.array([100, 100, 300, 300]) + generator.normal(0, 10, (10_000, 4))


def lattice(generator):
    x, y = np.meshgrid(5.0 * np.arange(100), 5.0 * np.arange(100))
    places = np.stack([x, y], -1).reshape(-1, 2)
    return np.concatenate([places, places + 100], axis=1)


@pytest.mark.parametrize("make", [spread, around_one_thing, lattice])
def test_ten_thousand_boxes_merge_in_under_a_second(make):
    boxes = make(np.random.default_rng(0))
    seconds = []
    for _ in range(2):  # the machine may have something else to do
        start = time.process_time()
        merge(boxes, np.ones(len(boxes)))
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1


def literally_by_loops(boxes, scores, threshold):
    """The pair of the least distance plus intersection, again and again."""
    found = in_order(boxes, scores, np.ones(len(boxes), np.int64))
    rows = [(found.boxes[i], found.scores[i], found.members[i]) for i in range(len(found))]
    while True:
        pairs = [
            (literal_match(a[0], b[0][None])[0], i, j) for i, a in enumerate(rows) for j, b in enumerate(rows) if i < j
        ]
        if not pairs or min(pairs)[0] > threshold:
            return best_first(Merged(*(np.array(column) for column in zip(*rows, strict=True))))
        _, i, j = min(pairs)
        (a, score_a, m), (b, score_b, n) = rows[i], rows[j]
        rows[i] = ((a + b) / 2, score_a + score_b, m + n)
        del rows[j]


@given(boxes_with_scores, st.sampled_from([1.5, 4.0, 20.0]))
@settings(max_examples=60, deadline=None)
def test_the_literal_merge_is_that_of_loops(drawn, threshold):
    found, by_loops = merge_literally(*arrays(drawn), threshold), literally_by_loops(*arrays(drawn), threshold)
    assert equal(found, by_loops)


def test_taken_literally_small_boxes_apart_merge_before_large_ones_that_are_nearly_the_same():
    apart = np.array([[0.0, 0, 4, 4], [5, 0, 9, 4]])
    same = np.array([[0.0, 0, 40, 40], [1, 0, 41, 40]])
    assert len(merge_literally(apart, np.ones(2), 10)) == 1
    assert len(merge_literally(same, np.ones(2), 10)) == 2
    assert len(merge(apart, np.ones(2))) == 2
    assert len(merge(same, np.ones(2))) == 1
