"""An evaluation → its page: errors by protocol, what they cost, how far posteriors can be believed, class by class."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from verydeep.errors import VerydeepError
from verydeep.evaluation.calibration import reliability
from verydeep.evaluation.error_table import ErrorTable, wilson_interval
from verydeep.evaluation.outcome import Outcome
from verydeep.studies.plots import Plot
from verydeep.studies.report import write_page

LISTED = 12  # classes, and confusions, that are shown at once; the other classes are a click away
NAMED = 30  # classes whose names stand beside a confusion matrix; more would not be readable
LETTERS = 20  # of each of them
BLUE = (0, 114 / 255, 178 / 255)  # of the house


def write_evaluation(
    path: Path, table: ErrorTable, *, names: Mapping[str, str] | None = None, notes: Sequence[str] = ()
) -> None:
    """Write one self-contained HTML file: errors by protocol, and of the best of them what it errs on.

    Args:
        path: the file to write; a finished page is there, or what was there before.
        table: of `evaluate`, of one net on one data set.
        names: what people call the classes, by key.
        notes: what a reader has to know besides, a sentence each.

    Raises:
        VerydeepError: the file cannot be written.
    """
    rows = table.measured
    best = min(rows, key=lambda row: row["top1_error"])
    outcome = table.outcomes[best["protocol"]]
    classes = class_errors(outcome, names or {})
    try:
        write_page(
            path,
            "evaluation.html.jinja",
            title=f"{best['net']} on {best['data']} ({best['split']})",
            table=table,
            best=best,
            summary=summary(best),
            plots=plots(table, outcome),
            classes=classes,
            listed=LISTED,
            confusions=confusions(outcome, names or {})[:LISTED],
            matrix=Plot("confusion", "Confusion matrix", "", partial(draw_matrix, outcome=outcome, names=names or {})),
            notes=notes,
        )
    except OSError as error:
        raise VerydeepError(f"{path}: cannot be written ({error.strerror}); give another place") from None


def summary(best: Mapping[str, Any]) -> str:
    """What was found, in a sentence."""
    pictures = f"{best['images']:,}" + (f" of {best['of_images']:,}" if "of_images" in best else "")
    return (
        f"Of {pictures} pictures the net names {100 * best['top1_error']:.1f} % wrongly by {best['protocol']}, and "
        f"{100 * best['top5_error']:.1f} % are not among its five best of {best['classes']:,} classes."
    )


@dataclass(frozen=True)
class ClassError:
    """How often pictures of a class are named wrongly.

    Attributes:
        name: what people call the class.
        images: how many of it there are.
        error: the fraction that is named wrongly.
        interval: of the error, 95 %.
        taken_for: the class that most of those are taken for; empty where none is wrong.
    """

    name: str
    images: int
    error: float
    interval: tuple[float, float]
    taken_for: str


def class_errors(outcome: Outcome, names: Mapping[str, str]) -> list[ClassError]:
    """The top-1 error of every class that has pictures, the largest first."""
    errors = []
    for label in np.unique(outcome.labels).tolist():
        predicted = outcome.predicted[outcome.labels == label]
        others, counts = np.unique(predicted[predicted != label], return_counts=True)
        wrong = int(counts.sum())
        errors.append(
            ClassError(
                name=name_of(outcome, label, names),
                images=len(predicted),
                error=wrong / len(predicted),
                interval=wilson_interval(wrong / len(predicted), len(predicted)),
                taken_for=name_of(outcome, int(others[counts.argmax()]), names) if wrong else "",
            )
        )
    return sorted(errors, key=lambda each: -each.error)


@dataclass(frozen=True)
class Confusion:
    """How many pictures of one class are taken for another, and which share of that class they are."""

    true: str
    named: str
    images: int
    share: float


def confusions(outcome: Outcome, names: Mapping[str, str]) -> list[Confusion]:
    """Every pair of classes of which one is taken for the other, the most frequent first."""
    wrong = outcome.predicted != outcome.labels
    pairs, counts = np.unique(np.stack([outcome.labels[wrong], outcome.predicted[wrong]]), axis=1, return_counts=True)
    images = np.bincount(outcome.labels, minlength=len(outcome.classes))
    return [
        Confusion(
            true=name_of(outcome, true, names),
            named=name_of(outcome, named, names),
            images=int(counts[place]),
            share=float(counts[place] / images[true]),
        )
        for place in np.argsort(-counts, kind="stable").tolist()
        for true, named in [pairs[:, place].tolist()]
    ]


def confusion_matrix(outcome: Outcome) -> tuple[Float64[np.ndarray, "c c+1"], Int64[np.ndarray, " c"]]:
    """Of every class that has pictures, the share that is taken for each of these, and last for any other.

    Returns:
        The shares, by true class and named class; places of the classes among the net's.
    """
    present, true = np.unique(outcome.labels, return_inverse=True)
    columns = np.full(len(outcome.classes), len(present))  # the last is that of all others
    columns[present] = np.arange(len(present))
    shape = len(present), len(present) + 1
    counts = np.bincount(true * shape[1] + columns[outcome.predicted], minlength=shape[0] * shape[1]).reshape(shape)
    return counts / counts.sum(axis=1, keepdims=True), present


def name_of(outcome: Outcome, label: int, names: Mapping[str, str]) -> str:
    """What people call a class."""
    key = outcome.classes[label]
    return names.get(key, key)


def plots(table: ErrorTable, outcome: Outcome) -> list[Plot]:
    """The pictures for which there is something to draw."""
    drawn = []
    if len(table.measured) > 1:
        source = "Bars: 95 % intervals of each by itself."
        drawn.append(Plot("cost", "Error against cost", source, partial(draw_costs, rows=table.measured)))
    if by_scale := errors_by_scale(table.outcomes):
        source = "At a single scale Q each; dashed: several of them together."
        draw = partial(draw_scales, by_scale=by_scale, rows=table.measured)
        drawn.append(Plot("scales", "Error against Q", source, draw))
    source = (
        f"{outcome.protocol}; larger dots are more pictures. On the line a net is right as often as it says, above it "
        "more often, below it less."
    )
    draw = partial(draw_reliability, outcome=outcome)
    return [*drawn, Plot("reliability", "What confidence is worth", source, draw)]


def errors_by_scale(outcomes: Mapping[str, Outcome]) -> dict[str, dict[int, Outcome]]:
    """Of every way of looking that was tested at several scales by themselves: what came of it at each."""
    found: dict[str, dict[int, Outcome]] = {}
    for protocol, outcome in outcomes.items():
        if single := re.fullmatch("(?P<way>[a-z-]+)@(?P<scale>[0-9]+)(?P<mirror>[+-]mirror)?", protocol):
            found.setdefault(way_of(protocol), {})[int(single["scale"])] = outcome
    return {way: dict(sorted(scales.items())) for way, scales in found.items() if len(scales) > 1}


def way_of(protocol: str) -> str:
    """A protocol without its scales."""
    return re.sub("@[0-9,]+", "", protocol)


def draw_costs(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the top-1 error of every protocol against its cost, with the interval."""
    for place, row in enumerate(sorted(rows, key=lambda row: row["cost_ratio"])):
        low, high = (100 * bound for bound in row["top1_interval"])
        error, cost = 100 * row["top1_error"], row["cost_ratio"]
        colour = "C1" if row.get("cheapest") else "C0"
        axes.plot([cost, cost], [low, high], color=colour, linewidth=1.2)
        axes.plot([cost], [error], color=colour, marker="o", markersize=5)
        above = place % 2 == 0  # so that names of neighbours do not meet
        axes.annotate(short(row), (cost, high if above else low), (0, 4 if above else -4), textcoords="offset points",
                      ha="center", va="bottom" if above else "top", fontsize=8, color=colour)  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.2, y=0.15)
    axes.set_xlabel("cost of a picture, in crops")
    axes.set_ylabel("top-1 error, %")


