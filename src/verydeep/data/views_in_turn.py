"""The views of a test protocol as training views: one an epoch of each picture, until all have been shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from verydeep.data.dataset import Dataset
from verydeep.data.uses import Bad, Made, Use, Views, generator
from verydeep.errors import PictureError
from verydeep.pictures.crop import take
from verydeep.pictures.resize import rescale
from verydeep.pictures.views import View


@dataclass(frozen=True)
class ViewsInTurn(Views):
    """Each of the views that `look` names of a picture, and its mirror image, once in as many epochs.

    Attributes:
        look: from height, width and crop to the views of a picture, as many of every picture.
        smallest_side: that pictures are rescaled to, px; None: they stay as they are.
    """

    look: Callable[[int, int, int], Sequence[View]]
    smallest_side: int | None = None

    def fill(self, dataset: Dataset, indices: Int64[np.ndarray, " n"], use: Use, made: Made) -> Bad:
        """Make one view of each of some pictures: see `Views.fill`."""
        bad: Bad = []
        made.shifts[:] = 0
        for place, index in enumerate(indices.tolist()):
            try:
                picture = dataset.picture(index)
                if self.smallest_side:
                    picture = rescale(picture, self.smallest_side)
                height, width, _ = picture.shape
                views = self.look(height, width, self.crop)
                turns, turn = divmod(use.epoch, 2 * len(views))
                number, mirrored = divmod(turn_of(Use(use.seed, turns), len(dataset), 2 * len(views))[index, turn], 2)
                made.views[place] = take(picture, replace(views[number], mirrored=bool(mirrored)))
            except PictureError as error:
                bad.append((place, error))
        return bad


@lru_cache(maxsize=2)
def turn_of(use: Use, pictures: int, views: int) -> Int64[np.ndarray, "pictures views"]:
    """The order in which each picture's views are shown; the use's epoch counts rounds of all views."""
    return generator(*use, pictures + 3).random((pictures, views)).argsort(axis=1)
