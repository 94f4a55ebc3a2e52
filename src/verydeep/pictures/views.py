"""Views: which window of a rescaled picture is looked at, mirrored or not. Pure arithmetic, no pixels."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from verydeep.errors import PictureError

Seen = Literal["everywhere", "fine", "once"]


@dataclass(frozen=True)
class View:
    """A window of a picture.

    Attributes:
        top: first row, px.
        left: first column, px.
        height: px.
        width: px.
        mirrored: whether left and right change places.
        side: of the square that the window is resized to once it is cut, px; None: it stays as it is.
        seen: by a net with a score map: `everywhere`, at positions a stride apart; `fine`, at those in between too that
            its last pool can be laid at; `once`, as one, if it takes pictures of any size.
        over_edge: whether it may reach over the picture's edge, beyond which the picture is mirrored.
    """

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False
    side: int | None = None
    seen: Seen = "everywhere"
    over_edge: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what a net is shown, px."""
        return (self.side, self.side) if self.side else (self.height, self.width)


def whole(height: int, width: int) -> View:
    """The whole picture."""
    return View(0, 0, height, width)


def centre_crop(height: int, width: int, crop: int) -> View:
    """The square of side `crop` in the middle; of an odd margin the smaller half lies above and to the left."""
    _refuse_small(height, width, crop)
    return View((height - crop) // 2, (width - crop) // 2, crop, crop)


def grid(height: int, width: int, crop: int, count: int) -> list[View]:
    """So many times so many crops, evenly spread from border to border; origins are rounded, halves up.

    Source: section 3.2 (5 × 5); floor(i · (side - crop) / (count - 1) + 0.5) is ours.
    """
    _refuse_small(height, width, crop)
    steps = count - 1
    tops, lefts = (
        [(2 * i * margin + steps) // (2 * steps) for i in range(count)] for margin in (height - crop, width - crop)
    )
    return [View(top, left, crop, crop) for top in tops for left in lefts]


def thirds(height: int, width: int, crop: int) -> list[View]:
    """The centre, the four corners and the middles of the four sides; a middle is where that of `centre_crop` is."""
    _refuse_small(height, width, crop)
    tops, lefts = ((0, margin // 2, margin) for margin in (height - crop, width - crop))
    return [View(top, left, crop, crop) for top in tops for left in lefts]


def squares(height: int, width: int) -> list[View]:
    """The largest squares at both ends and in the middle: left, centre and right; or top, centre and bottom."""
    side = min(height, width)
    margins = (0, (max(height, width) - side) // 2, max(height, width) - side)
    return [View(margin, 0, side, side) if height > width else View(0, margin, side, side) for margin in margins]


def corners_and_centre(square: View, crop: int) -> list[View]:
    """The four corners of a part of a picture, and its centre."""
    inside = thirds(square.height, square.width, crop)
    return [replace(view, top=square.top + view.top, left=square.left + view.left) for view in inside[::2]]


def corners_and_centre_of_square(height: int, width: int, crop: int) -> list[View]:
    """The corners and the centre of the central square.

    Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks", sections 2, 4.1.
    """
    return corners_and_centre(squares(height, width)[1], crop)


def shifted(height: int, width: int, crop: int) -> list[View]:
    """The crop in the middle, twice, and moved by a pixel up and to the left, and down and to the right.

    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3.5.
    """
    middle = centre_crop(height, width, crop)
    moved = [replace(middle, top=middle.top + by, left=middle.left + by, over_edge=True) for by in (-1, 1)]
    return [middle, middle, *moved]


def nine_at_two_sizes(height: int, width: int, crop: int) -> list[View]:
    """Three by three crops, and three by three windows larger by a sixth that are resized to the crop.

    Source: nagadomi 2014, "kaggle-cifar10-torch7": with their mirror images 36 views of 24 px of a picture of 32 px.
    """
    larger = grid(height, width, round(crop * 7 / 6), 3)
    return [*grid(height, width, crop, 3), *(replace(view, side=crop) for view in larger)]


def random_crop(height: int, width: int, crop: int, generator: np.random.Generator) -> View:
    """A square of side `crop`, every place equally likely, mirrored or not by a fair coin. Source: section 3.1."""
    _refuse_small(height, width, crop)
    top = int(generator.integers(height - crop, endpoint=True))
    left = int(generator.integers(width - crop, endpoint=True))
    return View(top, left, crop, crop, mirrored=bool(generator.integers(2)))


def random_resized_crop(
    height: int,
    width: int,
    generator: np.random.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> View:
    """A rectangle of random area and aspect, mirrored or not by a fair coin, to be resized to the net's crop.

    Args:
        height: of the picture as it was decoded, px.
        width: of the same.
        generator: what to draw from.
        area: least and greatest share of the picture.
        aspect: least and greatest width over height, drawn on a logarithmic scale.

    Source: Szegedy et al. 2015, "Going deeper with convolutions", section 6.
    """
    mirrored = bool(generator.integers(2))
    for _ in range(10):
        pixels = generator.uniform(*area) * height * width
        ratio = math.exp(generator.uniform(math.log(aspect[0]), math.log(aspect[1])))
        window_height, window_width = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 0 < window_height <= height and 0 < window_width <= width:
            top = int(generator.integers(height - window_height, endpoint=True))
            left = int(generator.integers(width - window_width, endpoint=True))
            return View(top, left, window_height, window_width, mirrored)
    # A very long picture: the largest rectangle in its middle whose aspect is allowed.
    window_height = min(height, max(1, round(width / aspect[0])))
    window_width = min(width, max(1, round(height * aspect[1])))
    return View((height - window_height) // 2, (width - window_width) // 2, window_height, window_width, mirrored)


def _refuse_small(height: int, width: int, crop: int) -> None:
    if min(height, width) < crop:
        raise PictureError(f"a picture of {width}x{height} px holds no crop of {crop} px; rescale it to {crop} or more")
