"""Posteriors → top-1 and top-5 errors with their intervals, as rows, as JSON, as a table to read."""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from verydeep.evaluation.compare import Z95, mcnemar, paired_difference, smallest_effect
from verydeep.evaluation.outcome import Outcome, outcome, ranks
from verydeep.evaluation.posteriors import Posteriors
from verydeep.evaluation.protocol import Protocol
from verydeep.weights.files import write_atomically

WIDTH = 140  # columns of a printed table
ENOUGH_IMAGES = 100  # for an error at the level of chance to mean something

Row = dict[str, Any]


def top_k_error(values: Float32[np.ndarray, "n k"], labels: Int64[np.ndarray, " n"], k: int) -> float:
    """The fraction of pictures whose class is not among the k largest posteriors; of equals the first class leads."""
    return float(np.mean(ranks(values, labels) >= k))


def wilson_interval(error: float, images: int) -> tuple[float, float]:
    """The 95 % interval of an error that was measured on so many images.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    spread = Z95**2 / images
    centre = (error + spread / 2) / (1 + spread)
    half = math.sqrt(error * (1 - error) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def error_row(tested: Posteriors | Outcome, protocol: Protocol | None) -> Row:
    """The errors of posteriors, as fractions, with what they were measured on.

    Args:
        tested: posteriors, or what became of each picture.
        protocol: that they are of; None where only its name is known.

    Raises:
        DatasetError: pictures have no label.
    """
    found = tested if isinstance(tested, Outcome) else outcome(tested)
    images, classes = len(found), len(found.classes)
    row = {
        **{key: getattr(found, key) for key in ("net", "weights", "data", "split")},
        "classes": classes,
        "protocol": found.protocol,
        "scales": list(protocol.scales) if protocol else [],
        "mirror": protocol.mirror if protocol else None,
        "images": images,
    }
    for k in (1, 5):
        row[f"top{k}_error"] = found.error(k)
        row[f"top{k}_interval"] = list(wilson_interval(found.error(k), images))
    row["calibration_error"] = found.calibration_error()
    row["seconds"] = round(found.seconds, 3)
    chance = 1 - 1 / classes
    if images >= ENOUGH_IMAGES and classes > 1 and row["top1_interval"][1] >= chance:
        row["note"] = "label order?"  # no better than guessing: weights of no training, or classes of another order
    return row


def add_differences(rows: Sequence[Row], outcomes: Sequence[Outcome], against: int) -> None:
    """Add to each row its difference to one of them, over the same pictures, and whether it is worse than the best.

    Args:
        rows: of `error_row`; changed in place.
        outcomes: that they are of.
        against: place of the row that the others are compared with.
    """
    differing = [key for key in ("net", "weights", "protocol") if len({row[key] for row in rows}) > 1]
    best = min(outcomes, key=lambda each: each.error(1))
    for row, each in zip(rows, outcomes, strict=True):
        row["worse_than_best"] = paired_difference(each.wrong(1), best.wrong(1))[1] > 0
        row["smallest_effect_to_best"] = smallest_effect(each.wrong(1), best.wrong(1))
        if each is outcomes[against]:
            continue
        row["compared_with"] = " ".join(rows[against][key] for key in differing)
        for k in (1, 5):
            pair = each.wrong(k), outcomes[against].wrong(k)
            row[f"top{k}_difference"], *interval = paired_difference(*pair)
            row[f"top{k}_difference_interval"] = interval
            row[f"top{k}_mcnemar_p"] = mcnemar(*pair)
            row[f"top{k}_smallest_effect"] = smallest_effect(*pair)


def mark_cheapest(rows: Sequence[Row]) -> None:
    """Mark the cheapest of the rows that are not worse than the best; of equally cheap ones that of the least error."""
    as_good = [row for row in rows if not row["worse_than_best"]]
    min(as_good, key=lambda row: (row["cost_ratio"], row["top1_error"]))["cheapest"] = True


@dataclass(frozen=True)
class ErrorTable:
    """Errors by net and protocol. Prints as a table in per cent.

    Attributes:
        rows: one dict for each, with net, weights, data, split, classes (how many), protocol, scales, mirror, images,
            top1_error, top1_interval, top5_error, top5_interval (fractions), calibration_error, seconds, and a note
            where one is due. Where several protocols were compared also cost_ratio, in centre crops; compared_with;
            top1_difference to it with top1_difference_interval, top1_mcnemar_p, top1_smallest_effect, and so for top5;
            worse_than_best, smallest_effect_to_best, and cheapest on one row. A protocol that a net cannot be tested by
            has a note alone.
        outcomes: what became of each picture, by protocol; also by protocols that others are the mean of.
    """

    rows: Sequence[Mapping[str, Any]]
    outcomes: Mapping[str, Outcome] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> str:
        """The rows as a JSON list."""
        return json.dumps(list(map(dict, self.rows)), indent=1, ensure_ascii=False) + "\n"

    @property
    def measured(self) -> list[Mapping[str, Any]]:
        """The rows that have errors."""
        return [row for row in self.rows if "top1_error" in row]

    def verdict(self) -> str:
        """Which protocol to take, in a sentence; empty where none was compared with others, and for several nets."""
        cheapest = [row for row in self.rows if row.get("cheapest")]
        if len(cheapest) != 1:
            return ""
        (chosen,) = cheapest
        best = min(self.measured, key=lambda row: row["top1_error"])
        cost = f"{chosen['cost_ratio']:.1f} × the cost of a crop"
        if chosen is best:
            return f"Best, and cheapest of those that are not significantly worse: {chosen['protocol']}, at {cost}."
        return (
            f"Cheapest that is not significantly worse than the best ({best['protocol']}, {best['cost_ratio']:.1f} ×): "
            f"{chosen['protocol']}, at {cost}; "
            f"{100 * chosen['smallest_effect_to_best']:.1f} points between them would have been seen."
        )

    def __rich__(self) -> Table:
        tested = {(row["data"], row["split"], pictures(row)) for row in self.measured}
        what = [f"{data} {split}, {images} images" for data, split, images in tested]
        compared = next((row["compared_with"] for row in self.rows if "compared_with" in row), "")
        notes = [f"{row['protocol']}: {row['note']}" for row in self.rows if row not in self.measured]
        notes += [f"Difference: of top-1 error to {compared}, on the same images." if compared else "", self.verdict()]
        table = Table(
            title=f"{what[0]}: errors in per cent with 95 % intervals" if len(what) == 1 else "errors in per cent",
            title_justify="left",
            caption="\n".join(filter(None, notes)) or None,
            caption_justify="left",
            box=SIMPLE_HEAD,
        )
        shown = [column for column in COLUMNS if any(column.of(row) for row in self.rows) or column.always]
        alike = {"images": len(what) == 1, "weights": len({(row["weights"], row["net"]) for row in self.rows}) == 1}
        shown = [column for column in shown if not alike.get(column.heading)]
        for column in shown:
            table.add_column(column.heading, justify="left" if column.words else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*(column.of(row) for column in shown))
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=WIDTH).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


@dataclass(frozen=True)
class Column:
    """A column of the printed table: its heading, and its cell of a row, empty where the row has nothing for it."""

    heading: str
    of: Callable[[Mapping[str, Any]], str]
    words: bool = False
    always: bool = False


def error_cell(row: Mapping[str, Any], k: int) -> str:
    """An error with its interval, such as `25.1 (24.2–26.0)`."""
    return per_cent(row[f"top{k}_error"], row[f"top{k}_interval"]) if f"top{k}_error" in row else ""


def difference_cell(row: Mapping[str, Any]) -> str:
    """The difference of the top-1 error with its interval, such as `-1.2 (-2.0 to -0.4)`."""
    if "top1_difference" not in row:
        return ""
    low, high = row["top1_difference_interval"]
    return f"{100 * row['top1_difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def number(row: Mapping[str, Any], key: str, form: str, factor: float = 1.0) -> str:
    """A number of a row; empty where the row has none."""
    return format(factor * row[key], form) if key in row else ""


COLUMNS = (
    Column("net", lambda row: str(row["net"]), words=True, always=True),
    Column("weights", lambda row: str(row["weights"]), words=True),
    Column("protocol", lambda row: str(row["protocol"]), words=True, always=True),
    Column("weight in\nfusion", lambda row: number(row, "fusion_weight", ".3f")),
    Column("top-1 error", lambda row: error_cell(row, 1), always=True),
    Column("top-5 error", lambda row: error_cell(row, 5), always=True),
    Column("difference", difference_cell),
    Column("calibration\nerror", lambda row: number(row, "calibration_error", ".1f", 100.0)),
    Column("cost in\ncrops", lambda row: number(row, "cost_ratio", ".1f")),
    Column("seconds", lambda row: number(row, "seconds", ".1f"), always=True),
    Column("images", lambda row: f"{pictures(row)} of {row['data']} {row['split']}", words=True),
    Column("note", lambda row: str(row.get("note", "")) if "images" in row else "", words=True),
)


def pictures(row: Mapping[str, Any]) -> str:
    """How many pictures were tested, and of how many where only a part was; empty where none were."""
    if "images" not in row:
        return ""
    return f"{row['images']:,}" + (f" of {row['of_images']:,}" if "of_images" in row else "")


def per_cent(error: float, interval: Sequence[float]) -> str:
    """An error and its interval, such as `25.1 (24.2–26.0)`."""
    return f"{100 * error:.1f} ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"


def write_rows(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a JSON list, the whole file or nothing."""
    write_atomically(Path(path), ErrorTable(rows).to_json().encode())
