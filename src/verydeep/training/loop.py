"""The training loop, in sight: what happens to a batch, in which order, and what is measured when."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from verydeep.data.feed import Batch, Feed
from verydeep.device import Compute
from verydeep.errors import DeviceError, TrainingError
from verydeep.nets.vgg import VGG
from verydeep.training.average import WeightAverage
from verydeep.training.memory import is_out_of_memory
from verydeep.training.recipe import Recipe
from verydeep.training.schedule import Plateau, rate_factor
from verydeep.training.stall import refuse_stall


@dataclass
class Progress:
    """Where a run stands: with the tensors all that a checkpoint holds.

    Attributes:
        epoch: that is going on, from 0.
        step_in_epoch: steps of it that are done.
        step: steps done in all.
        seen: pictures of this epoch.
        skipped: pictures that could not be decoded, in all epochs.
        sums: loss and wrong guesses over the pictures of this epoch.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    seen: int = 0
    skipped: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))


@dataclass(frozen=True)
class Step:
    """What one step measured; the tensors are on the net's device, so that nobody waits for them unasked."""

    epoch: int
    step: int
    steps: int  # an epoch
    learning_rate: float
    loss: Tensor
    wrong: Tensor
    pictures: int
    waited: float  # seconds, for the feed
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured."""

    epoch: int
    step: int
    learning_rate: float
    loss: float
    top1_error: float
    validation: dict[str, float]


def train_epochs(
    net: VGG,
    feed: Feed,
    optimizer: Optimizer,
    plateau: Plateau,
    average: WeightAverage,
    validate: Callable[[VGG], dict[str, float]],
    progress: Progress,
    recipe: Recipe,
    compute: Compute,
    micro_batch: int,
) -> Iterator[Step | Epoch]:
    """Train `net` in place from where `progress` stands; yield what was measured, for the caller to log and save.

    Raises:
        TrainingError: the loss is not finite, or has not left ln K.

    Source: section 3.1.
    """
    rate, epochs = recipe.optimizer.learning_rate, recipe.schedule.epochs
    while progress.epoch < epochs and not plateau.ended:
        net.train()
        for batch in feed.batches(progress.epoch, progress.step_in_epoch):
            done = progress.epoch + progress.step_in_epoch / feed.steps
            learning_rate = rate * rate_factor(recipe.schedule, done, plateau.drops)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            loss, wrong, micro_batch = accumulate_gradients(net, batch, recipe, compute, micro_batch, progress.step)
            optimizer.step()
            average.update(net)
            progress.step, progress.step_in_epoch = progress.step + 1, progress.step_in_epoch + 1
            progress.seen, progress.skipped = progress.seen + len(batch), progress.skipped + len(batch.skipped)
            progress.sums += torch.stack([loss.double() * len(batch), wrong.double()]).cpu()
            if recipe.stall_steps and progress.step == recipe.stall_steps:
                refuse_stall(net, batch, progress.step, progress.sums[0].item() / progress.seen, compute)
            yield Step(progress.epoch, progress.step, feed.steps, learning_rate, loss, wrong, len(batch),
                       batch.waited, batch.skipped)  # fmt: skip
        mean_loss, top1_error = (progress.sums / max(progress.seen, 1)).tolist()
        if not math.isfinite(mean_loss):
            raise TrainingError(
                f"epoch {progress.epoch + 1}: the loss is {mean_loss}; lower optimizer.learning_rate, which is {rate}"
            )
        measured: dict[str, float] = {}
        if (progress.epoch + 1) % recipe.validation.every == 0 or progress.epoch + 1 == epochs:
            measured = validate(average.of(net))
            plateau.step(measured["top1_error"])
        ended = Epoch(progress.epoch, progress.step, learning_rate, mean_loss, top1_error, measured)
        progress.epoch, progress.step_in_epoch, progress.seen = progress.epoch + 1, 0, 0
        progress.sums = torch.zeros_like(progress.sums)
        yield ended


def accumulate_gradients(
    net: VGG, batch: Batch, recipe: Recipe, compute: Compute, micro_batch: int, step: int
) -> tuple[Tensor, Tensor, int]:
    """Gradients of the batch's mean loss, in parts that fit into memory.

    Returns:
        The loss (without L2), the number of wrong first guesses, and the size of a part, halved where memory ran out.
    """
    try:
        net.zero_grad()
        total, wrong = torch.zeros((), device=compute.device), torch.zeros((), device=compute.device)
        for part, (pixels, labels) in enumerate(batch.parts(micro_batch, compute.device)):
            seed_dropout(recipe.seed, step, part)
            with torch.autocast(compute.device.type, compute.data_type, enabled=compute.data_type != torch.float32):
                scores = net(pixels.contiguous(memory_format=compute.layout))
            losses = F.cross_entropy(
                scores.float(), labels, label_smoothing=recipe.regularisation.label_smoothing, reduction="sum"
            )
            (losses / len(batch)).backward()
            total += losses.detach() / len(batch)
            wrong += (scores.detach().argmax(dim=1) != labels).sum()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if micro_batch == 1:
            raise DeviceError(f"{compute.device}: has too little memory for one picture; use a smaller crop") from error
        return accumulate_gradients(net, batch, recipe, compute, micro_batch // 2, step)
    return total, wrong, micro_batch


def seed_dropout(seed: int, step: int, part: int) -> None:
    """Make what is dropped depend on (seed, step, part) alone, so that a checkpoint needs no state of a generator."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, part)).generate_state(1, np.uint64)[0] >> 1))
