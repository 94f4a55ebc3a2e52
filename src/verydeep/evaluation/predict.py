"""A net and some pictures → what it takes each of them for."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from verydeep.data.dataset import UNLABELLED, Dataset, PictureFiles
from verydeep.data.folders import list_folder
from verydeep.data.paths import printable
from verydeep.errors import DatasetError, PictureError
from verydeep.evaluation.average import Net
from verydeep.evaluation.posteriors import Posteriors, posteriors
from verydeep.evaluation.protocol import Protocol

STANDARD_INPUT = "-"
AT_ONCE = 16  # pictures between two answers


@dataclass(frozen=True)
class Prediction:
    """What a net takes a picture for.

    Attributes:
        image: its file, `-` for standard input.
        best: classes and their posteriors, the largest first.
        error: why the picture cannot be read, where that is so; then there is no best.
    """

    image: str
    best: Sequence[tuple[str, float]] = ()
    error: str | None = None

    def to_dict(self, names: Mapping[str, str]) -> dict[str, Any]:
        """The same as plain values, for JSON, with what people call the classes."""
        best = [{"class": key, "name": names.get(key, key), "posterior": posterior} for key, posterior in self.best]
        return {"image": self.image, "best": best}


@dataclass(frozen=True, eq=False, kw_only=True)
class LooseFiles(PictureFiles):
    """Pictures from anywhere, of no known class."""

    standard_input: bytes = b""

    def _read(self, index: int, limit: int) -> bytes:
        if self.images[index] == STANDARD_INPUT:
            return self.standard_input if limit < 0 else self.standard_input[:limit]
        return super()._read(index, limit)

    def _file(self, index: int) -> str:
        return self.images[index]  # as it was given


def predict(
    net: Net,
    paths: Sequence[str | Path],
    protocol: str | Protocol = "dense",
    *,
    count: int = 5,
    device: str | torch.device = "auto",
    threads: int | None = None,
) -> Iterator[Prediction]:
    """What a net takes pictures for, in their order, some at a time.

    Args:
        net: has `name`, `classes`, `crop`, `score_map`; it is moved to the device.
        paths: files; folders, of which every picture is taken, however deep; `-` for a picture on standard input.
        protocol: such as `dense@256,384,512`.
        count: how many classes to name.
        device: `auto` is CUDA, then MPS, then the CPU.
        threads: that decode pictures meanwhile.

    Raises:
        DatasetError: a folder holds no pictures. A picture that cannot be read is an answer, not an error.
    """
    pictures = open_files(paths, net.classes)
    return answers(pictures, lambda some: posteriors(net, some, protocol, device=device, threads=threads), count)


def answers(pictures: Dataset, posteriors_of: Callable[[Dataset], Posteriors], count: int = 5) -> Iterator[Prediction]:
    """What some pictures are taken for, in their order, some at a time; a bad one does not hurt the others."""

    def some_answers(indices: Sequence[int]) -> Iterator[Prediction]:
        some = pictures.subset(indices)
        try:
            found = posteriors_of(some)
        except PictureError as error:
            if len(indices) > 1:
                for index in indices:
                    yield from some_answers([index])
            else:
                yield Prediction(some.images[0], error=str(error))
            return
        for place, image in enumerate(some.images):
            yield Prediction(image, found.best(place, count))

    for start in range(0, len(pictures), AT_ONCE):
        yield from some_answers(range(start, min(start + AT_ONCE, len(pictures))))


def open_files(paths: Sequence[str | Path], classes: Sequence[str]) -> LooseFiles:
    """Files and what lies in folders, as a data set without labels."""
    images = [image for path in paths for image in files_of(str(path))]
    return LooseFiles(
        kind="files",
        root=Path(),
        split="all",
        classes=tuple(classes),
        names={name: name for name in classes},
        images=images,
        labels=np.full(len(images), UNLABELLED, np.int64),
        standard_input=sys.stdin.buffer.read() if STANDARD_INPUT in images else b"",
    )


def files_of(path: str) -> list[str]:
    """The pictures in a folder and the folders in it, in byte order; or the file itself, whatever it is."""
    if path == STANDARD_INPUT or not Path(path).is_dir():
        return [path]
    found = list(walk(Path(path)))
    if not found:
        raise DatasetError(f"{printable(path)}: has no pictures; give a folder of pictures, or name files")
    return found


def walk(folder: Path) -> Iterator[str]:
    """The files with a picture's suffix in a folder, then those in the folders in it."""
    listing = list_folder(folder)
    for name in listing.pictures:
        yield str(folder / name.decode(errors="surrogateescape"))
    for name in listing.folders:
        yield from walk(folder / name.decode(errors="surrogateescape"))


def best_protocol(net: Net, card: Mapping[str, Any]) -> str:
    """The protocol by which a net errs least, by its card; else dense, or ten crops where it has no score map."""
    if rows := card.get("errors", []):
        return min(rows, key=lambda row: row["top1_error"])["protocol"]
    return "ten-crop" if getattr(net, "no_score_map", "") else "dense"


def credentials(where: str, net: Net, card: Mapping[str, Any]) -> str:
    """One line on what a net knows and how often it errs, from its card."""
    known = f"{where}: {net.name} with {len(net.classes):,} classes"
    if str(card.get("weights", "")).startswith("random"):
        return f"{known} and random weights: what it says means nothing; train it, or name a trained one"
    known += f" of {card['data']}" if card.get("data") else ""
    rows = card.get("errors", [])
    if not rows:
        return f"{known}; how often it errs was not measured: see verydeep evaluate"
    best = min(rows, key=lambda row: row["top1_error"])
    return (
        f"{known}; of {best['images']:,} validation pictures it names {100 * best['top1_error']:.0f} % wrongly, and "
        f"{100 * best['top5_error']:.0f} % are not among its five best ({best['protocol']})"
    )
