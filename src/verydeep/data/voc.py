"""PASCAL VOC: pictures that show any number of classes, and persons that do any number of things.

The lists of ImageSets say of each picture and class 1 (it is there), -1 (it is not) or 0 (it is, but difficult to see).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, parse
from jaxtyping import Int64, UInt8

from verydeep.data.dataset import UNLABELLED, PictureFiles
from verydeep.data.lines import read_lines, unreadable
from verydeep.errors import DatasetError
from verydeep.pictures.decode import MAX_MEGAPIXELS
from verydeep.pictures.jpeg import Rows

FIRST_BY_AREA = 2010  # the year from which average precision is an area. Source: the development kits of VOC
OTHER = "other"  # of the actions, what is none of them: it is not scored, and its persons show no action
Region = Literal["image", "box"]


@dataclass(frozen=True, eq=False, kw_only=True)
class ManyLabels(PictureFiles):
    """Pictures each of which shows any number of classes; `labels` are none.

    Attributes:
        presence: of each class in each picture: 1, -1, or 0 where it is difficult to see.
        rule: of average precision, as the challenge's year has it.
    """

    presence: Int64[np.ndarray, "n k"]
    rule: Literal["11-point", "area"] = "area"

    def fingerprint(self) -> str:
        """As of any data set, with what each picture shows."""
        return hashlib.sha256(super().fingerprint().encode() + self.presence.astype("<i8").tobytes()).hexdigest()

    def _part(self, chosen: Int64[np.ndarray, " k"]) -> dict[str, Any]:
        return super()._part(chosen) | {"presence": self.presence[chosen]}


@dataclass(frozen=True, eq=False, kw_only=True)
class Persons(ManyLabels):
    """Persons in pictures, each shown as the whole picture or as what is in the person's box.

    Attributes:
        boxes: x0, y0, x1, y1 of each, the far sides not included, in whole pixels of the picture; None for the whole.
    """

    boxes: Int64[np.ndarray, "n 4"] | None

    def picture(
        self, index: int, at_least: int | None = None, fast: bool = False, rows: Rows | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The decoded picture, or the part of it in the box."""
        if self.boxes is None:
            return super().picture(index, at_least, fast, rows)
        picture = super().picture(index)
        x0, y0, x1, y1 = self._inside_of(index, *picture.shape[:2])
        return np.ascontiguousarray(picture[y0:y1, x0:x1])

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of that."""
        if self.boxes is None:
            return super().size(index)
        x0, y0, x1, y1 = self._inside_of(index, *super().size(index))
        return y1 - y0, x1 - x0

    def _inside_of(self, index: int, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of a box that is in the picture.

        Raises:
            DatasetError: there is none.
        """
        assert self.boxes is not None
        x0, y0, x1, y1 = self.boxes[index].tolist()
        if x0 >= width or y0 >= height:
            raise DatasetError(
                f"{self.root / self.inside(index)}: has {width} × {height} px, and the box of its object "
                f"{self.images[index].rpartition('#')[2]} begins beyond; copy picture and annotation again"
            )
        return x0, y0, min(x1, width), min(y1, height)

    def content(self, index: int) -> bytes:
        """A hash of file and box."""
        box = b"" if self.boxes is None else self.boxes[index].astype("<i8").tobytes()
        return hashlib.sha256(super().content(index) + box).digest()

    def inside(self, index: int) -> str:
        """The path of the picture's file; the name has the person's number behind it."""
        return self.images[index].rpartition("#")[0]

    def _part(self, chosen: Int64[np.ndarray, " k"]) -> dict[str, Any]:
        return super()._part(chosen) | {"boxes": None if self.boxes is None else self.boxes[chosen]}


def find_voc(root: Path) -> list[Path]:
    """The years' folders at a place: itself, or those in it, or in the VOCdevkit in it."""
    inside = [root, *sorted(root.glob("VOC[0-9]*")), *sorted(root.glob("VOCdevkit/VOC[0-9]*"))]
    return [folder for folder in inside if (folder / "ImageSets" / "Main").is_dir()]


def open_voc(root: Path, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS) -> ManyLabels:
    """The pictures of a split, "trainval" included, with what each shows of each class."""
    folder, lists, images, classes = _lists(root, "Main", split)
    presence = np.full((len(images), len(classes)), -1, np.int64)
    for place, name in enumerate(classes):
        path = lists / f"{name}_{split}.txt"
        for number, (image, label) in enumerate(_read(path, 2), 1):
            if number > len(images) or image != images[number - 1]:
                raise DatasetError(f"{path}: line {number} is of {image}, unlike that of {split}.txt; copy both again")
            presence[number - 1, place] = _label(path, number, label)
        if number != len(images):
            raise DatasetError(f"{path}: has {number} lines, {split}.txt has {len(images)}; copy both again")
    return ManyLabels(
        **_common(folder, "voc", split, classes, [f"JPEGImages/{image}.jpg" for image in images], max_megapixels),
        presence=presence,
        rule=rule_of(folder),
    )


