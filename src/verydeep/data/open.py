"""A path → the data set that lies there."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from verydeep.data.caltech import find_caltech, open_caltech
from verydeep.data.cifar import cifar_version, open_cifar
from verydeep.data.dataset import Dataset
from verydeep.data.digits import is_digits, open_digits
from verydeep.data.folders import open_folders
from verydeep.data.ilsvrc import is_ilsvrc, open_ilsvrc
from verydeep.data.shards import are_shards, open_shards
from verydeep.data.table import open_table
from verydeep.data.tiny_imagenet import is_tiny_imagenet, open_tiny_imagenet
from verydeep.data.voc import find_voc, open_voc, open_voc_actions
from verydeep.errors import DatasetError
from verydeep.pictures.decode import MAX_MEGAPIXELS

OPEN: dict[str, Callable[[Path, str, float], Dataset]] = {
    "ilsvrc": open_ilsvrc,
    "tiny-imagenet": open_tiny_imagenet,
    "cifar-10": open_cifar,
    "cifar-100": open_cifar,
    "caltech-101": open_caltech,
    "caltech-256": open_caltech,
    "voc": open_voc,
    "voc-actions": open_voc_actions,
    "digits": open_digits,
    "folders": open_folders,
    "table": open_table,
    "shards": open_shards,
}


def open_dataset(
    path: str | Path, split: str = "val", kind: str | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> Dataset:
    """One split of the data set at a path, whose format is recognised.

    Args:
        path: a folder or a CSV file; "digits" is the built-in set, made in the user's cache folder on first use.
        split: "train", "val" or "test"; VOC also has "trainval". CIFAR's test split stands in for "val". Caltech, and
            class folders without split folders, are one split, "all", whatever is asked.
        kind: the format, where it is not to be recognised: a key of `OPEN`.
        max_megapixels: pictures beyond it are refused; by default 250, or the environment's VERYDEEP_MAX_MEGAPIXELS.

    Raises:
        DatasetError: there is nothing, or nothing of a known format, or it is damaged; or it lacks the split.
    """
    if path == "digits" and kind in (None, "digits"):  # a folder of that name is ./digits
        return open_digits(None, split, max_megapixels)
    root = Path(path)
    if kind is not None and kind not in OPEN:
        near = get_close_matches(kind, OPEN, 1, 0)
        raise DatasetError(
            f"{kind}: is not a format of data sets; the nearest is {near[0]}, the others {', '.join(OPEN)}"
        )
    if not root.exists():
        raise DatasetError(f"{root}: does not exist")
    return OPEN[kind or recognise(root)](root, split, max_megapixels)


def recognise(root: Path) -> str:
    """The format of what lies at a path."""
    if root.is_file():
        if root.suffix.lower() == ".csv":
            return "table"
        raise DatasetError(f"{root}: is a file; a data set is a folder, or a .csv of file,label[,split]")
    if is_digits(root):
        return "digits"
    if is_tiny_imagenet(root):
        return "tiny-imagenet"
    if find_voc(root):
        return "voc"
    caltech = find_caltech(root)
    if caltech is not None:
        return caltech.kind
    version = cifar_version(root)
    if version is not None:
        return version.kind
    if is_ilsvrc(root):
        return "ilsvrc"
    return "shards" if are_shards(root) else "folders"
