"""Boxes in XML, as ILSVRC and PASCAL VOC write them. Entities and external references are refused, never resolved."""

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from jaxtyping import Float64

from verydeep.data.boxes import from_inclusive
from verydeep.data.lines import unreadable
from verydeep.data.paths import printable
from verydeep.errors import DatasetError

CORNERS = ("xmin", "ymin", "xmax", "ymax")  # of the first and the last pixel of a box
LONGEST = 10**6  # px that a side of a picture may have


@dataclass(frozen=True, eq=False)
class Annotation:
    """What is written down about the things in a picture, as it is written.

    Attributes:
        size: height and width of the picture that was looked at, px; None where they are not said, or no picture's.
        names: wnid or name of each thing.
        boxes: of each, continuous; corners may be swapped, and outside of the picture.
    """

    size: tuple[int, int] | None
    names: tuple[str, ...]
    boxes: Float64[np.ndarray, "m 4"]


def read_box_xml(path: Path, first: int = 0) -> Annotation:
    """The things that a file names, with their boxes.

    Args:
        path: of the file.
        first: number of the first pixel of a row or column: 0 in ILSVRC's files, 1 in VOC's.

    Raises:
        DatasetError: the file cannot be read, is no such XML, or refers to something outside of it.
    """
    try:
        root = fromstring(path.read_bytes(), forbid_dtd=True)
    except DefusedXmlException:
        raise _damaged(path, "defines entities, or refers to other files, which are never followed") from None
    except (ParseError, ValueError, LookupError) as error:  # of what is no XML, or in an unknown encoding
        raise _damaged(path, f"is no XML ({error})") from None
    except OSError as error:
        raise unreadable(path, error) from None
    things = root.findall("object")
    boxes = [[_number(path, thing, f"bndbox/{corner}") for corner in CORNERS] for thing in things]
    size = [_number(path, root, f"size/{side}") if root.find(f"size/{side}") is not None else 0.0
            for side in ("height", "width")]  # fmt: skip
    return Annotation(
        size=(int(size[0]), int(size[1])) if 1 <= min(size) and max(size) <= LONGEST else None,
        names=tuple((thing.findtext("name") or "").strip() for thing in things),
        boxes=from_inclusive(np.array(boxes, np.float64).reshape(-1, 4), first),
    )


def _number(path: Path, element: Element, key: str) -> float:
    text = element.findtext(key)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _damaged(path, f"has no number at {key}")
    return value


def _damaged(path: Path, reason: str) -> DatasetError:
    return DatasetError(f"{printable(str(path))}: {reason}; remove it or copy it again")
