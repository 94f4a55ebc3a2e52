"""`verydeep train`: a net from a recipe, or from a folder of pictures alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Option

from verydeep.cli.options import Json
from verydeep.cli.plan import show_plan
from verydeep.cli.terminal import Interrupted, show

if TYPE_CHECKING:
    from verydeep.training.recipe import Recipe


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
    plan: Annotated[
        bool, Option("--plan", help="Do not train: measure a step here, and say what more processes would take.")
    ] = False,
    processes: Annotated[
        list[int], Option(min=1, metavar="N…", help="With --plan: how many, such as 4 8 64; by default 2 4 8.")
    ] = [],  # noqa: B006 - typer copies it
    network: Annotated[
        float | None, Option(min=0.001, metavar="GBIT", help="With --plan: gigabits a second between machines.")
    ] = None,
    json: Json = None,
) -> None:
    """Train a net by a recipe, or on FOLDER by one that it chooses, says why, and leaves in the run's folder.

    A run that was cut off goes on where it was when the same command is given again.
    """
    from verydeep.cli.bars import training
    from verydeep.evaluation.error_table import write_rows
    from verydeep.training.plan import plan as plan_for_folder
    from verydeep.training.plan import train_folder
    from verydeep.training.recipe import read_recipe
    from verydeep.training.run import train

    alone = data is None and (recipe == "digits" or Path(recipe).is_dir() or Path(recipe).suffix == ".csv")
    if not alone and (from_scratch or minutes is not None):
        raise BadParameter("--from-scratch and --minutes are for a folder without a recipe; write them into the recipe")
    if (processes or network is not None) and not plan:
        raise BadParameter("--processes and --network are for --plan; torchrun says how many train")
    if plan:
        chosen = (
            plan_for_folder(recipe, from_scratch=from_scratch, minutes=minutes)[0] if alone else read_recipe(recipe)
        )
        show_plan(on_device(chosen, device), data, processes, network, json)
        return
    try:
        with training() as (say, show_moment):
            if alone:
                done = train_folder(recipe, run=run, from_scratch=from_scratch, minutes=minutes,
                                    device=device or "auto", say=say, show=show_moment)  # fmt: skip
            else:
                values = on_device(read_recipe(recipe), device)
                done = train(values, data=data, run=run or Path("runs") / Path(recipe).stem, say=say, show=show_moment)
    except KeyboardInterrupt as interruption:
        raise Interrupted(str(interruption)) from None
    if json:
        write_rows(json, [record for record in done.metrics if record["kind"] == "epoch"])
    show(str(done.net))


def on_device(recipe: "Recipe", device: str | None) -> "Recipe":
    """The recipe, computed where the command line says."""
    if device is None:
        return recipe
    return recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"device": device})})
