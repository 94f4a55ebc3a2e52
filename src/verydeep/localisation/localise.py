"""What is in pictures, and where: five guesses, each a class with its posterior and a box. Source: appendix A."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8

from verydeep.data.annotations import Boxes, read_boxes
from verydeep.data.boxes import to_inclusive
from verydeep.data.dataset import UNLABELLED, Dataset, PictureArray
from verydeep.errors import LocalisationError
from verydeep.evaluation.posteriors import Posteriors, default_threads, name_of, posteriors
from verydeep.evaluation.predict import best_protocol, open_files
from verydeep.localisation.devkit import GUESSES, Guess, write_predictions
from verydeep.localisation.head import refuse_localiser, regression_of
from verydeep.localisation.locate import Found, Localiser, locate
from verydeep.localisation.measure import error_of, is_right
from verydeep.nets.net import Net
from verydeep.nets.registry import bundled, load_own_net
from verydeep.weights.files import write_atomically

BUNDLED = "tiny-imagenet-boxes"  # the localiser that comes with the package
Where = Localiser | Net | str | Path  # a localiser, or the net that it is, or the place of that
Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much


class Located(NamedTuple):
    """A thing in a picture: its class, the posterior of that, and its box x0, y0, x1, y1 in pixels of the picture."""

    name: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Guesses:
    """The best classes of each picture, and a box for each.

    Attributes:
        posteriors: of the classification net.
        chosen: places of the classes in `posteriors.classes`, the best first.
        found: their boxes.
    """

    posteriors: Posteriors
    chosen: Int64[np.ndarray, "n c"]
    found: Found

    def of(self, image: int) -> list[Located]:
        """The guesses of a picture, the best first."""
        return [
            Located(
                self.posteriors.classes[place],
                float(self.posteriors.values[image, place]),
                (box[0], box[1], box[2], box[3]),
            )
            for place, box in zip(self.chosen[image].tolist(), self.found.boxes[image].tolist(), strict=True)
        ]


def localise(
    net: Net | str | Path,
    localiser: Where | Sequence[Where] | None,
    picture: str | Path | UInt8[np.ndarray, "h w 3"],
    *,
    count: int = GUESSES,
    protocol: str | None = None,
    boxes: str | None = None,
    device: str | torch.device = "auto",
) -> list[Located]:
    """What a picture shows, and where: classes with their posteriors and boxes, the best first.

    Args:
        net: that names classes, or where it is.
        localiser: one net that gives boxes, or several, or where they are; None for the one that the package brings.
        picture: a file, or RGB pixels.
        count: of classes.
        protocol: of the classification; by default what the net was found best by.
        boxes: the protocol that says which crops give boxes, such as `dense@256,384`; by default what the localiser was
            found best by.
        device: where to compute.

    Raises:
        LocalisationError: the nets do not fit each other, or the package brings no localiser.
        PictureError: the picture cannot be decoded.
    """
    localiser = bundled_localiser() if localiser is None else localiser
    net, card = loaded(net)
    data: Dataset
    if isinstance(picture, np.ndarray):
        data = PictureArray(
            kind="array", root=Path(), split="all", classes=net.classes, names={}, images=("picture",),
            labels=np.array([UNLABELLED]), pixels=picture[None],
        )  # fmt: skip
    else:
        data = open_files([picture], net.classes)
    several = localiser if isinstance(localiser, Sequence) and not isinstance(localiser, str) else [localiser]
    guesses = guess(
        net, [open_localiser(each, boxes) for each in several], data, protocol or best_protocol(net, card), count=count,
        device=device, threads=1,
    )  # fmt: skip
    return guesses.of(0)


def loaded(net: Net | str | Path) -> tuple[Net, Mapping[str, Any]]:
    """A net in eval mode and its card; none where it was given as it is."""
    return (net, {}) if isinstance(net, Net) else load_own_net(net)


def bundled_localiser() -> str:
    """The name of the localiser that the package brings.

    Raises:
        LocalisationError: this copy of it brings none.
    """
    if BUNDLED not in bundled():
        raise LocalisationError(
            f"{BUNDLED}: is not in this copy of verydeep; give a localiser of your own, such as a run of "
            f"`verydeep train {BUNDLED} tiny-imagenet-200`"
        )
    return BUNDLED


def open_localiser(where: Where, boxes: str | None = None) -> Localiser:
    """A localiser with the protocol that says which crops give boxes: by default the dense one that errs least."""
    if isinstance(where, Localiser):
        return where
    net, card = loaded(where)
    return Localiser(net, boxes or best_boxes(card), net.name if isinstance(where, Net) else str(where), card)


def best_boxes(card: Mapping[str, Any]) -> str:
    """The dense protocol by which a localiser errs least, by its card; else dense, at the scale it was watched at."""
    if row := best_row(card):
        return str(row["boxes"][0])
    watched = str(card.get("validation_protocol", ""))
    scale = watched.partition("@")[2].partition(",")[0].partition("-")[0]
    return f"dense@{scale}" if scale else "dense"


def best_row(card: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row of a card with the least error, of protocols that see all of a picture whatever its shape, if any do."""
    rows = card.get("localisation", [])
    dense = [row for row in rows if row["boxes"][0].startswith("dense")]
    return min(dense or rows, key=lambda row: row["known_class_error"], default=None)


