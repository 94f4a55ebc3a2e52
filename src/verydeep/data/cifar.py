"""CIFAR-10 and CIFAR-100, binary and python versions, all pixels in memory. Source: Krizhevsky (2009); docs/data.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mode
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from verydeep.data.dataset import PictureArray
from verydeep.data.lines import unreadable
from verydeep.data.pickles import Entries, Items, read_pickle, uint8_array
from verydeep.errors import DatasetError
from verydeep.pictures.decode import MAX_MEGAPIXELS

SIDE = 32
PIXELS = 3 * SIDE * SIDE
PUBLISHED = 10_000  # pictures of the test split, and of each training batch of CIFAR-10
CIFAR_10 = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())


@dataclass(frozen=True)
class Version:
    """How one of the four archives lays itself out.

    Attributes:
        kind: the data set.
        binary: records of bytes, or pickles.
        train: files of the training split.
        test: file of the test split.
        meta: the file of the class names.
        pictures: in each file of the training split as published; the test split has 10,000.
        label_bytes: in front of a record's pixels; the last is the class.
        labels: key of the labels in a pickle.
        label_names: key of the class names in the meta pickle.
    """

    kind: str
    binary: bool
    train: tuple[str, ...]
    test: str
    meta: str
    pictures: int = PUBLISHED
    label_bytes: int = 1
    labels: bytes = b"labels"
    label_names: bytes = b"label_names"

    @property
    def record(self) -> int:
        """Length of a record, bytes."""
        return self.label_bytes + PIXELS


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
VERSIONS = (
    Version("cifar-10", True, tuple(f"{batch}.bin" for batch in BATCHES), "test_batch.bin", "batches.meta.txt"),
    Version("cifar-10", False, BATCHES, "test_batch", "batches.meta"),
    Version("cifar-100", True, ("train.bin",), "test.bin", "fine_label_names.txt", 50_000, label_bytes=2),
    Version(
        "cifar-100", False, ("train",), "test", "meta", 50_000, labels=b"fine_labels", label_names=b"fine_label_names"
    ),
)


def cifar_version(root: Path) -> Version | None:
    """Which of the four versions lies in the folder, if any."""
    for version in VERSIONS:
        known = [version.meta, version.test, *version.train]
        if sum((root / name).is_file() for name in known) >= 2:  # one may be missing: then it is named on opening
            return version
    return None


def open_cifar(root: Path, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS) -> PictureArray:
    """The split's pictures. CIFAR has train and test only: "val" is its test split, and the data set says so."""
    version = cifar_version(root)
    if version is None:
        raise DatasetError(
            f"{root}: has none of CIFAR's files, such as {VERSIONS[0].train[0]} or {VERSIONS[1].train[0]}"
        )
    if split not in ("train", "val", "test"):
        raise DatasetError(f"{root}: {version.kind} has no split {split!r}; it has train and test")
    files = version.train if split == "train" else (version.test,)
    classes = _classes(root, version)
    read = _read_binary if version.binary else _read_python
    parts = [read(root / file, version, len(classes)) for file in files]
    _refuse_cut(root, version, files, [len(rows) for rows, _ in parts])
    pixels = np.empty((sum(len(rows) for rows, _ in parts), SIDE, SIDE, 3), np.uint8)
    np.concatenate(
        [rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1) for rows, _ in parts], out=pixels
    )  # planes of red, green and blue, each row by row
    return PictureArray(
        kind=version.kind,
        root=root,
        split="train" if split == "train" else "test",
        classes=classes,
        names={name: name for name in classes},
        images=tuple(f"{file}[{i}]" for file, (rows, _) in zip(files, parts, strict=True) for i in range(len(rows))),
        labels=np.concatenate([labels for _, labels in parts]),
        orientation="ignore",
        max_megapixels=max_megapixels,
        remarks=("CIFAR has no validation split of its own: this is its test split",) if split == "val" else (),
        pixels=pixels,
    )


