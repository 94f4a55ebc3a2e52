"""What a row of a study of transfer measures: a net, a set of pictures, a split → scores. Source: appendix B."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from verydeep.data.dataset import Dataset
from verydeep.data.open import open_dataset
from verydeep.data.splits import split_classes
from verydeep.data.voc import ManyLabels, Region, open_voc_actions
from verydeep.errors import StudyError
from verydeep.evaluation.posteriors import posteriors
from verydeep.evaluation.protocol import in_proportion
from verydeep.nets.net import Net
from verydeep.nets.registry import create_net, load_net, load_own_net, read_net
from verydeep.nets.wrap import Wrapped
from verydeep.pictures.resize import resize
from verydeep.processes import processes
from verydeep.studies.study import merge
from verydeep.studies.transfer_study import Pictures, TransferRow
from verydeep.training.recipe import Recipe, Validation, parse_recipe, read_values
from verydeep.training.run import Moment, train
from verydeep.transfer.descriptors import AnyNet, describe_by, stacked, way_of
from verydeep.transfer.fit import labels_among
from verydeep.transfer.hypotheses import largest_scores
from verydeep.transfer.linear import LinearTransfer, ManyMachines
from verydeep.transfer.precision import RULES, mean_average_precision
from verydeep.transfer.recall import mean_class_recall
from verydeep.transfer.tune import Tuned, tuning_recipe, write_table

SIDE = 16  # px, of raw pixels

Values = Float32[np.ndarray, "n d"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Desk:
    """Where a row is measured.

    Attributes:
        work: a folder for descriptors and trainings.
        Cs: to choose C from.
        device: to compute on.
        say: gets what a person should know.
        show: gets every step of trainings.
        progress: gets what is done, the number of pictures done and of all.
    """

    work: Path
    Cs: Sequence[float]
    device: str
    say: Callable[[str], None]
    show: Callable[[Moment], None]
    progress: Progress


@dataclass(frozen=True)
class Parts:
    """A set of pictures, divided; each part once for every region of a picture."""

    train: Sequence[Dataset]
    watched: Sequence[Dataset]
    test: Sequence[Dataset]


def measure(name: str, row: TransferRow, pictures: Pictures, root: Path, seed: int, desk: Desk) -> dict[str, Any]:
    """What a row scores on a split: mean class recall, or mean average precision by both rules.

    Args:
        name: of the row and the split.
        row: what is measured.
        pictures: the set.
        root: the folder that holds the sets.
        seed: of the split.
        desk: where it is measured.

    Raises:
        VerydeepError: pictures, nets and ways do not fit each other.

    Source: appendix B, tables 11 and 12.
    """
    parts = divide(pictures, root, row, seed)
    found = LINEAR[row.way](row, parts, seed, desk) if row.way in LINEAR else tuned(name, row, parts, seed, desk)
    test = parts.test[0]
    about = {
        "net": named(row),
        "classes": len(test.classes),
        "images": len(test),
        "trained_on": len(parts.train[0]),
        **found,
    }
    if parts.watched:
        about["trained_on"] += len(parts.watched[0])
    scores = about.pop("scores")
    if isinstance(test, ManyLabels):
        scored = {rule: mean_average_precision(scores, test.presence, rule) for rule in RULES}
        return about | scored | {"rule": test.rule}
    return about | {"mean_class_recall": mean_class_recall(test.labels, scores.argmax(axis=1))}


def divide(pictures: Pictures, root: Path, row: TransferRow, seed: int) -> Parts:
    """The set's pictures to train on, to choose C on, and to test."""
    path = root / pictures.folder
    if isinstance(pictures.train, int):
        if isinstance(pictures.test, str):
            raise StudyError(f"{pictures.folder}: test is a split, train is none; give both or neither")
        train, test = split_classes(open_dataset(path, kind=pictures.kind), pictures.train, pictures.test, seed)
        return Parts([train], [], [test])
    of_split = {
        split: [open_region(path, split, pictures.kind, region) for region in row.regions]
        for split in (pictures.train, pictures.watched, str(pictures.test))
        if split
    }
    watched = of_split[pictures.watched] if pictures.watched else []
    return Parts(of_split[pictures.train], watched, of_split[str(pictures.test)])


def open_region(path: Path, split: str, kind: str | None, region: str) -> ManyLabels:
    """A split of a set whose pictures show any number of classes; of persons, a region."""
    shown: Region = "box" if region == "box" else "image"
    data = open_voc_actions(path, split, region=shown) if kind == "voc-actions" else open_dataset(path, split, kind)
    if not isinstance(data, ManyLabels):
        raise StudyError(f"{path}: has one class a picture; write numbers for train and test, or give a folder of VOC")
    return data


def by_net(row: TransferRow, parts: Parts, seed: int, desk: Desk) -> dict[str, Any]:
    """Machines on descriptors."""
    nets = [load(name, row.weights) for name in row.nets]
    ways = [way_of(net, None, sides(row, net), row.combine) for net in nets]

    def described(regions: Sequence[Dataset], what: str) -> Values:
        told = lambda done, of: desk.progress(what, done, of)  # noqa: E731
        cache = desk.work / "descriptors"
        return stacked(
            [describe_by(nets, ways, each, cache, desk.device, "float32", progress=told) for each in regions]
        )

    found, machines = by_machines(row, parts, described, seed, desk)
    found["way"] = in_words(row, ways[0].scales)
    if row.views == "largest":
        weights, shift = machines
        told = lambda done, of: desk.progress("shows windows of", done, of)  # noqa: E731
        test = parts.test[0]
        found["scores"] = largest_scores(nets[0], test, ways[0], weights, shift, device=desk.device, progress=told)
    return found


