"""A file of another library's weights → tensors under our names. Its format is known by its bytes, not by its name."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.weights.caffe import read_caffe
from verydeep.weights.checkpoint import read_checkpoint
from verydeep.weights.files import FORMAT, read_metadata, read_tensors
from verydeep.weights.found import Found, check_names, reason
from verydeep.weights.keras import ARCHIVED, read_keras
from verydeep.weights.timm import from_timm
from verydeep.weights.torchvision import from_torchvision
from verydeep.weights.torchvision_googlenet import from_torchvision_googlenet

HDF5, ZIP, PICKLE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80"  # how their files begin
LAYOUTS = (from_torchvision, from_torchvision_googlenet, from_timm)


def read_weights(path: Path) -> Found:
    """The weights of a file of another library.

    Raises:
        WeightsError: it is missing, damaged, would run code, or is of no kind or net that is known here.
    """
    begin = first_bytes(path)
    if begin.startswith(HDF5):
        return read_keras(path)
    if begin.startswith(ZIP):
        return read_keras(path) if ARCHIVED in _entries(path) else by_layout(read_checkpoint(path), path)
    if begin.startswith(PICKLE):
        return by_layout(read_checkpoint(path), path)
    if is_safetensors(begin):
        return by_layout(read_tensors(path)[0], path)
    return read_caffe(path)


def by_layout(tensors: Mapping[str, Tensor], path: Path) -> Found:
    """Weights by the library whose names their layers bear.

    Raises:
        WeightsError: they are nobody's names that is known here.
    """
    check_names(tensors, str(path))
    for layout in LAYOUTS:
        found = layout(tensors, str(path))
        if found:
            return found
    names = ", ".join(list(tensors)[:3]) or "none"
    raise WeightsError(f"{path}: its names ({names}, …) are of no layout that is known here; see docs/weights.md")


def _entries(path: Path) -> list[str]:
    """The names in an archive.

    Raises:
        WeightsError: it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception as error:  # a damaged file may trip over anything
        raise WeightsError(f"{path}: is not a whole archive ({reason(error)}); copy it again") from None


def is_own(path: Path) -> bool:
    """Whether a file is one of ours, with a card.

    Raises:
        WeightsError: it is missing, or damaged.
    """
    return is_safetensors(first_bytes(path)) and FORMAT in read_metadata(path)


def is_safetensors(begin: bytes) -> bool:
    """Whether a file that begins so is taken for safetensors: the length of a header, and the header's brace."""
    return len(begin) > 8 and begin[8:9] == b"{"


def first_bytes(path: Path) -> bytes:
    """How a file begins.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise WeightsError(f"{path}: no such file of weights ({error.strerror})") from None
