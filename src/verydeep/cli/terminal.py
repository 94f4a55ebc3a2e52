"""Where the command line writes: results to standard output, all else to standard error."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from verydeep.evaluation.error_table import ErrorTable

WIDE = 140  # columns for a file or a pipe, which have no width of their own


class Interrupted(Exception):
    """Ctrl-C, with what is to be said about it."""


def show(result: "str | Table | ErrorTable") -> None:
    """Print a result on standard output."""
    if isinstance(result, str):
        print(result)
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDE).print(result)


def remark(line: str) -> None:
    """Print what is worth knowing beside the result on standard error."""
    print(line, file=sys.stderr)