def by_pixels(row: TransferRow, parts: Parts, seed: int, desk: Desk) -> dict[str, Any]:
    """Machines on raw pixels."""
    found, _ = by_machines(row, parts, lambda regions, what: raw_pixels(regions[0]), seed, desk)
    return found | {"way": f"raw pixels, {SIDE} × {SIDE}"}


def by_machines(
    row: TransferRow, parts: Parts, described: Callable[[Sequence[Dataset], str], Values], seed: int, desk: Desk
) -> tuple[dict[str, Any], tuple[Float64[np.ndarray, "k d"], Float64[np.ndarray, " k"]]]:
    """Scores of the test pictures by linear machines, with C chosen on the training part; and the machines."""
    values, data = described(parts.train, "describes those to train on"), parts.train[0]
    if isinstance(data, ManyLabels):
        watched = None
        if parts.watched:
            seen = parts.watched[0]
            assert isinstance(seen, ManyLabels)
            watched = (described(parts.watched, "describes those to choose on"), seen.presence)
        many = ManyMachines(desk.Cs, seed).fit(values, data.presence, watched, data.rule)
        machines, chosen = (many.weights, many.shift), many.C
    else:
        one = LinearTransfer(Cs=desk.Cs, seed=seed).fit(values, data.labels)
        machines, chosen = (one.coef_, one.intercept_), one.C_
    weights, shift = machines
    if row.views == "largest":
        return {"C": chosen, "dimensions": values.shape[1]}, machines
    scores = described(parts.test, "describes those to test") @ weights.T + shift
    return {"C": chosen, "dimensions": values.shape[1], "scores": scores}, machines


LINEAR = {"linear": by_net, "pixels": by_pixels}


def tuned(name: str, row: TransferRow, parts: Parts, seed: int, desk: Desk) -> dict[str, Any]:
    """Scores of the test pictures by a net that was tuned or trained on the others."""
    data, test = parts.train[0], parts.test[0]
    table = desk.work / f"{name}.csv"
    processes().from_first(lambda: write_table(table, {"train": data}))
    run = train(recipe_of(row, table, len(data), seed, desk.device), run=desk.work / name, say=desk.say, show=desk.show)
    net, _ = read_net(run.net)
    protocol = f"dense@{','.join(map(str, sides(row, net)))}"
    told = lambda done, of: desk.progress("tests", done, of)  # noqa: E731
    values = posteriors(net, test, protocol, device=desk.device, weights=name, progress=told).values
    places = labels_among(test, net.classes)
    scores = np.zeros((len(test), len(test.classes)))
    scores[:, np.unique(test.labels)] = values[:, [places[test.labels == label][0] for label in np.unique(test.labels)]]
    way = f"densely at {in_words(row, sides(row, net))}, {row.epochs} epochs"
    return {"C": None, "dimensions": None, "scores": scores, "way": way}


def recipe_of(row: TransferRow, table: Path, images: int, seed: int, device: str) -> Recipe:
    """By what a net is tuned or trained: on all training pictures, some of which are watched at the end alone."""
    if row.way == "scratch":
        given = {"data": str(table), "seed": seed, "schedule": {"epochs": row.epochs}, "compute": {"device": device}}
        values = merge(read_values(str(row.recipe)), row.changes)
        recipe = parse_recipe(merge(values, given), str(row.recipe))
    else:
        loaded, _ = load_own_net(row.nets[0])
        what: Tuned = "last" if row.way == "last" else "all"
        recipe = tuning_recipe(
            loaded, row.nets[0], table, images, what, epochs=row.epochs, seed=seed, device=device
        )  # fmt: skip
    return recipe.model_copy(update={"validation": Validation(split="train", every=1000, images=500)})


def load(name: str, weights: str | None) -> AnyNet:
    """A net by name, with the weights that are named, its own, or random ones."""
    if weights is None:
        return load_net(name)[0]
    if weights != "random":
        return create_net(name, weights=weights)
    return random_like(load_own_net(name)[0])


def random_like(net: Net) -> Net:
    """The same net as if it had never been trained, with the same mean."""
    found = create_net(net.name, width=net.width, crop=net.crop, hidden=net.hidden, classes=net.classes, start="he")
    found.mean.copy_(net.mean)
    found.std.copy_(net.std)
    return found


def named(row: TransferRow) -> str:
    """What tells pictures apart, for a person."""
    nets = " and ".join(row.nets)
    if row.way == "linear":
        return f"{nets} with random weights" if row.weights == "random" else nets
    return {
        "pixels": "no net", "last": f"{nets}, its last layer tuned", "all": f"{nets}, all of it tuned",
        "scratch": f"from scratch, as {row.recipe}",
    }[row.way]  # fmt: skip


def in_words(row: TransferRow, scales: Sequence[int]) -> str:
    """How pictures are shown, for a person."""
    several = {"average": ", averaged", "stack": ", stacked"}[row.combine] if len(scales) > 1 else ""
    regions = f", {' and '.join(row.regions)}" if row.regions != ("image",) else ""
    largest = ", the largest score of all windows" if row.views == "largest" else ""
    return f"Q = {', '.join(map(str, scales))}{several}{regions}{largest}"


def sides(row: TransferRow, net: Net | Wrapped) -> list[int]:
    """A row's scales for a net's crop, px."""
    return [in_proportion(side, net.crop) for side in row.scales]


def raw_pixels(data: Dataset) -> Values:
    """Pictures as they are, squeezed to one small square, about grey, of length 1."""
    rows = [
        resize(data.picture(index), SIDE, SIDE).reshape(-1).astype(np.float32) - 127.5 for index in range(len(data))
    ]
    values = np.array(rows, np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)
