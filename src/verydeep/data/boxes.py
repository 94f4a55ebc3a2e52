"""Boxes: where things lie in a picture, as x0, y0, x1, y1 in continuous coordinates.

The first pixel of a row covers [0, 1), so a box is [x0, x1) × [y0, y1), and its sides are differences. Files that count
pixels, both ends included, are turned into that where they are read: docs/decisions/100-boxes-are-continuous.md.
"""

import numpy as np
from jaxtyping import Float64


def from_inclusive(boxes: Float64[np.ndarray, "n 4"], first: int = 0) -> Float64[np.ndarray, "n 4"]:
    """Boxes whose last pixels belong to them, of pixels counted from `first`, in continuous coordinates.

    >>> from_inclusive(np.array([[0.0, 0.0, 63.0, 63.0]]))
    array([[ 0.,  0., 64., 64.]])
    """
    return boxes + np.array([-first, -first, 1 - first, 1 - first], np.float64)


def to_inclusive(boxes: Float64[np.ndarray, "n 4"], first: int = 0) -> Float64[np.ndarray, "n 4"]:
    """What `from_inclusive` was given; not rounded."""
    return boxes - np.array([-first, -first, 1 - first, 1 - first], np.float64)


def areas(boxes: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, " n"]:
    """Square pixels; 0 for a box whose corners are swapped or on one line."""
    found: Float64[np.ndarray, " n"] = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
    return found


def iou(a: Float64[np.ndarray, "m 4"], b: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "m n"]:
    """The intersection of each box of one list with each of another, over their union; 0 where neither has an area."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    both = sides.clip(min=0).prod(axis=-1)
    union = areas(a)[:, None] + areas(b)[None] - both
    found: Float64[np.ndarray, "m n"] = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return found


def clip(boxes: Float64[np.ndarray, "n 4"], height: int | float, width: int | float) -> Float64[np.ndarray, "n 4"]:
    """The parts of boxes that lie in a picture of this size."""
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float64))


def scale(boxes: Float64[np.ndarray, "n 4"], size: tuple[int, int], to: tuple[int, int]) -> Float64[np.ndarray, "n 4"]:
    """Boxes of a picture of one height and width in a copy of another; each axis has its own factor."""
    across, down = to[1] / size[1], to[0] / size[0]
    return boxes * np.array([across, down, across, down], np.float64)


def mirror(boxes: Float64[np.ndarray, "n 4"], width: int | float) -> Float64[np.ndarray, "n 4"]:
    """Boxes of the mirror image of a picture so wide."""
    x0, y0, x1, y1 = boxes.T
    return np.stack([width - x1, y0, width - x0, y1], axis=1)
