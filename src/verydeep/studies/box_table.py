"""Localisation errors as a table of a page: of a study's tests and fusions, of a bundled localiser, of no net."""

from collections.abc import Mapping, Sequence
from typing import Any

from verydeep.evaluation.error_table import per_cent

Row = Mapping[str, Any]
ERRORS = {"known_class": "the class known, %", "localisation": "five guesses, %", "classification": "their classes, %"}


def box_lines(rows: Sequence[Row]) -> list[str]:
    """Errors by localiser and protocol, beside those of boxes that no net is needed for.

    Args:
        rows: of a study's baselines.json and errors.json, or of a bundled localiser.
    """
    lines = [f"| boxes of | images | {' | '.join(ERRORS.values())} |", f"| --- |{' --: |' * (1 + len(ERRORS))}"]
    for row in rows:
        if row["name"] == "baselines":
            lines += [f"| {label} | | {100 * error:.1f} | | |" for label, error in row.items() if label != "name"]
        elif "known_class_error" in row:
            found = (per_cent(row[f"{key}_error"], row[f"{key}_interval"]) if f"{key}_error" in row else ""
                     for key in ERRORS)  # fmt: skip
            images = f"{row['images']:,}"
            lines.append(f"| {' | '.join((label_of(row), images, *found))} |")
    return lines


def label_of(row: Row) -> str:
    """What gives the boxes, and by which crops."""
    if "run" not in row:
        return f"{row['weights']}, {row['boxes'][0]}"
    return f"{row['run']} {row['test']}".strip() + (f", seed {row['seed']}" if row["seed"] else "")
