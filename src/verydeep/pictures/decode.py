"""Encoded bytes → a picture, whatever the format; every failure is one PictureError that names the picture."""

import io
import math
import os
import re
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from verydeep.errors import PictureError
from verydeep.pictures.jpeg import START, JPEGDamage, Rows, decode_jpeg, read_header


def allowed_megapixels(said: str) -> float:
    """The number that `VERYDEEP_MAX_MEGAPIXELS` says, if it is one.

    Raises:
        PictureError: it is not.
    """
    try:
        limit = float(said)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise PictureError(f"VERYDEEP_MAX_MEGAPIXELS: {said!r} is not a number of megapixels; write such as 400")
    return limit


# More is taken for a decompression bomb. It belongs to a machine and its memory, not to an experiment, so it is the
# environment that sets it, for every command.
MAX_MEGAPIXELS = allowed_megapixels(os.environ.get("VERYDEEP_MAX_MEGAPIXELS", "250"))
Orientation = Literal["apply", "ignore"]


def decode(
    encoded: bytes,
    *,
    name: str = "picture",
    orientation: Orientation = "apply",
    max_megapixels: float = MAX_MEGAPIXELS,
    at_least: int | None = None,
    fast: bool = False,
    rows: Rows | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in `encoded`, RGB; its format is found from the content, whatever its name says.

    Grey becomes three equal channels, 16 bits their upper 8, transparency is laid on white; of several frames comes
    the first; colour profiles are ignored.

    Args:
        encoded: the bytes of a JPEG, PNG, WebP, GIF, BMP, TIFF or (by the extra `heic`) HEIC file.
        name: what errors call the picture.
        orientation: whether the EXIF orientation turns the picture. HEIC always comes upright.
        max_megapixels: more are refused from the header alone, before memory is taken for them; 250, or what the
            environment's VERYDEEP_MAX_MEGAPIXELS says.
        at_least: allows a JPEG to be decoded at a half, a quarter or an eighth of its size, as long as its smallest
            side stays this long, px. For training only.
        fast: leaves the colours of a JPEG at the lower resolution that most are stored at, instead of interpolating
            them. For training only: docs/decisions/003-training-may-decode-coarsely.md.
        rows: says, from the height and width that the picture will have, how many rows from the top will be looked at;
            those below may hold anything. It is called where it saves work, else not. For training only.

    Raises:
        PictureError: whatever is wrong with the bytes.
    """
    if encoded.startswith(START) and (header := read_header(encoded)):
        height, width, _ = header
        _check_size(height, width, max_megapixels, name)
        turn = _jpeg_turn(encoded) if orientation == "apply" else UPRIGHT
        try:
            picture = decode_jpeg(encoded, header, at_least, fast, rows if turn == UPRIGHT else None)
        except JPEGDamage as error:
            raise _cannot_be_decoded(name, error) from None
        if picture is not None:
            return _turned(picture, turn)
    image = _open(encoded, name, max_megapixels)
    try:
        image.load()
        return _turned(_as_rgb(image), _turn(image) if orientation == "apply" else UPRIGHT)
    except Exception as error:  # Pillow's readers raise whatever the damage leads them to
        raise _cannot_be_decoded(name, error) from None


def read_size(
    encoded: bytes, *, name: str = "picture", orientation: Orientation = "apply", max_megapixels: float = MAX_MEGAPIXELS
) -> tuple[int, int]:
    """Height and width that the decoded picture has, from the header only."""
    image = _open(encoded, name, max_megapixels)
    turn = _turn(image) if orientation == "apply" else UPRIGHT
    return (image.width, image.height) if turn >= 5 else (image.height, image.width)


UPRIGHT = 1
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation → what sets the picture upright
    UPRIGHT: lambda picture: picture,
    2: lambda picture: picture[:, ::-1],
    3: lambda picture: picture[::-1, ::-1],
    4: lambda picture: picture[::-1],
    5: lambda picture: picture.swapaxes(0, 1),
    6: lambda picture: picture.swapaxes(0, 1)[:, ::-1],
    7: lambda picture: picture.swapaxes(0, 1)[::-1, ::-1],
    8: lambda picture: picture.swapaxes(0, 1)[::-1],
}


def _turned(picture: np.ndarray, turn: int) -> np.ndarray:
    return np.ascontiguousarray(TURNS[turn](picture))


def _jpeg_turn(encoded: bytes) -> int:
    try:
        return _turn(JpegImagePlugin.JpegImageFile(io.BytesIO(encoded)))
    except Exception:  # what Pillow cannot open it cannot turn
        return UPRIGHT


def _turn(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(EXIF_ORIENTATION, UPRIGHT)
    except Exception:  # a damaged EXIF block says nothing
        return UPRIGHT
    return turn if turn in TURNS else UPRIGHT


EXIF_ORIENTATION = 0x0112
WEBP_CANVAS = re.compile(b"RIFF....WEBPVP8X........(...)(...)", re.DOTALL)  # width - 1, height - 1: RFC 9649


def _open(encoded: bytes, name: str, max_megapixels: float) -> ImageFile.ImageFile:
    """The picture with its header read, but no pixels; not by `Image.open`, whose limit on size is a global."""
    for starts, opener in OPENERS:
        if any(encoded.startswith(start, offset) for offset, start in starts):
            if webp := WEBP_CANVAS.match(encoded):  # opening a WebP takes memory for its pixels already
                width, height = (int.from_bytes(side, "little") + 1 for side in webp.groups())
                _check_size(height, width, max_megapixels, name)
            try:
                image = opener(io.BytesIO(encoded))
            except ModuleNotFoundError:
                raise PictureError(f"{name}: is HEIC; pip install 'verydeep[heic]' to read it") from None
            except Exception as error:  # Pillow's readers raise whatever the damage leads them to
                raise _cannot_be_decoded(name, error) from None
            _check_size(image.height, image.width, max_megapixels, name)
            return image
    what = "is of no known format (JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC)" if encoded else "is empty"
    raise PictureError(f"{name}: {what}; remove it or save it as JPEG or PNG")


def _open_heic(file: io.BytesIO) -> ImageFile.ImageFile:
    from pillow_heif import HeifImageFile

    opener: Callable[[io.BytesIO], ImageFile.ImageFile] = HeifImageFile  # it has no types
    return opener(file)


OPENERS: tuple[tuple[tuple[tuple[int, bytes], ...], Callable[[io.BytesIO], ImageFile.ImageFile]], ...] = (
    (((0, START),), JpegImagePlugin.JpegImageFile),
    (((0, b"\x89PNG\r\n\x1a\n"),), PngImagePlugin.PngImageFile),
    (((8, b"WEBP"),), WebPImagePlugin.WebPImageFile),
    (((0, b"GIF87a"), (0, b"GIF89a")), GifImagePlugin.GifImageFile),
    (((0, b"BM"),), BmpImagePlugin.BmpImageFile),
    (((0, b"II*\0"), (0, b"MM\0*")), TiffImagePlugin.TiffImageFile),
    (tuple((4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")), _open_heic),
)


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are 32-bit numbers of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
    return np.array(image.convert("RGB"))


def _check_size(height: int, width: int, max_megapixels: float, name: str) -> None:
    if min(height, width) < 1:
        raise PictureError(f"{name}: is {width}x{height} px, so has no pixels; remove it")
    if height * width > max_megapixels * 1e6:
        megapixels = f"{width}x{height} are {height * width / 1e6:.4g} megapixels"
        raise PictureError(
            f"{name}: {megapixels}, the limit is {max_megapixels:g}; remove it or set VERYDEEP_MAX_MEGAPIXELS"
        )


def _cannot_be_decoded(name: str, error: Exception) -> PictureError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return PictureError(f"{name}: cannot be decoded ({reason}); remove it or copy it again")
