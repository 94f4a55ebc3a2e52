"""Where the boxes of a data set's pictures stand, and which of them are good.

Only boxes of a picture's own class are taken. Decision: docs/decisions/101-which-boxes-count.md.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int, Int64

from verydeep.data.box_xml import Annotation, read_box_xml
from verydeep.data.boxes import areas, clip, from_inclusive, scale
from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.data.lines import read_lines
from verydeep.data.paths import printable
from verydeep.data.voc import ManyLabels
from verydeep.errors import DatasetError, PictureError

Bad = Literal["mend", "skip", "stop"]  # what is done about bad boxes
Read = Callable[[int], Annotation | None]  # index of a picture → what is written about it; None: nothing
TINY = (64, 64)  # px, of every picture of Tiny-ImageNet
FOLDERS = (  # where the XML of a split lies, beside the pictures or beside their folder
    "ILSVRC/Annotations/CLS-LOC/{split}", "Annotations/CLS-LOC/{split}", "Annotations/{split}", "bbox/{split}",
    "Annotations", "bbox",
)  # fmt: skip
EDGE = 1.0  # px by which ILSVRC's boxes may pass the far edges, where its annotators counted them from 1
CHUNK = 256  # pictures that a thread takes at a time


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong with the boxes of a picture.

    Attributes:
        image: name of the picture.
        kind: one of `KINDS`.
        reason: a line for a person.
    """

    image: str
    kind: str
    reason: str


KINDS: Mapping[str, str] = {
    "missing": "no XML",
    "damaged": "XML that cannot be read",
    "swapped": "corners swapped",
    "outside": "reaches out of the picture",
    "empty": "no area",
    "class": "a class that is not in the list",
    "other": "no box of the picture's class",
}


@dataclass(frozen=True, eq=False)
class Boxes:
    """The good boxes of the pictures of a data set, of each picture's own class.

    Attributes:
        values: all boxes, those of a picture together, in pixels of the picture that was annotated.
        starts: place in `values` of the first box of each picture, and the number of all boxes.
        sizes: height and width of each picture as annotated, px.
        troubles: what was met that is not good.
    """

    values: Float64[np.ndarray, "b 4"]
    starts: Int64[np.ndarray, " starts"]
    sizes: Int64[np.ndarray, "n 2"]
    troubles: tuple[Trouble, ...] = ()

    def __len__(self) -> int:
        return len(self.sizes)

    def of(self, index: int, size: tuple[int, int] | None = None) -> Float64[np.ndarray, "m 4"]:
        """The boxes of a picture in pixels of a copy of it of this height and width; None: as annotated."""
        boxes = self.values[self.starts[index] : self.starts[index + 1]]
        if size is None or size == tuple(self.sizes[index]):
            return boxes
        return scale(boxes, (int(self.sizes[index][0]), int(self.sizes[index][1])), size)

    @property
    def counts(self) -> Int64[np.ndarray, " n"]:
        """How many boxes each picture has."""
        return np.diff(self.starts)

    def subset(self, indices: Sequence[int] | Int[np.ndarray, " k"]) -> "Boxes":
        """Those of the pictures at these indices, in their order."""
        chosen = np.asarray(indices, np.int64).reshape(-1)
        values = [self.of(int(index)) for index in chosen]
        starts = np.concatenate([[0], np.cumsum(self.counts[chosen])]).astype(np.int64)
        return replace(
            self, values=np.concatenate([np.zeros((0, 4)), *values]), starts=starts, sizes=self.sizes[chosen]
        )

    def trouble(self) -> str:
        """How often each kind of trouble was met, in a line; empty where there was none."""
        counts = Counter(trouble.kind for trouble in self.troubles)
        return ", ".join(f"{KINDS[kind]}: {counts[kind]:,}" for kind in KINDS if counts[kind])


