"""Every picture of a data set decoded once: which are bad, what kinds and sizes there are, and which boxes are bad."""

import io
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from verydeep.data.annotations import one_class_each, read_boxes, reader
from verydeep.data.dataset import UNLABELLED, Dataset, PictureFiles
from verydeep.data.paths import printable
from verydeep.errors import PictureError
from verydeep.pictures.decode import OPENERS

CHUNK = 64  # pictures that a thread takes at a time
SMALLEST = 5  # pictures that are named for their short side
SUFFIXES = {  # of the formats that people name wrongly
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "BMP": {".bmp"},
    "TIFF": {".tif", ".tiff"},
    "HEIF": {".heic", ".heif"},
}


@dataclass
class Check:
    """What became of the pictures of one split.

    Attributes:
        data: what was opened.
        split: of it.
        orientation: whether EXIF orientation is applied or ignored.
        images: pictures, good and bad.
        bad: image and reason, of every picture that cannot be read.
        misnamed: pictures whose suffix says another format than their content; they are read all the same.
        formats: pictures by format.
        modes: pictures by Pillow's mode: L is grey, P has a palette.
        sizes: pictures by height and width as decoded.
        smallest: short side and name of the smallest.
        per_class: fewest and most pictures of a class.
        unlabelled: pictures without a label.
        boxes: good boxes of the pictures' own classes; None where the data set has none.
        bad_boxes: image and reason, of everything that is wrong with boxes.
        without_boxes: pictures of ILSVRC's training split that nobody drew boxes for, which is as it should be.
        remarks: the data set's own.
    """

    data: str
    split: str
    orientation: str
    images: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    misnamed: list[str] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    smallest: list[tuple[int, str]] = field(default_factory=list)
    per_class: tuple[int, int] = (0, 0)
    unlabelled: int = 0
    boxes: int | None = None
    bad_boxes: list[tuple[str, str]] = field(default_factory=list)
    without_boxes: int = 0
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The report for a person, the bad pictures first, each on a line."""
        heights, widths = zip(*self.sizes, strict=True) if self.sizes else ((0,), (0,))
        lines = [f"bad: {reason}" for _, reason in self.bad]
        lines += [f"bad box: {reason}" for _, reason in self.bad_boxes]
        lines += [f"another format than its name says, but read: {name}" for name in self.misnamed]
        lines += self.remarks
        lines += [
            f"{self.data}, {self.split}: {self.images} pictures, {len(self.bad)} bad, "
            f"{self.unlabelled} without a label",
            f"pictures of a class: {self.per_class[0]} to {self.per_class[1]}",
            f"EXIF orientation: {'applied' if self.orientation == 'apply' else 'ignored'}",
            f"formats: {_counts(self.formats)}",
            f"modes: {_counts(self.modes)}",
            f"sizes: {len(self.sizes)}, width {min(widths)} to {max(widths)}, height {min(heights)} to {max(heights)}, "
            f"most often {', '.join(f'{w}x{h} ({n})' for (h, w), n in self.sizes.most_common(3))}",
            f"shortest sides: {', '.join(f'{side} px {name}' for side, name in self.smallest)}",
        ]
        if self.boxes is not None:
            without = f"; {self.without_boxes:,} pictures have none" if self.without_boxes else ""
            lines.append(f"boxes: {self.boxes:,} good ones, {len(self.bad_boxes)} bad{without}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON; sizes as height, width, pictures, the most frequent first."""
        return vars(self) | {
            "bad": [{"image": image, "reason": reason} for image, reason in self.bad],
            "bad_boxes": [{"image": image, "reason": reason} for image, reason in self.bad_boxes],
            "sizes": [[*size, count] for size, count in self.sizes.most_common()],
        }


def check(dataset: Dataset, threads: int = 2, progress: Callable[[int, int], None] | None = None) -> Check:
    """Decode every picture and say what was met.

    Args:
        dataset: one split.
        threads: that decode.
        progress: called with the pictures done and their number.
    """
    counts = np.bincount(dataset.labels[dataset.labels != UNLABELLED], minlength=len(dataset.classes))
    result = Check(
        data=str(dataset.root),
        split=dataset.split,
        orientation=dataset.orientation,
        images=len(dataset),
        per_class=(int(counts.min(initial=len(dataset))), int(counts.max(initial=0))),
        unlabelled=int((dataset.labels == UNLABELLED).sum()),
        remarks=dataset.remarks,
    )

    def look_at(start: int) -> list["_Seen"]:
        return [_look(dataset, index) for index in range(start, min(start + CHUNK, len(dataset)))]

    check_boxes(result, dataset, threads)
    with ThreadPoolExecutor(threads, thread_name_prefix="check") as pool:
        for chunk in pool.map(look_at, range(0, len(dataset), CHUNK)):
            for seen in chunk:
                _count(result, seen)
            if progress:
                progress(result.sizes.total() + len(result.bad), len(dataset))
    return result


def check_boxes(result: Check, dataset: Dataset, threads: int) -> None:
    """Say what is wrong with the boxes of a data set that has any."""
    dataset = one_class_each(dataset)
    if reader(dataset) is None:
        return
    found = read_boxes(dataset, "skip", threads)
    usual = dataset.kind == "ilsvrc" and dataset.split == "train"
    bad = [trouble for trouble in found.troubles if trouble.kind != "missing" or not usual]
    result.boxes = len(found.values)
    result.bad_boxes = [(trouble.image, trouble.reason) for trouble in bad]
    result.without_boxes = len(found.troubles) - len(bad)


@dataclass(frozen=True)
class _Seen:
    name: str
    reason: str | None = None  # why it is bad
    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)


def _look(dataset: Dataset, index: int) -> _Seen:
    name = printable(dataset.images[index])
    try:
        height, width, _ = dataset.picture(index).shape
        if not isinstance(dataset, PictureFiles):
            return _Seen(name, None, "array", "RGB", (height, width))
        return _Seen(name, None, *_format(dataset.encoded(index)), (height, width))
    except PictureError as error:
        return _Seen(name, str(error))


def _format(encoded: bytes) -> tuple[str, str]:
    """Format and mode of a picture that has been decoded, as Pillow calls them."""
    for starts, opener in OPENERS:
        if any(encoded.startswith(start, offset) for offset, start in starts):
            with opener(io.BytesIO(encoded)) as image:
                return image.format or "", image.mode
    return "", ""


def _count(result: Check, seen: _Seen) -> None:
    if seen.reason is not None:
        result.bad.append((seen.name, seen.reason))
        return
    result.formats[seen.format] += 1
    result.modes[seen.mode] += 1
    result.sizes[seen.size] += 1
    if PurePath(seen.name).suffix.lower() not in SUFFIXES.get(seen.format, {PurePath(seen.name).suffix.lower()}):
        result.misnamed.append(f"{seen.name} ({seen.format})")
    result.smallest = sorted([*result.smallest, (min(seen.size), seen.name)])[:SMALLEST]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
