"""The training loop, in sight: what happens to a batch, in which order, and what is measured when."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from verydeep.data.feed import Batch, Feed
from verydeep.device import Compute
from verydeep.errors import DeviceError, TrainingError
from verydeep.evaluation.average import out_of_memory
from verydeep.localisation.head import RIGHT, box_losses, numbers_of, overlaps
from verydeep.nets.dropout import draw_masks
from verydeep.nets.net import Net
from verydeep.training.clip import clip_filters
from verydeep.training.recipe import Recipe
from verydeep.training.schedule import rate_factor
from verydeep.training.stall import refuse_stall
from verydeep.training.state import State

LOOK_EVERY = 20  # steps; a look at the loss makes a GPU wait


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
    learning_rate: float  # of its last step
    loss: float
    top1_error: float  # of a localiser the share of wrong boxes
    validation: dict[str, float]  # the first is what the plateau watches; nothing where none was due
    skipped: int


def train_epochs(
    state: State, feed: Feed, validate: Callable[[Net], dict[str, float]], recipe: Recipe, compute: Compute
) -> Generator[Step | Epoch, None, None]:
    """Train a net in place from where its state stands; yield what was measured, for the caller to log and save.

    Raises:
        TrainingError: the loss is not finite, or has not left ln K.

    Source: section 3.1.
    """
    net, progress, epochs = state.net, state.progress, recipe.schedule.epochs
    while progress.epoch < epochs and not state.plateau.ended:
        set_modes(net)
        for batch in feed.batches(progress.epoch, progress.step_in_epoch):
            set_learning_rate(state, feed.steps, recipe)
            loss, wrong = accumulate_gradients(state, batch, recipe, compute)
            state.optimizer.step()
            clip_filters(net, recipe.regularisation.filter_clip)
            state.average.update(net)
            progress.count(batch, loss, wrong)
            if progress.step % LOOK_EVERY == 0 or progress.step_in_epoch == feed.steps:
                refuse_divergence(state)
            if progress.step == recipe.stall_steps and recipe.boxes is None:
                refuse_stall(net, batch, progress.step, progress.recent.item(), compute)
            yield Step(progress.epoch, progress.step, feed.steps, progress.learning_rate, loss, wrong, batch.whole,
                       batch.waited, batch.skipped)  # fmt: skip
        mean_loss, top1_error = (progress.sums / max(progress.seen, 1)).tolist()
        due = (progress.epoch + 1) % recipe.validation.every == 0 or progress.epoch + 1 == epochs
        validation = validate(state.average.of(net)) if due else {}
        if due:
            state.plateau.step(next(iter(validation.values())), progress.epoch + 1)
        epoch = Epoch(progress.epoch, progress.step, progress.learning_rate, mean_loss, top1_error, validation,
                      progress.skipped)  # fmt: skip
        progress.next_epoch()
        yield epoch


def set_modes(net: Net) -> None:
    """Set a net to training; a normalisation whose weights are kept as they are keeps its statistics too."""
    net.train()
    for layer in net.children():
        parameters = list(layer.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            layer.eval()


def set_learning_rate(state: State, steps: int, recipe: Recipe) -> None:
    """Give the optimiser the rate of the step to come, out of so many `steps` an epoch."""
    progress = state.progress
    epochs = progress.epoch + progress.step_in_epoch / steps
    progress.learning_rate = recipe.optimizer.learning_rate * rate_factor(recipe.schedule, epochs, state.plateau.drops)
    for group in state.optimizer.param_groups:
        group["lr"] = progress.learning_rate * group["times"]


def accumulate_gradients(state: State, batch: Batch, recipe: Recipe, compute: Compute) -> tuple[Tensor, Tensor]:
    """The gradients of a batch's mean loss, in parts that fit into memory; where it runs out the parts are halved.

    Returns:
        The loss of the net's own scores (without L2 and side heads), and the number of wrong first guesses.

    Raises:
        DeviceError: there is too little memory for one picture.
    """
    while True:
        try:
            return gradients_of_parts(state, batch, recipe, compute)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if state.progress.micro_batch == 1:
                raise DeviceError(f"{compute.device}: too little memory for one picture; use a smaller crop") from None
            if state.parallel.processes.count > 1:  # the others are waiting for this one's gradients
                raise DeviceError(
                    f"{compute.device}: too little memory for {state.progress.micro_batch} pictures; write a smaller "
                    "optimizer.micro_batch into the recipe"
                ) from None
        # Outside of the `except`, whose traceback holds on to what was computed.
        state.progress.micro_batch = (state.progress.micro_batch + 1) // 2


def gradients_of_parts(state: State, batch: Batch, recipe: Recipe, compute: Compute) -> tuple[Tensor, Tensor]:
    """The gradients of a batch's mean loss, its loss and its wrong guesses, a micro-batch at a time.

    Of several processes each has its share of the batch. The losses of side heads are added with a weight.

    Source: section 3.3; Szegedy et al. 2015, section 5 (side heads).
    """
    state.net.zero_grad()
    chosen, narrow, we = recipe.regularisation, compute.data_type != torch.float32, state.parallel.processes
    measured = torch.zeros(2, device=compute.device)
    done = 0
    for pixels, *targets in batch.parts(state.progress.micro_batch, compute.device):
        draw_masks(state.net, recipe.seed, state.progress.step, batch.first + done)
        done += len(pixels)
        with state.parallel.part(last=done == len(batch)):
            with torch.autocast(compute.device.type, compute.data_type, enabled=narrow):
                outputs = state.parallel.scores(pixels.contiguous(memory_format=compute.layout))
            losses, is_wrong = zip(
                *(judge(scores.float(), recipe, state.class_weights, *targets) for scores in outputs), strict=True
            )
            own, *of_sides = (each.sum() / batch.whole for each in losses)
            together = we.count * (own + chosen.side_heads * sum(of_sides))  # the mean over processes will be taken
            together.backward()
        measured += torch.stack([own.detach(), is_wrong[0].sum()])
    loss, wrong = we.sum(measured)
    return loss, wrong


def judge(
    outputs: Float32[Tensor, "n k"],
    recipe: Recipe,
    class_weights: Float32[Tensor, " k"] | None,
    labels: Int64[Tensor, " n"],
    targets: Float32[Tensor, "n 4"] | None = None,
) -> tuple[Float32[Tensor, " n"], Bool[Tensor, " n"]]:
    """The loss of each view, and whether its first guess, or its box, is wrong.

    Args:
        outputs: class scores, or of a localiser the numbers of boxes.
        recipe: which of the two is learned.
        class_weights: what a picture of each class counts; None: 1.
        labels: of the pictures.
        targets: true boxes in the crop's frame.
    """
    if recipe.boxes is None:
        if recipe.loss == "squared":
            truth = F.one_hot(labels, outputs.shape[1])
            return (outputs.softmax(dim=1) - truth).square().mean(dim=1), outputs.argmax(dim=1) != labels
        smoothing = recipe.regularisation.label_smoothing
        losses = F.cross_entropy(outputs, labels, class_weights, label_smoothing=smoothing, reduction="none")
        return losses, outputs.argmax(dim=1) != labels
    assert targets is not None
    found = numbers_of(outputs, labels)
    return box_losses(found, targets, recipe.boxes.loss), overlaps(found.detach(), targets) < RIGHT


def refuse_divergence(state: State) -> None:
    """Raise where the loss has ceased to be a number, after which nothing is learned any more."""
    if not state.progress.recent.isfinite():
        raise TrainingError(
            f"step {state.progress.step}: the loss is not finite; lower optimizer.learning_rate, which is "
            f"{state.progress.learning_rate:g} here, or lengthen schedule.warm_up, in a new folder"
        )
