"""What the paper and the slides have: the figures of `published.toml`, by table and picture."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

PAPERS_TABLES = ("table-3", "table-4", "table-5", "table-6", "table-7")
LOCALISATION_TABLES = ("table-8", "table-9", "table-10")
OUR_TABLES = ("errors", "signals", "fit", "boxes", "leaderboard")
TABLES = (*PAPERS_TABLES, *LOCALISATION_TABLES, *OUR_TABLES)  # that a study may fill


@cache
def published() -> Mapping[str, Any]:
    """All of the file. Source: tables 3 to 10; the slides."""
    return tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))


def published_errors() -> dict[str, tuple[float, float]]:
    """Top-1 and top-5 error on the validation images, as fractions, by the test or the fusion that does the same."""
    return {
        row["ours"]: (row["top1"] / 100, row["top5"] / 100)
        for table in PAPERS_TABLES
        for row in published()[table]["rows"]
        if "ours" in row
    }
