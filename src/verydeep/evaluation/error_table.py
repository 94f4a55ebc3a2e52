"""Posteriors → top-1 and top-5 errors with their intervals, as rows, as JSON, as a table to read."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from verydeep.errors import DatasetError
from verydeep.evaluation.posteriors import Posteriors
from verydeep.evaluation.protocol import Protocol
from verydeep.weights.files import write_atomically

ROWS = 4096  # of posteriors at a time, so that comparing them takes little memory
Z95 = 1.959963984540054  # 95 % of a normal distribution lies within so many deviations
WIDTH = 120  # columns of a printed table
ENOUGH_IMAGES = 100  # for an error at the level of chance to mean something


def top_k_error(values: Float32[np.ndarray, "n k"], labels: Int64[np.ndarray, " n"], k: int) -> float:
    """The fraction of pictures whose class is not among the k largest posteriors; of equals the first class leads."""
    return float(np.mean(ranks(values, labels) >= k))


def ranks(values: Float32[np.ndarray, "n k"], labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """How many classes stand before the true one: those with a larger posterior, and equal ones of a lower index."""
    found = np.empty(len(values), np.int64)
    places = np.arange(values.shape[1])
    for start in range(0, len(values), ROWS):
        some, truths = values[start : start + ROWS], labels[start : start + ROWS, None]
        true_values = np.take_along_axis(some, truths, axis=1)
        before = (some > true_values) | ((some == true_values) & (places < truths))
        found[start : start + ROWS] = before.sum(axis=1)
    return found


def wilson_interval(error: float, images: int) -> tuple[float, float]:
    """The 95 % interval of an error that was measured on so many images.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    spread = Z95**2 / images
    centre = (error + spread / 2) / (1 + spread)
    half = math.sqrt(error * (1 - error) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def error_row(posteriors: Posteriors, protocol: Protocol) -> dict[str, Any]:
    """The errors of posteriors, as fractions, with what they were measured on."""
    if posteriors.labels is None or (posteriors.labels < 0).any():
        raise DatasetError(
            f"{posteriors.data}: pictures of split {posteriors.split} have no label; use a split that has them all"
        )
    images, classes = posteriors.values.shape
    found = ranks(posteriors.values, posteriors.labels)
    errors = {k: float(np.mean(found >= k)) for k in (1, 5)}
    row = {
        "net": posteriors.net,
        "weights": posteriors.weights,
        "data": posteriors.data,
        "split": posteriors.split,
        "classes": classes,
        "protocol": posteriors.protocol,
        "scales": list(protocol.scales),
        "mirror": protocol.mirror,
        "images": images,
        "top1_error": errors[1],
        "top1_interval": list(wilson_interval(errors[1], images)),
        "top5_error": errors[5],
        "top5_interval": list(wilson_interval(errors[5], images)),
        "seconds": round(posteriors.seconds, 3),
    }
    chance = 1 - 1 / classes
    if images >= ENOUGH_IMAGES and classes > 1 and row["top1_interval"][1] >= chance:
        row["note"] = "label order?"  # no better than guessing: weights of no training, or classes of another order
    return row


@dataclass(frozen=True)
class ErrorTable:
    """Errors by net and protocol. Prints as a table in per cent.

    Attributes:
        rows: one dict for each, with net, weights, data, split, classes (how many), protocol, scales, mirror, images,
            top1_error, top1_interval, top5_error, top5_interval (fractions), seconds, and a note where one is due.
    """

    rows: Sequence[Mapping[str, Any]]

    def to_json(self) -> str:
        """The rows as a JSON list."""
        return json.dumps(list(map(dict, self.rows)), indent=1, ensure_ascii=False) + "\n"

    def __rich__(self) -> Table:
        tested = {(row["data"], row["split"], row["images"]) for row in self.rows}
        what = [f"{data} {split}, {images:,} images" for data, split, images in tested]
        table = Table(
            title=f"{what[0]}: errors in per cent with 95 % intervals" if len(what) == 1 else "errors in per cent",
            title_justify="left",
            box=SIMPLE_HEAD,
        )
        columns = ["net", "protocol", "top-1 error", "top-5 error", "seconds"]
        if len(what) > 1:
            columns.append("images")
        if any("note" in row for row in self.rows):
            columns.append("note")
        for column in columns:
            table.add_column(column, justify="left" if column in ("net", "protocol", "note", "images") else "right")
        for row in self.rows:
            cells = {
                "top-1 error": per_cent(row["top1_error"], row["top1_interval"]),
                "top-5 error": per_cent(row["top5_error"], row["top5_interval"]),
                "seconds": f"{row['seconds']:.1f}",
                "images": f"{row['images']:,} of {row['data']} {row['split']}",
            }
            table.add_row(*(cells.get(column, str(row.get(column, ""))) for column in columns))
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=WIDTH).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def per_cent(error: float, interval: Sequence[float]) -> str:
    """An error and its interval, such as `25.1 (24.2–26.0)`."""
    return f"{100 * error:.1f} ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"


def write_rows(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a JSON list, the whole file or nothing."""
    write_atomically(Path(path), ErrorTable(rows).to_json().encode())
