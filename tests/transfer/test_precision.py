from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

import verydeep
from verydeep.errors import TransferError
from verydeep.transfer.precision import average_precision, mean_average_precision

RULES = ("11-point", "area")


def slowly(scores, labels, rule):
    """The same in fractions, from the definition, a picture at a time."""
    counted = [(score, label) for score, label in zip(scores, labels, strict=True) if label != 0]
    ranked = sorted(enumerate(counted), key=lambda entry: (-entry[1][0], entry[0]))
    positives = sum(label == 1 for _, label in counted)
    if not positives:
        return None
    curve, found = [], 0  # recall, precision after each picture
    for rank, (_, (_, label)) in enumerate(ranked, 1):
        found += label == 1
        curve.append((Fraction(found, positives), Fraction(found, rank)))

    def best(recall):
        return max((precision for reached, precision in curve if reached >= recall), default=Fraction(0))

    if rule == "11-point":
        return sum(best(Fraction(step, 10)) for step in range(11)) / 11
    levels = sorted({Fraction(0), *(recall for recall, _ in curve)})
    return sum((high - low) * best(high) for low, high in pairwise(levels))


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([-1, -1, 0, 1])), max_size=40),  # few scores, so many ties
    st.sampled_from(RULES),
)
def test_it_is_what_the_definition_says_with_ties_difficult_pictures_and_empty_classes(pictures, rule):
    scores, labels = np.array([*zip(*pictures, strict=True)] or [[], []], np.int64)
    due = slowly(scores.tolist(), labels.tolist(), rule)
    found = average_precision(scores, labels, rule)
    assert np.isnan(found) if due is None else found == pytest.approx(float(due), abs=1e-12)


def test_eleven_points_by_hand():
    # Three positives of five: after each picture recall 1/3, 1/3, 2/3, 2/3, 1 and precision 1, 1/2, 2/3, 1/2, 3/5.
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, -1, 1, -1, 1])
    # The largest precision at recall 0 to 0.3 is 1, at 0.4 to 0.6 it is 2/3, at 0.7 to 1 it is 3/5.
    assert average_precision(scores, labels, "11-point") == pytest.approx((4 * 1 + 3 * (2 / 3) + 4 * (3 / 5)) / 11)
    assert average_precision(scores, labels, "area") == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_recall_is_compared_in_whole_numbers():
    # Ten positives, the third of them last but seven: recall 3/10 is reached, though 0.1 * 3 > 0.3.
    labels = np.array([1, 1, 1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1])
    scores = -np.arange(17.0)
    due = (4 * 1 + 7 * 10 / 17) / 11  # precision 1 at recall 0, 0.1, 0.2 and 0.3, then the last picture's
    assert average_precision(scores, labels, "11-point") == pytest.approx(due)


def test_without_the_envelope_and_without_ties_scikit_learn_has_less_or_as_much():
    generator = np.random.default_rng(0)
    for _ in range(50):
        scores, labels = generator.random(30), np.where(generator.random(30) < 0.3, 1, -1)
        labels[0] = 1
        assert average_precision(scores, labels) >= average_precision_score(labels == 1, scores) - 1e-12
        scores = (
            -np.argsort(np.argsort(-scores))[np.argsort(-labels, kind="stable")] * 1.0
        )  # positives first: both are 1
        assert average_precision(np.sort(scores)[::-1], -np.sort(-labels)) == 1


def test_difficult_pictures_might_as_well_not_be_there():
    generator = np.random.default_rng(1)
    scores, labels = generator.random(60), generator.integers(-1, 2, 60)
    for rule in RULES:
        kept = labels != 0
        assert average_precision(scores, labels, rule) == average_precision(scores[kept], labels[kept], rule)


def test_the_mean_leaves_out_classes_that_no_picture_shows():
    scores = np.array([[3.0, 1.0, 0.0], [2.0, 2.0, 0.0], [1.0, 3.0, 0.0]])
    labels = np.array([[1, 1, -1], [-1, -1, 0], [1, -1, -1]])
    each = [average_precision(scores[:, k], labels[:, k]) for k in range(3)]
    assert np.isnan(each[2])
    assert mean_average_precision(scores, labels) == pytest.approx((each[0] + each[1]) / 2)
    assert np.isnan(mean_average_precision(scores[:, 2:], labels[:, 2:]))


@pytest.mark.parametrize(
    ("scores", "labels", "rule", "words"),
    [
        ([0.5, np.nan], [1, -1], "area", "scores: that of picture 1 is not a number"),
        ([0.5, 0.1], [1, 2], "area", "labels: that of picture 1 is 2; use 1, -1, or 0 for difficult"),
        ([0.5], [1, -1], "area", r"scores are \(1,\), labels \(2,\)"),
        ([0.5], [1], "auc", "rule 'auc': is none; use '11-point'"),
    ],
)
def test_what_has_no_average_precision_is_refused_in_one_line(scores, labels, rule, words):
    with pytest.raises(TransferError, match=words) as caught:
        verydeep.transfer.average_precision(np.array(scores), np.array(labels), rule=rule)
    assert "\n" not in str(caught.value)
