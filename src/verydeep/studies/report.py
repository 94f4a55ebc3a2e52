"""The report: one HTML file that people look at, written from result files, and readable without a network."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

import verydeep
from verydeep.studies.curves import curves, read_metrics
from verydeep.studies.tables import Sheet

THUMBNAIL = 320  # px, the longer side: sharp at twice the density of the page's 11 rem


@dataclass(frozen=True, eq=False)
class Example:
    """A picture, and what a net takes it for."""

    picture: UInt8[np.ndarray, "h w 3"]
    truth: str | None  # the name of its class, where known
    best: Sequence[tuple[str, float]] = field(default=())  # names of classes and their posteriors, the best first
    caption: str = ""


def write_report(
    path: Path,
    *,
    title: str,
    rows: Sequence[Mapping[str, Any]] = (),
    sheets: Sequence[Sheet] = (),
    runs: Sequence[Path] = (),
    examples: Sequence[Example] = (),
    notes: Sequence[str] = (),
) -> None:
    """Write one self-contained HTML file: error table, curves of the runs, examples, notes.

    Args:
        path: the file to write; a finished report is there, or what was there before.
        title: what was done.
        rows: of an ErrorTable.
        sheets: further tables, such as those of a study.
        runs: folders of runs.
        examples: pictures with what a net takes them for.
        notes: what a reader has to know besides, a sentence each, such as how many pictures training skipped.

    Raises:
        TrainingError: where a run has no metrics.jsonl, or a damaged one.
    """
    complete = [{"weights": None, "mirror": False, "note": None, **row} for row in rows]
    best = min(complete, key=lambda row: row["top1_error"], default=None)
    write_page(
        path,
        "report.html.jinja",
        title=title,
        rows=complete,
        best=best,
        best_sentence=best and sentence(best),
        sheets=sheets,
        runs=[describe_run(run) for run in runs],
        examples=[describe_example(example) for example in examples],
        notes=notes,
    )


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write a page in the house's dress, the whole file or nothing; `values` are what its template asks for."""
    environment = Environment(
        loader=PackageLoader("verydeep.studies", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"per_cent": per_cent, "interval": interval}
    known = {"version": verydeep.__version__, "date": date.today().isoformat()}
    html = environment.get_template(template).render(**known, **values)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(html, encoding="utf-8")
    partial.replace(path)


def sentence(row: Mapping[str, Any]) -> str:
    """The row in words."""
    return (
        f"Lowest: {row['net']} by {row['protocol']}, with {per_cent(row['top1_error'])} % top-1 error on "
        f"{row['images']:,} pictures of {row['data']} ({row['split']})."
    )


def describe_run(run: Path) -> dict[str, Any]:
    """What the template shows of a run: its name, curves, skipped pictures, recipe and environment."""
    recipe, environment = run / "recipe.toml", run / "environment.json"
    return {
        "name": run.name,
        "curves": curves(run),
        "skipped": max((record.get("skipped", 0) for record in read_metrics(run)), default=0),
        "recipe": recipe.read_text(encoding="utf-8") if recipe.exists() else None,
        "environment": json.loads(environment.read_text(encoding="utf-8")) if environment.exists() else None,
    }


def describe_example(example: Example) -> dict[str, Any]:
    """What the template shows of an example."""
    return {
        "thumbnail": thumbnail(example.picture),
        "truth": example.truth,
        "right": bool(example.best) and example.best[0][0] == example.truth,
        "best": example.best,
        "caption": example.caption,
    }


def thumbnail(picture: UInt8[np.ndarray, "h w 3"], longest: int = THUMBNAIL) -> str:
    """A small JPEG of a picture, as a data URI; its longer side has so many pixels at most."""
    image = Image.fromarray(picture)
    image.thumbnail((longest, longest))  # smaller pictures stay as they are
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def per_cent(fraction: float) -> str:
    """0.0873 → 8.7."""
    return f"{100 * fraction:.1f}"


def interval(bounds: Sequence[float]) -> str:
    """(0.0812, 0.094) → (8.1–9.4)."""
    low, high = bounds
    return f"({per_cent(low)}–{per_cent(high)})"
