"""`verydeep train --plan`: what more processes would make of a recipe, before anybody pays for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from verydeep.cli.terminal import remark, show

if TYPE_CHECKING:
    from verydeep.training.recipe import Recipe


def show_plan(
    recipe: "Recipe", data: str | None, processes: Sequence[int], network: float | None, json: Path | None
) -> None:
    """Measure what a step costs here, and print what so many processes would take for it."""
    from rich.table import Table

    from verydeep.evaluation.error_table import write_rows
    from verydeep.training.costs import measure_costs
    from verydeep.training.memory import amount
    from verydeep.training.scaling import predict

    if data is not None:
        recipe = recipe.model_copy(update={"data": data})
    numbers = sorted({1, *(processes or (2, 4, 8))})
    costs = measure_costs(recipe, numbers, gigabits=network, say=remark)
    predictions = [predict(costs, count) for count in numbers]
    if json:
        write_rows(json, [prediction.to_dict() for prediction in predictions])
    table = Table(title=f"{recipe.net}, a batch of {costs.batch} pictures: predicted", title_justify="left")
    for column in ("processes", "pictures each", "step, s", "images/s", "speed-up", "efficiency", "memory each"):
        table.add_column(column, justify="right")
    table.add_column("bottleneck")
    for each in predictions:
        table.add_row(
            str(each.processes), str(each.pictures), f"{each.step:.3f}", f"{each.images_per_second:.1f}",
            f"{each.speed_up:.2f}", f"{100 * each.efficiency:.0f} %", amount(each.memory), each.bottleneck,
        )  # fmt: skip
    show(table)
