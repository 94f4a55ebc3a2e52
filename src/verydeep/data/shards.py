"""Pictures in tar files, in webdataset's layout: some hundred large files in place of a million small ones.

Every picture can be read from where it lies, by an index beside the tar files, so that the feed draws from them as from
a folder: every picture once an epoch, the same batches, whatever the processes.
Decision: docs/decisions/079-shards-with-an-index.md.
"""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from verydeep.data.dataset import UNLABELLED, Dataset, PictureFiles
from verydeep.data.folders import SUFFIXES
from verydeep.data.lines import unreadable
from verydeep.data.paths import Paths, printable
from verydeep.errors import DatasetError, PictureError
from verydeep.pictures.decode import MAX_MEGAPIXELS

KIND = "shards 1"  # what a card says it is, with the version of the layout
MEGABYTES = 500  # of a shard, about
PADDING = 512  # bytes that members of a tar file are rounded up to
COLUMNS = ("shard", "start", "length")


@dataclass(frozen=True, eq=False, kw_only=True)
class Shards(PictureFiles):
    """Pictures in tar files.

    Attributes:
        files: names of the tar files inside `root`.
        shard: place in `files` of the one that each picture lies in.
        start: first byte of each picture in it.
        length: bytes of each picture.
    """

    files: tuple[str, ...]
    shard: Int64[np.ndarray, " n"]
    start: Int64[np.ndarray, " n"]
    length: Int64[np.ndarray, " n"]

    def path(self, index: int) -> Path:
        """The tar file that the picture lies in."""
        return self.root / self.files[int(self.shard[index])]

    def _read(self, index: int, limit: int) -> bytes:
        length = int(self.length[index])
        try:
            with self.path(index).open("rb", buffering=0) as file:
                file.seek(int(self.start[index]))
                return file.read(length if limit < 0 else min(limit, length))
        except OSError as error:
            raise PictureError(f"{self._shown(index)}: cannot be read ({error.strerror}); copy it again") from None

    def _shown(self, index: int) -> str:
        return printable(f"{self.path(index)}: {self.images[index]}")

    def _part(self, chosen: Int64[np.ndarray, " k"]) -> dict[str, Any]:
        return super()._part(chosen) | {name: getattr(self, name)[chosen] for name in COLUMNS}