def open_voc_actions(
    root: Path, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS, region: Region = "box"
) -> Persons:
    """The persons of a split with what each does: of VOC-2012, whose other persons do none of the ten things.

    Args:
        root: of the development kit, or of its year.
        split: "train", "val" or "trainval".
        max_megapixels: pictures beyond it are refused.
        region: whether a person is shown as the whole picture, or as what is in the box.
    """
    folder, lists, _, classes = _lists(root, "Action", split)
    scored = tuple(name for name in classes if name != OTHER)
    found: dict[tuple[str, int], dict[str, int]] = {}
    for name in classes:
        path = lists / f"{name}_{split}.txt"
        for number, (image, person, label) in enumerate(_read(path, 3), 1):
            if not person.isdecimal():
                raise DatasetError(f"{path}: line {number} is not IMAGE NUMBER LABEL; copy it again")
            found.setdefault((image, int(person)), {})[name] = _label(path, number, label)
    persons = sorted(found)
    presence = np.array([[found[person].get(name, -1) for name in scored] for person in persons], np.int64)
    boxes = [_box(folder / "Annotations" / f"{image}.xml", person) for image, person in persons]
    images = [f"JPEGImages/{image}.jpg#{person}" for image, person in persons]
    return Persons(
        **_common(folder, "voc-actions", split, scored, images, max_megapixels),
        presence=presence.reshape(len(persons), len(scored)),
        rule=rule_of(folder),
        boxes=np.array(boxes, np.int64) if region == "box" else None,
    )


def rule_of(folder: Path) -> Literal["11-point", "area"]:
    """The rule of average precision of a year, by the name of its folder."""
    year = folder.resolve().name.removeprefix("VOC")
    return "11-point" if year.isdecimal() and int(year) < FIRST_BY_AREA else "area"


def _common(
    folder: Path, kind: str, split: str, classes: tuple[str, ...], images: Sequence[str], max_megapixels: float
) -> dict[str, Any]:
    """What every data set has."""
    return {
        "kind": kind,
        "root": folder,
        "split": split,
        "classes": classes,
        "names": {name: name for name in classes},
        "images": tuple(images),
        "labels": np.full(len(images), UNLABELLED, np.int64),
        "orientation": "ignore",
        "max_megapixels": max_megapixels,
    }


def _lists(root: Path, task: str, split: str) -> tuple[Path, Path, list[str], tuple[str, ...]]:
    """The year's folder, that of its lists, the first column of the split's list, and the classes that have lists."""
    folders = find_voc(root)
    if len(folders) != 1:
        several = " and ".join(folder.name for folder in folders[:2])
        problem = f"holds {several}; open one of them" if folders else "has no ImageSets/Main; unpack the archive again"
        raise DatasetError(f"{root}: {problem}")
    lists = folders[0] / "ImageSets" / task
    plain = sorted(path.stem for path in lists.glob("*.txt") if "_" not in path.stem)
    if split not in plain:
        raise DatasetError(f"{lists}: has no split {split!r}; it has {', '.join(plain) or 'none'}")
    classes = tuple(sorted(path.stem.rpartition("_")[0] for path in lists.glob(f"*_{split}.txt")))
    if not classes:
        raise DatasetError(f"{lists}: has no CLASS_{split}.txt; the labels of this split were never given out, use val")
    return folders[0], lists, [line.split()[0] for line in _lines(lists / f"{split}.txt")], classes


def _lines(path: Path) -> list[str]:
    """The lines of a list that are not empty.

    Raises:
        DatasetError: there are none.
    """
    lines = [line for line in read_lines(path) if line.strip()]
    if not lines:
        raise DatasetError(f"{path}: is empty; copy it again")
    return lines


def _read(path: Path, columns: int) -> list[list[str]]:
    """The cells of a list's lines."""
    rows = [line.split() for line in _lines(path)]
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            raise DatasetError(f"{path}: line {number} has {len(row)} columns where {columns} are due; copy it again")
    return rows


def _label(path: Path, number: int, label: str) -> int:
    if label not in ("1", "-1", "0"):
        raise DatasetError(f"{path}: line {number} has label {label!r}; it must be 1, -1 or 0")
    return int(label)


def _box(path: Path, person: int) -> tuple[int, int, int, int]:
    """The box of an object, counted from 1, in an annotation whose pixels count from 1 and include the far side."""
    try:
        objects = parse(path).getroot().findall("object")
    except OSError as error:
        raise unreadable(path, error) from None
    except (ParseError, DefusedXmlException) as error:
        raise DatasetError(f"{path}: is not an annotation ({error}); copy it again") from None
    if not 1 <= person <= len(objects):
        raise DatasetError(f"{path}: has {len(objects)} objects, and the lists have its number {person}; copy it again")
    sides = [objects[person - 1].findtext(f"bndbox/{side}", "") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x0, y0, x1, y1 = (round(float(side)) for side in sides)
    except (ValueError, OverflowError):  # of nan, of inf
        raise DatasetError(f"{path}: object {person} has no whole box; copy it again") from None
    if not (1 <= x0 <= x1 and 1 <= y0 <= y1):
        raise DatasetError(f"{path}: the box of object {person} holds no pixel ({x0} {y0} {x1} {y1}); copy it again")
    return x0 - 1, y0 - 1, x1, y1
