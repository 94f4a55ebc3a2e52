"""What every data set is: named pictures with labels, whatever they are read from."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, Int64, UInt8

from verydeep.data.paths import Paths, printable
from verydeep.errors import DatasetError, PictureError
from verydeep.pictures.decode import MAX_MEGAPIXELS, decode, read_size
from verydeep.pictures.jpeg import Rows

UNLABELLED = -1
HEADER = 65_536  # bytes in which the size of nearly every picture stands


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset(ABC):
    """One split of a data set, never written to.

    Attributes:
        kind: name of the format, such as "ilsvrc".
        root: what was opened.
        split: the split's own name in that format.
        classes: keys (wnids or names) in the order of the labels.
        names: what people call them, by key.
        images: a unique and stable name for each picture: its path inside `root` with "/", or file and number.
        labels: indices into `classes`, `UNLABELLED` where there is no label.
        orientation: whether the EXIF orientation of a file is applied or ignored.
        max_megapixels: pictures beyond it are refused unread.
        remarks: what a reader of the figures should know, one line each, such as files that were left out.
    """

    kind: str
    root: Path
    split: str
    classes: tuple[str, ...]
    names: Mapping[str, str]
    images: Sequence[str]
    labels: Int64[np.ndarray, " n"]
    orientation: Literal["apply", "ignore"] = "apply"
    max_megapixels: float = MAX_MEGAPIXELS
    remarks: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.images)

    @abstractmethod
    def picture(
        self, index: int, at_least: int | None = None, fast: bool = False, rows: Rows | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The decoded picture.

        Args:
            index: of the picture.
            at_least: a JPEG may be decoded at a smaller scale as long as its smallest side keeps so many pixels. For
                training only: every protocol tests on the whole picture.
            fast: the colours of a JPEG may stay at the resolution that they are stored at. For training only.
            rows: from height and width, how many rows from the top are needed; called only where that saves work, and
                then the rows below may hold anything. For training only.

        Raises:
            PictureError: it cannot be read, decoded, or is too large.
        """

    @abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the picture, without decoding it."""

    def content(self, index: int) -> bytes:
        """A hash of the picture: equal where two are the same, whatever they are called.

        Raises:
            PictureError: it cannot be read.
        """
        picture = self.picture(index)
        return hashlib.sha256(str(picture.shape).encode() + picture.tobytes()).digest()

    def subset(self, indices: Sequence[int] | Int[np.ndarray, " k"]) -> "Dataset":
        """The pictures at these indices, in their order, under the same classes."""
        return replace(self, **self._part(np.asarray(indices, np.int64).reshape(-1)))

    def only(self, classes: Sequence[str]) -> "Dataset":
        """The pictures of these classes alone, which become its classes, in this order; pictures without a label go.

        Raises:
            DatasetError: one of them is not a class of this data set.
        """
        missing = sorted(set(classes) - set(self.classes))
        if missing:
            raise DatasetError(f"{self.root}: has no class {missing[0]} in split {self.split}; choose among its own")
        new = np.full(len(self.classes) + 1, UNLABELLED, np.int64)  # the last stands for pictures without a label
        new[[self.classes.index(key) for key in classes]] = np.arange(len(classes))
        part = self.subset(np.flatnonzero(new[self.labels] != UNLABELLED))
        return replace(part, classes=tuple(classes), labels=new[part.labels])

    def fingerprint(self) -> str:
        """A hash of kind, split, classes, image names and labels: equal where two data sets would train alike."""
        sha = hashlib.sha256()
        for part in (self.kind, self.split, *self.classes):
            sha.update(os.fsencode(part) + b"\n")
        for start in range(0, len(self), 10_000):
            sha.update(b"\0")
            sha.update(b"\0".join(map(os.fsencode, self.images[start : start + 10_000])))
        sha.update(b"\0\0" + self.labels.astype("<i8").tobytes())
        return sha.hexdigest()

    def _part(self, chosen: Int64[np.ndarray, " k"]) -> dict[str, Any]:
        """The fields that hold something for each picture, at these indices."""
        indices: list[int] = chosen.tolist()
        images: Sequence[str]
        if isinstance(self.images, Paths):
            images = self.images.take(indices)
        else:
            images = tuple(self.images[index] for index in indices)
        return {"images": images, "labels": self.labels[chosen]}


class PictureFiles(Dataset):
    """Pictures in files of their own, `images` being their paths inside `root`."""

    def inside(self, index: int) -> str:
        """The path of the picture's file inside `root`."""
        return self.images[index]

    def path(self, index: int) -> Path:
        """The picture's file."""
        return Path(self._file(index))

    def encoded(self, index: int) -> bytes:
        """The bytes of the picture's file."""
        return self._read(index, -1)

    def content(self, index: int) -> bytes:
        """A hash of the file's bytes: see `Dataset.content`."""
        return hashlib.sha256(self.encoded(index)).digest()

    def picture(
        self, index: int, at_least: int | None = None, fast: bool = False, rows: Rows | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The decoded picture: see `Dataset.picture`."""
        return decode(
            self.encoded(index),
            name=self._shown(index),
            orientation=self.orientation,
            max_megapixels=self.max_megapixels,
            at_least=at_least,
            fast=fast,
            rows=rows,
        )

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the picture as decoded, from the file's header."""
        for limit in (HEADER, -1):  # -1: the whole file, where a long profile or thumbnail stands before the size
            header = self._read(index, limit)
            try:
                return read_size(
                    header,
                    name=self._shown(index),
                    orientation=self.orientation,
                    max_megapixels=self.max_megapixels,
                )
            except PictureError:
                if limit == -1 or len(header) < limit:
                    raise
        raise AssertionError("unreachable")

    def _read(self, index: int, limit: int) -> bytes:
        try:
            with open(self._file(index), "rb", buffering=0) as file:  # noqa: PTH123 - a name, no Path
                return file.read(limit)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise PictureError(f"{self._shown(index)}: cannot be read ({reason}); remove it or copy it again") from None

    def _shown(self, index: int) -> str:
        return printable(self._file(index))

    def _file(self, index: int) -> str:
        return os.path.join(self.root, self.inside(index))  # noqa: PTH118 - a fifth of the time that pathlib takes


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureArray(Dataset):
    """Small pictures of one size, all in memory."""

    pixels: UInt8[np.ndarray, "n h w 3"]

    def picture(
        self, index: int, at_least: int | None = None, fast: bool = False, rows: Rows | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The picture, a view of the array: see `Dataset.picture`."""
        picture: UInt8[np.ndarray, "h w 3"] = self.pixels[index]
        return picture

    def size(self, index: int) -> tuple[int, int]:
        """Height and width, the same for all."""
        height, width = self.pixels.shape[1:3]
        return height, width

    def _part(self, chosen: Int64[np.ndarray, " k"]) -> dict[str, Any]:
        return super()._part(chosen) | {"pixels": self.pixels[chosen]}
