"""How a picture is rescaled and centred before a net sees it: the house's own way, or that of the net's authors."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from verydeep.pictures import resize, views
from verydeep.pictures.views import View


@dataclass(frozen=True)
class Preset:
    """The house's own way. Decision: docs/decisions/002-one-resize.md.

    Attributes:
        name: whose way it is.
        smallest_side: that a picture is rescaled to where a protocol names no scale, px; None: round(crop × 256 / 224).
    """

    name: str = "verydeep"
    smallest_side: int | None = None

    def rescaled_size(self, height: int, width: int, smallest_side: int) -> tuple[int, int]:
        """Height and width after rescaling, px.

        Raises:
            PictureError: the sides are so unequal that the longer one would be too long.
        """
        return resize.rescaled_size(height, width, smallest_side)

    def rescale(self, picture: UInt8[np.ndarray, "h w 3"], smallest_side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
        """The whole picture at its rescaled size."""
        return resize.rescale(picture, smallest_side)

    def centre_crop(self, height: int, width: int, crop: int) -> View:
        """The square of side `crop` in the middle of a rescaled picture.

        Raises:
            PictureError: the picture is too small for it.
        """
        return views.centre_crop(height, width, crop)


OURS = Preset()


@dataclass(frozen=True, kw_only=True)
class PillowPreset(Preset):
    """What torchvision's and timm's presets do to a Pillow image, to the pixel.

    Attributes:
        interpolation: name of Pillow's filter, such as `bicubic`.
        squash: whether both sides become as long as the smallest, whatever the picture's shape.

    Source: torchvision, transforms/functional.py (resize, center_crop); timm, data/transforms_factory.py
    (transforms_imagenet_eval).
    """

    interpolation: str = "bilinear"
    squash: bool = False

    def rescaled_size(self, height: int, width: int, smallest_side: int) -> tuple[int, int]:
        """Height and width after rescaling, px; the longer side is rounded down."""
        if self.squash:
            return smallest_side, smallest_side
        resize.rescaled_size(height, width, smallest_side)  # refuses what is too long
        longest_side = smallest_side * max(height, width) // min(height, width)
        return (smallest_side, longest_side) if height <= width else (longest_side, smallest_side)

    def rescale(self, picture: UInt8[np.ndarray, "h w 3"], smallest_side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
        """The whole picture at its rescaled size, by Pillow's filter."""
        height, width, _ = picture.shape
        height, width = self.rescaled_size(height, width, smallest_side)
        image = Image.fromarray(picture).resize((width, height), Image.Resampling[self.interpolation.upper()])
        return np.array(image)

    def centre_crop(self, height: int, width: int, crop: int) -> View:
        """The square in the middle; half of an odd margin is rounded to the even number."""
        views.centre_crop(height, width, crop)  # refuses what is too small
        return View(round((height - crop) / 2), round((width - crop) / 2), crop, crop)
