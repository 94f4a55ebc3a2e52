"""The ILSVRC development kit's measure of localisation, for predictions in the kit's own file format.

Source: ILSVRC2012 and ILSVRC2013 development kits, readme and evaluation code; appendix A of the paper (the measure).
Decision: docs/decisions/102-the-kits-measure.md.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from verydeep.data.box_xml import Annotation, read_box_xml
from verydeep.data.boxes import from_inclusive
from verydeep.data.ilsvrc import read_class_table
from verydeep.data.lines import read_lines
from verydeep.errors import LocalisationError
from verydeep.evaluation.error_table import per_cent, wilson_interval
from verydeep.weights.files import write_atomically

GUESSES = 5  # of a picture that count; further ones are dropped
OVERLAP = 0.5  # IoU from which on a box is right
NUMBERED = re.compile(r".*_(\d{8})")  # ILSVRC2012_val_00000001, whose line is the first


@dataclass(frozen=True)
class Guess:
    """A label, and a box whose first and last pixels belong to it, as they stand in a file of predictions."""

    label: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Score:
    """Errors of predictions, as fractions.

    Attributes:
        localisation_error: share of the pictures that are not excluded of which no guess has both label and box right.
        classification_error: share of all pictures of which no guess has the label right.
        images: pictures, the excluded ones among them.
        excluded: pictures that do not count for localisation.
        localisation_error_of_all: the same as the first, had nothing been excluded.
        remarks: what a reader of the figures should know.
    """

    localisation_error: float
    classification_error: float
    images: int
    excluded: int
    localisation_error_of_all: float
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return asdict(self) | {"remarks": list(self.remarks)}

    def __str__(self) -> str:
        counted = self.images - self.excluded
        lines = [
            f"localisation error {with_interval(self.localisation_error, counted)} of {counted:,} images",
            f"classification error {with_interval(self.classification_error, self.images)} of {self.images:,} images",
        ]
        if self.excluded:
            everything = with_interval(self.localisation_error_of_all, self.images)
            lines.append(f"{self.excluded:,} images excluded; with them localisation error {everything}")
        return "\n".join(lines)


def with_interval(error: float, images: int) -> str:
    """An error in per cent with its 95 % interval."""
    return f"{per_cent(error, wilson_interval(error, images))} %"


def score(
    predictions: str | Path,
    truth: str | Path,
    labels: str | Path,
    *,
    map: str | Path | None = None,
    exclude: str | Path | None = None,
) -> Score:
    """The localisation and classification error of predictions, by the development kit's rule.

    A guess is right if it has the picture's label and overlaps one of the true boxes of that label, by an IoU of at
    least 0.5 over inclusive pixels. Boxes are taken as they stand: swapped or outside ones only fail to match.

    Args:
        predictions: a line a picture, in the order of their names: `LABEL XMIN YMIN XMAX YMAX`, up to five times.
        truth: a folder with an XML file for each picture.
        labels: a line a picture: its label.
        map: the kit's table of labels and wnids, such as `map_clsloc.txt` or `meta.mat`, by which the names in the
            XML are turned into labels. Without it those names are the labels themselves; or, if none of them is one,
            all boxes of a picture are taken for boxes of its label, as they are in ILSVRC.
        exclude: numbers of pictures, from 1, one a line, that do not count for localisation.

    Raises:
        LocalisationError: a file cannot be used: another number of lines, no numbers, an XML file that is missing.
        DatasetError: a file cannot be read.
    """
    due = read_labels(Path(labels))
    guesses = read_predictions(Path(predictions))
    while len(guesses) > len(due) and not guesses[-1]:
        guesses.pop()  # empty lines at the end
    if len(guesses) != len(due):
        raise LocalisationError(
            f"{predictions}: has {len(guesses)} lines for the {len(due)} pictures of {labels}; write one for each"
        )
    excluded = read_excluded(Path(exclude), len(due)) if exclude is not None else frozenset()
    annotations = read_truth(Path(truth), len(due), excluded)
    table = read_classes(Path(map)) if map is not None else {}
    remarks = []
    known = bool({table.get(name, name) for each in annotations if each for name in each.names} & set(due))
    by_name = bool(table) or known
    if not by_name:
        remarks.append(f"{truth}: no name in it is a label, so every box of a picture counts as one of its label")
    elif not known:
        remarks.append(f"{map}: makes no name in {truth} a label of {labels}, so no box can be right; give another map")
    if not {guess.label for of_picture in guesses for guess in of_picture} & set(due):
        remarks.append(f"{predictions}: no label in it is one of {labels}, so no guess can be right")
    right_label, right_box = np.zeros(len(due), bool), np.zeros(len(due), bool)
    for place, (label, of_picture, annotation) in enumerate(zip(due, guesses, annotations, strict=True)):
        right_label[place] = any(guess.label == label for guess in of_picture)
        if annotation is None:
            continue
        names = [table.get(name, name) for name in annotation.names]
        of_label = [name == label or not by_name for name in names]
        right_box[place] = is_located(of_picture, label, annotation.boxes[np.array(of_label, bool)])
    counts = np.array([place not in excluded for place in range(len(due))], bool)
    if not counts.any():
        raise LocalisationError(f"{exclude}: excludes every picture; leave some")
    return Score(
        localisation_error=float(1 - right_box[counts].mean()),
        classification_error=float(1 - right_label.mean()),
        images=len(due),
        excluded=len(excluded),
        localisation_error_of_all=float(1 - right_box.mean()),
        remarks=tuple(remarks),
    )


def is_located(guesses: Sequence[Guess], label: str, boxes: Float64[np.ndarray, "m 4"]) -> bool:
    """Whether a guess of a picture has its label, and a box that overlaps one of the true boxes of that label."""
    guessed = [guess.box for guess in guesses if guess.label == label]
    if not guessed or not len(boxes):
        return False
    return bool((kits_overlap(from_inclusive(np.array(guessed, np.float64)), boxes) >= OVERLAP).any())


def kits_overlap(guessed: Float64[np.ndarray, "m 4"], true: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "m n"]:
    """The kit's IoU, -1 for what does not meet, computed from sides as they stand: nothing is sorted or clipped."""
    a, b = guessed[:, None], true[None]
    with np.errstate(all="ignore"):  # of predictions that are no numbers, or infinite
        width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
        height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
        both = width * height
        area_a, area_b = ((box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b))
        found: Float64[np.ndarray, "m n"] = np.where((width > 0) & (height > 0), both / (area_a + area_b - both), -1.0)
    return found