def short(row: Mapping[str, Any]) -> str:
    """A protocol's name with the number of its scales, in two lines where it has several."""
    name, scales = row["protocol"].partition("@")[0], len(row["scales"])
    return f"{name}\n{scales} scales" if scales > 1 else name


def draw_scales(axes: Axes, by_scale: Mapping[str, Mapping[int, Outcome]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the top-1 error against Q for every way of looking, and as a line what several scales have together."""
    for place, (way, scales) in enumerate(by_scale.items()):
        colour = f"C{place % 4}"
        for scale, outcome in scales.items():
            low, high = wilson_interval(outcome.error(1), len(outcome))
            axes.plot([scale, scale], [100 * low, 100 * high], color=colour, linewidth=1.2)
        errors = [100 * outcome.error(1) for outcome in scales.values()]
        axes.plot(list(scales), errors, color=colour, marker="o", markersize=5, label=way)
        for row in rows:
            if len(row["scales"]) > 1 and way_of(row["protocol"]) == way:
                axes.axhline(100 * row["top1_error"], color=colour, linestyle="--", linewidth=1.2)
    axes.xaxis.set_major_locator(FixedLocator(sorted({scale for scales in by_scale.values() for scale in scales})))
    axes.margins(x=0.1, y=0.15)
    axes.set_xlabel("smallest side Q, px")
    axes.set_ylabel("top-1 error, %")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2)


def draw_reliability(axes: Axes, outcome: Outcome) -> None:
    """Draw how often the class named is the right one against how sure the net is of it."""
    axes.plot([0, 100], [0, 100], color="#777777", linewidth=0.8, linestyle="--")
    bins = reliability(outcome.confidence, outcome.ranks == 0)
    confidence, accuracy = ([100 * value for value in values] for values in
                            ([each.confidence for each in bins], [each.accuracy for each in bins]))  # fmt: skip
    axes.plot(confidence, accuracy, color="C0", linewidth=1.2)
    most = max(each.images for each in bins)
    axes.scatter(confidence, accuracy, [8 + 72 * each.images / most for each in bins], color="C0", zorder=3)
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 102)
    axes.set_xlabel("posterior of the class named, %")
    axes.set_ylabel("named rightly, %")


def draw_matrix(axes: Axes, outcome: Outcome, names: Mapping[str, str]) -> None:
    """Draw the confusion matrix: the deeper the colour, the more of the row's pictures are taken for the column's."""
    shares, present = confusion_matrix(outcome)
    if not shares[:, -1].any():
        shares = shares[:, :-1]
    cells = np.zeros((*shares.shape, 4))
    cells[..., :3] = BLUE
    cells[..., 3] = np.sqrt(shares)  # so that few pictures can be seen, too
    axes.imshow(cells, interpolation="none", aspect="auto")
    axes.grid(visible=False)
    axes.set_ylabel("true class")
    axes.set_xlabel("named")
    if len(present) <= NAMED:
        labels = [name_of(outcome, label, names).split(",")[0][:LETTERS] for label in present.tolist()]
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
        columns = [*labels, "another"][: shares.shape[1]]
        axes.set_xticks(range(len(columns)), columns, fontsize=7, rotation=90)
