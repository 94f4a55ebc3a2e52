"""Many boxes of one thing → few: greedy merging, after OverFeat. Decision: docs/decisions/103-merging-in-rounds.md.

Source: appendix A; Sermanet et al. 2014, "OverFeat: integrated recognition, localization and detection using
convolutional networks", section 4.3.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from scipy.spatial import cKDTree

THRESHOLD = 0.5  # of `match`
BLOCK = 32  # boxes that are held against their neighbours at a time
ROUNDING = np.float32(
    1 + 1e-4
)  # how much further than its bound a neighbour is looked for, since matches are in single precision


@dataclass(frozen=True, eq=False)
class Merged:
    """Boxes that are no longer alike, the best first.

    Attributes:
        boxes: each the mean of its members.
        scores: each the sum of its members'.
        members: how many boxes each was made of.
    """

    boxes: Float64[np.ndarray, "k 4"]
    scores: Float64[np.ndarray, " k"]
    members: Int64[np.ndarray, " k"]

    def __len__(self) -> int:
        return len(self.scores)


def merge(
    boxes: Float64[np.ndarray, "n 4"],
    scores: Float64[np.ndarray, " n"],
    threshold: int | float = THRESHOLD,
    members: Int64[np.ndarray, " n"] | None = None,
) -> Merged:
    """Merge boxes until no two match by the threshold or better.

    In each round every box looks for the one that it matches best, and all pairs that chose each other become one, the
    mean over all members so far. The best pair of all is always among them, so the end is that of merging one
    pair at a time. What comes out depends on the boxes alone, not on their order.

    Args:
        boxes: of one class; each with x1 > x0 and y1 > y0.
        scores: of each; those of members add up.
        threshold: the largest `match` of two boxes that are merged.
        members: how many boxes each stands for already; by default one.
    """
    found = in_order(boxes, scores, np.ones(len(boxes), np.int64) if members is None else members)
    luck = np.random.Generator(np.random.Philox(0))
    while True:
        partners = choose_partners(found.boxes, threshold, luck.permutation(len(found)))
        lower = np.flatnonzero((partners >= 0) & (partners[partners] == np.arange(len(found))))
        lower = lower[lower < partners[lower]]
        if not len(lower):
            break
        upper = partners[lower]
        together = found.members[lower] + found.members[upper]
        values, sums, counts = found.boxes.copy(), found.scores.copy(), found.members.copy()
        parts = (found.members[lower] / together)[:, None]
        values[lower] = parts * values[lower] + (1 - parts) * values[upper]
        sums[lower] += sums[upper]
        counts[lower] = together
        kept = np.ones(len(found), bool)
        kept[upper] = False
        found = Merged(values[kept], sums[kept], counts[kept])
    return best_first(found)


def in_order(
    boxes: Float64[np.ndarray, "n 4"], scores: Float64[np.ndarray, " n"], members: Int64[np.ndarray, " n"]
) -> Merged:
    """The boxes in the order of their corners and then scores, each once, equal ones merged."""
    order = np.lexsort((scores, *boxes.T[::-1]))
    boxes, scores, members = boxes[order], scores[order], members[order]
    is_first = np.ones(len(boxes), bool)
    is_first[1:] = (boxes[1:] != boxes[:-1]).any(axis=1)
    starts = np.flatnonzero(is_first)
    if not len(starts):
        return Merged(boxes, scores, members)
    return Merged(boxes[starts], np.add.reduceat(scores, starts), np.add.reduceat(members, starts))


def best_first(found: Merged) -> Merged:
    """By score, then by members, then by corners."""
    order = np.lexsort((*found.boxes.T[::-1], -found.members, -found.scores))
    return Merged(found.boxes[order], found.scores[order], found.members[order])


def shapes_of(boxes: Float64[np.ndarray, "n 4"]) -> Float32[np.ndarray, "8 n"]:
    """What matching needs to know of boxes: corners, twice their centres, areas and diagonals."""
    x0, y0, x1, y1 = boxes.astype(np.float32).T
    width, height = x1 - x0, y1 - y0
    return np.stack([x0, y0, x1, y1, x0 + x1, y0 + y1, width * height, np.sqrt(width * width + height * height)])


def match(a: Float32[np.ndarray, "8 *n"], b: Float32[np.ndarray, "8 *m"]) -> Float32[np.ndarray, "*both"]:
    """How badly boxes match: the distance of their centres in mean diagonals, and what their IoU lacks to 1.

    Args:
        a: boxes as `shapes_of` has them, in any shape that broadcasts.
        b: the same of others.
    """
    width, height = np.minimum(a[2], b[2]), np.minimum(a[3], b[3])
    width -= np.maximum(a[0], b[0])
    height -= np.maximum(a[1], b[1])
    both = np.maximum(width, np.float32(0), out=width)
    both *= np.maximum(height, np.float32(0), out=height)
    union = a[6] + b[6]
    union -= both
    both /= union
    across, down = a[4] - b[4], a[5] - b[5]
    across *= across
    down *= down
    across += down
    apart = np.sqrt(across, out=across)
    apart /= a[7] + b[7]
    apart += np.float32(1)
    apart -= both
    found: Float32[np.ndarray, "*both"] = apart
    return found


def choose_partners(
    boxes: Float64[np.ndarray, "n 4"], threshold: int | float, luck: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """The box that each matches best, -1 where none matches by the threshold; of equal ones that of the least luck.

    Boxes are gone through from left to right, each held against those only whose centre is near enough to be better
    than the one whose corners are nearest.
    """
    partners = np.full(len(boxes), -1, np.int64)
    if len(boxes) < 2:
        return partners
    order = np.argsort(boxes[:, 0] + boxes[:, 2], kind="stable")
    shapes, luck = shapes_of(boxes[order]), luck[order]
    _, near = cKDTree(boxes[order]).query(boxes[order], 2)
    nearest = np.where(near[:, 0] == np.arange(len(boxes)), near[:, 1], near[:, 0])
    reach = furthest(shapes[2] - shapes[0], np.minimum(match(shapes, shapes[:, nearest]), np.float32(threshold)))
    centres = shapes[4] / 2
    reach = reach * ROUNDING + np.abs(centres).max() * (ROUNDING - 1) / 100
    rows = np.lexsort((centres, np.floor(np.log2(reach))))  # those that look as far as each other together
    for start in range(0, len(boxes), BLOCK):
        block = rows[start : start + BLOCK]
        first = int(np.searchsorted(centres, (centres[block] - reach[block]).min(), side="left"))
        end = int(np.searchsorted(centres, (centres[block] + reach[block]).max(), side="right"))
        found = match(shapes[:, block, None], shapes[:, None, first:end])
        found[np.arange(len(block)), block - first] = np.inf
        best = found.min(axis=1)
        chosen = first + found.argmin(axis=1)
        tied = found == best[:, None]
        for row in np.flatnonzero(np.count_nonzero(tied, axis=1) > 1):
            equals = first + np.flatnonzero(tied[row])
            chosen[row] = equals[luck[equals].argmin()]
        partners[order[block]] = np.where(best <= threshold, order[chosen], -1)
    return partners


def furthest(widths: Float32[np.ndarray, " n"], bound: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """How far the centre of a box may lie to the side of another so wide that it matches by a bound.

    It needs an IoU of q = 1 - bound, so a width of at most 1 / q times the other's, and of the two widths w and v a
    part of q / (1 + q) in common: (w + v) × (1 - q) / (2 (1 + q)) is the distance then.
    """
    iou = (1 - bound).clip(min=np.float32(1e-6))
    return widths * (bound + np.float32(1e-6)) / (2 * iou)


def merge_literally(
    boxes: Float64[np.ndarray, "n 4"], scores: Float64[np.ndarray, " n"], threshold: int | float
) -> Merged:
    """Merge one pair at a time, as OverFeat words it: the pair with the least sum of distance and intersection.

    That rewards small boxes that do not meet, and means of two count alike whatever they are means of: for comparison.

    Args:
        boxes: of one class.
        scores: of each; those of members add up.
        threshold: the largest sum of the distance of centres (px) and the area of the intersection (square px) of two
            boxes that are merged.
    """
    found = in_order(boxes, scores, np.ones(len(boxes), np.int64))
    values, sums, counts = found.boxes.copy(), found.scores.copy(), found.members.copy()
    alive = np.ones(len(found), bool)
    apart = np.full((len(found), len(found)), np.inf)
    for place in range(len(found)):
        apart[place] = literal_match(values[place], values)
        apart[place, place] = np.inf
    while alive.sum() > 1:
        i, j = divmod(int(apart.argmin()), len(found))  # of equal ones the first, i < j
        if not apart[i, j] <= threshold:
            break
        values[i] = (values[i] + values[j]) / 2
        sums[i] += sums[j]
        counts[i] += counts[j]
        alive[j] = False
        apart[i] = apart[:, i] = np.where(alive, literal_match(values[i], values), np.inf)
        apart[j] = apart[:, j] = apart[i, i] = np.inf
    return best_first(Merged(values[alive], sums[alive], counts[alive]))


def literal_match(box: Float64[np.ndarray, " 4"], others: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, " n"]:
    """The distance of centres plus the area of the intersection, px."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    apart = (box[:2] + box[2:] - others[:, :2] - others[:, 2:]) / 2
    found: Float64[np.ndarray, " n"] = np.sqrt((apart**2).sum(1)) + sides.clip(min=0).prod(1)
    return found