def _read_binary(
    path: Path, version: Version, num_classes: int
) -> tuple[UInt8[np.ndarray, "n 3072"], Int64[np.ndarray, " n"]]:
    record, encoded = version.record, _bytes(path)
    if not encoded or len(encoded) % record:
        whole, rest = divmod(len(encoded), record)
        raise DatasetError(
            f"{path}: ends at byte {len(encoded)}, {rest} bytes into record {whole} of {record} bytes; copy it again"
        )
    records = np.frombuffer(encoded, np.uint8).reshape(-1, record)
    labels = records[:, version.label_bytes - 1].astype(np.int64)
    starts = range(version.label_bytes - 1, len(encoded), record)
    return records[:, version.label_bytes :], _checked(labels, num_classes, path, starts)


def _read_python(
    path: Path, version: Version, num_classes: int
) -> tuple[UInt8[np.ndarray, "n 3072"], Int64[np.ndarray, " n"]]:
    batch = read_pickle(_bytes(path), name=str(path))
    data, data_start = _entry(batch, b"data", path)
    labels, labels_start = _entry(batch, version.labels, path)
    rows, key = uint8_array(data, name=str(path), start=data_start), version.labels.decode()
    if not isinstance(labels, Items):
        raise DatasetError(f"{path}: {key}, at byte {labels_start}, is not a list of numbers; copy it again")
    for start, label in zip(labels.starts, labels, strict=True):
        if type(label) is not int or abs(label) >= 2**31:
            raise DatasetError(f"{path}: {key} is not a list of numbers, see byte {start}; copy it again")
    if len(rows) != len(labels) or not labels or rows.shape[1] != PIXELS:
        raise DatasetError(
            f"{path}: has {len(labels)} labels, at byte {labels_start}, for {len(rows)} rows of {rows.shape[1]} bytes, "
            f"at byte {data_start}, where rows have {PIXELS}; copy it again"
        )
    return rows, _checked(np.array(labels, np.int64), num_classes, path, labels.starts)


def _refuse_cut(root: Path, version: Version, files: Sequence[str], counts: Sequence[int]) -> None:
    """Refuse files that lack pictures at their end. Decision: docs/decisions/146-which-cifar-files-are-cut.md."""
    due = dict.fromkeys(version.train, version.pictures) | {version.test: PUBLISHED}
    beside = [file for file in due if version.binary and _length(root / file) == due[file] * version.record]
    usual = mode(counts)
    for file, count in zip(files, counts, strict=True):
        wanted = due[file] if beside else usual
        if count != wanted:
            whole = beside[0] if beside else files[counts.index(usual)]
            end = f"ends at byte {_length(root / file)}, after {count} pictures"
            raise DatasetError(f"{root / file}: {end}; beside {whole} it should have {wanted}; copy it again")


def _classes(root: Path, version: Version) -> tuple[str, ...]:
    path = root / version.meta
    if not path.is_file() and version.kind == "cifar-10":
        return CIFAR_10
    if version.binary:
        classes = tuple(line.strip() for line in _bytes(path).decode("utf-8", "replace").splitlines() if line.strip())
    else:
        names, start = _entry(read_pickle(_bytes(path), name=str(path)), version.label_names, path)
        if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
            key = version.label_names.decode()
            raise DatasetError(f"{path}: {key}, at byte {start}, is not a list of names; copy it again")
        classes = tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names)
    if not classes or len(set(classes)) != len(classes):
        raise DatasetError(f"{path}: names no classes, or one twice; copy it again")
    return classes


def _entry(batch: Any, key: bytes, path: Path) -> tuple[Any, int]:
    """An entry of a pickled dict, and the byte at which it begins."""
    if isinstance(batch, Entries):
        for known in (key, key.decode()):  # Python 2 wrote bytes, a copy saved by Python 3 has text
            if known in batch:
                return batch[known], batch.starts[known]
    raise DatasetError(f"{path}: has no entry {key.decode()}; copy it again")


def _checked(
    labels: Int64[np.ndarray, " n"], num_classes: int, path: Path, starts: Sequence[int]
) -> Int64[np.ndarray, " n"]:
    """The labels, none of which is beyond the classes; each begins at a byte of `starts`."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        first = int(wrong[0])
        raise DatasetError(
            f"{path}: record {first} has label {labels[first]} of {num_classes} classes, at byte {starts[first]}; "
            "copy it again"
        )
    return labels


def _length(path: Path) -> int:
    """Length of a file, bytes; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
