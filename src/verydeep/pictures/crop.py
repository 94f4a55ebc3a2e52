"""A view of a picture: of the rescaled one, as in every test, or of the window that it was, in training only."""

import numpy as np
from jaxtyping import Int, UInt8

from verydeep.pictures.resize import as_tensor, rescaled_size, resize
from verydeep.pictures.views import View


def take(picture: UInt8[np.ndarray, "h w 3"], view: View) -> UInt8[np.ndarray, "{view.shape[0]} {view.shape[1]} 3"]:
    """The view's window of the picture, resized where the view says so; not a copy unless resized or mirrored."""
    height, width, _ = picture.shape
    if view.over_edge:
        rows = reflected(np.arange(view.top, view.top + view.height), height)
        columns = reflected(np.arange(view.left, view.left + view.width), width)
        window = picture[rows[:, None], columns]
    else:
        window = picture[view.top : view.top + view.height, view.left : view.left + view.width]
    window = resize(window, *view.shape)
    return _mirror(window) if view.mirrored else window


def reflected(places: Int[np.ndarray, "*places"], side: int) -> Int[np.ndarray, "*places"]:
    """Places along a side of so many pixels, those beyond its ends mirrored at the first or the last pixel."""
    return (side - 1) - np.abs((side - 1) - np.abs(places))


def source_window(height: int, width: int, smallest_side: int, view: View, side: int | None = None) -> View:
    """The window of a picture as decoded that a view of it rescaled shows, its ends at the nearest whole pixels.

    Taken and resized to the view's side it gives nearly what `take(rescale(picture, smallest_side), view)` gives, from
    that part of the picture alone, which lies up to half a pixel beside the true one: for training only. Decision:
    docs/decisions/003-training-may-decode-coarsely.md.

    Args:
        height: of the picture as decoded, px.
        width: of the same.
        smallest_side: of the rescaled picture that the view belongs to, px.
        view: in the rescaled picture's pixels.
        side: of the square that the window is to be resized to, px.
    """
    rescaled_height, rescaled_width = rescaled_size(height, width, smallest_side)
    top, bottom = _scaled(view.top, view.top + view.height, height, rescaled_height)
    left, right = _scaled(view.left, view.left + view.width, width, rescaled_width)
    return View(top, left, bottom - top, right - left, view.mirrored, side)


def _mirror(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return as_tensor(picture).flip(1).numpy()  # a fourth of the time that numpy takes


def _scaled(start: int, stop: int, side: int, rescaled_side: int) -> tuple[int, int]:
    """The nearest whole pixels, at least one of them, of a side that was `rescaled_side` long in the view's eyes."""
    first = min((2 * start * side + rescaled_side) // (2 * rescaled_side), side - 1)
    last = min((2 * stop * side + rescaled_side) // (2 * rescaled_side), side)
    return first, max(last, first + 1)
