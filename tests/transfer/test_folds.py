from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.evaluation.error_table import wilson_interval
from verydeep.transfer.folds import folds, interval, joined, part_of

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60)


@given(PAIRS, st.integers(0, 5))
def test_a_group_never_straddles_folds_and_classes_of_enough_groups_are_in_all(pairs, seed):
    labels, groups = np.array(pairs).T
    found = folds(labels, groups, 5, seed)
    assert ((found >= 0) & (found < 5)).all()
    for group in np.unique(groups):
        assert len({*found[groups == group].tolist()}) == 1


@given(st.lists(st.integers(0, 3), min_size=20, max_size=80), st.integers(0, 5))
def test_pictures_by_themselves_are_dealt_out_evenly(labels, seed):
    labels = np.array(labels)
    found = folds(labels, np.arange(len(labels)), 5, seed)
    for label in np.unique(labels):
        counts = np.bincount(found[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    counts = np.bincount(found, minlength=5)
    assert counts.max() - counts.min() <= 2


def test_a_larger_part_holds_a_smaller_one_and_every_class():
    labels, groups = np.repeat([0, 1, 2], [3, 20, 41]), np.arange(64)
    parts = [part_of(labels, groups, share, 1) for share in (0.05, 0.25, 0.5, 1.0)]
    for smaller, larger in pairwise(parts):
        assert (larger | ~smaller).all()
    assert np.bincount(labels[parts[0]]).tolist() == [1, 1, 2]
    assert parts[-1].all()


def test_whatever_is_shared_joins_however_indirectly():
    films = ["a", "a", None, "b", None, None]
    hashes = [1, 2, 2, 3, 4, 5]
    groups = joined(films, hashes)
    assert [group == groups[0] for group in groups] == [True, True, True, False, False, False]
    assert len(np.unique(groups)) == 4


def test_the_interval_of_pictures_by_themselves_is_wilsons():
    wrong = np.arange(100) < 30
    assert interval(wrong, np.arange(100)) == pytest.approx(wilson_interval(0.3, 100), abs=1e-3)


def test_the_interval_of_groups_that_go_wrong_together_is_that_of_the_groups():
    wrong = np.repeat(np.arange(50) < 15, 10)
    low, high = interval(wrong, np.repeat(np.arange(50), 10))
    assert (low, high) == pytest.approx(wilson_interval(0.3, 49), abs=5e-3)


def test_intervals_of_groups_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(0)
    held = []
    for _ in range(400):
        sizes = generator.integers(1, 12, 60)
        rates = generator.beta(0.9, 2.1, 60)  # mean 0.3, very unlike from group to group
        groups = np.repeat(np.arange(60), sizes)
        low, high = interval(generator.random(len(groups)) < rates[groups], groups)
        held.append(low <= 0.3 <= high)
    assert np.mean(held) > 0.92
