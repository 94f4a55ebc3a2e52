"""A recipe for a folder of pictures, from a look at the folder and at the machine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from verydeep.data.dataset import Dataset
from verydeep.data.training_views import TrainingViews
from verydeep.data.uses import generator
from verydeep.device import Compute, choose_compute, keep_pages
from verydeep.nets.net import Net
from verydeep.nets.registry import bundled, create_net
from verydeep.training.division import divide
from verydeep.training.folder import Run, check_folder, make_folder
from verydeep.training.log import Say
from verydeep.training.recipe import Recipe, parse_recipe, read_recipe
from verydeep.training.run import train
from verydeep.training.speed import Moment
from verydeep.training.start import choose_trained
from verydeep.weights.files import load

MINUTES, PICTURES_A_MINUTE, MOST_MINUTES = 10.0, 2000, 120.0  # what a training may take, where nobody says
BUNDLED = "tiny-imagenet"  # the net that is fine-tuned
SCRATCH = {"net": "vgg-a-bn", "width": 0.25, "hidden": 256}  # else: it learns without care, and quickly on a CPU
CROPS = (128, 96, 64, 32)  # px; the largest is taken that the pictures and the time allow
SAMPLE = 64  # pictures whose sizes are looked at


def train_folder(
    folder: str | Path,
    *,
    run: str | Path | None = None,
    from_scratch: bool = False,
    minutes: float | None = None,
    device: str = "auto",
    say: Say = lambda line: None,
    show: Callable[[Moment], None] = lambda moment: None,
) -> Run:
    """Train on a folder of pictures without a recipe, or go on where such a run was left.

    Args:
        folder: a data set.
        run: the run's folder; by default `runs/` and the data set's name.
        from_scratch: whether to begin from random weights instead of the bundled net's.
        minutes: that it may take.
        device: where to compute.
        say: gets a line for each choice with its reason, and all that `train` has to say.
        show: gets every step and epoch.
    """
    kept = Run(Path(run) if run else Path("runs") / Path(folder).resolve().name)
    if kept.recipe.exists():  # measured anew, the choice might be another one
        say(f"{kept.folder}: goes on by the recipe that was chosen when it began")
        recipe = read_recipe(kept.recipe)
        if device != "auto":
            recipe = recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"device": device})})
        return train(recipe, data=folder, run=kept.folder, say=say, show=show)
    recipe, reasons = plan(folder, from_scratch=from_scratch, minutes=minutes, device=device)
    for reason in reasons:
        say(reason)
    check_folder(kept, recipe, divide(recipe)[0])
    make_folder(kept, recipe, reasons)
    return train(recipe, run=kept.folder, say=say, show=show)


def plan(
    folder: str | Path, *, from_scratch: bool = False, minutes: float | None = None, device: str = "auto"
) -> tuple[Recipe, Sequence[str]]:
    """A recipe that gives a sensible net in reasonable time, and why it is what it is, line by line.

    Raises:
        DatasetError: the folder is not a data set.
        RecipeError: it cannot be trained on.
    """
    keep_pages()
    pictures, watched = divide(Recipe(net="vgg-a", data=str(folder)))
    counts = np.bincount(pictures.labels, minlength=len(pictures.classes))
    usual = min(MINUTES + len(pictures) / PICTURES_A_MINUTE, MOST_MINUTES)
    minutes = usual if minutes is None else minutes
    start = choose_start(pictures, minutes, choose_compute(device), from_scratch=from_scratch)
    crop, batch = start.sizes["crop"], batch_size(len(pictures))
    smallest, largest = crop, round(crop * 9 / 7)  # from the whole picture upwards
    testing = len(watched) / (3 * len(pictures))  # what a validation takes, in epochs: it goes one way instead of three
    every = max(1, ceil(testing / 0.15))
    epoch_seconds = start.seconds * len(pictures) * (1 + testing / every)
    epochs = max(1, min(start.epochs, int(60 * minutes / epoch_seconds)))
    wish = f", while {start.epochs} would be better, and take {duration(start.epochs * epoch_seconds)}: see --minutes"
    reasons = [
        f"pictures: {len(pictures):,} to train on, {counts.min()} to {counts.max()} of each of {len(counts)} classes, "
        f"and {len(watched):,} to watch",
        start.reason,
        f"views: crops of {crop} px from pictures rescaled to {smallest} to {largest} px, while theirs have "
        f"{median_side(pictures)} (the median of the smallest sides); half of them are mirrored, which "
        "views.mirror = false ends where left and right are not alike",
        f"schedule: {epochs} epoch{'s' if epochs > 1 else ''}{wish if epochs < start.epochs else ''}; a picture takes "
        f"{1000 * start.seconds:.1f} ms here, so it ends in about {duration(epochs * epoch_seconds)}; the rate rises "
        "for a tenth of that, then falls to 0",
        f"batch: {batch} pictures, for {-(-len(pictures) // batch)} steps an epoch",
    ]
    recipe = parse_recipe({
        **start.sizes,
        "data": str(folder),
        "start": start.weights,
        "optimizer": {"learning_rate": start.learning_rate * batch / 64, "batch": batch},
        "schedule": {"kind": "one-cycle", "epochs": epochs, "warm_up": epochs / 10},
        "views": {"scale_jitter": (smallest, largest)},
        "regularisation": {"dropout": 0.2, "label_smoothing": 0.1},
        "validation": {"every": every},
        "compute": {"device": device},
    }, "plan")  # fmt: skip
    return recipe, reasons


@dataclass(frozen=True)
class Start:
    """What a training begins from.

    Attributes:
        sizes: keys of the recipe that make the net.
        weights: the recipe's table `start`.
        epochs: that are enough.
        learning_rate: for a batch of 64; a smaller one takes less in proportion.
        seconds: that a picture takes in training.
        reason: for a person.
    """

    sizes: dict[str, Any]
    weights: dict[str, Any]
    epochs: int
    learning_rate: float
    seconds: float
    reason: str


def choose_start(pictures: Dataset, minutes: float, compute: Compute, *, from_scratch: bool) -> Start:
    """The bundled net, or a narrow one with random weights, at the largest crop that pictures and time allow."""
    if BUNDLED in bundled() and not from_scratch:
        card = load(bundled()[BUNDLED])[1]
        sizes = {key: card[key] for key in ("net", "width", "hidden", "crop")}
        reason = (
            f"net: fine-tunes {BUNDLED}, which comes with verydeep ({card['net']}, {card['width']:g} as wide as the "
            f"paper's, trained on {len(card['classes'])} classes of small photographs): few pictures do not suffice to "
            "learn to see; --from-scratch starts from random weights"
        )
        seconds = seconds_of_picture(sizes, pictures, compute)
        return Start(sizes, {"weights": BUNDLED}, passes(len(pictures), 10, 40, 10_000), 0.01, seconds, reason)
    epochs, side = passes(len(pictures), 15, 60, 30_000), median_side(pictures)
    for crop in [crop for crop in CROPS if crop <= side] or [CROPS[-1]]:
        sizes = {**SCRATCH, "crop": crop}
        seconds = seconds_of_picture(sizes, pictures, compute)
        if seconds * epochs * len(pictures) <= 60 * minutes:
            break
    reason = (
        f"net: {sizes['net']}, {sizes['width']:g} as wide as the paper's, from random weights: batch normalisation "
        "makes it learn without care for its start, and so narrow it suits a CPU"
    )
    return Start(sizes, {"law": "he", "standardise": True}, epochs, 0.05, seconds, reason)


def passes(pictures: int, fewest: int, most: int, views: int) -> int:
    """As many epochs as show a net so many views in all."""
    return min(max(views // pictures, fewest), most)


def median_side(pictures: Dataset) -> int:
    """The median of the smallest sides of some of the pictures, spread over all, px."""
    chosen = np.linspace(0, len(pictures) - 1, min(SAMPLE, len(pictures))).astype(int)
    return int(np.median([min(pictures.size(int(index))) for index in chosen]))


def batch_size(pictures: int) -> int:
    """A power of 2 from 8 to 128 that gives a small data set eight steps an epoch where it can."""
    return int(min(max(2 ** int(np.log2(max(pictures / 8, 1))), 8), 128))


def seconds_of_picture(sizes: dict[str, Any], pictures: Dataset, compute: Compute) -> float:
    """Seconds that a picture takes in training, measured: made by the feed, and there and back through the net."""
    recipe = parse_recipe({**sizes, "data": "measured"})
    views = TrainingViews(recipe.crop, recipe.smallest_sides)
    chosen = np.linspace(0, len(pictures) - 1, min(16, len(pictures))).astype(int)
    start = time.perf_counter()
    for index in chosen:
        views.make(pictures, int(index), generator(0, 0, int(index)))
    feeding = (time.perf_counter() - start) / len(chosen) / torch.get_num_threads()
    net = create_net(recipe.net, width=recipe.width, crop=recipe.crop, hidden=recipe.hidden, classes=pictures.classes)
    choose_trained(net, recipe)
    learning = time_net(net, batch_size(len(pictures)), compute)
    return feeding + learning if compute.device.type == "cpu" else max(feeding, learning)  # a CPU does both


def time_net(net: Net, batch: int, compute: Compute) -> float:
    """Seconds a picture, there and back; the better of two after one that prepares."""
    net.to(compute.device).to(memory_format=compute.layout).train()
    pixels = torch.zeros(batch, 3, net.crop, net.crop, device=compute.device).to(memory_format=compute.layout)
    labels = torch.zeros(batch, dtype=torch.int64, device=compute.device)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        with torch.autocast(compute.device.type, compute.data_type, enabled=compute.data_type != torch.float32):
            scores = net(pixels)
        F.cross_entropy(scores.float(), labels).backward()
        if compute.device.type == "cuda":
            torch.cuda.synchronize(compute.device)
        best = min(best, time.perf_counter() - start)
    return best / batch


def duration(seconds: float) -> str:
    """A time for a person."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
