"""Options that several commands share, so that they read the same everywhere."""

import os
from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option


def in_a_folder(path: Path | None) -> Path | None:
    """The path, once it is known that a file can be put there: better said now than after an hour's work.

    Of several processes the first alone writes.
    """
    if path is not None and not path.parent.is_dir():
        raise BadParameter(f"{path.parent} is not a folder; make it first")
    if path is not None and path.is_dir():
        raise BadParameter(f"{path} is a folder; name a file")
    return path if is_first() else None


def as_a_folder(path: Path | None) -> Path | None:
    """The path, once it is known that a folder is there, or can be made."""
    there = None if path is None else next((each for each in (path, *path.parents) if each.exists()), None)
    if there is not None and not there.is_dir():
        raise BadParameter(f"{there} is a file; name a folder")
    return path


def is_first() -> bool:
    """Whether this process is alone, or the first of those that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


Json = Annotated[
    Path | None, Option("--json", metavar="FILE", help="Write the result here as JSON, too.", callback=in_a_folder)
]
Device = Annotated[str, Option(metavar="NAME", help="Such as cpu, cuda:1 or mps; auto takes the first that is here.")]
Threads = Annotated[int | None, Option(min=1, help="That decode pictures; by default one a processor, at most eight.")]
Split = Annotated[str, Option(metavar="NAME", help="train, val or test.")]
Kind = Annotated[str | None, Option(metavar="FORMAT", help="The format of DATA, where it is not to be recognised.")]
Data = Annotated[str, Argument(metavar="DATA", help="A data set: a folder, a CSV file, or digits.", show_default=False)]
