"""What more processes would make of a recipe: arithmetic on what one and two of them were seen to take.

Every process computes its share of each batch, and all average their gradients, in a ring, before the weights move. The
costs are seconds that were measured (`training.costs`); nothing here is. docs/scaling.md says what nobody could check.

Source: section 3.3; Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from verydeep.errors import RecipeError

BACKWARD = 2 / 3  # of a part's time: gradients of the maps and of the weights each take what the scores take


@dataclass(frozen=True)
class Costs:
    """What a step takes one process.

    Attributes:
        batch: pictures of a step, of all processes together.
        micro_batch: pictures that go through the net at a time, at most.
        parts: pictures in a part → seconds there and back; for other sizes in proportion to the nearest one below.
        update: seconds of the step that moves the weights.
        feed: seconds that a process needs for making one picture's view.
        beside: whether that goes on beside computing (on a GPU), or takes the same cores.
        gradients: bytes that are averaged.
        byte: seconds that one of them takes between two processes.
        message: seconds that an empty message takes.
        fixed: bytes of memory whatever the batch.
        per_picture: bytes of memory of each picture of a part.
    """

    batch: int
    micro_batch: int
    parts: Mapping[int, float]
    update: float
    feed: float
    beside: bool
    gradients: int
    byte: float
    message: float
    fixed: int
    per_picture: int


@dataclass(frozen=True)
class Prediction:
    """What so many processes would take.

    Attributes:
        processes: of their number.
        pictures: of a batch that the busiest of them has.
        computing: seconds of a step for the net, there and back, and the new weights.
        feed: seconds of a step for making views.
        all_reduce: seconds of a step for averaging gradients, as far as computing does not hide them.
        step: seconds of a step in all.
        images_per_second: of all processes together.
        speed_up: against one process.
        efficiency: that over their number.
        memory: bytes in each.
        bottleneck: what takes most of a step; `small shares` is what computing takes beyond its part of one process's.
    """

    processes: int
    pictures: int
    computing: float
    feed: float
    all_reduce: float
    step: float
    images_per_second: float
    speed_up: float
    efficiency: float
    memory: int
    bottleneck: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def predict(costs: Costs, processes: int) -> Prediction:
    """What so many processes would take for a step.

    Raises:
        RecipeError: the batch has fewer pictures.
    """
    pictures, part, computing, feed, reduce = shares(costs, processes)
    computing_alone, *rest_alone = shares(costs, 1)[2:]
    alone, step = step_seconds(costs, computing_alone, *rest_alone), step_seconds(costs, computing, feed, reduce)
    useful = min(computing, computing_alone / processes)
    each = {"computing": useful, "small shares": computing - useful, "all-reduce": reduce}
    if not costs.beside:
        each["feed"] = feed
    elif feed > computing + reduce:  # the longer of the two is waited for
        each = {"feed": feed}
    return Prediction(
        processes=processes,
        pictures=pictures,
        computing=computing,
        feed=feed,
        all_reduce=reduce,
        step=step,
        images_per_second=costs.batch / step,
        speed_up=alone / step,
        efficiency=alone / step / processes,
        memory=costs.fixed + part * costs.per_picture,
        bottleneck=max(each, key=lambda name: each[name]),
    )


def shares(costs: Costs, processes: int) -> tuple[int, int, float, float, float]:
    """Pictures of the busiest process, and at a time; its seconds for computing, feed, and averaging gradients."""
    pictures, part = part_of(costs.batch, costs.micro_batch, processes)
    seconds = part_seconds(costs.parts, part)
    computing = pictures / part * seconds + costs.update
    reduce = all_reduce_seconds(costs, processes)
    hidden = BACKWARD * seconds if costs.beside else 0.0  # of the last part; on CPUs both would want the same cores
    return pictures, part, computing, pictures * costs.feed, max(0.0, reduce - hidden)


def part_of(batch: int, micro_batch: int, processes: int) -> tuple[int, int]:
    """Pictures of a batch that the busiest process has, and how many of them at a time, in parts that are alike.

    Raises:
        RecipeError: the batch has fewer pictures than there are processes.
    """
    if processes > batch:
        raise RecipeError(f"optimizer.batch is {batch}, for {processes} processes; use {batch} or fewer")
    pictures = -(-batch // processes)
    return pictures, -(-pictures // -(-pictures // micro_batch))


def part_seconds(parts: Mapping[int, float], size: int) -> float:
    """Seconds of a part of some size, from the nearest measured size below it, or else from the smallest."""
    nearest = max((measured for measured in parts if measured <= size), default=min(parts))
    return parts[nearest] * max(1.0, size / nearest)


def all_reduce_seconds(costs: Costs, processes: int) -> float:
    """Seconds of averaging gradients in a ring: each sends 2 (n - 1) pieces of an nth of them."""
    if processes == 1:
        return 0.0
    pieces = 2 * (processes - 1)
    return pieces * (costs.gradients / processes * costs.byte + costs.message)


def step_seconds(costs: Costs, computing: float, feed: float, reduce: float) -> float:
    """Seconds of a step in all."""
    return max(feed, computing + reduce) if costs.beside else feed + computing + reduce
