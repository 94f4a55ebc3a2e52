"""`verydeep fuse`: how good several nets, scales or kinds of view are together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Option

from verydeep.cli.options import Json, in_a_folder
from verydeep.cli.terminal import remark, show

if TYPE_CHECKING:
    from verydeep.evaluation.fuse import Weights


def fuse(
    files: Annotated[
        list[str],
        Argument(metavar="FILES", help="Posteriors that evaluate --posteriors has left.", show_default=False),
    ],
    weights: Annotated[
        str | None,
        Option(
            metavar="W,W…|fit", help="One for each file; fit: found on a fifth of the pictures, tested on the rest."
        ),
    ] = None,
    seed: Annotated[int, Option(min=0, help="Which fifth.")] = 0,
    output: Annotated[
        Path | None, Option(metavar="FILE", help="Write the fused posteriors here.", callback=in_a_folder)
    ] = None,
    json: Json = None,
) -> None:
    """Average posteriors of the same pictures.

    Prints the errors of each of FILES and of all together, whose difference to the best of them has its 95 % interval.
    """
    from verydeep.evaluation.error_table import write_rows
    from verydeep.evaluation.fuse import fusion

    fused = fusion(files, read_weights(weights), seed=seed)
    if output:
        fused.posteriors.save(output)
    if fused.fitted_on:
        found = ", ".join(f"{weight:.3f}" for weight in fused.weights)
        remark(f"weights {found}: fitted on {fused.fitted_on:,} pictures; the errors are of the others")
    if output and not fused.outcomes:
        remark(f"{output}: is written; the pictures have no labels, so there are no errors to show")
        return
    table = fused.table()
    if json:
        write_rows(json, table.rows)
    show(table)


def read_weights(text: str | None) -> "Weights":
    """What the option means: numbers between commas, `fit`, or none at all."""
    if text is None:
        return None
    if text == "fit":
        return "fit"
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise BadParameter(f"--weights {text}: is not numbers between commas; write such as 1,2 or fit") from None
