"""The one resize of verydeep: bilinear, anti-aliased. Decision: docs/decisions/002-one-resize.md."""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional

from verydeep.errors import PictureError
from verydeep.pictures.decode import MAX_MEGAPIXELS


def rescale(picture: UInt8[np.ndarray, "h w 3"], smallest_side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The whole picture with its smallest side made `smallest_side` px long. Source: section 3.1 (S), 3.2 (Q)."""
    height, width, _ = picture.shape
    return resize(picture, *rescaled_size(height, width, smallest_side))


def rescaled_size(height: int, width: int, smallest_side: int) -> tuple[int, int]:
    """Height and width after rescaling, px; the longer side is rounded, halves up.

    Raises:
        PictureError: if that is more than a decompression bomb's worth, as for a picture one pixel high.
    """
    short, long = sorted((height, width))
    longest_side = (2 * long * smallest_side + short) // (2 * short)  # floor(long * smallest_side / short + 0.5)
    if smallest_side * longest_side > MAX_MEGAPIXELS * 1e6:
        sizes = f"{width}x{height} px would become {smallest_side} px by {longest_side} px"
        raise PictureError(f"a picture of {sizes}; remove it")
    return (smallest_side, longest_side) if height <= width else (longest_side, smallest_side)


def resize(picture: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """The picture at another size, by a triangle filter as wide as what an output pixel covers."""
    if picture.shape[:2] == (height, width):
        return picture
    pixels = as_tensor(picture)[None].permute(0, 3, 1, 2)  # n 3 h w; only so does torch see channels_last memory
    resized = functional.interpolate(pixels, (height, width), mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1)[0].numpy()


def as_tensor(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[Tensor, "h w 3"]:
    """The picture for torch, which takes no window of another and nothing read-only without complaint: a copy then."""
    return torch.from_numpy(picture if picture.flags.c_contiguous and picture.flags.writeable else picture.copy())
