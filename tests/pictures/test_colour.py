import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.pictures.colour import IMAGENET, RGBShift


@given(st.integers(0, 2**32))
@settings(deadline=None)
def test_axes_and_deviations_are_those_of_the_covariance(seed):
    factor = np.random.default_rng(seed).normal(0, 30, (3, 3))
    covariance = factor @ factor.T
    shift = RGBShift.from_covariance(covariance)
    np.testing.assert_allclose(shift.vectors @ np.diag(shift.deviations**2) @ shift.vectors.T, covariance, atol=1e-8)
    assert list(shift.deviations) == sorted(shift.deviations, reverse=True)


def test_shifts_have_the_covariance_of_the_pixels_times_sigma_squared():
    covariance = np.array([[5000.0, 4300, 3900], [4300, 4800, 4500], [3900, 4500, 5400]])
    generator = np.random.default_rng(0)
    shifts = np.array([RGBShift.from_covariance(covariance).draw(generator, sigma=0.1) for _ in range(20_000)])
    # The relative standard error of a variance over 20,000 draws is 1 %.
    np.testing.assert_allclose(np.cov(shifts.T), covariance / 100, rtol=0.05)
    np.testing.assert_allclose(shifts.mean(0), 0, atol=0.25)  # five standard errors of 7 / sqrt(20,000)


def test_a_data_set_of_one_grey_is_not_shifted():
    shift = RGBShift.from_covariance(np.zeros((3, 3)))
    assert np.array_equal(shift.draw(np.random.default_rng(0)), np.zeros(3))


def test_a_data_set_without_colour_is_shifted_in_grey():
    red, green, blue = RGBShift.from_covariance(np.full((3, 3), 4000.0)).draw(np.random.default_rng(0))
    assert red != 0
    np.testing.assert_allclose([green, blue], red, rtol=1e-4)


def test_imagenet_moves_by_11_9_grey_levels_along_its_first_axis():
    generator = np.random.default_rng(0)
    along_first = [IMAGENET.draw(generator) @ IMAGENET.vectors[:, 0] for _ in range(20_000)]
    np.testing.assert_allclose(np.std(along_first), 11.9, rtol=0.02)


def test_imagenets_axes_are_at_right_angles():
    np.testing.assert_allclose(IMAGENET.vectors.T @ IMAGENET.vectors, np.eye(3), atol=2e-4)  # four published digits


def test_a_shift_is_that_of_its_generator():
    first, again = (IMAGENET.draw(np.random.default_rng(5)) for _ in range(2))
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
