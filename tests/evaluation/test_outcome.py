import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from verydeep.errors import DatasetError
from verydeep.evaluation.outcome import outcome
from verydeep.evaluation.posteriors import Posteriors


def made(values, labels):
    n, k = values.shape
    images, classes = tuple(map(str, range(n))), tuple(map(str, range(k)))
    return Posteriors(values, images, classes, labels, "vgg-a", "w", "made", "val", "dense@256", 2.0)


@given(data=st.data(), n=st.integers(1, 9), k=st.integers(2, 7))
def test_an_outcome_agrees_with_looking_at_each_picture(data, n, k):
    values = data.draw(arrays(np.float32, (n, k), elements=st.sampled_from([0.0, 0.25, 0.5])))
    labels = data.draw(arrays(np.int64, n, elements=st.integers(0, k - 1)))
    found = outcome(made(values, labels))
    assert len(found) == n
    for place, (row, label) in enumerate(zip(values.tolist(), labels.tolist(), strict=True)):
        order = sorted(range(k), key=lambda each: (-row[each], each))
        assert found.ranks[place] == order.index(label)
        assert found.predicted[place] == order[0]
        assert found.confidence[place] == max(row)
        assert found.wrong(2)[place] == (label not in order[:2])


def test_errors_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    values, labels = generator.random((300, 8), np.float32), generator.integers(0, 8, 300)
    found = outcome(made(values, labels))
    assert found.error(1) == pytest.approx(1 - accuracy_score(labels, found.predicted))
    assert found.error(5) == pytest.approx(1 - top_k_accuracy_score(labels, values, k=5))


@pytest.mark.parametrize("labels", [None, np.array([0, -1])])
def test_pictures_without_labels_have_no_outcome(labels):
    with pytest.raises(DatasetError, match="made: pictures of split val have no label; use a split that has them all"):
        outcome(made(np.eye(2, dtype=np.float32), labels))
