from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom, binomtest, multinomial

from verydeep.errors import PosteriorsError
from verydeep.evaluation.compare import Z95, mcnemar, paired_difference, smallest_effect

SHARES = [(0.05, 0.05), (0.02, 0.08), (0.3, 0.1), (0.06, 0.0)]  # only a errs, only b does


def wrongs(only_a, only_b, both=0, neither=0):
    """Whether a and b were wrong on so many pictures of each kind."""
    a = [True] * only_a + [False] * only_b + [True] * both + [False] * neither
    b = [False] * only_a + [True] * only_b + [True] * both + [False] * neither
    return np.array(a), np.array(b)


COUNTS = st.tuples(*[st.integers(0, 40)] * 4).filter(any)


@given(counts=COUNTS)
def test_mcnemar_is_scipys_exact_test_of_a_fair_coin(counts):
    only_a, only_b = counts[:2]
    due = binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert mcnemar(*wrongs(*counts)) == pytest.approx(due, rel=1e-12)


def test_mcnemar_worked_by_hand():
    assert mcnemar(*wrongs(1, 5)) == 2 * (1 + 6) / 64
    assert mcnemar(*wrongs(0, 0, 3, 4)) == 1
    assert mcnemar(*wrongs(25_600, 25_000, 0, 0)) == pytest.approx(2 * binom.cdf(25_000, 50_600, 0.5), rel=1e-9)


def score(counts, true):
    """Deviations of the observed difference from a true one; the likeliest nuisance share is found by search."""
    only_a, only_b, same = counts[0], counts[1], counts[2] + counts[3]
    images = sum(counts)

    def unlikely(share):  # minus the logarithm of the likelihood, of the share on which only b errs
        parts = [(only_a, share + true), (only_b, share), (same, 1 - 2 * share - true)]
        return -sum(count * np.log(max(part, 1e-300)) for count, part in parts if count)

    lowest, highest = max(0.0, -true), (1 - true) / 2
    share = minimize_scalar(unlikely, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-12}).x
    share = min((share, lowest, highest), key=unlikely)
    variance = images * (2 * share + true - true**2)
    return (only_a - only_b - images * true) / np.sqrt(max(variance, 1e-12))


@pytest.mark.parametrize("counts", [(4, 1, 3, 12), (0, 0, 2, 8), (5, 0, 0, 5), (30, 12, 100, 400), (1, 9, 50, 3)])
def test_the_interval_ends_where_a_score_test_worked_by_search_begins_to_refute(counts):
    difference, low, high = paired_difference(*wrongs(*counts))
    assert difference == pytest.approx((counts[0] - counts[1]) / sum(counts))
    assert low == pytest.approx(brentq(lambda true: score(counts, true) - Z95, -1 + 1e-9, difference), abs=1e-5)
    assert high == pytest.approx(brentq(lambda true: score(counts, true) + Z95, difference, 1 - 1e-9), abs=1e-5)


@given(counts=COUNTS)
def test_the_interval_holds_the_difference_and_turns_with_the_order(counts):
    difference, low, high = paired_difference(*wrongs(*counts))
    assert -1 <= low <= difference <= high <= 1
    assert low < high
    only_a, only_b, *rest = counts
    turned = paired_difference(*wrongs(only_b, only_a, *rest))
    np.testing.assert_allclose(turned, (-difference, -high, -low), atol=1e-9)


@given(counts=COUNTS)
def test_the_interval_leaves_zero_out_where_mcnemars_statistic_is_large(counts):
    only_a, only_b = counts[:2]
    _, low, high = paired_difference(*wrongs(*counts))
    statistic = abs(only_a - only_b) / np.sqrt(max(only_a + only_b, 1))
    if abs(statistic - Z95) > 1e-6:
        assert (low > 0 or high < 0) == (statistic > Z95)


def drawn(images, shares, times, seed=0):
    """Counts of `times` tests of so many pictures each."""
    parts = [*shares, 1 - sum(shares)]
    return multinomial(images, parts, seed=seed).rvs(times).tolist()


@pytest.mark.parametrize("shares", SHARES)
def test_nineteen_of_twenty_intervals_hold_the_true_difference(shares):
    true, images = shares[0] - shares[1], 100
    held = seen = 0.0
    for only_a, only_b in product(range(images + 1), repeat=2):  # every possible result, by how likely it is
        rest = images - only_a - only_b
        likely = multinomial.pmf([only_a, only_b, rest], images, [*shares, 1 - sum(shares)]) if rest >= 0 else 0
        if likely > 1e-7:
            _, low, high = paired_difference(*wrongs(only_a, only_b, 0, rest))
            held += likely * (low <= true <= high)
            seen += likely
    assert seen > 0.999
    assert 0.94 <= held <= 0.985  # 0.95, as nearly as whole numbers of pictures allow


@pytest.mark.parametrize(("images", "differing"), [(200, 0.2), (2000, 0.1), (1000, 0.5)])
def test_the_smallest_effect_is_seen_four_times_of_five(images, differing):
    pairs = round(images * differing)
    effect = smallest_effect(*wrongs(pairs // 2, pairs - pairs // 2, 0, images - pairs))
    shares = ((differing + effect) / 2, (differing - effect) / 2, 0.0)
    seen = np.mean([mcnemar(*wrongs(*counts)) < 0.05 for counts in drawn(images, shares, 1000)])
    assert 0.74 <= seen <= 0.84  # the exact test is a little blinder than the normal one of the formula


def test_where_nothing_differed_eight_pictures_would_have_had_to():
    assert smallest_effect(*wrongs(0, 0, 0, 1000)) == pytest.approx(7.85 / 1000, rel=0.02)


@given(counts=COUNTS)
def test_more_pictures_show_smaller_effects(counts):
    effect = smallest_effect(*wrongs(*counts))
    assert 0 < effect <= 1
    assert smallest_effect(*wrongs(*(4 * count for count in counts))) <= effect


@pytest.mark.parametrize("compare", [paired_difference, mcnemar, smallest_effect])
def test_no_pictures_are_refused(compare):
    with pytest.raises(PosteriorsError, match="no pictures: nothing to compare"):
        compare(np.zeros(0, bool), np.zeros(0, bool))
