import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from verydeep.evaluation.sample import stratified

LABELS = st.lists(st.integers(-1, 6), min_size=1, max_size=80).map(lambda labels: np.array(labels, np.int64))


@given(labels=LABELS, images=st.integers(1, 100), seed=st.integers(0, 5))
def test_every_class_has_its_share_to_less_than_a_picture(labels, images, seed):
    taken = stratified(labels, images, seed)
    assert len(taken) == min(images, len(labels))
    assert (np.diff(taken) > 0).all()
    for label in np.unique(labels):
        share = len(taken) * np.mean(labels == label)
        assert abs(np.sum(labels[taken] == label) - share) < 1


def test_the_seed_alone_decides():
    labels = np.arange(1000) % 10
    first, again, other = (stratified(labels, 95, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_every_picture_comes_equally_often():
    labels = np.array([0] * 4 + [1] * 7 + [2] * 2)
    taken = np.concatenate([stratified(labels, 5, seed) for seed in range(3000)])
    within = [np.bincount(taken, minlength=13)[labels == label] for label in range(3)]
    assert all(counts.max() - counts.min() < 0.15 * counts.mean() for counts in within)