def read_boxes(
    data: Dataset, bad: Bad = "mend", threads: int = 2, progress: Callable[[int, int], None] | None = None
) -> Boxes:
    """The boxes of all pictures of a data set.

    Args:
        data: whose boxes stand in ILSVRC's or VOC's XML, or in Tiny-ImageNet's lists.
        bad: what becomes of a bad box: `mend` sorts its corners and cuts it to the picture, and leaves it out where
            nothing is left or its class is unknown; `skip` leaves it out; `stop` refuses the data set.
        threads: that read.
        progress: called with the pictures done and their number.

    Raises:
        DatasetError: the data set has no boxes; or a bad one, and `bad` is `stop`.
    """
    read = reader(data)
    if read is None:
        raise DatasetError(
            f"{data.root}: has no boxes; put an XML file for each picture under {data.root / 'Annotations'}, or open "
            "digits, tiny-imagenet, ILSVRC or VOC"
        )
    own = partial(own_boxes, data, read, labels_by_name(data), bad)

    def of(start: int) -> list[tuple[Float64[np.ndarray, "m 4"], tuple[int, int], list[Trouble]]]:
        return [own(index) for index in range(start, min(start + CHUNK, len(data)))]

    values, sizes, troubles = [np.zeros((0, 4))], np.zeros((len(data), 2), np.int64), []
    counts = np.zeros(len(data) + 1, np.int64)
    done = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="boxes") as pool:
        for chunk in pool.map(of, range(0, len(data), CHUNK)):
            for boxes, size, met in chunk:
                if met and bad == "stop":
                    raise DatasetError(f'{met[0].reason}; mend it, or write boxes.bad = "mend" or "skip"')
                values.append(boxes)
                sizes[done], counts[done + 1] = size, len(boxes)
                troubles += met
                done += 1
            if progress:
                progress(done, len(data))
    return Boxes(np.concatenate(values), np.cumsum(counts), sizes, tuple(troubles))


def own_boxes(
    data: Dataset, read: Read, labels: Mapping[str, int], bad: Bad, index: int
) -> tuple[Float64[np.ndarray, "m 4"], tuple[int, int], list[Trouble]]:
    """The good boxes of a picture that are of its class, the size that they belong to, and what was wrong."""
    image = printable(data.images[index])
    none = np.zeros((0, 4)), (1, 1)
    try:
        found = read(index)
        if found is None:
            return *none, [Trouble(image, "missing", f"{image}: has no boxes, its XML is missing")]
        size = found.size or data.size(index)
    except (DatasetError, PictureError) as error:
        return *none, [Trouble(image, "damaged", str(error))]
    good, troubles = [], []
    for number, (name, box) in enumerate(zip(found.names, found.boxes, strict=True), 1):
        mended, kinds = mend(box, size)
        label = labels.get(spoken(name))
        if label is None:
            kinds.append("class")
        corners = ", ".join(f"{corner:g}" for corner in box)
        troubles += [
            Trouble(image, kind, f"{image}: box {number} of {printable(name) or 'no name'} ({corners}): {KINDS[kind]}")
            for kind in kinds
        ]
        is_own = label is not None and label == data.labels[index] != UNLABELLED
        if is_own and not ("empty" in kinds or (kinds and bad == "skip")):
            good.append(mended)
    if not (good or troubles or data.labels[index] == UNLABELLED):
        troubles.append(Trouble(image, "other", f"{image}: has {KINDS['other']}"))
    return np.array(good, np.float64).reshape(-1, 4), size, troubles


def mend(box: Float64[np.ndarray, " 4"], size: tuple[int, int]) -> tuple[Float64[np.ndarray, " 4"], list[str]]:
    """A box with its corners sorted and cut to the picture of this height and width, and what was wrong with it.

    A box whose last pixel comes before its first is swapped; its corners are pixels, so both belong to it.
    """
    kinds = []
    pixels = box - [0, 0, 1, 1]
    ordered = np.concatenate([np.minimum(pixels[:2], pixels[2:]), np.maximum(pixels[:2], pixels[2:]) + 1])
    if (pixels[2:] < pixels[:2]).any():
        kinds.append("swapped")
    height, width = size
    if (ordered[:2] < 0).any() or ordered[2] > width + EDGE or ordered[3] > height + EDGE:
        kinds.append("outside")
    inside = clip(ordered[None], height, width)
    if not areas(inside)[0] > 0:
        kinds.append("empty")
    return inside[0], kinds


def labels_by_name(data: Dataset) -> Mapping[str, int]:
    """Labels by key and, where it is of one class only, by each name: some of ILSVRC's files have those."""
    names = [{spoken(name) for name in data.names.get(key, key).split(",")} for key in data.classes]
    several = Counter(name for each in names for name in each)
    once = {name: label for label, each in enumerate(names) for name in each if several[name] == 1}
    return once | {spoken(key): label for label, key in enumerate(data.classes)}


