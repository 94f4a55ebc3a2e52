"""`verydeep localise`: where things are in pictures."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from verydeep.cli.options import Json
from verydeep.cli.terminal import remark, show

localise = typer.Typer(help="Find where things are in pictures, and score what others found.")


@localise.command()
def score(
    predictions: Annotated[
        Path,
        Argument(metavar="PREDICTIONS", help="Lines of LABEL XMIN YMIN XMAX YMAX.", show_default=False),
    ],
    truth: Annotated[Path, Option(metavar="FOLDER", help="An XML file for each picture.", show_default=False)],
    labels: Annotated[Path, Option(metavar="FILE", help="The label of each picture, a line each.", show_default=False)],
    map_: Annotated[
        Path | None, Option("--map", metavar="FILE", help="Labels of the names in the XML: map_clsloc.txt or meta.mat.")
    ] = None,
    exclude: Annotated[
        Path | None, Option(metavar="FILE", help="Numbers of pictures, from 1, that do not count for localisation.")
    ] = None,
    json: Json = None,
) -> None:
    """Score predictions in the ILSVRC development kit's format.

    Prints their localisation and classification error, by the kit's rule: of up to five guesses one must have the label
    and overlap a true box of that label by an IoU of at least 0.5.
    """
    from json import dumps

    from verydeep.localisation.devkit import score
    from verydeep.weights.files import write_atomically

    result = score(predictions, truth, labels, map=map_, exclude=exclude)
    for line in result.remarks:
        remark(line)
    if json:
        write_atomically(json, (dumps(result.to_dict(), indent=1) + "\n").encode())
    show(str(result))
