"""`verydeep train`: a net from a recipe."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from verydeep.cli.options import Json
from verydeep.cli.terminal import Interrupted, show


def train(
    recipe: Annotated[
        str, Argument(metavar="RECIPE", help="A recipe in TOML, or the name of one.", show_default=False)
    ],
    data: Annotated[str | None, Argument(metavar="DATA", help="A data set, instead of the recipe's.")] = None,
    run: Annotated[
        Path | None, Option(metavar="FOLDER", help="The run's folder; by default runs/ and the recipe's name.")
    ] = None,
    device: Annotated[
        str | None, Option(metavar="NAME", help="Such as cpu, cuda:1, mps or auto, instead of the recipe's.")
    ] = None,
    json: Json = None,
) -> None:
    """Train a net by a recipe.

    A run that was cut off goes on where it was when the same command is given again.
    """
    from verydeep.cli.bars import training
    from verydeep.evaluation.error_table import write_rows
    from verydeep.training.recipe import read_recipe
    from verydeep.training.run import train

    values = read_recipe(recipe)
    if device is not None:
        values = values.model_copy(update={"compute": values.compute.model_copy(update={"device": device})})
    folder = run or Path("runs") / Path(recipe).stem
    try:
        with training() as (say, show_moment):
            done = train(values, data=data, run=folder, say=say, show=show_moment)
    except KeyboardInterrupt as interruption:
        raise Interrupted(str(interruption)) from None
    if json:
        write_rows(json, [record for record in done.metrics if record["kind"] == "epoch"])
    show(str(done.net))
