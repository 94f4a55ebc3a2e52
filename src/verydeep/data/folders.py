"""Pictures in one folder a class: ROOT/CLASS/ or ROOT/{train,val,test}/CLASS/."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from verydeep.data.dataset import UNLABELLED, PictureFiles
from verydeep.data.lines import unreadable
from verydeep.data.paths import Paths, printable
from verydeep.errors import DatasetError
from verydeep.pictures.decode import MAX_MEGAPIXELS

SUFFIXES = frozenset(
    b".avif .bmp .gif .heic .heif .jfif .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}  # and their folders' names
FORMATS = "no class folders, and none of the files of ILSVRC, Tiny-ImageNet, CIFAR-10, CIFAR-100 or our digits"
NOT_OURS = (b".", b"__MACOSX")  # how the names of folders and files begin that file managers and archivers leave


@dataclass(frozen=True)
class Listing:
    """What lies in a folder, names in byte order."""

    folders: tuple[bytes, ...]
    pictures: tuple[bytes, ...]
    others: tuple[bytes, ...]


def list_folder(folder: Path | str | bytes) -> Listing:
    """The folders, the files with a picture's suffix, and the rest of what lies directly in `folder`."""
    folders, pictures, others = [], [], []
    try:
        with os.scandir(os.fsencode(folder)) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(NOT_OURS):
                    if not entry.is_dir():
                        others.append(name)
                elif entry.is_dir():
                    folders.append(name)
                elif name[name.rfind(b".") :].lower() in SUFFIXES:
                    pictures.append(name)
                else:
                    others.append(name)
    except OSError as error:
        raise unreadable(os.fsdecode(folder), error) from None
    return Listing(tuple(sorted(folders)), tuple(sorted(pictures)), tuple(sorted(others)))


def open_folders(root: Path, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS) -> PictureFiles:
    """The split's pictures, or all there are (split "all") where no folder is named for a split.

    The class is the folder's name, the classes are in byte order, and pictures deeper down are not taken. A split's
    folder that holds pictures and no class folders is unlabelled.
    """
    splits = split_folders(root)
    if splits and split not in splits:
        raise DatasetError(f"{root}: has no split {split!r}; it has {', '.join(splits)}")
    folder = splits.get(split, "")
    labelled = [place for place in splits.values() if list_folder(root / place).folders]
    contents = scan_unlabelled(root, folder) if splits and folder not in labelled else scan_classes(root, folder)
    # A test split without labels has the classes of the split beside it.
    classes = contents.classes or scan_classes(root, labelled[0]).classes
    return PictureFiles(
        kind="folders",
        root=root,
        split=split if splits else "all",
        classes=classes,
        names={name: name for name in classes},
        images=contents.images,
        labels=contents.labels,
        orientation="apply",
        max_megapixels=max_megapixels,
        remarks=contents.remarks,
    )


def split_folders(root: Path) -> dict[str, str]:
    """The folders inside `root` that hold its splits, by split; none where its folders are the classes themselves.

    One with a split's name is a class where pictures lie in it as in the folders beside it: VOC has a class "train".
    """
    top = [os.fsdecode(name) for name in list_folder(root).folders]
    there = {name.lower(): name for name in reversed(top)}
    found = {split: next((there[name] for name in names if name in there), None) for split, names in SPLITS.items()}
    splits = {split: folder for split, folder in found.items() if folder is not None}
    inside = [list_folder(root / folder) for folder in splits.values()]
    if not any(listing.folders for listing in inside):
        return {}
    if any(listing.folders and listing.pictures for listing in inside):
        others = set(top) - set(splits.values())
        return {} if any(list_folder(root / name).pictures for name in others) else splits
    return splits


@dataclass(frozen=True)
class Contents:
    """What a split's folder holds: paths inside the data set's root, in byte order."""

    classes: tuple[str, ...]
    images: Paths
    labels: Int64[np.ndarray, " n"]
    remarks: tuple[str, ...]


def scan_classes(root: Path, folder: str = "") -> Contents:
    """The pictures in the class folders of a folder inside `root`."""
    top = list_folder(root / folder)
    if not top.folders:
        raise DatasetError(_no_classes(root / folder, top))
    images, labels = [], []
    left_out = [_inside(folder, name) for name in (*top.pictures, *top.others)]
    for label, name in enumerate(top.folders):
        inside = _inside(folder, name)
        listing = list_folder(root / os.fsdecode(inside))
        if not listing.pictures:
            raise DatasetError(_no_pictures(root / os.fsdecode(inside), listing))
        images += [inside + b"/" + picture for picture in listing.pictures]
        labels += [label] * len(listing.pictures)
        left_out += [inside + b"/" + other for other in (*listing.folders, *listing.others)]
    classes = tuple(os.fsdecode(name) for name in top.folders)
    return Contents(classes, Paths(images), np.array(labels, np.int64), left_out_remarks(left_out))


def scan_unlabelled(root: Path, folder: str = "") -> Contents:
    """The pictures that lie directly in a folder inside `root`."""
    listing = list_folder(root / folder)
    if not listing.pictures:
        raise DatasetError(f"{root / folder}: has no pictures; remove it or copy it again")
    images = Paths(_inside(folder, name) for name in listing.pictures)
    left_out = [_inside(folder, name) for name in (*listing.folders, *listing.others)]
    return Contents((), images, np.full(len(images), UNLABELLED, np.int64), left_out_remarks(left_out))


def left_out_remarks(left_out: list[bytes]) -> tuple[str, ...]:
    """The line that says what a folder holds besides pictures, if anything."""
    if not left_out:
        return ()
    first = printable(os.fsdecode(min(left_out)))
    if len(left_out) == 1:
        return (f"{first} was left out: it has no picture's suffix, or no class",)
    return (f"{len(left_out)} files and folders were left out, without a picture's suffix or a class; first: {first}",)


def _inside(folder: str, name: bytes) -> bytes:
    return os.fsencode(folder) + b"/" + name if folder else name


def _no_classes(folder: Path, listing: Listing) -> str:
    if listing.pictures:
        count = len(listing.pictures)
        return f"{folder}: has {count} pictures but no class folders; put each into a folder named for its class"
    if listing.others:
        return f"{folder}: is no data set of a known format: {FORMATS}"
    return f"{folder}: is empty; is it the right folder?"


def _no_pictures(folder: Path, listing: Listing) -> str:
    shown = printable(str(folder))
    if listing.folders:
        deeper = printable(os.fsdecode(listing.folders[0]))
        return f"{shown}: a class folder without pictures, but with folders, such as {deeper}; open it, or move them up"
    return f"{shown}: a class folder without pictures; remove it or copy it again"
