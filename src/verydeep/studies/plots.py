"""The slides' pictures and our own, drawn: what the paper has, hollow and dashed; ours, solid with its interval."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from verydeep.studies.curves import STYLE, page_svg
from verydeep.studies.plan import macs_of
from verydeep.studies.published import PAPERS_TABLES, published, published_errors
from verydeep.studies.results import Job, Results
from verydeep.studies.study import Study
from verydeep.studies.tables import Measured, baselines, measure, measure_known

DOTS = 200  # of a PNG, an inch
LEAST_SIGNAL = 1e-20  # what a logarithmic axis shows of a signal that is gone
GROUP = 0.8  # of the axis' unit that the bars of a group take

Bar = Measured | float | None  # a fraction; a figure of the paper has no interval


@dataclass(frozen=True)
class Plot:
    """A picture that can be drawn.

    Attributes:
        name: of its file.
        title: of it.
        source: where the figures are from.
        draw: draws it.
    """

    name: str
    title: str
    source: str
    draw: Callable[[Axes], None]

    def figure(self) -> Figure:
        """The drawn picture."""
        with matplotlib.style.context(STYLE):
            figure = Figure()
            self.draw(figure.subplots())
        return figure

    def svg(self) -> str:
        """It as an element of a page."""
        return page_svg(self.figure())

    def save(self, folder: Path) -> Path:
        """Write it as PNG."""
        path = folder / f"{self.name}.png"
        figure = self.figure()
        FigureCanvasAgg(figure)
        with matplotlib.style.context(STYLE):
            figure.savefig(path, dpi=DOTS, facecolor="white")
        return path


def plots(study: Study, results: Results) -> list[Plot]:
    """The pictures of a study: those of the slides where it fills the paper's tables, then its own.

    Source: slides "depth", "scales", "fusions", "entrants-classification", "entrants-localisation", "years".
    """
    drawn = []
    if any(name in PAPERS_TABLES for name in study.tables):
        for name in ("depth", "scales", "fusions"):
            drawn += [papers_bars(name).plot("the paper", hollow=True), our_bars(study, results, name).plot("ours")]
        for name in ("entrants-classification", "entrants-localisation", "years"):
            drawn.append(papers_bars(name).plot(hollow=True))
    drawn += [box_plot(study, results), guess_plot(study, results), cost_plot(study, results)]
    if study.signals:
        drawn += signal_plots(study, results)
    return [plot for plot in drawn if plot is not None]


@dataclass(frozen=True)
class Bars:
    """Bars in groups: a value for every group and series, None where there is no bar."""

    name: str
    values: Sequence[Sequence[Bar]]

    @property
    def known(self) -> Mapping[str, Any]:
        """What is published of it: title, source, groups and series."""
        return published()[self.name]

    @property
    def shown(self) -> list[Measured | float]:
        """The bars that are there."""
        return [bar for group in self.values for bar in group if bar is not None]

    def plot(self, whose: str = "", *, hollow: bool = False) -> Plot | None:
        """As a picture; None without a single bar."""
        if not self.shown:
            return None
        name = f"{self.name}-{whose.split()[-1]}" if whose else self.name
        title = f"{self.known['title']}: {whose}" if whose else self.known["title"]
        source = "measured" if whose == "ours" else self.known["source"]
        return Plot(name, title, source, lambda axes: draw_bars(axes, self, hollow=hollow))


def papers_bars(name: str) -> Bars:
    """A picture with the published figures."""
    known = published()[name]
    if "top5" in known:
        return Bars(name, [[value / 100 or None for value in group] for group in known["top5"]])
    errors = published_errors()
    return Bars(name, [[errors[one][1] for one in group] for group in known["ours"]])


def our_bars(study: Study, results: Results, name: str) -> Bars:
    """The same picture with what is measured."""
    return Bars(name, [[measure_known(study, results, one, 5) for one in group] for group in published()[name]["ours"]])


def draw_bars(axes: Axes, bars: Bars, *, hollow: bool) -> None:
    """Draw bars with their values on top. The axis begins below the lowest, so that differences can be seen."""
    series, groups = bars.known["series"], bars.known["groups"]
    width = GROUP / len(series)
    lowest, highest = min(low(bar) for bar in bars.shown), max(high(bar) for bar in bars.shown)
    bottom = 0.0 if lowest < 0.5 * highest else max(0.0, lowest - 0.25 * (highest - lowest) - 0.5)
    for place, label in enumerate(series):
        there = [(at, bar) for at, group in enumerate(bars.values) if (bar := group[place]) is not None]
        look: dict[str, Any] = (
            {"facecolor": "none", "edgecolor": f"C{place}", "linestyle": "--"} if hollow else {"color": f"C{place}"}
        )
        xs = [at + (place + 0.5) * width - GROUP / 2 for at, _ in there]
        heights = [level(bar) - bottom for _, bar in there]
        if there:  # a series without a bar is none of the legend
            axes.bar(xs, heights, 0.9 * width, bottom=bottom, linewidth=1.3, label=label, **look)
        for x, (_, bar) in zip(xs, there, strict=True):
            axes.plot([x, x], [low(bar), high(bar)], color="#222222", linewidth=1)
            axes.annotate(f"{level(bar):.1f}", (x, high(bar)), (0, 2), textcoords="offset points",
                          ha="center", va="bottom", fontsize=8)  # fmt: skip
    axes.set_xticks(range(len(groups)), [re.sub(" (?=[(]|at |after )", "\n", group) for group in groups])
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(bottom, highest + 0.12 * (highest - bottom))
    axes.set_ylabel("top-5 error, %")
    if len(series) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2)


def level(bar: Measured | float) -> float:
    """The height of a bar, per cent."""
    return 100 * (bar.error if isinstance(bar, Measured) else bar)


def low(bar: Measured | float) -> float:
    """The lower end of its interval; of a published figure, which has none, the figure."""
    return 100 * bar.low if isinstance(bar, Measured) else level(bar)


def high(bar: Measured | float) -> float:
    """The upper end."""
    return 100 * bar.high if isinstance(bar, Measured) else level(bar)


def box_plot(study: Study, results: Results) -> Plot | None:
    """How often every localiser errs with the class known, by every protocol, beside boxes that need no net."""
    tests = [str(trial) for run in study.runs if study.gives_boxes(run) for trial in study.tests(run)]
    found = {one: ours for one in tests if (ours := measure(study, results, one))}
    return error_plot("boxes-known", "Localisation error, the class known", found, dict(baselines(results)))


def guess_plot(study: Study, results: Results) -> Plot | None:
    """How often five guesses with boxes err, beside the same classes without boxes."""
    fusions = [name for name, fusion in study.fusions.items() if fusion.boxes]
    found = {name: ours for name in fusions if (ours := measure(study, results, name))}
    rows = [row for name in found if (row := results.row(Job(name, 0)))]
    classes = {"the classes alone": rows[0]["classification_error"]} if rows else {}  # the same of all, or nearly so
    return error_plot("boxes-guesses", "Localisation error of five guesses", found, classes)


def error_plot(name: str, title: str, found: Mapping[str, Measured], beside: Mapping[str, float]) -> Plot | None:
    """Errors with their intervals, a line each, and others as upright lines; None without any."""
    return Plot(name, title, "measured", partial(draw_errors, found=found, beside=beside)) if found else None


def draw_errors(axes: Axes, found: Mapping[str, Measured], beside: Mapping[str, float]) -> None:
    """Draw an error and its interval for each line, per cent, the first on top."""
    for place, ours in enumerate(found.values()):
        axes.plot([low(ours), high(ours)], [place, place], color="C0", linewidth=2)
        axes.plot(level(ours), place, color="C0", marker="o", markersize=5)
        axes.annotate(f"{level(ours):.1f}", (level(ours), place), (0, 5), textcoords="offset points", ha="center",
                      fontsize=8)  # fmt: skip
    for place, (label, error) in enumerate(beside.items(), 1):
        axes.axvline(100 * error, color=f"C{place}", linestyle="--", zorder=0, label=label.replace(", ", ",\n"))
    axes.set_yticks(range(len(found)), list(found), fontsize=7)
    axes.set_ylim(len(found) - 0.5, -0.7)
    axes.set_xlabel("error, %")
    if beside:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, fontsize=8, borderaxespad=0.2)


def cost_plot(study: Study, results: Results) -> Plot | None:
    """What a picture costs, by every protocol of every run, against how often it is missed."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name in study.runs:
        done, macs = results.rows(Job(name, 0)), macs_of(study.recipe_of(name, 0))
        rows = [row for row in done if row["tested_on"] == "val"]
        found[name] = sorted(
            (row["cost_ratio"] * macs / 1e6, 100 * row["top1_error"]) for row in rows if "top1_error" in row
        )
    if max(map(len, found.values())) < 2:
        return None
    title = "Error against cost: every run by its protocols, seed 0"
    return Plot("cost", title, "measured", partial(draw_costs, found=found))


