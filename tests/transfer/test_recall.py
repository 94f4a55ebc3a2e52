import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from verydeep.errors import TransferError
from verydeep.transfer import mean_class_recall

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)


@given(PAIRS)
def test_it_is_the_mean_of_what_is_counted_class_by_class_empty_classes_left_out(pairs):
    shares = []
    for label in range(7):
        named = [predicted for true, predicted in pairs if true == label]
        if named:
            shares.append(sum(predicted == label for predicted in named) / len(named))
    labels, predicted = np.array(pairs).T
    assert mean_class_recall(labels, predicted) == pytest.approx(sum(shares) / len(shares), abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_scikit_learn_calls_it_balanced_accuracy():
    generator = np.random.default_rng(0)
    labels, predicted = generator.integers(0, 5, (2, 100))
    assert mean_class_recall(labels, predicted) == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_no_pictures_have_no_recall():
    assert np.isnan(mean_class_recall(np.array([], int), np.array([], int)))


def test_what_has_no_recall_is_refused_in_one_line():
    with pytest.raises(TransferError, match=r"labels are \(2,\), predictions \(1,\)"):
        mean_class_recall(np.array([0, 1]), np.array([0]))
    with pytest.raises(TransferError, match="labels: that of picture 1 is -1"):
        mean_class_recall(np.array([0, -1]), np.array([0, 1]))
