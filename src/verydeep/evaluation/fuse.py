"""Posteriors of several nets, scales or kinds of view on the same pictures → their weighted mean.

Files are read some rows at a time: those of 50,000 pictures and 1,000 classes take 200 MB each, and of however many
only their sum is in memory.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from safetensors import safe_open

from verydeep.data.dataset import UNLABELLED
from verydeep.data.paths import printable
from verydeep.errors import PosteriorsError, ProtocolError
from verydeep.evaluation.error_table import ErrorTable, add_differences, error_row
from verydeep.evaluation.outcome import ROWS, Labels, Outcome, Values, gather, look_at, outcome
from verydeep.evaluation.posteriors import MANIFEST, Posteriors, damaged, opened
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.evaluation.sample import stratified
from verydeep.weights.files import digest, heading

FITTED_ON = 0.2  # of the pictures; errors are then counted on the others
STEPS = 10_000  # of fitting, at most
SETTLED = 1e-9  # weights that move less are fitted
LEAST = 0.0005  # of a share, to be named in what a fusion is called

Given = Posteriors | str | Path
Weights = Sequence[float | int] | Literal["fit"] | None  # one for each; found by fitting; all alike


@dataclass(frozen=True, eq=False)
class Fusion:
    """What came of fusing.

    Attributes:
        posteriors: fused; of the pictures that the weights were not fitted on.
        weights: of each of what was fused, 1 in all.
        outcomes: what each of them alone said of the same pictures; none where these have no labels.
        fitted_on: the number of pictures that the weights were fitted on.
    """

    posteriors: Posteriors
    weights: tuple[float, ...]
    outcomes: tuple[Outcome, ...]
    fitted_on: int

    def table(self) -> ErrorTable:
        """The errors of each that was fused, and of the fusion, which is compared with the best of them.

        Raises:
            DatasetError: the pictures have no labels.
        """
        outcomes = [*self.outcomes, outcome(self.posteriors)]
        rows = [error_row(each, known_protocol(each.protocol)) for each in outcomes]
        for row, weight in zip(rows, self.weights, strict=False):  # the last row is the fusion's own
            row["fusion_weight"] = weight
        kept = ("net", "weights", "protocol", "fusion_weight")
        rows[-1]["fused"] = [{key: row[key] for key in kept} for row in rows[:-1]]
        if self.fitted_on:
            rows[-1]["weights_fitted_on_images"] = self.fitted_on
        alone = [each.error(1) for each in self.outcomes]
        add_differences(rows, outcomes, against=alone.index(min(alone)))
        return ErrorTable(rows)


def fuse(given: Sequence[Given], weights: Weights = None, *, seed: int = 0) -> Posteriors:
    """The weighted mean of posteriors of the same pictures and classes.

    Args:
        given: posteriors, or files of them.
        weights: one for each, at least 0, in any unit; by default all count alike. `"fit"` takes those that make the
            true classes of a fifth of the pictures likeliest, and gives posteriors of the others only, so that no error
            is counted on pictures that chose the weights.
        seed: which fifth.

    Raises:
        PosteriorsError: pictures, classes or labels differ, a file is missing or damaged, or weights are impossible.

    Source: section 4.4. Decision: docs/decisions/066-weights-of-a-fusion.md.
    """
    return fusion(given, weights, seed=seed).posteriors


def fusion(given: Sequence[Given], weights: Weights = None, *, seed: int = 0) -> Fusion:
    """The same as `fuse`, with the weights, and what each alone said of the same pictures."""
    sources = [open_source(each, place) for place, each in enumerate(given, start=1)]
    if not sources:
        raise PosteriorsError("no posteriors: nothing to fuse; give files that `evaluate` has written")
    for other in sources[1:]:
        check_alike(sources[0], other)
    images, classes = (sources[0].about[key] for key in ("images", "classes"))
    labels = next((source.labels for source in sources if source.labels is not None), None)
    kept = np.arange(len(images))
    if weights == "fit":
        if labels is None or (labels == UNLABELLED).any():
            raise PosteriorsError(f"{sources[0].name}: has pictures without a label; give the weights as numbers")
        fitted_on = stratified(labels, round(FITTED_ON * len(labels)), seed)
        if not len(fitted_on):
            raise PosteriorsError(f"{sources[0].name}: has too few pictures to fit weights; give them as numbers")
        kept = np.setdiff1d(kept, fitted_on)
        weights = fit_weights(np.stack([true_posteriors(source, labels)[fitted_on] for source in sources]))
    shares = as_shares(weights, sources)
    if labels is not None:
        labels = labels[kept]
    values = np.zeros((len(kept), len(classes)), np.float32)
    known = None if labels is None or (labels == UNLABELLED).any() else labels
    outcomes = [add(source, share, values, kept, known) for source, share in zip(sources, shares, strict=True)]
    counting = [(source, share) for source, share in zip(sources, shares, strict=True) if share >= LEAST]
    fused = Posteriors(
        values=values,
        images=tuple(images[place] for place in kept.tolist()),
        classes=classes,
        labels=labels,
        net=joined(counting, "net"),
        weights=called(counting),
        data=joined(counting, "data"),
        split=joined(counting, "split"),
        protocol=joined(counting, "protocol"),
        seconds=sum(source.about["seconds"] for source in sources),
    )
    return Fusion(fused, shares, tuple(each for each in outcomes if each is not None), len(images) - len(kept))


@dataclass(frozen=True, eq=False)
class Source:
    """Posteriors to fuse, wherever they are.

    Attributes:
        name: the file's, for errors.
        about: their manifest.
        labels: of the pictures, where known.
        rows: their values, some rows at a time, with the place of these.
    """

    name: str
    about: Mapping[str, Any]
    labels: Labels | None
    rows: Callable[[], Iterator[tuple[slice, Values]]]


def open_source(given: Given, place: int) -> Source:
    """Posteriors in memory or in a file, the latter not read yet; `place` is the number of unnamed ones."""
    if isinstance(given, Posteriors):
        about = {key: getattr(given, key) for key in MANIFEST}
        name = f"posteriors {place} ({given.net}, {given.protocol})"
        return Source(name, about, given.labels, partial(rows_in_memory, given.values))
    path = Path(given)
    with opened(path) as (file, manifest, _, _):
        labels = file.get_tensor("labels").numpy().copy() if "labels" in file.keys() else None
    return Source(str(path), manifest, labels, partial(rows_of_file, path, len(manifest["images"])))


def rows_in_memory(values: Values) -> Iterator[tuple[slice, Values]]:
    """Values some rows at a time."""
    for start in range(0, len(values), ROWS):
        at = slice(start, min(start + ROWS, len(values)))
        yield at, values[at]


def rows_of_file(path: Path, images: int) -> Iterator[tuple[slice, Values]]:
    """The values of a file some rows at a time.

    Raises:
        PosteriorsError: in the end, where the checksum of what was read is another.
    """
    with opened(path) as (file, manifest, card, sha256):
        labels = {"labels": file.get_tensor("labels").clone()} if "labels" in file.keys() else {}
    sha = digest(labels, card)  # of the tensors in the order of their names
    sha.update(heading("values", torch.float32, (images, len(manifest["classes"]))))
    for start in range(0, images, ROWS):
        at = slice(start, min(start + ROWS, images))
        with safe_open(path, framework="pt") as file:  # opened anew, since what is read of a file stays in memory
            values = file.get_slice("values")[at].numpy()
        sha.update(values.data)
        yield at, values
    if sha.hexdigest() != sha256:
        raise damaged(path)


def check_alike(one: Source, other: Source) -> None:
    """Refuse posteriors of other pictures, other classes or other labels, and name the first difference.

    Raises:
        PosteriorsError: there is one.
    """
    for key, what, remedy in (("classes", "class", "nets of the same classes"), ("images", "picture", "one data set")):
        ours, theirs = one.about[key], other.about[key]
        if ours != theirs:
            pairs = enumerate(zip_longest(ours, theirs, fillvalue=None), start=1)
            place, (mine, yours) = next((place, pair) for place, pair in pairs if pair[0] != pair[1])
            raise PosteriorsError(
                f"{one.name} and {other.name}: {what} {place} is {shown(mine)} in the first and {shown(yours)} in the "
                f"second, of {len(ours):,} and {len(theirs):,}; fuse posteriors of {remedy}, in one order"
            )
    if one.labels is not None and other.labels is not None and (one.labels != other.labels).any():
        place = int(np.flatnonzero(one.labels != other.labels)[0])
        mine, yours = (shown(label_of(source, place)) for source in (one, other))
        raise PosteriorsError(
            f"{one.name} and {other.name}: {shown(one.about['images'][place])} is of class {mine} in the first and "
            f"{yours} in the second; fuse posteriors of one data set"
        )


def label_of(source: Source, place: int) -> str | None:
    """The class of a picture, None where it has no label."""
    assert source.labels is not None
    label = int(source.labels[place])
    return None if label == UNLABELLED else source.about["classes"][label]


def shown(name: str | None) -> str:
    """A name in an error."""
    return "missing" if name is None else printable(name)


def true_posteriors(source: Source, labels: Labels) -> Float64[np.ndarray, " n"]:
    """The posterior of the true class of each picture."""
    found = [np.take_along_axis(values, labels[at, None], axis=1)[:, 0] for at, values in source.rows()]
    return np.concatenate(found).astype(np.float64)


def fit_weights(true: Float[np.ndarray, "m n"]) -> tuple[float, ...]:
    """The weights, 1 in all, with which a mixture makes the true classes likeliest.

    Args:
        true: the posterior that each of m sources gives to the true class of each picture.

    Source: Dempster, Laird & Rubin 1977, "Maximum likelihood from incomplete data via the EM algorithm", section 4.3.
    """
    weights = np.full(len(true), 1 / len(true))
    told = true[:, (true > 0).any(axis=0)]  # of the others no mixture knows anything
    for _ in range(STEPS if told.size else 0):
        shares = weights[:, None] * told
        fitted = (shares / shares.sum(axis=0)).mean(axis=1)
        moved, weights = np.abs(fitted - weights).max(), fitted
        if moved < SETTLED:
            break
    return tuple(weights.tolist())


def as_shares(weights: Sequence[float | int] | None, sources: Sequence[Source]) -> tuple[float, ...]:
    """Weights as shares that make 1.

    Raises:
        PosteriorsError: they are not one number for each source, at least 0, some above.
    """
    weights = [1.0] * len(sources) if weights is None else [float(weight) for weight in weights]
    if len(weights) != len(sources):
        raise PosteriorsError(f"{len(weights)} weights for {len(sources)} files of posteriors; give one for each")
    for source, weight in zip(sources, weights, strict=True):
        if not 0 <= weight < math.inf:
            raise PosteriorsError(f"{source.name}: {weight:g} is not a weight; give a number from 0 upwards")
    if not any(weights):
        raise PosteriorsError(f"{sources[0].name}: all weights are 0; give one above")
    return tuple(weight / math.fsum(weights) for weight in weights)


def add(
    source: Source, share: float, values: Values, kept: Int64[np.ndarray, " n"], labels: Labels | None
) -> Outcome | None:
    """Add a source's share to the values of the pictures that are kept; what it alone said of them, where labelled."""
    seen = []
    for at, rows in source.rows():
        here = slice(*np.searchsorted(kept, (at.start, at.stop)).tolist())
        some = rows[kept[here] - at.start]
        values[here] += np.float32(share) * some
        if labels is not None:
            seen.append(look_at(some, labels[here]))
    return None if labels is None else gather(source.about, labels, seen)


def known_protocol(text: str) -> Protocol | None:
    """The protocol of a text; None where it is one of a user's own."""
    try:
        return parse(text, crop=1)
    except ProtocolError:
        return None


def joined(counting: Sequence[tuple[Source, float]], key: str) -> str:
    """What the manifests of some sources say, each once."""
    return " + ".join(dict.fromkeys(source.about[key] for source, _ in counting))


def called(counting: Sequence[tuple[Source, float]]) -> str:
    """What the weights of the sources' nets are called, and how much they count where they do not count alike."""
    if len({share for _, share in counting}) == 1:
        return joined(counting, "weights")
    return " + ".join(f"{share:.3g} × {source.about['weights'] or source.about['net']}" for source, share in counting)
