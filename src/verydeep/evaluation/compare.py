"""Two tests of the same pictures → whether one errs less than the other, or noise is read as a difference.

Two nets, or two protocols, err on much the same pictures. Only those on which one errs and the other does not say which
is better; an interval of each error alone counts the others as noise, and is many times too wide for a difference.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool

from verydeep.errors import PosteriorsError

Z95 = 1.959963984540054  # 95 % of a normal distribution lies within so many deviations
Z80 = 0.8416212335729143  # 80 % of it lies below so many
HALVINGS = 60  # of an interval, until its ends are next to each other


def paired_difference(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> tuple[float, float, float]:
    """How much more often `a` errs than `b`, with its 95 % interval, as fractions of the pictures.

    The interval holds what a score test at 5 % would not refute: it leaves zero out where McNemar's test, without
    correction, is significant, and has a width even where the two never differ.

    Args:
        a: whether the first was wrong on each picture.
        b: whether the second was wrong on it.

    Returns:
        Difference, low, high.

    Raises:
        PosteriorsError: there are no pictures.

    Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design". Decision: docs/decisions/065-how-errors-are-compared.md.
    """
    only_a, only_b = discordant(a, b)
    images = len(a)
    difference = (only_a - only_b) / images

    def possible(true: float) -> bool:
        """Whether the test does not refute this difference."""
        # The likeliest share of pictures on which only b errs, where the difference is the true one.
        linear = (2 * images - only_a + only_b) * true - only_a - only_b
        constant = -only_b * true * (1 - true)
        share = (math.sqrt(max(0.0, linear**2 - 8 * images * constant)) - linear) / (4 * images)
        variance = images * (2 * share + true * (1 - true))
        return (only_a - only_b - images * true) ** 2 <= Z95**2 * variance

    return difference, last(possible, difference, -1.0), last(possible, difference, 1.0)


def last(possible: Callable[[float], bool], start: float, end: float) -> float:
    """The last value on the way from a possible start to an end that is possible, too."""
    for _ in range(HALVINGS):
        middle = (start + end) / 2
        start, end = (middle, end) if possible(middle) else (start, middle)
    return start


def mcnemar(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> float:
    """How likely errors at least so unequal are where both err equally often: the p of McNemar's test, exact.

    Args:
        a: whether the first was wrong on each picture.
        b: whether the second was wrong on it.

    Raises:
        PosteriorsError: there are no pictures.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages".
    """
    only_a, only_b = discordant(a, b)
    pairs = only_a + only_b
    term = total = 1  # in whole numbers: of 2**pairs ways to share the pairs out, those with no more than so many
    for place in range(min(only_a, only_b)):
        term = term * (pairs - place) // (place + 1)
        total += term
    return min(1.0, 2 * total / 2**pairs)


def smallest_effect(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> float:
    """The smallest true difference of errors that McNemar's test at 5 % would have seen four times of five.

    It depends on how many pictures there are and on how many of them only one of the two errs.

    Args:
        a: whether the first was wrong on each picture.
        b: whether the second was wrong on it.

    Returns:
        A fraction of the pictures, larger than zero.

    Raises:
        PosteriorsError: there are no pictures.

    Source: Connor 1987, "Sample size for testing differences in proportions for the paired-sample design".
    """
    images = len(a)
    fewest = (Z95 + Z80) ** 2  # pairs that have to differ to show anything, all of them to the same side
    share = min(1.0, max(sum(discordant(a, b)), fewest) / images)
    spread = Z95 * math.sqrt(images) + Z80 * math.sqrt(max(0.0, images + Z80**2 - Z95**2))
    return min(1.0, math.sqrt(share) * spread / (images + Z80**2))


def discordant(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> tuple[int, int]:
    """The number of pictures on which only `a` errs, and on which only `b` does."""
    if not len(a):
        raise PosteriorsError("no pictures: nothing to compare; give some that were tested twice")
    return int(np.count_nonzero(a & ~b)), int(np.count_nonzero(b & ~a))
