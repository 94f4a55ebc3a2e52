"""The curves of a run: how loss, error and learning rate went, drawn from its metrics.jsonl."""

import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from verydeep.errors import TrainingError

STYLE = Path(__file__).with_name("house.mplstyle")
NAMED_COLOURS = {  # of the style → as the page's style sheet names them, for light and for dark
    "#0072b2": "--blue",
    "#d55e00": "--orange",
    "#009e73": "--green",
    "#cc79a7": "--pink",
    "#222222": "--ink",
    "#777777": "--faint",
    "#dddddd": "--grid",
}

Record = dict[str, Any]


def curves(run: Path) -> list[str]:
    """Three plots of a run as SVG, to be set into a page: loss, top-1 error and learning rate by epoch.

    Raises:
        TrainingError: where the run has no metrics.jsonl, or a damaged one.
    """
    records = read_metrics(run)
    steps = [record for record in records if record["kind"] == "step"]
    epochs = [record for record in records if record["kind"] == "epoch"]
    if not epochs:
        return []
    return [as_svg(draw, steps, epochs) for draw in (draw_loss, draw_error, draw_learning_rate)]


def draw_loss(axes: Axes, steps: Sequence[Record], epochs: Sequence[Record]) -> None:
    """Draw the loss of single steps, pale, and its mean over each epoch."""
    losses = [record["loss"] for record in steps]
    axes.plot(epochs_done(steps, epochs), losses, color="C0", alpha=0.3, linewidth=0.8)
    (line,) = axes.plot(epochs_done(epochs, epochs), [record["loss"] for record in epochs], color="C0")
    axes.set_ylabel("loss of boxes" if of_boxes(epochs) else "loss (cross-entropy), nats")
    label_ends(axes, [(line, "training")])


def draw_error(axes: Axes, steps: Sequence[Record], epochs: Sequence[Record]) -> None:
    """Draw the top-1 error of the training views and of the validation pictures; of a localiser its wrong boxes."""
    labelled, watched = [], "validation_localisation_error" if of_boxes(epochs) else "validation_top1_error"
    for key, label, colour in (("top1_error", "training", "C1"), (watched, "validation", "C0")):
        known = [record for record in epochs if record.get(key) is not None]
        per_cent = [100 * record[key] for record in known]
        if known:
            (line,) = axes.plot(epochs_done(known, epochs), per_cent, color=colour, marker=".")
            labelled.append((line, label))
    axes.set_ylabel("wrong boxes, %" if of_boxes(epochs) else "top-1 error, %")
    axes.set_ylim(bottom=0)
    label_ends(axes, labelled)


def of_boxes(epochs: Sequence[Record]) -> bool:
    """Whether a run was of a localiser, whose `top1_error` is the share of wrong boxes."""
    return any("validation_localisation_error" in record for record in epochs)


def draw_learning_rate(axes: Axes, steps: Sequence[Record], epochs: Sequence[Record]) -> None:
    """Draw the learning rate, on a logarithmic axis."""
    records = [record for record in (steps or epochs) if record["learning_rate"] > 0]
    axes.plot(epochs_done(records, epochs), [record["learning_rate"] for record in records], drawstyle="steps-post")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("learning rate")


def label_ends(axes: Axes, labelled: Sequence[tuple[Line2D, str]], apart: float = 0.08) -> None:
    """Write each line's name where it ends, at least `apart` of the axes' height from the next."""
    axes.margins(x=0.02)
    if not labelled:
        return
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    last = [float(np.asarray(line.get_ydata())[-1]) for line, _ in labelled]
    lowest = -np.inf
    for value, (line, label) in sorted(zip(last, labelled, strict=True), key=lambda pair: pair[0]):
        height = max((value - bottom) / (top - bottom), lowest)
        axes.text(1.02, height, label, color=line.get_color(), transform=axes.transAxes, va="center")
        lowest = height + apart


def epochs_done(records: Iterable[Record], epochs: Sequence[Record]) -> list[float]:
    """Where records stand on the axis of epochs: the end of the first epoch is 1."""
    ends = [record["step"] for record in epochs]
    counts = range(1, len(epochs) + 1)
    return [float(np.interp(record["step"], [0, *ends], [0, *counts])) for record in records]


def as_svg(draw: Callable[[Axes, Sequence[Record], Sequence[Record]], None], steps: Any, epochs: Any) -> str:
    """A plot as an <svg> element that takes its colours from the page around it."""
    with matplotlib.style.context(STYLE):
        figure = Figure()
        axes = figure.subplots()
        draw(axes, steps, epochs)
        axes.set_xlabel("epochs")
        axes.set_xlim(0, len(epochs))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return page_svg(figure)


def page_svg(figure: Figure) -> str:
    """A figure as an <svg> element that takes its colours from the page around it."""
    text = io.StringIO()
    with matplotlib.style.context(STYLE):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same names in every plot, where a page may have each but once
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*pt"', r'\1 role="img"', svg)  # as wide as the page allows
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*pt"', r"\1", svg)
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", svg)
    for colour, name in NAMED_COLOURS.items():
        svg = svg.replace(colour, f"var({name}, {colour})")
    return svg


def read_metrics(run: Path) -> list[Record]:
    """The records of a run, without a last line that was being written when the run was cut off."""
    path = run / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); give a run's folder") from error
    records = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last end of line is not whole
        try:
            record = json.loads(line)
            records.append({"kind": record["kind"], "step": record["step"], **record})
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{path}: line {number} is not a record; remove the line") from error
    return records
