"""How often boxes are right: with the true class known, and among five guesses. Source: appendix A."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64

from verydeep.data.annotations import Boxes
from verydeep.data.boxes import iou
from verydeep.data.dataset import Dataset
from verydeep.evaluation.error_table import wilson_interval
from verydeep.localisation.head import RIGHT
from verydeep.localisation.locate import Found, Localiser, locate


def is_right(found: Found, truth: Boxes) -> Bool[np.ndarray, "n c"]:
    """Whether each box overlaps any of the true boxes of its picture enough."""
    return np.array(
        [
            (iou(boxes, truth.of(image, (int(size[0]), int(size[1])))) >= RIGHT).any(axis=1)
            for image, (boxes, size) in enumerate(zip(found.boxes, found.sizes, strict=True))
        ],
        bool,
    ).reshape(found.scores.shape)


def right_with_known_class(
    localisers: Sequence[Localiser],
    data: Dataset,
    truth: Boxes,
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bool[np.ndarray, " n"]:
    """Whether the box of the true class is right, in each picture. With the centre crop it is the paper's first test.

    Args:
        localisers: by the protocol `centre` one box each, which is taken as it is; else boxes are merged, all alike.
        data: labelled pictures.
        truth: their boxes.
        device: where to compute.
        batch: so many crops at once.
        threads: that decode meanwhile.
        progress: called with the pictures done and their number.
    """
    found = locate(
        localisers, data, data.labels[:, None], data.classes,
        device=device, batch=batch, threads=threads, progress=progress,
    )  # fmt: skip
    return is_right(found, truth)[:, 0]


def right_always(box: Float64[np.ndarray, " 4"], truth: Boxes) -> Bool[np.ndarray, " n"]:
    """Whether one box, in parts of width and height, is right in each picture."""
    heights, widths = truth.sizes.T.astype(np.float64)
    boxes = box * np.stack([widths, heights, widths, heights], axis=1)
    return np.array([(iou(boxes[i : i + 1], truth.of(i)) >= RIGHT).any() for i in range(len(truth))], bool)


def best_single_box(truth: Boxes, steps: int = 64) -> Float64[np.ndarray, " 4"]:
    """The one box, in parts of width and height, that is right in most pictures, as far as one corner at a time finds.

    Only the first box of each picture counts.

    Args:
        truth: boxes of training pictures, at least one each.
        steps: of the grid along each side that corners are moved on.
    """
    heights, widths = truth.sizes.T.astype(np.float64)
    boxes = truth.values[truth.starts[:-1]] / np.stack([widths, heights, widths, heights], axis=1)
    grid = np.arange(steps + 1) / steps
    box = grid[np.rint(boxes.mean(axis=0) * steps).astype(int)]
    while True:
        before = box
        for corner in range(4):
            tried = np.tile(box, (len(grid), 1))
            tried[:, corner] = grid
            rights = [(iou(each[None], boxes)[0] >= RIGHT).sum() for each in tried]
            if max(rights) > (iou(box[None], boxes)[0] >= RIGHT).sum():
                box = tried[int(np.argmax(rights))]
        if (box == before).all():
            return box


def error_of(right: Bool[np.ndarray, " n"], name: str) -> dict[str, Any]:
    """An error and its 95 % interval, as the entries of a row."""
    error = float(1 - right.mean())
    return {f"{name}_error": error, f"{name}_interval": list(wilson_interval(error, len(right)))}
