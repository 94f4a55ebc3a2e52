"""What a long command shows on standard error while it works."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:  # commands that train nothing do without what training needs
    from verydeep.training.loop import Step
    from verydeep.training.run import Moment

SECONDS_BETWEEN = 0.5  # two looks at the loss of a training, for which a GPU has to stop


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error with the time left, which a call moves: what is done, how many of it, of how many."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def done(what: str, count: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=count)

        yield done


@contextmanager
def training() -> Iterator[tuple[Callable[[str], None], Callable[["Moment"], None]]]:
    """Two functions for a training: one for its lines, and one that moves a bar; both write on standard error."""
    with study() as (say, show, _):
        yield say, show


@contextmanager
def study() -> Iterator[tuple[Callable[[str], None], Callable[["Moment"], None], Callable[[str, int, int], None]]]:
    """The same two for the trainings of a study, and a third that moves the bar in a test."""
    from verydeep.training.loop import Step

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[now]}"),
    )
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("starts", total=None, now="")
        shown = 0.0
        tested, began = "", 0.0

        def say(line: str) -> None:
            console.print(Text(line), soft_wrap=True)

        def show(moment: "Moment") -> None:
            nonlocal shown
            step = moment.measured
            if bars.disable or not isinstance(step, Step) or time.monotonic() - shown < SECONDS_BETWEEN:
                return
            shown = time.monotonic()
            done = (step.step - 1) % step.steps + 1
            bars.update(
                task,
                description=f"epoch {step.epoch + 1}/{moment.epochs}",
                completed=done,
                total=step.steps,
                now=describe(step, moment),
            )

        def test(what: str, count: int, of: int) -> None:
            nonlocal tested, began
            if what != tested:
                tested, began = what, time.monotonic()
            left = (time.monotonic() - began) * (of - count) / max(count, 1)
            bars.update(task, description=f"tests {what}", completed=count, total=of, now=clock(left))

        yield say, show, test


def describe(step: "Step", moment: "Moment") -> str:
    """Where a training stands: the last batch, the speed and what limits it, the time left."""
    error = 100 * float(step.wrong) / max(step.pictures, 1)
    limit = (
        f"{100 * moment.waiting:.0f} % of it waiting for the feed" if moment.waiting > 0.1 else "the net is the limit"
    )
    speed = f"{moment.images_per_second:.0f} images/s, {limit}"
    return f"loss {float(step.loss):.3f}, top-1 error {error:.0f} %; {speed}; {clock(moment.seconds_left)}"


def clock(left: float) -> str:
    """The seconds that are left, as a clock shows them."""
    minutes, seconds = divmod(round(left), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"