def read_predictions(path: Path) -> list[list[Guess]]:
    """The first five guesses of each picture. An empty line has none; a label 0 and what follows it fills up a line.

    Raises:
        LocalisationError: a line is not a multiple of five numbers.
    """
    return [_guesses(path, number, line) for number, line in enumerate(read_lines(path), 1)]


def _guesses(path: Path, number: int, line: str) -> list[Guess]:
    cells = line.replace(",", " ").split()
    if len(cells) % 5:
        raise LocalisationError(
            f"{path}: line {number} has {len(cells)} entries; write LABEL XMIN YMIN XMAX YMAX for each guess"
        )
    guesses = []
    for start in range(0, min(len(cells), 5 * GUESSES), 5):
        label, *corners = cells[start : start + 5]
        try:
            x0, y0, x1, y1 = (float(corner) for corner in corners)
        except ValueError:
            raise LocalisationError(f"{path}: line {number}: {' '.join(corners)} are no four numbers") from None
        guesses.append(Guess(plain(label), (x0, y0, x1, y1)))
    return guesses


def plain(label: str) -> str:
    """A label as it is compared: `12.0` and `012` are `12`, which is how Matlab writes and reads them."""
    try:
        value = float(label)
    except ValueError:
        return label
    return str(int(value)) if value.is_integer() else label