def draw_costs(axes: Axes, found: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Draw errors against multiply-adds of a picture, on a logarithmic axis, a line for each run."""
    for place, (name, points) in enumerate(found.items()):
        if points:
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=f"C{place % 4}", marker="o", markersize=4, linewidth=0.8, alpha=0.8)
            axes.annotate(name, (xs[-1], ys[-1]), (4, 0), textcoords="offset points", va="center", fontsize=7,
                          color=f"C{place % 4}")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))  # more of them run into each other
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("million multiply-adds a picture")
    axes.set_ylabel("top-1 error, %")
    axes.margins(x=0.15)


def signal_plots(study: Study, results: Results) -> list[Plot]:
    """For every net activations and gradients by layer, and the loss in training. Source: section 3.1."""
    runs = {name: run for name in study.runs if (run := results.trained(Job(name, 0))) and run["signals"]}
    drawn = []
    for net in dict.fromkeys(run["net"] for run in runs.values()):
        chosen = {name: run for name, run in runs.items() if run["net"] == net}
        for key in ("activation", "gradient"):
            title = f"{net}: {key}s before training"
            drawn.append(Plot(f"{key}-{net}", title, "measured", partial(draw_signals, runs=chosen, key=key)))
        drawn.append(Plot(f"loss-{net}", f"{net}: loss in training", "measured", partial(draw_losses, runs=chosen)))
    return drawn


def draw_signals(axes: Axes, runs: Mapping[str, Any], key: str) -> None:
    """Draw a signal by layer, a line for each start, on a logarithmic axis."""
    layers = [each["layer"] for each in next(iter(runs.values()))["signals"]["before"]]
    for place, (name, run) in enumerate(runs.items()):
        values = [max(each[key], LEAST_SIGNAL) for each in run["signals"]["before"]]
        axes.plot(values, color=f"C{place}", marker=".", label=name)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(range(len(layers)), [layer.replace("conv", "") for layer in layers], fontsize=7, rotation=90)
    axes.set_ylabel(f"RMS of {key}s")
    axes.legend(frameon=False, fontsize=8)


def draw_losses(axes: Axes, runs: Mapping[str, Any]) -> None:
    """Draw the loss along training, a line for each start."""
    for place, (name, run) in enumerate(runs.items()):
        steps, losses = zip(*run["losses"], strict=True)
        axes.plot(steps, losses, color=f"C{place}", label=name)
    axes.set_xlabel("steps")
    axes.set_ylabel("loss (cross-entropy), nats")
    top = np.percentile([loss for run in runs.values() for _, loss in run["losses"]], 95)
    axes.set_ylim(0, 1.2 * top)  # one start may diverge
    axes.legend(frameon=False, fontsize=8)
