"""What becomes of a picture at each use in training, of one after the other. Source: section 3.1."""

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from verydeep.data.dataset import Dataset
from verydeep.data.uses import Bad, Made, Use, Views, generator
from verydeep.errors import PictureError
from verydeep.pictures.colour import RGBShift
from verydeep.pictures.crop import source_window, take
from verydeep.pictures.resize import rescaled_size
from verydeep.pictures.views import View, random_crop, random_resized_crop


@dataclass(frozen=True)
class TrainingViews(Views):
    """What a picture becomes at each use in training. Source: section 3.1.

    Attributes:
        crop: side of the net's window, px.
        smallest_side: S, drawn uniformly from this range (ends included) at each use; equal ends fix it, px.
        random_resized: instead a window of random area and aspect, resized to the crop, as is usual today.
        area: of that window, as fractions of the picture's.
        mirror: whether half of the views are mirrored.
        rgb_shift: the axes of the training set's colours; None leaves colours alone.
        sigma: deviation of the shift along each axis, in deviations of the training set's colours.
        coarse_decode: a large JPEG may be decoded at a half, a quarter or an eighth of its size, the colours of any may
            stay at the resolution that they are stored at, and rows below the view are left out. Decision:
            docs/decisions/003-training-may-decode-coarsely.md.
        sides: that the crop is resized to, an epoch each in turn, px; none: it stays as it is.
        side_jitter: instead drawn anew for each epoch from this range (ends included), px. Source of both: He et al.
            2014, "Spatial pyramid pooling in deep convolutional networks", section 2.3.
    """

    crop: int
    smallest_side: tuple[int, int]
    random_resized: bool = False
    area: tuple[float, float] = (0.08, 1.0)
    mirror: bool = True
    rgb_shift: RGBShift | None = None
    sigma: float = 0.1
    coarse_decode: bool = True
    sides: tuple[int, ...] = ()
    side_jitter: tuple[int, int] | None = None

    def side(self, epoch: int, generator: np.random.Generator) -> int:
        """The side of all views of an epoch, px."""
        if self.side_jitter:
            return int(generator.integers(*self.side_jitter, endpoint=True))
        return self.sides[epoch % len(self.sides)] if self.sides else self.crop

    def window(
        self, index: int, height: int, width: int, generator: np.random.Generator
    ) -> tuple[View, tuple[float, ...]]:
        """The crop of a picture that was rescaled to this size, and the numbers that a net is to say of it."""
        return self._mirrored(random_crop(height, width, self.crop, generator)), ()

    def make(
        self, dataset: Dataset, index: int, generator: np.random.Generator, side: int | None = None
    ) -> tuple[UInt8[np.ndarray, "side side 3"], Float32[np.ndarray, " 3"], tuple[float, ...]]:
        """One view of one picture, what is to be added to its R, G and B, and what a net is to say of it.

        Args:
            dataset: that the picture is of.
            index: of the picture.
            generator: what to draw from.
            side: of the view, px; by default the crop's.
        """
        side = side or self.crop
        smallest_side = int(generator.integers(*self.smallest_side, endpoint=True))
        shift = self.rgb_shift.draw(generator, self.sigma) if self.rgb_shift else np.zeros(3, np.float32)
        least = ceil(self.crop / self.area[0] ** 0.5) if self.random_resized else smallest_side
        source, drawn_for = View(0, 0, 0, 0), (0, 0)
        numbers: tuple[float, ...] = ()

        def draw(height: int, width: int) -> int:
            """Draw the view of a picture of this size, and say how many of its rows that needs."""
            nonlocal source, numbers, drawn_for
            drawn_for = height, width
            if self.random_resized:
                source = replace(self._mirrored(random_resized_crop(height, width, generator, self.area)), side=side)
            else:
                try:
                    rescaled_height, rescaled_width = rescaled_size(height, width, smallest_side)
                except PictureError as error:  # which knows no names
                    raise PictureError(f"{dataset.images[index]}: {error}") from None
                view, numbers = self.window(index, rescaled_height, rescaled_width, generator)
                source = source_window(height, width, smallest_side, view, side)
            return source.top + source.height

        if self.coarse_decode:  # the smallest window of random area has still as many pixels as a crop
            picture = dataset.picture(index, at_least=least, fast=True, rows=draw)
        else:
            picture = dataset.picture(index)
        if drawn_for != picture.shape[:2]:  # it had to be decoded whole
            draw(*picture.shape[:2])
        return take(picture, source), shift, numbers

    def fill(self, dataset: Dataset, indices: Int64[np.ndarray, " n"], use: Use, made: Made) -> Bad:
        """One picture after the other: see `Views.fill`."""
        bad: Bad = []
        for place, index in enumerate(indices.tolist()):
            try:
                view = self.make(dataset, index, generator(*use, index), made.views.shape[1])
                made.views[place], made.shifts[place], made.numbers[place] = view
            except PictureError as error:
                bad.append((place, error))
        return bad

    def _mirrored(self, view: View) -> View:
        return view if self.mirror else View(view.top, view.left, view.height, view.width)
