"""Small pictures in memory, a batch at a time: shifted by a few pixels, mirrored, with a square cut out."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from verydeep.data.dataset import Dataset, PictureArray
from verydeep.data.uses import Bad, Made, Use, Views, generator
from verydeep.pictures.colour import RGBShift
from verydeep.pictures.crop import reflected


@dataclass(frozen=True)
class ShiftedViews(Views):
    """The whole of each picture, moved; what moves in is the picture itself, mirrored at its edge.

    Attributes:
        shift: by up to so many pixels up or down, and to the left or right.
        mirror: half of the views; or, drawn once for each picture, those of every other epoch (`alternate`), so that
            two epochs show both sides of each. Source of the latter: Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a
            single GPU", section 3.6.
        cutout: side of the square that is filled with `colour`, px; its centre is anywhere in the picture. Source:
            DeVries & Taylor 2017, "Improved regularization of convolutional neural networks with cutout", section 3.
        colour: R, G and B of what is cut out: the training pixels' mean.
        rgb_shift: the axes of the training set's colours; None leaves colours alone.
        sigma: deviation of the shift along each axis, in deviations of the training set's colours.
    """

    shift: int = 2
    mirror: bool | Literal["alternate"] = True
    cutout: int = 0
    colour: tuple[int, int, int] = (0, 0, 0)
    rgb_shift: RGBShift | None = None
    sigma: float = 0.1

    @property
    def at_once(self) -> int:
        """How many pictures a thread makes at a time."""
        return 256

    def fill(self, dataset: Dataset, indices: Int64[np.ndarray, " n"], use: Use, made: Made) -> Bad:
        """Make the views of some pictures: see `Views.fill`."""
        assert isinstance(dataset, PictureArray)
        drawn = draw(use, len(dataset))[:, indices]
        cells = np.arange(self.crop)
        down, right = (np.floor(each * (2 * self.shift + 1)).astype(int) - self.shift for each in drawn[:2])
        rows, columns = cells + down[:, None], cells + right[:, None]
        mirrored = self.mirrored(drawn[2] < 0.5, use, len(dataset), indices)
        columns[mirrored] = columns[mirrored, ::-1]
        rows, columns = reflected(rows, self.crop), reflected(columns, self.crop)
        made.views[:] = dataset.pixels[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
        if self.cutout:
            top, left = (np.floor(each * self.crop).astype(int) - self.cutout // 2 for each in drawn[3:5])
            inside = [(cells >= first[:, None]) & (cells < first[:, None] + self.cutout) for first in (top, left)]
            made.views[inside[0][:, :, None] & inside[1][:, None, :]] = self.colour
        if self.rgb_shift:
            along = self.sigma * drawn[5:8].T * self.rgb_shift.deviations
            made.shifts[:] = along @ self.rgb_shift.vectors.T
        else:
            made.shifts[:] = 0
        return []

    def mirrored(self, coins: np.ndarray, use: Use, pictures: int, indices: Int64[np.ndarray, " n"]) -> np.ndarray:
        """Which of some pictures are mirrored at this use."""
        if self.mirror == "alternate":
            return (draw(Use(use.seed, 0), pictures)[2, indices] < 0.5) ^ bool(use.epoch % 2)
        return coins & self.mirror


@lru_cache(maxsize=4)
def draw(use: Use, pictures: int) -> Float64[np.ndarray, "8 pictures"]:
    """For each picture of a data set five uniform numbers and three normal ones, drawn for an epoch at once."""
    numbers = generator(*use, pictures + 2)  # the two before are the order's and the side's
    return np.concatenate([numbers.random((5, pictures)), numbers.normal(size=(3, pictures))])
