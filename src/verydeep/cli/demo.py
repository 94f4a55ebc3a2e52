"""`verydeep demo`: the main job, on pictures that are made on the spot."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from verydeep.cli.options import Device, Json
from verydeep.cli.terminal import show


def demo(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Where all of it goes.")] = Path("verydeep-demo"),
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Do the main job on made pictures, in minutes.

    Makes pictures, trains two nets on them, tests both by three protocols, and writes a report.
    """
    from verydeep.cli.bars import training
    from verydeep.studies.demo import demo

    with training() as (say, show_moment):
        demo(folder, json=json, device=device, say=say, show=show_moment, print_table=show)
