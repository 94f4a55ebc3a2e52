"""A fixed net, pictures to train on, pictures to test → a model and its scores: appendix B in one call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.data.duplicates import refuse_leaks
from verydeep.data.paths import printable
from verydeep.data.voc import ManyLabels
from verydeep.errors import TransferError
from verydeep.evaluation.error_table import wilson_interval
from verydeep.evaluation.posteriors import default_threads, name_of
from verydeep.nets.net import Net
from verydeep.nets.registry import load_net
from verydeep.nets.wrap import Wrapped
from verydeep.transfer.descriptors import AnyNet, describe_by, way_of
from verydeep.transfer.linear import DECADES, LinearTransfer, ManyMachines, check_kind, refuse_one_sided
from verydeep.transfer.model import Model
from verydeep.transfer.precision import average_precision
from verydeep.transfer.recall import mean_class_recall


@dataclass(frozen=True, eq=False)
class Transfer:
    """What came of a transfer.

    Attributes:
        model: net and classifier together.
        scores: what it scores on the test pictures, as fractions: `top1_error` with `top1_interval` and
            `mean_class_recall`, or of pictures that show any number of classes `mean_average_precision` with the
            `average_precision` of each and the `rule`; with what it was measured on. Empty without test pictures.
        test_scores: of each test picture for each class of the model: those that have training pictures.
        C: that was chosen.
    """

    model: Model
    scores: dict[str, Any]
    test_scores: Float64[np.ndarray, "n k"] = field(repr=False)
    C: float


def fit_transfer(
    net: Any,
    train: Dataset,
    test: Dataset | None = None,
    *,
    layer: str | None = None,
    scales: Sequence[int] | None = None,
    combine: str = "average",
    mirror: bool = True,
    kind: str = "svm",
    C: float | None = None,
    Cs: Sequence[float] = DECADES,
    class_weight: Any = None,
    seed: int = 0,
    allow_leaks: bool = False,
    cache: str | Path | None = None,
    device: str | torch.device = "auto",
    data_type: str = "auto",
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Transfer:
    """Describe pictures by a fixed net, train a linear classifier on them, and score it on others.

    Args:
        net: a net, or what `load_net` takes, such as "tiny-imagenet"; or several, whose descriptors are stacked.
        train: pictures with one label each, or that show any number of classes (VOC).
        test: the same; its classes are among those of the training pictures.
        layer: see `transfer.describe`; so are `scales`, `combine` and `mirror`.
        scales: smallest sides Q, px.
        combine: "average" or "stack".
        mirror: whether mirror images are shown, too.
        kind: "svm" or "logistic"; of pictures that show any number of classes only the former.
        C: what a picture's loss counts; None: chosen among `Cs` on a fifth of the training pictures.
        Cs: to choose from.
        class_weight: None, "balanced", or a weight for each class; not of pictures that show any number of classes.
        seed: which fifth.
        allow_leaks: whether to go on where a test picture is trained on, too.
        cache: a folder that keeps descriptors.
        device: `auto` is CUDA, then MPS, then the CPU.
        data_type: in which the net is computed; see `transfer.describe`.
        threads: that decode pictures meanwhile.
        progress: called with what is described, the number of pictures done and of all.

    Raises:
        TransferError: the pictures or classes do not fit each other.
        DatasetError: a test picture is trained on, too.

    Source: appendix B.
    """
    nets = load_nets(net)
    ways = [way_of(each, layer, scales, combine, mirror) for each in nets]
    check_kind(kind)
    many = isinstance(train, ManyLabels)
    check_classes(train, test)
    if many and (kind != "svm" or class_weight is not None):
        problem = f"kind {kind!r}" if kind != "svm" else "class_weight"
        raise TransferError(
            f"{train.root}: shows any number of classes a picture; leave {problem} out, which is for one"
        )
    if test is not None and not allow_leaks:
        refuse_leaks(train, test, threads or default_threads())

    def described(data: Dataset, what: str) -> Any:
        told = (lambda done, of: progress(what, done, of)) if progress else None
        return describe_by(nets, ways, data, cache, device, data_type, threads=threads, progress=told)

    values = described(train, "describes those to train on")
    machines: ManyMachines | LinearTransfer
    classes = tuple(train.classes)
    if isinstance(train, ManyLabels):
        machines = ManyMachines([C] if C is not None else Cs, seed).fit(values, train.presence, rule=train.rule)
        weights, shift, temperature, chosen = machines.weights, machines.shift, 1.0, machines.C
    else:
        machines = LinearTransfer(kind, C=C, Cs=Cs, class_weight=class_weight, seed=seed).fit(values, train.labels)
        weights, shift = machines.coef_, machines.intercept_
        classes = tuple(train.classes[label] for label in machines.classes_)  # a subset may lack some
        temperature, chosen = machines.temperature_, machines.C_
    scores: dict[str, Any] = {}
    given = np.zeros((0, len(classes)))
    if test is not None:
        given = described(test, "describes those to test") @ weights.T + shift
        scores = score(test, classes, given)
        scores |= {"data": name_of(test), "split": test.split, "images": len(test), "trained_on": len(train),
                   "classes": len(classes), "net": " + ".join(each.name for each in nets),
                   "ways": [str(way) for way in ways], "kind": kind, "C": chosen}  # fmt: skip
    names = {key: train.names[key] for key in classes if key in train.names}
    about = {"data": name_of(train), "scores": scores}
    model = Model(tuple(nets), tuple(ways), classes, names, weights, shift, temperature, about)
    return Transfer(model, scores, given, chosen)


def load_nets(net: Any) -> list[AnyNet]:
    """One net or several, given as such or by name."""
    given = list(net) if isinstance(net, (list, tuple)) else [net]
    if not given:
        raise TransferError("no net is given to describe pictures; give one or more")
    return [each if isinstance(each, (Net, Wrapped)) else load_net(each)[0] for each in given]


def check_classes(train: Dataset, test: Dataset | None) -> None:
    """Refuse classes that cannot be learned, or cannot be known.

    Raises:
        TransferError: the class is named.
    """
    if isinstance(train, ManyLabels) != isinstance(test, ManyLabels) and test is not None:
        raise TransferError(f"{test.root}: one of train and test shows one class a picture, the other any number")
    if isinstance(train, ManyLabels):
        if test is not None and test.classes != train.classes:
            raise TransferError(f"{test.root}: its classes are not those that are trained on; give the same")
        refuse_one_sided(train.presence, train.classes)
        return
    counts = np.bincount(train.labels[train.labels != UNLABELLED], minlength=len(train.classes))
    refuse_unlabelled(train, "training")
    if (counts > 0).sum() < 2:
        raise TransferError(f"{train.root}: has fewer than two classes; there is nothing to tell apart, add another")
    for count, key in zip(counts, train.classes, strict=True):
        if count == 1:
            raise TransferError(f"{train.root}: class {printable(key)} has one picture; add more, or leave it out")
    if test is None:
        return
    refuse_unlabelled(test, "test")
    trained = {key for key, count in zip(train.classes, counts, strict=True) if count}
    for label in np.unique(test.labels):
        if test.classes[label] not in trained:
            key = printable(test.classes[label])
            raise TransferError(f"{test.root}: class {key} is tested and was never trained; add training pictures")


def refuse_unlabelled(data: Dataset, what: str) -> None:
    """Refuse pictures of which nobody says what they show; the first is named."""
    bare = np.flatnonzero(data.labels == UNLABELLED)
    if len(bare):
        first = printable(data.images[bare[0]])
        raise TransferError(
            f"{data.root}: {len(bare)} {what} pictures without a label, the first {first}; label them or remove them"
        )


def labels_among(data: Dataset, classes: Sequence[str]) -> Int64[np.ndarray, " n"]:
    """The labels of a data set as places among other classes."""
    places = {key: place for place, key in enumerate(classes)}
    return np.array([places.get(key, UNLABELLED) for key in data.classes], np.int64)[data.labels]


def score(test: Dataset, classes: Sequence[str], given: Float64[np.ndarray, "n k"]) -> dict[str, Any]:
    """What scores of the test pictures are worth."""
    if isinstance(test, ManyLabels):
        each = {
            key: average_precision(given[:, place], test.presence[:, place], test.rule)
            for place, key in enumerate(test.classes)
        }
        known = [value for value in each.values() if not np.isnan(value)]
        mean = float(np.mean(known)) if known else float("nan")
        return {"mean_average_precision": mean, "average_precision": each, "rule": test.rule}
    labels, predicted = labels_among(test, classes), given.argmax(axis=1)
    error = float((predicted != labels).mean())
    return {
        "top1_error": error,
        "top1_interval": list(wilson_interval(error, len(labels))),
        "mean_class_recall": mean_class_recall(labels, predicted),
    }
