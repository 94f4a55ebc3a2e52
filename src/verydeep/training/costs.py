"""What a step of a recipe costs here, measured: the net, the feed, and gradients between two processes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import torch

from verydeep.data.dataset import Dataset
from verydeep.data.feed import Batch, Feed
from verydeep.data.statistics import measure
from verydeep.device import Compute, available_memory, choose_compute, keep_pages
from verydeep.errors import ProcessError, RecipeError
from verydeep.training.average import WeightAverage
from verydeep.training.division import divide
from verydeep.training.log import Say
from verydeep.training.loop import accumulate_gradients, set_modes
from verydeep.training.memory import SHARE, training_need
from verydeep.training.recipe import Recipe
from verydeep.training.scaling import Costs, part_of
from verydeep.training.schedule import Plateau
from verydeep.training.start import choose_trained, make_optimizer, start_net
from verydeep.training.state import Progress, State
from verydeep.training.views import training_views

VIEWS = 64  # pictures whose views are timed
LARGEST_PART = {"cpu": 32}  # pictures; of more than these each takes as long, and measuring them would take minutes
SMALL = 1024  # bytes of the message that says what a message takes by itself


def measure_costs(
    recipe: Recipe, processes: Sequence[int], *, gigabits: float | None = None, say: Say = lambda line: None
) -> Costs:
    """What a step of a recipe takes one process on this machine, and its gradients between two.

    Args:
        recipe: with its data.
        processes: numbers of them that will be asked for: the shares that they have are what is timed.
        gigabits: a second, of the network between machines, in place of what two processes here were seen to do.
        say: gets a line for each thing that was measured.

    Raises:
        RecipeError: the recipe trains a localiser, has no data, or a batch of fewer pictures than processes.
        ProcessError: two processes did not find each other.
    """
    if recipe.data is None:
        raise RecipeError("data is missing; write it into the recipe, or give it after the recipe")
    if recipe.boxes is not None:
        raise RecipeError("boxes: a plan is made of nets that name classes; leave the table out, a step takes as long")
    keep_pages()
    pictures, _ = divide(recipe)
    compute = choose_compute(recipe.compute.device, recipe.compute.data_type, recipe.compute.layout)
    unstarted = recipe.model_copy(update={"start": recipe.start.model_copy(update={"weights": None, "graft": None})})
    net = start_net(unstarted, pictures.classes, say)
    choose_trained(net, recipe)
    net.to(device=compute.device).to(memory_format=compute.layout)
    need = training_need(net, compute.data_type, averaged=recipe.regularisation.weight_average > 0)
    batch = min(recipe.optimizer.batch, len(pictures))
    free = recipe.compute.memory * 1e9 if recipe.compute.memory else available_memory(compute.device) * SHARE
    micro_batch = recipe.optimizer.micro_batch or need.micro_batch(batch, int(free))
    gradients = 4 * sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    average = WeightAverage(net, recipe.regularisation.weight_average)
    state = State(net, make_optimizer(net, recipe), Plateau(recipe.schedule), average, Progress(micro_batch))
    state.progress.to(compute.device)
    most = LARGEST_PART.get(compute.device.type, micro_batch)
    sizes = {min(part_of(batch, micro_batch, count)[1], most) for count in {1, *processes}}
    parts = {size: time_part(state, size, recipe, compute) for size in sorted(sizes)}
    update = best_of(lambda: (state.optimizer.step(), average.update(net)), compute)
    threads = recipe.compute.threads or torch.get_num_threads()
    feed = time_feed(pictures, recipe) / threads
    where = f"{compute.device} with {torch.get_num_threads()} threads"
    timed = ", ".join(f"{1000 * seconds:.1f} ms for {size}" for size, seconds in parts.items())
    say(f"measured on {where}: pictures there and back in {timed}; new weights in {1000 * update:.1f} ms; "
        f"{1000 * feed:.2f} ms for a picture's view")  # fmt: skip
    byte, message = time_all_reduce(gradients, compute.device.type)
    say(f"between two processes here: {gradients / 1e6:.1f} MB of gradients in "
        f"{1000 * (gradients * byte + 2 * message):.1f} ms")  # fmt: skip
    if gigabits is not None:
        byte = 8 / (gigabits * 1e9)
        say(f"between machines, not measured: {gigabits:g} gigabits a second, as --network says")
    return Costs(
        batch=batch, micro_batch=micro_batch, parts=parts, update=update, feed=feed,
        beside=compute.device.type != "cpu", gradients=gradients, byte=byte, message=message, fixed=need.fixed,
        per_picture=need.per_picture,
    )  # fmt: skip


def time_part(state: State, size: int, recipe: Recipe, compute: Compute) -> float:
    """Seconds of so many pictures, there and back."""
    set_modes(state.net)
    views = torch.zeros(size, 3, recipe.crop, recipe.crop, dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    batch = Batch(views, torch.zeros(size, 3, 1, 1), torch.zeros(size, dtype=torch.int64))
    return best_of(lambda: accumulate_gradients(state, batch, recipe, compute), compute)


def time_feed(pictures: Dataset, recipe: Recipe) -> float:
    """Seconds that one thread takes for a picture's view."""
    chosen = np.linspace(0, len(pictures) - 1, min(VIEWS, len(pictures))).astype(int)
    some = pictures.subset(np.unique(chosen))
    views = training_views(recipe, measure(some, threads=1))
    with closing(Feed(some, views, len(some), seed=recipe.seed, threads=1)) as feed:
        start = time.perf_counter()
        for epoch in (0, 1):
            for _ in feed.batches(epoch):
                pass
    return (time.perf_counter() - start) / 2 / len(some)


def best_of(step: Callable[[], object], compute: Compute) -> float:
    """Seconds of a step; the best of three after one that prepares."""
    best = float("inf")
    for turn in range(4):
        start = time.perf_counter()
        step()
        if compute.device.type != "cpu":
            torch.accelerator.synchronize(compute.device)
        if turn:
            best = min(best, time.perf_counter() - start)
    return best


def time_all_reduce(gradients: int, device: str) -> tuple[float, float]:
    """Seconds a byte, and a message, when two processes of this machine average so many bytes, as torchrun starts them.

    Raises:
        ProcessError: they did not find each other.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
               "verydeep.training.all_reduce", device, str(SMALL), str(max(gradients, 2 * SMALL))]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True)
    try:
        small, large = json.loads(ended.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        said = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ProcessError(f"two processes of this machine do not find each other ({said})") from None
    byte = max(large - small, 0.0) / (max(gradients, 2 * SMALL) - SMALL)
    return byte, max(small - SMALL * byte, 0.0) / 2  # a ring of two sends two messages, and each byte once
