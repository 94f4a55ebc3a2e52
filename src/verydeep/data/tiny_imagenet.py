"""Tiny-ImageNet-200 as in its archive. Source: protocol of the data set's own layout, docs/data.md."""

from pathlib import Path

import numpy as np

from verydeep.data.dataset import UNLABELLED, PictureFiles
from verydeep.data.folders import list_folder
from verydeep.data.lines import read_lines
from verydeep.data.paths import Paths
from verydeep.errors import DatasetError
from verydeep.pictures.decode import MAX_MEGAPIXELS


def is_tiny_imagenet(root: Path) -> bool:
    """Whether the folder holds what only Tiny-ImageNet has: validation labels by name, or images/ in class folders."""
    if (root / "val" / "val_annotations.txt").is_file():
        return True
    return (root / "wnids.txt").is_file() and next(root.glob("train/n*/images"), None) is not None


def open_tiny_imagenet(root: Path, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS) -> PictureFiles:
    """The split's pictures. Labels follow the sorted wnids, since wnids.txt has another order and may be cut short."""
    if split == "train":
        images, labels = _train(root)
    elif split == "val":
        images, labels = _val(root)
    elif split == "test":
        pictures = list_folder(root / "test" / "images").pictures
        images, labels = Paths(b"test/images/" + name for name in pictures), [UNLABELLED] * len(pictures)
    else:
        raise DatasetError(f"{root}: Tiny-ImageNet has no split {split!r}; it has train, val and test")
    if not len(images):
        raise DatasetError(f"{root / split}: has no pictures; unpack the archive again")
    classes = _wnids(root)
    return PictureFiles(
        kind="tiny-imagenet",
        root=root,
        split=split,
        classes=classes,
        names=_words(root, classes),
        images=images,
        labels=np.array(labels, np.int64),
        orientation="ignore",
        max_megapixels=max_megapixels,
    )


def _wnids(root: Path) -> tuple[str, ...]:
    if (root / "train").is_dir():
        return tuple(name.decode() for name in list_folder(root / "train").folders)
    return tuple(sorted({wnid for _, wnid in _annotations(root)}))


def _train(root: Path) -> tuple[Paths, list[int]]:
    images, labels = [], []
    for label, wnid in enumerate(list_folder(root / "train").folders):
        folder = b"train/" + wnid + b"/images/"
        pictures = list_folder(root / folder.decode()).pictures
        if not pictures:
            raise DatasetError(f"{root / folder.decode()}: a class folder without pictures; remove it or copy it again")
        images += [folder + name for name in pictures]
        labels += [label] * len(pictures)
    return Paths(images), labels


def _val(root: Path) -> tuple[Paths, list[int]]:
    wnids = dict(_annotations(root))
    numbers = {wnid: label for label, wnid in enumerate(_wnids(root))}
    annotations = root / "val" / "val_annotations.txt"
    images, labels = [], []
    for name in list_folder(root / "val" / "images").pictures:
        wnid = wnids.pop(name.decode(errors="replace"), None)
        if wnid is None:
            raise DatasetError(
                f"{annotations}: has no line for {name.decode(errors='replace')}, which is in val/images"
            )
        if wnid not in numbers:
            raise DatasetError(f"{annotations}: {name.decode()} is of {wnid}, which has no folder in {root / 'train'}")
        images.append(b"val/images/" + name)
        labels.append(numbers[wnid])
    if wnids:
        raise DatasetError(f"{annotations}: {next(iter(wnids))} is not in val/images; copy it again")
    return Paths(images), labels


def _annotations(root: Path) -> list[tuple[str, str]]:
    path = root / "val" / "val_annotations.txt"
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split("\t")
        if len(columns) < 2:
            raise DatasetError(f"{path}: line {number} is not NAME<tab>WNID<tab>box; copy the file again")
        pairs.append((columns[0], columns[1]))
    return pairs


def _words(root: Path, classes: tuple[str, ...]) -> dict[str, str]:
    """Names by wnid; a wnid that words.txt does not have stands for itself."""
    path = root / "words.txt"
    lines = read_lines(path) if path.is_file() else []
    names = dict(line.split("\t", 1) for line in lines if "\t" in line)
    return {wnid: names.get(wnid, wnid) for wnid in classes}
