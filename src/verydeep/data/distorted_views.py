"""Small pictures in memory, a batch at a time: stretched, slanted or turned, moved, and changed in colour.

Source: Graham 2014, "Spatially-sparse convolutional neural networks", section 4, and the author's program.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch.nn import functional as F

from verydeep.data.dataset import Dataset, PictureArray
from verydeep.data.uses import Bad, Made, Use, Views, generator

GREY = 128.0  # the background


@dataclass(frozen=True)
class DistortedViews(Views):
    """Each picture through a random affine map, on a grey ground; what leaves the net's window is lost.

    Attributes:
        mirror: half of the views.
        stretch: each axis by a factor of 1 ± this.
        slant: one of three, drawn evenly: a shear along an axis or along the other, or a turn (radians), by ± this.
        shift: by up to so many pixels up or down, and to the left or right.
        colour: deviations of what is done to each colour channel: an amount added to all pixels, a factor's distance
            from 1, and an amount added for each pixel to the right of the middle, and for each below it.
        until: the epoch from which on pictures are left as they are; None: none.
    """

    mirror: bool = True
    stretch: float = 0.2
    slant: float = 0.2
    shift: float = 16.0
    colour: tuple[float, float, float] = (25.5, 0.15, 2.4)
    until: int | None = None

    @property
    def at_once(self) -> int:
        """How many pictures a thread makes at a time."""
        return 256

    def fill(self, dataset: Dataset, indices: Int64[np.ndarray, " n"], use: Use, made: Made) -> Bad:
        """Make the views of some pictures: see `Views.fill`."""
        assert isinstance(dataset, PictureArray)
        made.shifts[:] = 0
        if self.until is not None and use.epoch >= self.until:
            made.views[:] = dataset.pixels[indices]
            return []
        drawn = [generator(*use, int(index)) for index in indices]
        maps = torch.from_numpy(np.stack([self.affine(each) for each in drawn])).float()
        changes = np.stack([each.normal(size=(4, 3)) for each in drawn]).astype(np.float32)
        pixels = torch.from_numpy(dataset.pixels[indices]).permute(0, 3, 1, 2).float() - GREY
        places = F.affine_grid(maps, list(pixels.shape), align_corners=False)
        moved = F.grid_sample(pixels, places, padding_mode="zeros", align_corners=False).permute(0, 2, 3, 1).numpy()
        made.views[:] = np.clip(np.round(self.coloured(moved, changes) + GREY), 0, 255)
        return []

    def affine(self, generator: np.random.Generator) -> Float64[np.ndarray, "2 3"]:
        """A map from places in the view to places in the picture, from -1 to 1 across, as `affine_grid` takes it."""
        stretched = np.diag(generator.uniform(1 - self.stretch, 1 + self.stretch, 2))
        if self.mirror and generator.random() < 0.5:
            stretched[0, 0] *= -1
        amount = generator.uniform(-self.slant, self.slant)
        slants = (
            np.array([[1, amount], [0, 1]]),
            np.array([[1, 0], [amount, 1]]),
            np.array([[np.cos(amount), -np.sin(amount)], [np.sin(amount), np.cos(amount)]]),
        )
        moved = generator.uniform(-self.shift, self.shift, 2) * 2 / self.crop
        return np.column_stack([stretched @ slants[int(generator.integers(3))], moved])

    def coloured(
        self, pixels: Float32[np.ndarray, "n h w 3"], changes: Float32[np.ndarray, "n 4 3"]
    ) -> Float32[np.ndarray, "n h w 3"]:
        """Pictures, as differences from grey, with their colours changed; what is grey ground may become coloured."""
        offset, gain, slope = self.colour
        across = np.arange(self.crop, dtype=np.float32) - (self.crop - 1) / 2
        added, factor, right, below = (changes[:, None, None, each] for each in range(4))
        ramp = slope * (right * across[None, None, :, None] + below * across[None, :, None, None])
        return pixels * (1 + gain * factor) + offset * added + ramp
