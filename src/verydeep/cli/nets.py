"""`verydeep nets`: what the nets are."""

from typing import Annotated

from typer import Argument

from verydeep.cli.options import Json
from verydeep.cli.terminal import show


def nets(
    name: Annotated[
        str | None, Argument(metavar="NET", help="A net whose layers to list: a name, a file of weights, a run.")
    ] = None,
    json: Json = None,
) -> None:
    """List the nets, or the layers of one."""
    from verydeep.evaluation.error_table import write_rows
    from verydeep.studies.net_tables import layer_rows, layer_table, net_rows, net_table, stage_table

    rows = net_rows() if name is None else layer_rows(name)
    if json:
        write_rows(json, rows)
    if name is None:
        show(net_table(rows))
    else:
        show(layer_table(rows))
        show(stage_table(rows))
