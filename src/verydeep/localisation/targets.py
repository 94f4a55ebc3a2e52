"""What a localiser is to say of a crop: where the box lies in it. Decision: docs/decisions/104-localisers.md."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from verydeep.data.annotations import Boxes
from verydeep.data.boxes import areas, clip, mirror
from verydeep.data.training_views import TrainingViews
from verydeep.data.uses import generator
from verydeep.pictures.resize import rescaled_size
from verydeep.pictures.views import View, random_crop

TRIES = 10  # random crops, one of which is to see enough of the box
ENOUGH = 0.5  # of the box's area
SAMPLE = 2000  # pictures that the mean target is measured on, at most


@dataclass(frozen=True, kw_only=True)
class BoxViews(TrainingViews):
    """Random crops that see at least half of a box of the picture, and where that box lies in them.

    Attributes:
        boxes: of the pictures to train on; each has one or more.

    Source: appendix A.
    """

    boxes: Boxes

    @property
    def numbers(self) -> int:
        """Those of a box."""
        return 4

    def window(
        self, index: int, height: int, width: int, generator: np.random.Generator
    ) -> tuple[View, tuple[float, ...]]:
        """A crop of a picture that was rescaled to this size, and the box in its frame; of several boxes any."""
        several = self.boxes.of(index, (height, width))
        box = several[int(generator.integers(len(several)))]
        for _ in range(TRIES):
            view = self._mirrored(random_crop(height, width, self.crop, generator))
            if seen(box, view) >= ENOUGH:
                break
        else:
            view = nearest_crop(box, view, height, width)
        return view, to_target(box, view)


def seen(box: Float64[np.ndarray, " 4"], view: View) -> float:
    """The share of a box's area that lies in a view."""
    moved = box - np.array([view.left, view.top] * 2, np.float64)
    inside = clip(moved[None], view.height, view.width)
    return float(areas(inside)[0] / areas(box[None])[0])


def nearest_crop(box: Float64[np.ndarray, " 4"], view: View, height: int, width: int) -> View:
    """The view moved to where its centre is as near as can be to the box's, in a picture of this size."""
    left = (box[0] + box[2] - view.width) / 2
    top = (box[1] + box[3] - view.height) / 2
    return View(
        int(np.clip(round(top), 0, height - view.height)),
        int(np.clip(round(left), 0, width - view.width)),
        view.height,
        view.width,
        view.mirrored,
    )


def to_target(box: Float64[np.ndarray, " 4"], view: View) -> tuple[float, ...]:
    """A whole box of the rescaled picture, what lies out of the crop included, as the numbers of a localiser."""
    moved = (box - np.array([view.left, view.top] * 2, np.float64))[None]
    x0, y0, x1, y1 = (mirror(moved, view.width) if view.mirrored else moved)[0] / view.width
    return (float(x0 + x1) / 2, float(y0 + y1) / 2, float(x1 - x0), float(y1 - y0))


def mean_target(views: BoxViews, seed: int) -> Float64[np.ndarray, " 4"]:
    """The mean of the targets of pictures spread over all of them, each once, at the mean of S."""
    chosen = np.linspace(0, len(views.boxes) - 1, min(SAMPLE, len(views.boxes))).astype(int)
    side = sum(views.smallest_side) // 2
    targets = []
    for index in chosen.tolist():
        height, width = views.boxes.sizes[index].tolist()
        targets.append(views.window(index, *rescaled_size(height, width, side), generator(seed, 0, index))[1])
    return np.array(targets, np.float64).mean(axis=0)
