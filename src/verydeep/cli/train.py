"""`verydeep train`: a net from a recipe, or from a folder of pictures alone."""

from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option

from verydeep.cli.options import Json
from verydeep.cli.terminal import Interrupted, show


def train(
    recipe: Annotated[
        str,
        Argument(
            metavar="RECIPE|FOLDER", help="A recipe in TOML, the name of one, or pictures alone.", show_default=False
        ),
    ],
    data: Annotated[str | None, Argument(metavar="DATA", help="A data set, instead of the recipe's.")] = None,
    run: Annotated[
        Path | None,
        Option("--folder", metavar="FOLDER", help="The run's folder; by default runs/ and the recipe's name."),
    ] = None,
    device: Annotated[
        str | None, Option(metavar="NAME", help="Such as cpu, cuda:1, mps or auto, instead of the recipe's.")
    ] = None,
    from_scratch: Annotated[
        bool, Option("--from-scratch", help="With FOLDER: from random weights, not from the bundled net's.")
    ] = False,
    minutes: Annotated[
        float | None, Option(min=0.1, metavar="MINUTES", help="With FOLDER: that training may take.")
    ] = None,
    json: Json = None,
) -> None:
    """Train a net by a recipe, or on FOLDER by one that it chooses, says why, and leaves in the run's folder.

    A run that was cut off goes on where it was when the same command is given again.
    """
    from verydeep.cli.bars import training
    from verydeep.evaluation.error_table import write_rows
    from verydeep.training.plan import train_folder
    from verydeep.training.recipe import read_recipe
    from verydeep.training.run import train

    alone = data is None and (recipe == "digits" or Path(recipe).is_dir() or Path(recipe).suffix == ".csv")
    if not alone and (from_scratch or minutes is not None):
        raise BadParameter("--from-scratch and --minutes are for a folder without a recipe; write them into the recipe")
    try:
        with training() as (say, show_moment):
            if alone:
                done = train_folder(recipe, run=run, from_scratch=from_scratch, minutes=minutes,
                                    device=device or "auto", say=say, show=show_moment)  # fmt: skip
            else:
                values = read_recipe(recipe)
                if device is not None:
                    values = values.model_copy(update={"compute": values.compute.model_copy(update={"device": device})})
                done = train(values, data=data, run=run or Path("runs") / Path(recipe).stem, say=say, show=show_moment)
    except KeyboardInterrupt as interruption:
        raise Interrupted(str(interruption)) from None
    if json:
        write_rows(json, [record for record in done.metrics if record["kind"] == "epoch"])
    show(str(done.net))
