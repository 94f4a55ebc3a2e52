"""JPEG → pixels, with the short cuts that training may take: docs/decisions/003-training-may-decode-coarsely.md."""

import re
from collections.abc import Callable

import numpy as np
import simplejpeg

START = b"\xff\xd8"
CMYK = ("CMYK", "YCCK")
# What libjpeg reports before it goes on with grey or shifted pixels; Pillow lets all but the first pass.
DAMAGE = re.compile("premature end|corrupt|inconsistent progression", re.IGNORECASE)
SKIPPED = re.compile("([0-9]+) extraneous bytes before marker 0x(..)")
LOWER_PART = re.compile("extraneous bytes before marker 0xd[0-79]")  # a restart or the end: not before the pixels
Rows = Callable[[int, int], int]


class JPEGDamage(Exception):
    """What libjpeg says of a file whose pixels are not all what they should be."""


def read_header(encoded: bytes) -> tuple[int, int, str] | None:
    """Height, width and colours, or None for a form that simplejpeg does not know."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    except Exception:  # mostly ValueError, but a damaged header was seen to give a KeyError
        return None
    return height, width, colours


def decode_jpeg(
    encoded: bytes, header: tuple[int, int, str], at_least: int | None, fast: bool, rows: Rows | None
) -> np.ndarray | None:
    """The pixels as they lie in the file, or None where Pillow is to try: CMYK, rare forms, harmless blemishes.

    Where few rows are needed libjpeg is told that the picture is no higher, and leaves it at that; the array has the
    whole picture's shape all the same, and below those rows whatever the memory held.

    Args:
        encoded: the bytes of the file.
        header: of the file.
        at_least: what the smallest side may be reduced to, px.
        fast: whether colours stay at the resolution that they are stored at.
        rows: from height and width, how many rows from the top are needed.

    Raises:
        JPEGDamage: pixels are missing or wrong.
    """
    height, width, colours = header
    divisor = 1 if at_least is None else _divisor(min(height, width), at_least)
    scaled_height, scaled_width = -(-height // divisor), -(-width // divisor)
    needed = height
    if rows is not None and colours not in CMYK and (place := _place_of_height(encoded)) is not None:
        # Interpolated colours reach two rows further.
        needed = min(height, (rows(scaled_height, scaled_width) + 2) * divisor)
        encoded = b"".join((encoded[:place], needed.to_bytes(2, "big"), memoryview(encoded)[place + 2 :]))
    picture = np.empty((scaled_height, scaled_width, 4 if colours in CMYK else 3), np.uint8)
    try:
        simplejpeg.decode_jpeg(
            encoded,
            colorspace="CMYK" if colours in CMYK else "RGB",
            fastupsample=fast,
            min_height=-(-needed // divisor),
            min_width=scaled_width,
            buffer=picture,
        )
    except Exception as error:
        if needed < height and LOWER_PART.search(str(error)):
            return picture
        if DAMAGE.search(str(error)) and not _is_padding(encoded, str(error)):
            raise JPEGDamage(str(error)) from None
        return None
    return None if colours in CMYK else picture


def _divisor(smallest_side: int, at_least: int) -> int:
    """The largest of 8, 4, 2, 1 that leaves `at_least`; scales between these take longer to decode, not shorter."""
    return next((divisor for divisor in (8, 4, 2) if -(-smallest_side // divisor) >= at_least), 1)


def _place_of_height(encoded: bytes) -> int | None:
    """Where a JPEG that is coded from top to bottom in one scan says its height. Source: ITU-T T.81, annex B."""
    at, height, components = 2, None, 0
    while at + 10 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker in (0xC0, 0xC1):  # a frame, sequential, in Huffman's code
            height, components = at + 5, encoded[at + 9]
        if marker == 0xDA:  # the first scan
            return height if encoded[at + 4] == components else None
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None


def _is_padding(encoded: bytes, warning: str) -> bool:
    """Whether the bytes that libjpeg skipped are zeros before the end of the picture, as some cameras write them."""
    skipped = SKIPPED.search(warning)
    if skipped is None:
        return False
    if skipped[2] != "d9":
        return True  # between segments: no pixels are lost
    return encoded[: encoded.rfind(b"\xff\xd9")].endswith(bytes(int(skipped[1])))
