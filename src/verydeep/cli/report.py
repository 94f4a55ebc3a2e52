"""`verydeep report`: what came of a study or a run, to look at."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from verydeep.cli.terminal import show


def report(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Of a study or of a run.", show_default=False)],
) -> None:
    """Write FOLDER's report: one HTML file; for a study Markdown and pictures, too."""
    from verydeep.studies.study_report import report

    show(str(report(folder)))
