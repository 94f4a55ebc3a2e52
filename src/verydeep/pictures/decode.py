"""Encoded bytes → a picture, whatever the format; every failure is one PictureError that names the picture."""

import io
from collections.abc import Callable
from typing import Literal

import numpy as np
import simplejpeg
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

MAX_MEGAPIXELS = 250.0  # more is taken for a decompression bomb
Orientation = Literal["apply", "ignore"]


def decode(
    encoded: bytes,
    *,
    name: str = "picture",
    orientation: Orientation = "apply",
    max_megapixels: float = MAX_MEGAPIXELS,
    at_least: int | None = None,
    fast: bool = False,
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in `encoded`, RGB, whatever its name says it is: the format is found from the content.

    Grey becomes three equal channels, 16 bits their upper 8, transparency is laid on white; of several frames comes
    the first; colour profiles are ignored.

    Args:
        encoded: the bytes of a JPEG, PNG, WebP, GIF, BMP, TIFF or (by the extra `heic`) HEIC file.
        name: what errors call the picture.
        orientation: whether the EXIF orientation turns the picture. HEIC always comes upright.
        max_megapixels: more are refused from the header alone, before memory is taken for them.
        at_least: allows a JPEG to be decoded at a half, a quarter or an eighth of its size, as long as its smallest
            side stays this long, px. For training only.
        fast: allows a JPEG coarser arithmetic. For training only: docs/decisions/003-training-may-decode-coarsely.md.

    Raises:
        PictureError: whatever is wrong with the bytes.
    """
    if encoded[:2] == JPEG_START:
        height, width, colours = _jpeg_size(encoded, name)
        _refuse_bomb(height, width, max_megapixels, name)
        if colours not in ("CMYK", "YCCK"):
            divisor = 1 if at_least is None else _divisor(min(height, width), at_least)
            picture = _decode_jpeg(encoded, name, -(-height // divisor), -(-width // divisor), fast)
            if picture is not None:
                turn = _jpeg_orientation(encoded) if orientation == "apply" else 1
                return np.ascontiguousarray(TURNS[turn](picture))
    image = _open(encoded, name)
    _refuse_bomb(image.height, image.width, max_megapixels, name)
    try:
        image.load()
        turn = _orientation(image) if orientation == "apply" else 1
        return np.ascontiguousarray(TURNS[turn](_as_rgb(image)))
    except PictureError:
        raise
    except Exception as error:
        raise _cannot_be_decoded(name, error) from None


def read_size(
    encoded: bytes, *, name: str = "picture", orientation: Orientation = "apply", max_megapixels: float = MAX_MEGAPIXELS
) -> tuple[int, int]:
    """Height and width that the decoded picture has, from the header only."""
    if encoded[:2] == JPEG_START:
        height, width, _ = _jpeg_size(encoded, name)
        turn = _jpeg_orientation(encoded) if orientation == "apply" else 1
    else:
        image = _open(encoded, name)
        height, width = image.height, image.width
        turn = _orientation(image) if orientation == "apply" else 1
    _refuse_bomb(height, width, max_megapixels, name)
    return (width, height) if turn >= 5 else (height, width)


JPEG_START = b"\xff\xd8"
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation → what sets the picture upright
    1: lambda picture: picture,
    2: lambda picture: picture[:, ::-1],
    3: lambda picture: picture[::-1, ::-1],
    4: lambda picture: picture[::-1],
    5: lambda picture: picture.swapaxes(0, 1),
    6: lambda picture: picture.swapaxes(0, 1)[:, ::-1],
    7: lambda picture: picture.swapaxes(0, 1)[::-1, ::-1],
    8: lambda picture: picture.swapaxes(0, 1)[::-1],
}


def _jpeg_size(encoded: bytes, name: str) -> tuple[int, int, str]:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    except ValueError as error:
        raise _cannot_be_decoded(name, error) from None
    return height, width, colours


def _divisor(smallest_side: int, at_least: int) -> int:
    """The largest of 8, 4, 2, 1 that leaves `at_least`; scales between these take longer to decode, not shorter."""
    return next((divisor for divisor in (8, 4, 2) if -(-smallest_side // divisor) >= at_least), 1)


def _decode_jpeg(encoded: bytes, name: str, height: int, width: int, fast: bool) -> np.ndarray | None:
    """Pixels at the scale that gives this size, or None for the few harmless oddities that only Pillow forgives."""
    try:
        picture: np.ndarray = simplejpeg.decode_jpeg(
            encoded, min_height=height, min_width=width, fastdct=fast, fastupsample=fast, strict=True
        )
        return picture
    except ValueError as error:
        if "extraneous bytes" in str(error):
            return None
        raise _cannot_be_decoded(name, error) from None


def _jpeg_orientation(encoded: bytes) -> int:
    # Opening takes longer than the search, and pictures of data sets mostly have no EXIF.
    if b"Exif\0\0" not in encoded and b"tiff:Orientation" not in encoded:
        return 1
    try:
        return _orientation(JpegImagePlugin.JpegImageFile(io.BytesIO(encoded)))
    except Exception:  # a damaged EXIF block says nothing
        return 1


def _orientation(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block says nothing
        return 1
    return turn if turn in TURNS else 1


def _open(encoded: bytes, name: str) -> ImageFile.ImageFile:
    """The picture with its header read, but no pixels; not by `Image.open`, whose limit on size is a global."""
    for starts, opener in OPENERS:
        if any(encoded.startswith(start, offset) for offset, start in starts):
            try:
                return opener(io.BytesIO(encoded))
            except PictureError:
                raise
            except ImportError:
                raise PictureError(f"{name}: is HEIC; pip install 'verydeep[heic]' to read it") from None
            except Exception as error:  # Pillow's readers raise whatever the damage leads them to
                raise _cannot_be_decoded(name, error) from None
    what = "is empty" if not encoded else "is of no known format (JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC)"
    raise PictureError(f"{name}: {what}; remove it or save it as JPEG or PNG")


def _open_heic(file: io.BytesIO) -> ImageFile.ImageFile:
    from pillow_heif import HeifImageFile

    opener: Callable[[io.BytesIO], ImageFile.ImageFile] = HeifImageFile  # it has no types
    return opener(file)


OPENERS: tuple[tuple[tuple[tuple[int, bytes], ...], Callable[[io.BytesIO], ImageFile.ImageFile]], ...] = (
    (((0, JPEG_START),), JpegImagePlugin.JpegImageFile),
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


def _refuse_bomb(height: int, width: int, max_megapixels: float, name: str) -> None:
    if height * width > max_megapixels * 1e6:
        megapixels = f"{width}x{height} are {height * width / 1e6:.0f} megapixels"
        raise PictureError(f"{name}: {megapixels}, the limit is {max_megapixels:g}; raise max_megapixels or remove it")


def _cannot_be_decoded(name: str, error: Exception) -> PictureError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return PictureError(f"{name}: cannot be decoded ({reason}); remove it or copy it again")
