"""Caltech-101 and Caltech-256 as distributed: class folders, with files between them that are no pictures of theirs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from verydeep.data.dataset import PictureFiles
from verydeep.data.folders import scan_classes
from verydeep.data.paths import printable
from verydeep.errors import DatasetError
from verydeep.pictures.decode import MAX_MEGAPIXELS


class Layout(NamedTuple):
    """How one of the two is laid out: its folder, the folder of what is no object, and the names inside."""

    folder: str
    background: str
    people_say: re.Pattern[str]  # of a class folder, the part that is the class's name
    picture: re.Pattern[str]


# Source: Fei-Fei, Fergus & Perona 2004; Griffin, Holub & Perona 2007. The background is a class like any other, as the
# 102 and 257 classes of appendix B have it.
LAYOUTS: Mapping[str, Layout] = {
    "caltech-101": Layout(
        "101_ObjectCategories", "BACKGROUND_Google", re.compile(r"(.+)"), re.compile(r"image_\d{4}\.jpg")
    ),
    "caltech-256": Layout(
        "256_ObjectCategories", "257.clutter", re.compile(r"\d{3}\.(.+)"), re.compile(r"\d{3}_\d{4}\.jpg")
    ),
}


@dataclass(frozen=True)
class Found:
    """One of the two, found in a folder."""

    kind: str
    folder: Path


def find_caltech(root: Path) -> Found | None:
    """Which of the two lies in a folder, or one folder deeper; None where neither does."""
    for kind, layout in LAYOUTS.items():
        for folder in (root, root / layout.folder):
            if (folder / layout.background).is_dir():
                return Found(kind, folder)
    return None


def open_caltech(root: Path, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS) -> PictureFiles:
    """All pictures, whatever the split: neither set is divided. See `verydeep.data.splits`.

    Only files named as the set names its pictures are taken: BACKGROUND_Google/tmp and 198.spider/RENAME2 are none.
    """
    found = find_caltech(root)
    if found is None:
        names = " nor ".join(layout.background for layout in LAYOUTS.values())
        raise DatasetError(f"{root}: has neither {names}, so it is no Caltech set; unpack the archive again")
    layout = LAYOUTS[found.kind]
    contents = scan_classes(found.folder)
    named = [bool(layout.picture.fullmatch(image.rpartition("/")[2])) for image in contents.images]
    kept = np.flatnonzero(named)
    strangers = np.flatnonzero(np.logical_not(named))
    remarks = contents.remarks
    if len(strangers):
        first = printable(contents.images[int(strangers[0])])
        remarks += (f"{len(strangers)} pictures were left out that are not named as the set names its own: {first}",)
    empty = np.flatnonzero(np.bincount(contents.labels[kept], minlength=len(contents.classes)) == 0)
    if len(empty):
        folder = found.folder / contents.classes[empty[0]]
        raise DatasetError(f"{folder}: has no picture named as the set names its own; copy it again")
    matches = {key: layout.people_say.fullmatch(key) for key in contents.classes}
    return PictureFiles(
        kind=found.kind,
        root=found.folder,
        split="all",
        classes=contents.classes,
        names={key: match[1] if match else key for key, match in matches.items()},
        images=contents.images.take(kept.tolist()),
        labels=contents.labels[kept],
        orientation="ignore",
        max_megapixels=max_megapixels,
        remarks=remarks,
    )
