"""One's own photographs → a model, with an honest error: what `verydeep transfer` does.

Each picture is tested once by a classifier that has seen neither it, nor a picture of its group, nor a copy of it. The
classifier that is kept is then trained on all. Decision: docs/decisions/113-ones-own-photographs.md.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from verydeep.data.dataset import Dataset
from verydeep.data.duplicates import contents, leak_line, leaks
from verydeep.data.folders import split_folders
from verydeep.data.open import open_dataset
from verydeep.data.paths import printable
from verydeep.data.table import Tabled
from verydeep.data.voc import ManyLabels
from verydeep.device import choose_device
from verydeep.errors import DatasetError, TransferError
from verydeep.evaluation.compare import paired_difference
from verydeep.evaluation.posteriors import Remark, default_threads, ignore, name_of
from verydeep.nets.registry import load_net
from verydeep.nets.wrap import Wrapped
from verydeep.transfer.descriptors import Way, computed_in, describe_by, way_of
from verydeep.transfer.fit import check_classes, labels_among
from verydeep.transfer.folds import Labels, folds, interval, joined, part_of
from verydeep.transfer.linear import LinearTransfer, check_kind, span
from verydeep.transfer.model import Model
from verydeep.transfer.recall import mean_class_recall

NET = "tiny-imagenet"  # that comes with the package
LITTLE = 1.0  # points of error that are not worth the trouble
CS = (0.1, 1.0, 10.0, 100.0)  # to choose from: docs/decisions/144-what-a-few-hundred-photographs-need.md
SHARES = (0.125, 0.25, 0.5, 1.0)  # of the training pictures, in the learning curve
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Learned:
    """A point of the learning curve.

    Attributes:
        images: pictures trained on, a class, on average.
        error: top-1, of the same pictures as at the other points.
        interval: of the error, 95 %.
        wrong: which of the tested pictures were named wrongly.
    """

    images: float
    error: float
    interval: tuple[float, float]
    wrong: Bool[np.ndarray, " n"] = field(repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Report:
    """What is known of a model of one's own photographs.

    Attributes:
        model: that is kept.
        row: its error and how it was measured, as plain values.
        data: the pictures that were tested.
        labels: of these.
        posteriors: what was said of each of them by a classifier that had not seen it.
        curve: the error by the number of pictures trained on.
        verdict: whether more pictures would help, in a sentence.
        remarks: what a reader should know besides.
    """

    model: Model
    row: dict[str, Any]
    data: Dataset
    labels: Int64[np.ndarray, " n"]
    posteriors: Float32[np.ndarray, "n k"]
    curve: tuple[Learned, ...]
    verdict: str
    remarks: tuple[str, ...]


def transfer_photographs(
    folder: str | Path,
    net: str = NET,
    *,
    layer: str | None = None,
    scales: Sequence[int] | None = None,
    combine: str = "stack",
    mirror: bool = True,
    kind: str = "svm",
    class_weight: Any = None,
    seed: int = 0,
    allow_leaks: bool = False,
    cache: str | Path | None = None,
    device: str | torch.device = "auto",
    data_type: str = "auto",
    threads: int | None = None,
    say: Remark = ignore,
    progress: Progress | None = None,
) -> Report:
    """A model of the pictures in a folder, and how often it errs.

    Args:
        folder: class folders, divided into train and test (or val) or not; or a CSV file of `file,label`, and `split`
            and `group` if need be. What is not divided is tested by cross-validation.
        net: what `load_net` takes.
        layer: see `transfer.describe`; so are `scales`, `combine` and `mirror`.
        scales: smallest sides Q, px.
        combine: "average" or "stack".
        mirror: whether mirror images are shown, too.
        kind: "svm" or "logistic".
        class_weight: None or "balanced".
        seed: of the folds, and of the part that C is chosen on.
        allow_leaks: whether to go on where a test picture is trained on, too.
        cache: a folder that keeps descriptors.
        device: `auto` is CUDA, then MPS, then the CPU.
        data_type: in which the net is computed; see `transfer.describe`.
        threads: that decode pictures meanwhile.
        say: told what is done, a line each; the net first.
        progress: called with what is being done, the number of pictures done and of all.

    Raises:
        TransferError: there are too few pictures of a class, or a class or group is where it cannot be.
        DatasetError: it is no data set, or a test picture is trained on, too.
    """
    start = time.perf_counter()
    check_kind(kind)
    loaded, card = load_net(net)
    way = way_of(loaded, layer, scales, combine, mirror)
    say(name_net(net, loaded, card, way))
    data, test = open_divided(folder)
    remarks = [*data.remarks, *(() if test is None else test.remarks)]
    check_classes(data, test)
    hashes = contents(data, threads or default_threads())
    labels = data.labels
    groups, doubles = groups_of(data, hashes)
    if doubles:
        remarks.append(doubles)
    refuse_lonely(data, groups)
    tested, truth = (data, labels) if test is None else (test, labels_among(test, data.classes))
    if test is not None:
        refuse_straddling(data, test)
        remarks += leak_remarks(data, test, hashes, contents(test, threads or default_threads()), allow_leaks)
    for line in remarks:
        say(line)

    def described(some: Dataset) -> Any:
        told = (lambda done, of: progress("describes", done, of)) if progress else None
        return describe_by([loaded], [way], some, cache, device, data_type, threads=threads, progress=told)

    computed = str(computed_in(loaded, way.layer, choose_device(device), data_type)).removeprefix("torch.")
    values = described(data)
    others = values if test is None else described(test)
    took = f"{time.perf_counter() - start:.1f} s"
    say(f"{len(data)} pictures of {len(data.classes)} classes described in {took}: {way}, {computed}")
    basis = span(values.astype(np.float64))  # few pictures span little: once for all that is fitted below
    if basis is not None:
        values, others = values @ basis, others @ basis
    classifier = LinearTransfer(kind, Cs=CS, class_weight=class_weight, seed=seed)
    which = folds(labels, groups, seed=seed)
    parts = (
        [(np.ones(len(data), bool), np.ones(len(tested), bool))]
        if test is not None
        else [(which != fold, which == fold) for fold in np.unique(which).tolist()]
    )
    posteriors = np.zeros((len(tested), len(data.classes)), np.float32)
    for place, (trains, tests) in enumerate(parts):
        fitted = LinearTransfer(**classifier.get_params()).fit(values[trains], labels[trains], groups[trains])
        posteriors[np.ix_(tests, fitted.classes_)] = fitted.predict_proba(others[tests])
        if progress:
            progress("tests", place + 1, len(parts))
    classifier.fit(values, labels, groups)
    clusters = groups if test is None else np.arange(len(tested))
    curve = learning_curve(classifier, values, labels, groups, others, truth, parts, clusters, seed)
    wrong = posteriors.argmax(axis=1) != truth
    row = {
        "net": loaded.name, "weights": str(card.get("weights", net)), "way": str(way), "data_type": computed,
        "kind": kind, "C": classifier.C_, "data": name_of(data), "folds": len(parts),
        "split": "cross-validated" if test is None else tested.split,
        "images": len(tested), "trained_on": len(data), "classes": len(data.classes),
        "top1_error": float(wrong.mean()), "top1_interval": list(interval(wrong, clusters)),
        "mean_class_recall": mean_class_recall(truth, posteriors.argmax(axis=1)),
        "most_frequent_class_error": 1 - float(np.bincount(truth).max() / len(truth)),
        "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    weights = classifier.coef_ if basis is None else classifier.coef_ @ basis.T
    model = Model(
        (loaded,), (way,), data.classes, dict(data.names), weights, classifier.intercept_,
        classifier.temperature_, {"data": name_of(data), "row": row, "weights": row["weights"]},
    )  # fmt: skip
    verdict = would_more_help(curve)
    return Report(model, row, tested, truth, posteriors, curve, verdict, tuple(remarks))


def name_net(name: str, net: Any, card: Any, way: Way) -> str:
    """What net is used, and where it comes from, in a line."""
    if str(card.get("weights", "")).startswith("random"):
        whence = "its weights are random, so that it has learned nothing: name a trained one"
    elif isinstance(net, Wrapped):
        whence = "other people's"
    else:
        whence = f"trained on {card['data']}" if card.get("data") else "from its file"
        whence += ", comes with verydeep" if name == NET else ""
    fetched = "fetched where it was named, unless it was here" if ":" in name else "nothing is downloaded"
    return f"uses {name}: {net.name}, {len(net.classes):,} classes, {whence}; {fetched}; {way}"


def open_divided(folder: str | Path) -> tuple[Dataset, Dataset | None]:
    """The pictures to train on, and those to test where the folder or table is divided.

    Raises:
        TransferError: the pictures show any number of classes.
        DatasetError: there is no data set, or a split's folder is damaged.
    """
    path = Path(folder)
    train = open_dataset(folder if str(folder) == "digits" else path, "train")
    if isinstance(train, ManyLabels):
        raise TransferError(
            f"{train.root}: its pictures show any number of classes; use verydeep.fit_transfer for those"
        )
    if train.split == "all":
        return train, None
    there = split_folders(path) if train.kind == "folders" else None
    for split in ("test", "val"):
        if there is not None and split not in there:
            continue
        try:
            found = open_dataset(path if str(folder) != "digits" else folder, split)
        except DatasetError:
            if there is not None:  # its folder is there, so that something is wrong in it
                raise
            continue
        if found.split == split and (found.labels >= 0).all():
            return train, found
    return train, None


def groups_of(data: Dataset, hashes: Sequence[bytes]) -> tuple[Labels, str]:
    """What stays together: pictures of a group of the table, and the same picture twice; and a line on the latter.

    Raises:
        TransferError: the same picture is of two classes.
    """
    named = [group or None for group in data.groups] if isinstance(data, Tabled) else [None] * len(data)
    first: dict[bytes, int] = {}
    twice = 0
    for place, content in enumerate(hashes):
        before = first.setdefault(content, place)
        twice += before != place
        if data.labels[before] != data.labels[place]:
            one, other = (printable(data.images[each]) for each in (before, place))
            raise TransferError(f"{data.root}: {one} and {other} are the same picture in two classes; remove one")
    line = f"{twice} pictures are there twice; copies are never trained on where the other is tested" if twice else ""
    return joined(named, hashes), line


def refuse_lonely(data: Dataset, groups: Labels) -> None:
    """Refuse a class all of whose pictures stay together, so that none could be tested by the others."""
    for label in np.unique(data.labels).tolist():
        of_class = groups[data.labels == label]
        if len(np.unique(of_class)) == 1:
            key = printable(data.classes[label])
            raise TransferError(
                f"{data.root}: the {len(of_class)} pictures of class {key} are one group, or copies of one; add others"
            )


def leak_remarks(
    train: Dataset, test: Dataset, hashes: Sequence[bytes], others: Sequence[bytes], allowed: bool
) -> list[str]:
    """A line on test pictures that are trained on, too, if there are any.

    Raises:
        DatasetError: there are, and that is not allowed.
    """
    found = leaks(hashes, others)
    if found and not allowed:
        raise DatasetError(leak_line(train, test, found))
    return [f"a leak that was allowed: {len(found)} of {len(test)} test pictures are trained on, too"] if found else []


def refuse_straddling(train: Dataset, test: Dataset) -> None:
    """Refuse a group that is trained on and tested."""
    if isinstance(train, Tabled) and isinstance(test, Tabled):
        both = sorted(({*train.groups} & {*test.groups}) - {""})
        if both:
            raise TransferError(
                f"{test.root}: group {printable(both[0])} is in train and in {test.split}; put it in one"
            )


def learning_curve(
    classifier: LinearTransfer,
    values: Any,
    labels: Labels,
    groups: Labels,
    others: Any,
    truth: Int64[np.ndarray, " m"],
    parts: Sequence[tuple[Any, Any]],
    clusters: Int64[np.ndarray, " m"],
    seed: int,
) -> tuple[Learned, ...]:
    """The error on the same pictures by classifiers of ever more of the others, all with the C that was chosen."""
    curve: list[Learned] = []
    for share in SHARES:
        wrong, images = np.zeros(len(truth), bool), 0.0
        for trains, tests in parts:
            some = np.flatnonzero(trains)
            some = some[part_of(labels[some], groups[some], share, seed)]
            images += len(some) / len(parts) / len(np.unique(labels))
            fitted = LinearTransfer(**{**classifier.get_params(), "C": classifier.C_, "held_out": 0.0})
            wrong[tests] = fitted.fit(values[some], labels[some]).predict(others[tests]) != truth[tests]
        if not curve or images > 1.2 * curve[-1].images:  # of few pictures several shares are the same
            curve.append(Learned(images, float(wrong.mean()), interval(wrong, clusters), wrong))
    return tuple(curve)


def would_more_help(curve: Sequence[Learned]) -> str:
    """Whether more pictures would help, by what half of them do without."""
    if len(curve) < 2:
        return "There are too few pictures to say whether more would help; they nearly always do."
    half, whole = curve[-2:]
    gain, low, high = (100 * value for value in paired_difference(half.wrong, whole.wrong))
    seen = (
        f"with {half.images:.0f} pictures a class in place of {whole.images:.0f} the error is {gain:+.1f} points "
        f"({low:+.1f} to {high:+.1f})"
    )
    if low > 0:
        return f"More pictures would help: {seen}, and twice as many would take off perhaps half of that, or all."
    if high < LITTLE:
        return f"More pictures of the same kind would hardly help: {seen}."
    return f"Whether more pictures would help cannot be told from so few: {seen}."