def write_shards(
    data: Dataset,
    folder: str | Path,
    *,
    megabytes: int | float = MEGABYTES,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Path:
    """Write a split of a data set as tar files, with an index and a card; nothing that is there is touched.

    A picture's file is `00000012.jpg`, its label `00000012.cls`, its name and class `00000012.json`. Pictures are
    written in an order drawn by the seed, so that whoever reads shards from end to end sees all classes mixed.

    Args:
        data: whose pictures lie in files.
        folder: to write to; made if need be.
        megabytes: of a shard, about.
        seed: of the order.
        progress: called with the number of pictures written and of all.

    Returns:
        The card.

    Raises:
        DatasetError: the pictures are in no files, or the folder cannot be written, or has this split already.
        PictureError: a file cannot be read.
    """
    folder = Path(folder)
    if not isinstance(data, PictureFiles):
        raise DatasetError(f"{data.root}: its pictures are no files of their own; shards are for those that are")
    card = folder / f"shards-{data.split}.json"
    if card.exists():
        raise DatasetError(f"{card}: is there already; name another folder")
    columns = np.zeros((len(COLUMNS), len(data)), np.int64)
    files: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        order = np.random.Generator(np.random.Philox(seed)).permutation(len(data)).tolist()
        done = 0
        while done < len(order):
            files.append(f"{data.split}-{len(files):06}.tar")
            partial = folder / f".{files[-1]}.part"
            with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as archive:
                while done < len(order) and archive.offset < megabytes * 1e6:
                    index = order[done]
                    encoded = data.encoded(index)
                    columns[:, index] = len(files) - 1, archive.offset + PADDING, len(encoded)
                    for suffix, content in members(data, index, encoded):
                        add(archive, f"{done:08}.{suffix}", content)
                    done += 1
                    progress(done, len(order))
            keep(partial, folder / files[-1])
        index_file = folder / f".shards-{data.split}.npz.part"
        with index_file.open("wb") as file:
            names = np.frombuffer(b"\0".join(os.fsencode(image) for image in data.images), np.uint8)
            np.savez(file, names=names, labels=data.labels, places=columns)
        keep(index_file, folder / f"shards-{data.split}.npz")
        said = {
            "verydeep": KIND, "kind": data.kind, "split": data.split, "orientation": data.orientation,
            "classes": list(data.classes), "names": dict(data.names), "remarks": list(data.remarks),
            "shards": [{"file": name, "bytes": (folder / name).stat().st_size} for name in files],
        }  # fmt: skip
        partial = folder / f".{card.name}.part"
        partial.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        keep(partial, card)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written ({error.strerror}); make room, or name another") from error
    return card


def members(data: PictureFiles, index: int, encoded: bytes) -> Iterator[tuple[str, bytes]]:
    """What stands in a shard for a picture, by suffix, the picture first."""
    suffix = Path(data.images[index]).suffix.lower().lstrip(".") or "jpg"
    label = int(data.labels[index])
    yield suffix, encoded
    yield "cls", str(label).encode()
    key = None if label == UNLABELLED else data.classes[label]
    yield "json", json.dumps({"image": printable(data.images[index]), "class": key}).encode()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def keep(partial: Path, path: Path) -> None:
    """Give a file that is whole its name."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def are_shards(root: Path) -> bool:
    """Whether a folder holds shards, ours or others'."""
    return any(root.glob("shards-*.json")) or any(root.glob("*.tar"))


def open_shards(root: Path, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS) -> Shards:
    """A split in tar files: of `write_shards`, or of pairs of a picture and a label `KEY.cls`, as webdataset has them.

    Those of `write_shards` are the data set that they were made of, so that a run that was begun on one goes on with
    the other. Of others, whose names must begin with the split's, every header is read, classes are the labels'
    numbers, and the EXIF orientation is ignored.

    Raises:
        DatasetError: a shard is missing, cut off or named twice; or there is none of the split.
    """
    card = root / f"shards-{split}.json"
    if not card.exists():
        return open_foreign(root, split, max_megapixels)
    try:
        said = json.loads(card.read_text(encoding="utf-8"))
        shards = [(str(each["file"]), int(each["bytes"])) for each in said["shards"]]
        classes, names, remarks = tuple(said["classes"]), dict(said["names"]), tuple(said["remarks"])
        kind, orientation, version = str(said["kind"]), said["orientation"], said["verydeep"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{card}: is no whole card of shards ({error}); copy it again") from None
    if version != KIND or orientation not in ("apply", "ignore"):
        raise DatasetError(f"{card}: is of another version, {version}; write the shards anew")
    files = tuple(name for name, _ in shards)
    for place, (name, size) in enumerate(shards):
        if name in files[:place] or Path(name).name != name:
            raise DatasetError(f"{card}: names {printable(name)} twice, or in another folder; write the shards anew")
        there = (root / name).stat().st_size if (root / name).exists() else None
        if there != size:
            what = "is missing" if there is None else f"has {there:,} bytes of {size:,}"
            raise DatasetError(f"{root / name}: {what}; copy it again")
    images, labels, columns = read_index(root / f"shards-{split}.npz", shards, len(classes))
    return Shards(
        kind=kind, root=root, split=split, classes=classes, names=names, images=images, labels=labels,
        orientation=orientation, max_megapixels=max_megapixels, remarks=remarks, files=files,
        shard=columns[0], start=columns[1], length=columns[2],
    )  # fmt: skip


def read_index(
    path: Path, shards: Sequence[tuple[str, int]], classes: int
) -> tuple[Paths, Int64[np.ndarray, " n"], Int64[np.ndarray, "3 n"]]:
    """Names, labels and places of pictures, all of which lie inside the shards.

    Raises:
        DatasetError: the index is missing, damaged, or of other shards.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names, labels, columns = file["names"], file["labels"], file["places"]
    except Exception as error:  # of files, of numpy, of the zip that it is: they have many names
        raise DatasetError(f"{path}: is no whole index of shards ({type(error).__name__}); copy it again") from None
    images = Paths(names.tobytes().split(b"\0") if len(names) else [])
    whole = names.dtype == np.uint8 and labels.dtype == columns.dtype == np.int64
    if not whole or columns.shape != (len(COLUMNS), len(images)) or labels.shape != (len(images),):
        raise DatasetError(f"{path}: its parts are of different pictures; write the shards anew")
    shard, start, length = columns
    sizes = np.array([size for _, size in shards], np.int64)
    inside = (shard >= 0) & (shard < len(sizes)) & (start >= 0) & (length >= 0)
    if not inside.all() or (start + length > sizes[shard]).any() or not ((labels >= -1) & (labels < classes)).all():
        raise DatasetError(f"{path}: names pictures outside of the shards; write them anew")
    return images, labels, columns


def open_foreign(root: Path, split: str, max_megapixels: float) -> Shards:
    """Somebody else's shards of a split."""
    files = sorted(path.name for path in root.glob(f"{split}*.tar"))
    if not files:
        raise DatasetError(f"{root}: has no shards of split {split!r}, {split}-….tar; give another split")
    images: list[bytes] = []
    labels: list[int] = []
    columns: list[tuple[int, int, int]] = []
    seen: dict[str, str] = {}
    for place, name in enumerate(files):
        found = read_headers(root / name)
        for key, (suffix, start, length, label) in found.items():
            if key in seen:
                raise DatasetError(f"{root / name}: has picture {printable(key)}, as {seen[key]} has; leave one")
            seen[key] = name
            images.append(os.fsencode(f"{name}/{key}.{suffix}"))
            labels.append(label)
            columns.append((place, start, length))
    if not images:
        raise DatasetError(f"{root}: its shards of split {split!r} have no pictures with labels in KEY.cls")
    classes = tuple(str(number) for number in range(max(labels) + 1))
    shard, start, length = np.array(columns, np.int64).T.copy()
    return Shards(
        kind="shards", root=root, split=split, classes=classes, names={name: name for name in classes},
        images=Paths(images), labels=np.array(labels, np.int64), orientation="ignore", max_megapixels=max_megapixels,
        files=tuple(files), shard=shard, start=start, length=length,
    )  # fmt: skip


def read_headers(path: Path) -> dict[str, tuple[str, int, int, int]]:
    """Suffix, first byte, bytes and label of each picture of a tar file, by key.

    Raises:
        DatasetError: it is cut off, or no tar file; or a label is no number.
    """
    pictures: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, int] = {}
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, _, base = member.name.rpartition("/")
                key, _, suffix = base.partition(".")
                key = f"{folder}/{key}" if folder else key
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("it is cut off")
                if suffix == "cls" and member.isreg() and (file := archive.extractfile(member)):
                    labels[key] = int(file.read(20))
                elif f".{suffix}".lower().encode(errors="replace") in SUFFIXES and member.isreg():
                    pictures[key] = suffix, member.offset_data, member.size
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: is no whole shard ({error}); copy it again") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if min(labels.values(), default=0) < 0:
        raise DatasetError(f"{path}: has a label below 0; labels count from 0")
    return {key: (*found, labels[key]) for key, found in pictures.items() if key in labels}
