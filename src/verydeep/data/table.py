"""A CSV file of `file,label[,split][,group]`, for pictures that lie as they lie."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from verydeep.data.dataset import UNLABELLED, PictureFiles
from verydeep.data.lines import read_csv
from verydeep.errors import DatasetError
from verydeep.pictures.decode import MAX_MEGAPIXELS

COLUMNS = ("file", "label", "split", "group")


@dataclass(frozen=True, eq=False, kw_only=True)
class Tabled(PictureFiles):
    """Pictures of a table.

    Attributes:
        groups: of pictures that belong together, such as frames of a film: one is not trained on where another is
            tested. Empty for a picture by itself.
    """

    groups: tuple[str, ...]

    def _part(self, chosen: Int64[np.ndarray, " k"]) -> dict[str, Any]:
        return super()._part(chosen) | {"groups": tuple(self.groups[index] for index in chosen.tolist())}


class Row(NamedTuple):
    """A line of the table: a path in its plain form, and what the other columns say."""

    file: str
    label: str
    split: str = ""
    group: str = ""


def open_table(table: Path, split: str = "val", max_megapixels: float = MAX_MEGAPIXELS) -> Tabled:
    """The split's pictures, in the byte order of their paths, or all there are (split "all") without that column.

    A file is a path inside the table's folder, with "/", or an absolute path; one that climbs out of the folder by ".."
    is refused. An empty label is none. Other columns are left alone.
    """
    rows, divided = _rows(table)
    chosen = [row for row in rows if row.split == split] if divided else rows
    if not chosen:
        splits = sorted({row.split for row in rows if row.split})
        raise DatasetError(f"{table}: has no split {split!r}; it has {', '.join(splits)}")
    chosen.sort(key=lambda row: row.file.encode(errors="surrogateescape"))
    for row, after in pairwise(chosen):
        if row.file == after.file:
            raise DatasetError(f"{table}: {row.file} stands there twice; leave one line")
    labels = {row.label for row in chosen} - {""} or {row.label for row in rows} - {""}
    classes = tuple(sorted(labels, key=str.encode))
    places = {label: place for place, label in enumerate(classes)}
    return Tabled(
        kind="table",
        root=table.parent,
        split=split if divided else "all",
        classes=classes,
        names={label: label for label in classes},
        images=tuple(row.file for row in chosen),
        labels=np.array([places.get(row.label, UNLABELLED) for row in chosen], np.int64),
        orientation="apply",
        max_megapixels=max_megapixels,
        groups=tuple(row.group for row in chosen),
    )


def _rows(table: Path) -> tuple[list[Row], bool]:
    """The lines of the table, and whether it has a column of splits."""
    lines = read_csv(table)
    header = [name.lower() for name in lines[0][1]] if lines else []
    for column in COLUMNS[:2]:
        if column not in header:
            raise DatasetError(
                f"{table}: has no column {column!r}; its first line must be file,label or file,label,split"
            )
    there = {column: header.index(column) for column in COLUMNS if column in header}
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise DatasetError(f"{table}: line {number} has {len(cells)} columns, the first has {len(header)}")
        row = Row(**{column: cells[place] for column, place in there.items()})
        rows.append(row._replace(file=_inside(row.file, f"{table}: line {number}")))
    if not rows:
        raise DatasetError(f"{table}: names no pictures")
    return rows, "split" in header


def _inside(file: str, where: str) -> str:
    """The path in its plain form; one that leaves the table's folder without saying so is refused."""
    path = PurePosixPath(file)
    if not file or "\0" in file:
        raise DatasetError(f"{where} names no file")
    if ".." in path.parts:
        raise DatasetError(
            f"{where}: {file} leaves the table's folder by '..'; write an absolute path if that is meant"
        )
    return str(path)