def spoken(name: str) -> str:
    """A name as it is compared: `Scottish_deerhound` is `scottish deerhound`."""
    return " ".join(name.replace("_", " ").lower().split())


def one_class_each(data: Dataset) -> Dataset:
    """Of VOC, whose pictures may show several classes, those that show one, under its label; else the same data set."""
    if not isinstance(data, ManyLabels):
        return data
    shows = data.presence == 1
    chosen = np.flatnonzero(shows.sum(axis=1) == 1)
    left_out = f"{len(data) - len(chosen):,} of {len(data):,} pictures do not show one class alone, and are left out"
    remarks = (*data.remarks, left_out) if len(chosen) < len(data) else data.remarks
    return replace(data.subset(chosen), labels=shows[chosen].argmax(axis=1), remarks=remarks)


def reader(data: Dataset) -> Read | None:
    """What reads the boxes of a data set's pictures; None where it has none."""
    if not (data.labels != UNLABELLED).any() or data.kind.startswith("cifar"):
        return None
    if data.kind == "tiny-imagenet":
        return partial(read_tiny, data)
    first = PurePosixPath(data.images[0])
    if "JPEGImages" in first.parts:
        return partial(read_voc, data)
    split = "" if data.split == "all" else data.split
    for base in (data.root, data.root.resolve().parent):
        for pattern in FOLDERS:
            folder = base / pattern.format(split=split)
            if folder.is_dir() and _has_xml(folder, first):
                return partial(read_beside, data, folder)
    return None


def read_voc(data: Dataset, index: int) -> Annotation | None:
    """What VOC says of a picture, in `Annotations/` beside its `JPEGImages/`; pixels are counted from 1."""
    parts = PurePosixPath(data.images[index]).parts
    place = len(parts) - 1 - parts[::-1].index("JPEGImages")
    path = data.root.joinpath(*parts[:place], "Annotations", *parts[place + 1 :]).with_suffix(".xml")
    return read_box_xml(path, first=1) if path.exists() else None


def read_beside(data: Dataset, folder: Path, index: int) -> Annotation | None:
    """What ILSVRC, or whoever writes such files, says of a picture, in `folder/CLASS/` or `folder/`."""
    return next((read_box_xml(path) for path in _xml(folder, PurePosixPath(data.images[index])) if path.exists()), None)


def read_tiny(data: Dataset, index: int) -> Annotation | None:
    """What Tiny-ImageNet says of a picture; it names no class, so the box is of the picture's own."""
    path = PurePosixPath(data.images[index])
    split, folder = path.parts[:2]
    name = "val_annotations.txt" if split == "val" else f"{folder}/{folder}_boxes.txt"
    box = tiny_boxes(data.root / split / name).get(path.name)
    key = data.classes[data.labels[index]]
    return None if box is None else Annotation(TINY, (key,), from_inclusive(np.array([box], np.float64)))


@cache
def tiny_boxes(file: Path) -> Mapping[str, tuple[float, ...]]:
    """The boxes of one of Tiny-ImageNet's lists, NAME …<tab>X0<tab>Y0<tab>X1<tab>Y1, by the picture's file name.

    Raises:
        DatasetError: a line has no box.
    """
    boxes = {}
    for number, line in enumerate(read_lines(file), 1):
        name, *columns = line.split("\t")
        try:
            x0, y0, x1, y1 = map(float, columns[-4:])
        except ValueError:
            raise DatasetError(f"{file}: line {number} has no box; copy the file again") from None
        boxes[name] = (x0, y0, x1, y1)
    return boxes


def _xml(folder: Path, image: PurePosixPath) -> Iterator[Path]:
    """Where the XML of a picture may lie: in the folder of its class, or where there is none in the folder itself."""
    name = f"{image.stem}.xml"
    inside = folder / image.parent.name
    yield inside / name if image.parent.name and inside.is_dir() else folder / name


def _has_xml(folder: Path, image: PurePosixPath) -> bool:
    """Whether a folder is of XML, and not one that only holds such folders."""
    inside = folder / image.parent.name if image.parent.name else folder
    return any(next(place.glob("*.xml"), None) is not None for place in {inside, folder} if place.is_dir())
