"""How well scores put the pictures of a class before all others: average precision as PASCAL VOC has it."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Real

from verydeep.errors import TransferError

Rule = Literal["11-point", "area"]
RULES: tuple[Rule, ...] = get_args(Rule)
PRESENT, ABSENT, DIFFICULT = 1, -1, 0  # what a label says of a class in a picture


def average_precision(
    scores: Real[np.ndarray, " _"] | Sequence[float], labels: Real[np.ndarray, " _"] | Sequence[int], rule: str = "area"
) -> float:
    """The average precision of one class, in [0, 1]; not a number where no picture shows it.

    Pictures in which the class is difficult count neither for nor against. Of equal scores the first picture leads.

    Args:
        scores: the larger, the surer that a picture shows the class.
        labels: 1 where it does, -1 where it does not, 0 where it does but is difficult to see.
        rule: `11-point`, of VOC up to 2009: the mean over recall 0, 0.1, …, 1 of the largest precision at that recall
            or more. `area`, of VOC from 2010 on: the area under precision as a function of recall, made to fall only.

    Raises:
        TransferError: a score is not a number, a label none of the three, or there are not as many of both.

    Source: Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) challenge", section 4.2.
    Decision: docs/decisions/110-average-precision.md.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    _check(scores, labels, rule)
    counts = labels != DIFFICULT
    order = np.argsort(-scores[counts].astype(np.float64), kind="stable")
    hits = labels[counts][order] == PRESENT
    positives = int(hits.sum())
    if not positives:
        return float("nan")
    found = hits.cumsum()
    precision = found / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    if rule == "area":
        return float(best_from_here[hits].mean())  # recall rises by 1 / positives at each of them
    steps = np.arange(11)
    # In whole numbers, since 0.1 · 3 is more than 0.3: the first place at which recall is r / 10 or more.
    first = [int(np.argmax(10 * found >= step * positives)) for step in steps]
    return float(best_from_here[first].mean())


def mean_average_precision(
    scores: Real[np.ndarray, "_ _"], labels: Real[np.ndarray, "_ _"], rule: str = "area"
) -> float:
    """The mean over classes of their average precision, classes that no picture shows left out.

    Args:
        scores: of each picture for each class.
        labels: the same of 1, -1 and 0.
        rule: see `average_precision`.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise TransferError(f"scores are {scores.shape}, labels {labels.shape}; give both as pictures × classes")
    each = [average_precision(scores[:, k], labels[:, k], rule) for k in range(scores.shape[1])]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _check(scores: Any, labels: Any, rule: str) -> None:
    """Refuse what has no average precision."""
    if rule not in RULES:
        raise TransferError(f"rule {rule!r}: is none; use '11-point' (VOC up to 2009) or 'area' (from 2010 on)")
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise TransferError(f"scores are {scores.shape}, labels {labels.shape}; give one of each for a picture")
    if not np.isfinite(scores).all():
        raise TransferError(f"scores: that of picture {int(np.argmin(np.isfinite(scores)))} is not a number")
    known = np.isin(labels, (PRESENT, ABSENT, DIFFICULT))
    if not known.all():
        place = int(np.argmin(known))
        raise TransferError(f"labels: that of picture {place} is {labels[place]}; use 1, -1, or 0 for difficult")