def box_credentials(localiser: Localiser) -> str:
    """One line on what a localiser knows and how often it errs, from its card.

    Raises:
        LocalisationError: it gives no boxes.
    """
    net, card = localiser.net, localiser.card
    regression, classes = regression_of(net)
    kind = "one box for all classes" if regression == "scr" else f"a box for each of {len(classes):,} classes"
    known = f"{localiser.where}: {net.name} with {kind}" + (f" of {card['data']}" if card.get("data") else "")
    best = best_row(card)
    if best is None:
        return f"{known}; how often it errs was not measured: see verydeep localise"
    return (
        f"{known}; of {best['images'] - best['without_boxes']:,} validation pictures "
        f"{100 * best['known_class_error']:.0f} % get a wrong box for the right class "
        f"(IoU below 0.5; {best['boxes'][0]})"
    )


def guess(
    net: Net,
    localisers: Sequence[Localiser],
    data: Dataset,
    protocol: str = "dense",
    *,
    count: int = GUESSES,
    device: str | torch.device = "auto",
    batch: int | None = None,
    threads: int | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Guesses:
    """The best classes of every picture by a classification net, and a box for each by localisers.

    Args:
        net: of the classes; it rates boxes, too.
        localisers: of the same classes.
        data: pictures, labelled or not.
        protocol: of the classification.
        count: of guesses.
        device: where to compute.
        batch: so many crops at once.
        threads: that decode meanwhile.
        progress: called with what is done.

    Raises:
        LocalisationError: the net gives boxes itself, or there is no localiser, or they do not fit each other.
    """
    refuse_localiser(net)
    said = posteriors(
        net, data, protocol, device=device, batch=batch, threads=threads,
        progress=lambda done, of: progress("classes", done, of),
    )  # fmt: skip
    return place(
        said, net, localisers, data, count=count, device=device, batch=batch, threads=threads, progress=progress
    )


def place(
    said: Posteriors,
    scorer: Net,
    localisers: Sequence[Localiser],
    data: Dataset,
    *,
    count: int = GUESSES,
    device: str | torch.device = "auto",
    batch: int | None = None,
    threads: int | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Guesses:
    """A box for each of the best classes of every picture, whoever named them; `scorer` rates boxes. See `guess`."""
    chosen = np.argsort(-said.values, axis=1, kind="stable")[:, :count]
    found = locate(
        localisers, data, chosen, said.classes, scorer, device=device, batch=batch, threads=threads,
        progress=lambda done, of: progress("boxes", done, of),
    )  # fmt: skip
    return Guesses(said, chosen, found)


@dataclass(frozen=True, eq=False)
class Rights:
    """What became of guesses, picture by picture.

    Attributes:
        located: whether a guess has both its class and its box right, of the pictures that have a good box.
        known: whether the merged box of the true class is right, of the same.
        boxed: indices of these pictures.
        truth: their boxes.
        found: the merged boxes of their true classes.
        named: whether a guess has its class right, of all pictures.
        trouble: how often boxes are bad, in a line; empty where none is.
    """

    located: Bool[np.ndarray, " m"]
    known: Bool[np.ndarray, " m"]
    boxed: Int64[np.ndarray, " m"]
    truth: Boxes
    found: Found
    named: Bool[np.ndarray, " n"]
    trouble: str


def judge(
    guesses: Guesses,
    localisers: Sequence[Localiser],
    data: Dataset,
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Rights:
    """Hold guesses against the labels and boxes of a data set.

    Raises:
        LocalisationError: pictures have no labels, or classes that the net does not know, or none has a good box.
        DatasetError: there are no boxes.
    """
    said = guesses.posteriors
    if said.labels is None:
        raise LocalisationError(f"{data.root}: has classes that {said.net} does not know; use another net")
    if (said.labels == UNLABELLED).any():
        raise LocalisationError(f"{data.root}: has pictures without labels, so no errors; write a submission instead")
    truth = read_boxes(data, threads=default_threads())
    boxed = np.flatnonzero(truth.counts)
    if not len(boxed):
        raise LocalisationError(f"{data.root}: no picture has a good box; see verydeep data check")
    has_class = guesses.chosen == said.labels[:, None]
    located = (has_class & is_right(guesses.found, truth)).any(axis=1)
    part, truth_of_part = data.subset(boxed), truth.subset(boxed)
    found = locate(
        localisers, part, part.labels[:, None], part.classes, device=device, batch=batch,
        progress=lambda done, of: progress("boxes of known classes", done, of),
    )  # fmt: skip
    known = is_right(found, truth_of_part)[:, 0]
    return Rights(located[boxed], known, boxed, truth_of_part, found, has_class.any(axis=1), truth.trouble())


def localisation_row(
    guesses: Guesses, localisers: Sequence[Localiser], data: Dataset, rights: Rights
) -> dict[str, Any]:
    """The errors of guesses, as fractions with 95 % intervals, and what they were measured on.

    Pictures without a good box are left out of both localisation errors, not of the classification error.
    """
    said = guesses.posteriors
    return {
        "net": said.net,
        "localisers": [localiser.net.name for localiser in localisers],
        "protocol": said.protocol,
        "boxes": [localiser.protocol for localiser in localisers],
        "data": name_of(data),
        "split": data.split,
        "images": len(data),
        "without_boxes": len(data) - len(rights.located),
        **error_of(rights.located, "localisation"),
        **error_of(rights.known, "known_class"),
        **error_of(rights.named, "classification"),
        "bad_boxes": rights.trouble,
    }


def write_submission(path: str | Path, guesses: Guesses, labels: Mapping[str, str]) -> None:
    """Write guesses in the development kit's format: a line a picture, in the order of the names of their files.

    Args:
        path: of the file.
        guesses: of all pictures.
        labels: what each class is called there; a class that is not in it by its key.
    """
    order = by_name(guesses.posteriors)
    write_predictions(path, [[as_guess(each, labels) for each in guesses.of(image)] for image in order])


def write_labels(path: str | Path, said: Posteriors, labels: Mapping[str, str]) -> None:
    """Write five classes of each picture without boxes, as the kit's task of classification takes them.

    Args:
        path: of the file.
        said: of all pictures.
        labels: what each class is called there; a class that is not in it by its key.
    """
    lines = (" ".join(labels.get(key, key) for key, _ in said.best(image, GUESSES)) for image in by_name(said))
    write_atomically(Path(path), "".join(f"{line}\n" for line in lines).encode())


def by_name(said: Posteriors) -> list[int]:
    """The pictures in the order of the names of their files."""
    return sorted(range(len(said.images)), key=lambda image: PurePosixPath(said.images[image]).name)


def as_guess(located: Located, labels: Mapping[str, str]) -> Guess:
    """A guess in inclusive pixels."""
    x0, y0, x1, y1 = to_inclusive(np.array([located.box], np.float64))[0].tolist()
    return Guess(labels.get(located.name, located.name), (x0, y0, x1, y1))
