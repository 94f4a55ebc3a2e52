import itertools
import math

import numpy as np
import pytest
from scipy import stats

from verydeep.evaluation.compare import paired_difference
from verydeep.studies.findings import Effect, Spread, Tried, estimate, judge, mean_squares
from verydeep.studies.study import Finding


def finding(expects="less"):
    return Finding.model_validate({"claim": "", "source": "", "expects": expects, "pairs": [("a", "b")]})


def test_mean_squares_by_hand():
    # Two seeds, three pictures: means by picture 1/2, 0, 1; by seed 2/3, 1/3; of all 1/2.
    values = np.array([[1, 0, 1], [0, 0, 1]])
    pictures = 2 * (0 + 1 / 4 + 1 / 4) / 2
    seeds = 3 * (1 / 36 + 1 / 36) / 1
    left = [1 - 1 / 2 - 1 / 6, 0 - 0 - 1 / 6, 1 - 1 - 1 / 6]
    rest = 2 * sum(each**2 for each in left) / 2
    assert mean_squares(values) == pytest.approx((pictures, seeds, rest))


def test_mean_squares_are_those_of_an_analysis_of_variance_done_cell_by_cell():
    generator = np.random.default_rng(0)
    values = generator.integers(-1, 2, (4, 7))
    total = sum((each - values.mean()) ** 2 for each in values.flat)
    pictures = sum(4 * (values[:, i].mean() - values.mean()) ** 2 for i in range(7))
    seeds = sum(7 * (values[s].mean() - values.mean()) ** 2 for s in range(4))
    rest = total - pictures - seeds
    assert mean_squares(values) == pytest.approx((pictures / 6, seeds / 3, rest / 18))


def test_with_one_seed_the_interval_is_that_of_the_mean_over_pictures():
    generator = np.random.default_rng(1)
    one, other = generator.random(500) < 0.4, generator.random(500) < 0.3
    centre, error, freedom = estimate((one.astype(int) - other)[None])
    plain = stats.t.interval(0.95, 499, (one.astype(int) - other).mean(), stats.sem(one.astype(int) - other))
    assert freedom == pytest.approx(499)
    assert (
        centre - stats.t.ppf(0.975, freedom) * error,
        centre + stats.t.ppf(0.975, freedom) * error,
    ) == pytest.approx(plain)
    difference, low, high = paired_difference(one, other)
    assert centre == pytest.approx(difference)
    assert (low, high) == pytest.approx(plain, abs=0.003)  # another method, the same question


@pytest.mark.parametrize("of_seeds", [0.0, 0.01, 0.03])
def test_intervals_over_pictures_and_seeds_hold_the_truth_as_often_as_they_say(of_seeds):
    generator = np.random.default_rng(2)
    inside, tries = 0, 400
    for _ in range(tries):  # nets whose chance to err is a part of each picture and a part of each seed
        shares = 0.05 + 0.3 * generator.random(300)[None] + of_seeds * generator.standard_normal(3)[:, None]
        wrong = generator.random((3, 300)) < shares
        centre, error, freedom = estimate(wrong.astype(int))
        inside += abs(centre - 0.2) < stats.t.ppf(0.975, freedom) * error
    assert inside / tries >= 0.93  # 0.95 less two deviations of 400 tries; without seeds it is on the safe side


def test_a_spread_of_seeds_known_from_more_runs_is_added_for_both_nets():
    differences = np.array([[1, -1, 0, 1, 0, 0, 0, 0]])
    _, alone, _ = estimate(differences)
    _, error, freedom = estimate(differences, Spread(0.0004, 6))
    assert error == pytest.approx(math.sqrt(alone**2 + 2 * 0.0004))
    parts = (alone**2, 7), (0.0008, 6)
    assert freedom == pytest.approx(error**4 / sum(part**2 / each for part, each in parts))


@pytest.mark.parametrize(
    ("expects", "low", "high", "verdict"),
    [
        ("less", -0.03, -0.01, "holds"),
        ("less", -0.03, 0.01, "not resolved"),
        ("less", 0.01, 0.03, "contradicted"),
        ("no less", -0.03, -0.01, "contradicted"),
        ("no less", -0.03, 0.01, "not resolved"),
        ("no less", -0.009, 0.01, "holds"),
        ("no less", 0.01, 0.03, "holds"),
    ],
)
def test_what_an_interval_shows(expects, low, high, verdict):
    assert judge(finding(expects), low, high) == verdict


def test_the_first_pair_decides():
    effects = [Effect("a", "b", None, verdict) for verdict in ("not resolved", "holds")]
    for order in itertools.permutations(effects):
        assert Tried(finding(), order).verdict == order[0].verdict
