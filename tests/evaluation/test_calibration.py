import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from verydeep.evaluation.calibration import calibration_error, reliability

PICTURES = st.lists(st.tuples(st.floats(1 / 64, 1, width=32), st.booleans()), min_size=1, max_size=60)


def arrays(pictures):
    confidence, right = zip(*pictures, strict=True)
    return np.array(confidence, np.float32), np.array(right)


def test_worked_by_hand():
    confidence = np.array([0.95, 0.97, 0.5, 0.52], np.float32)  # the last bin of 15 and the eighth
    right = np.array([True, False, True, True])
    assert calibration_error(confidence, right) == pytest.approx((2 * (0.96 - 0.5) + 2 * (1 - 0.51)) / 4)
    assert calibration_error(np.ones(3, np.float32), np.ones(3, bool)) == 0
    assert calibration_error(np.ones(3, np.float32), np.zeros(3, bool)) == 1


@given(pictures=PICTURES, bins=st.integers(1, 20))
def test_bins_agree_with_sorting_pictures_one_by_one(pictures, bins):
    confidence, right = arrays(pictures)
    error = 0.0
    for place in range(bins):
        of_bin = [i for i, value in enumerate(map(float, confidence)) if place / bins < value <= (place + 1) / bins]
        if of_bin:
            accuracy, sure = np.mean(right[of_bin]), np.mean(confidence[of_bin].astype(float))
            error += len(of_bin) / len(confidence) * abs(accuracy - sure)
    on_a_border = np.isclose(confidence * bins, np.round(confidence * bins), atol=1e-5).any()
    if not on_a_border:  # there the two round differently
        assert calibration_error(confidence, right, bins) == pytest.approx(error, abs=1e-6)


@given(pictures=PICTURES)
def test_bins_are_those_of_scikit_learn(pictures):
    confidence, right = arrays(pictures)
    if np.isclose(confidence * 15, np.round(confidence * 15), atol=1e-5).any():
        return
    theirs = calibration_curve([*right, True, False], [*confidence, 1.0, 0.0], n_bins=15)  # which wants both kinds
    ours = reliability(np.append(confidence, np.float32([1, 0])), np.append(right, [True, False]))
    np.testing.assert_allclose([each.accuracy for each in ours], theirs[0], atol=1e-6)
    np.testing.assert_allclose([each.confidence for each in ours], theirs[1], atol=1e-6)


def test_a_net_that_is_right_as_often_as_it_says_has_nearly_no_error():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.1, 1, 20_000).astype(np.float32)
    right = generator.random(20_000) < confidence
    assert calibration_error(confidence, right) < 0.015
    assert calibration_error(confidence, ~right) > 0.3
