"""Which pictures are tested together: each once, by a classifier that has seen neither it nor any of its group."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from verydeep.evaluation.error_table import wilson_interval

Labels = Int64[np.ndarray, " n"]


def folds(labels: Labels, groups: Labels, count: int = 5, seed: int = 0) -> Labels:
    """The fold of every picture, from 0: every class is dealt out evenly, a group in one piece.

    Args:
        labels: of the pictures.
        groups: numbers of what stays together.
        count: of folds; a class of fewer groups is in as many as it has.
        seed: of the dealing.
    """
    generator = np.random.default_rng((seed, 2))
    found = np.full(len(labels), -1)
    sizes = np.zeros(count, int)
    for label in np.unique(labels):
        of_class = np.unique(groups[(labels == label) & (found < 0)])
        order: list[int] = []
        for place, group in enumerate(generator.permutation(of_class)):
            if place % count == 0:  # the smallest folds first, so that all become equally large
                order = np.argsort(sizes, kind="stable").tolist()
            found[groups == group] = order[place % count]
            sizes[order[place % count]] += (groups == group).sum()
    return found


def part_of(labels: Labels, groups: Labels, share: float, seed: int = 0) -> Bool[np.ndarray, " n"]:
    """A part of the pictures: of every class its share of groups, at least one; a larger share holds a smaller one."""
    generator = np.random.default_rng((seed, 3))
    found = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = generator.permutation(np.unique(groups[labels == label]))
        found |= np.isin(groups, of_class[: max(1, round(share * len(of_class)))]) & (labels == label)
    return found


def interval(wrong: Bool[np.ndarray, " n"], groups: Labels) -> tuple[float, float]:
    """The 95 % interval of an error over pictures of which those of a group go wrong together.

    It is Wilson's, of as many pictures as would have the same variance if each stood for itself, and no more than there
    are. Source: Kish 1965, "Survey sampling", section 8.2 (the design effect).
    """
    error, images = float(wrong.mean()), len(wrong)
    _, places = np.unique(groups, return_inverse=True)
    count = int(places.max()) + 1
    if count in (1, images) or not 0 < error < 1:
        return wilson_interval(error, count if count > 1 else 1)
    excess = np.bincount(places, weights=wrong - error)  # of each group
    variance = count / (count - 1) * float((excess**2).sum()) / images**2
    alone = error * (1 - error) / images
    return wilson_interval(error, max(1, round(images * min(1.0, alone / variance))))


def joined(*keys: Sequence[object]) -> Labels:
    """Numbers of groups: of pictures that share one of several keys, however indirectly; None is nobody's key."""
    count = len(keys[0])
    above = list(range(count))

    def top(place: int) -> int:
        while above[place] != place:
            above[place] = above[above[place]]
            place = above[place]
        return place

    for column in keys:
        first: dict[object, int] = {}
        for place, key in enumerate(column):
            if key is not None:
                above[top(place)] = top(first.setdefault(key, place))
    return np.unique([top(place) for place in range(count)], return_inverse=True)[1].reshape(-1)
