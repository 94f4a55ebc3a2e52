"""`verydeep nets`: what the nets are."""

from typing import Annotated

from typer import Argument, BadParameter, Option

from verydeep.cli.options import Json
from verydeep.cli.terminal import show


def nets(
    name: Annotated[
        str | None, Argument(metavar="NET", help="A net whose layers to list: a name, a file of weights, a run.")
    ] = None,
    beside: Annotated[
        str | None, Option(metavar="NET", help="Another net, whose stages to set beside the first one's.")
    ] = None,
    json: Json = None,
) -> None:
    """List the nets, or the layers of one, or what the stages of one cost beside those of another.

    What GoogLeNet's reductions save: verydeep nets googlenet-naive --beside googlenet
    """
    from verydeep.evaluation.error_table import write_rows
    from verydeep.studies.net_tables import (
        beside_rows,
        beside_table,
        layer_rows,
        layer_table,
        net_rows,
        net_table,
        stage_table,
    )

    if beside and name is None:
        raise BadParameter(f"--beside {beside} goes with another net; write verydeep nets NET --beside {beside}")
    if name is None:
        rows = net_rows()
        tables = [net_table(rows)]
    elif beside:
        rows = beside_rows(name, beside)
        tables = [beside_table(name, beside, rows)]
    else:
        rows = layer_rows(name)
        tables = [layer_table(rows), stage_table(rows)]
    if json:
        write_rows(json, rows)
    for table in tables:
        show(table)