def read_labels(path: Path) -> list[str]:
    """The label of each picture, a line each.

    Raises:
        LocalisationError: there is none, or a line has several.
    """
    lines = [line.split() for line in read_lines(path) if line.strip()]
    for number, cells in enumerate(lines, 1):
        if len(cells) != 1:
            raise LocalisationError(f"{path}: line {number} has {len(cells)} labels; write one, of one picture")
    if not lines:
        raise LocalisationError(f"{path}: has no labels; write one a line")
    return [plain(cells[0]) for cells in lines]


def read_excluded(path: Path, images: int) -> frozenset[int]:
    """Places, from 0, of the pictures that do not count, which a file numbers from 1.

    Raises:
        LocalisationError: a line is no number of a picture.
    """
    excluded = set()
    for number, line in enumerate(read_lines(path), 1):
        text = plain(line.strip())
        if not text:
            continue
        if not text.isdecimal() or not 1 <= int(text) <= images:
            raise LocalisationError(f"{path}: line {number} is {text[:20]!r}; write a number from 1 to {images}")
        excluded.add(int(text) - 1)
    return frozenset(excluded)


def read_truth(folder: Path, images: int, excluded: frozenset[int]) -> list[Annotation | None]:
    """What the XML files say of each picture; None for an excluded one that has no file.

    Files are in the order of their names, one for each picture; where all of these end in eight digits, as ILSVRC's do,
    by that number.

    Raises:
        LocalisationError: there is no file for a picture.
        DatasetError: a file is damaged.
    """
    if not folder.is_dir():
        raise LocalisationError(f"{folder}: is no folder; give one with an XML file for each picture")
    files = sorted(folder.rglob("*.xml"), key=lambda path: path.name.encode(errors="surrogateescape"))
    by_place = by_number(files, images)
    if not by_place:
        if len(files) != images:  # which is missing, names do not tell
            raise LocalisationError(f"{folder}: has {len(files)} XML files for {images} labels; give one for each")
        by_place = dict(enumerate(files))
    missing = next((place for place in range(images) if place not in by_place and place not in excluded), None)
    if missing is not None:
        raise LocalisationError(
            f"{folder}: has no XML file for picture {missing + 1} of {images}; copy it again, or exclude the picture"
        )
    return [read_box_xml(by_place[place]) if place in by_place else None for place in range(images)]


def by_number(files: Sequence[Path], images: int) -> Mapping[int, Path]:
    """Files by place, where each name ends in the number of a picture, from 1 on; else nothing."""
    found = {int(match[1]) - 1: path for path in files if (match := NUMBERED.fullmatch(path.stem))}
    return found if len(found) == len(files) and all(0 <= place < images for place in found) else {}


def read_classes(path: Path) -> Mapping[str, str]:
    """Labels by wnid or name: lines such as `n02119789 1 kit_fox`, in either order, or the kit's `meta.mat`.

    Raises:
        LocalisationError: a line is no such pair.
        DatasetError: it cannot be read.
    """
    if path.suffix == ".mat":
        return {wnid: plain(label) for label, wnid, _ in read_class_table(path)}
    table = {}
    for number, line in enumerate(read_lines(path), 1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) < 2:
            raise LocalisationError(
                f"{path}: line {number} is not WNID LABEL; give the kit's map_clsloc.txt or meta.mat"
            )
        name, label = reversed(cells[:2]) if cells[0].isdecimal() and not cells[1].isdecimal() else cells[:2]
        table[name] = plain(label)
    return table


def write_predictions(path: str | Path, guesses: Sequence[Sequence[Guess]]) -> None:
    """Write guesses as the kit reads them: a line a picture, at most five guesses of it."""
    lines = []
    for of_picture in guesses:
        cells = [f"{guess.label} {' '.join(f'{corner:.2f}' for corner in guess.box)}" for guess in of_picture[:GUESSES]]
        lines.append(" ".join(cells) + "\n")
    write_atomically(Path(path), "".join(lines).encode())
