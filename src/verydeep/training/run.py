"""How a recipe becomes a trained net, in a folder that a run which was cut off goes on in."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from verydeep.data.annotations import Boxes
from verydeep.data.dataset import Dataset
from verydeep.data.feed import Feed
from verydeep.data.statistics import Statistics
from verydeep.device import Compute, available_memory, keep_pages
from verydeep.errors import PictureError, RecipeError
from verydeep.evaluation.classes import labels_of
from verydeep.evaluation.evaluate import evaluate
from verydeep.evaluation.posteriors import default_threads
from verydeep.evaluation.protocol import parse
from verydeep.localisation.head import outputs_of, start_head
from verydeep.localisation.locate import Localiser
from verydeep.localisation.measure import right_with_known_class
from verydeep.localisation.targets import BoxViews, mean_target
from verydeep.nets.net import Net
from verydeep.nets.registry import save_net
from verydeep.processes import Processes, processes
from verydeep.training.average import WeightAverage
from verydeep.training.checkpoint import load_checkpoint, save_checkpoint
from verydeep.training.division import divide, keep_boxed
from verydeep.training.folder import Run, check_folder, choose_again, make_folder, measure_once, note_environment
from verydeep.training.log import Log, NoLog, Say, epoch_line, epoch_text, step_line
from verydeep.training.loop import LOOK_EVERY, Epoch, train_epochs
from verydeep.training.memory import SHARE, amount, training_need
from verydeep.training.parallel import Parallel
from verydeep.training.recipe import Recipe, read_recipe
from verydeep.training.schedule import Plateau
from verydeep.training.speed import Moment, Speed
from verydeep.training.start import choose_trained, class_weights, make_optimizer, set_colours, start_net
from verydeep.training.state import Progress, State
from verydeep.training.stop import Stopped, stop_signals
from verydeep.training.tensorboard import tensorboard
from verydeep.training.views import refuse_large, training_crops, training_views

__all__ = ["Moment", "Run", "train"]

Show = Callable[[Moment], None]


def train(
    recipe: str | Path | Recipe,
    *,
    data: str | Path | None = None,
    run: str | Path | None = None,
    say: Say = lambda line: None,
    show: Show = lambda moment: None,
) -> Run:
    """Train by a recipe, or go on where a run of it was left, to the bit.

    Args:
        recipe: a file, the name of one that the package brings, or a value.
        data: a data set instead of the recipe's.
        run: the run's folder; by default `runs/` and the recipe file's name.
        say: gets a line for each thing that a person should know before training and at its end.
        show: gets every step and epoch.

    Under torchrun all processes train the one net, each with its share of every batch; the first one alone writes.

    Raises:
        RecipeError: the recipe cannot be used, or the folder is of another one.
        ProcessError: processes see other pictures.
        TrainingError: the loss is not finite, or has stalled; or a file cannot be written.
        PictureError: a picture cannot be decoded, and the recipe does not say that such are skipped.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    folder = Path(run) if run else Path("runs") / (recipe.net if isinstance(recipe, Recipe) else Path(recipe).stem)
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    if data is not None:
        recipe = recipe.model_copy(update={"data": str(data)})
    if recipe.data is None:
        raise RecipeError("data is missing; write it into the recipe, or give it after the recipe")
    keep_pages()
    we = processes()
    if not we.first:
        say, show = (lambda line: None), (lambda moment: None)
    pictures, watched = divide(recipe, say)
    we.agree("pictures", f"{pictures.fingerprint():.12}")
    kept = Run(folder)
    we.from_first(lambda: check_folder(kept, recipe, pictures))
    resumes = we.from_first(kept.checkpoint.exists)
    boxes = watched_boxes = None
    outputs = pictures.classes
    if recipe.boxes is not None:
        pictures, boxes = keep_boxed(pictures, recipe, say)
        watched, watched_boxes = keep_boxed(watched, recipe, say)
        outputs = outputs_of(pictures.classes, recipe.boxes.regression)
    net = start_net(recipe, outputs, say, resumes=resumes, draw_last=partial(start_boxes, recipe=recipe, boxes=boxes))
    refuse_unfit(net, pictures, watched, recipe)
    choose_trained(net, recipe)
    compute = of_this_process(we, we.from_first(lambda: choose_again(recipe, kept)))
    net.to(device=compute.device).to(memory_format=compute.layout)
    say(f"{recipe.net}: {sum(parameter.numel() for parameter in net.parameters()):,} parameters; {len(pictures):,} "
        f"pictures of {len(pictures.classes)} classes, {len(watched):,} watched; "
        f"EXIF orientation {'applied' if pictures.orientation == 'apply' else 'ignored'}")  # fmt: skip
    batch = min(recipe.optimizer.batch, len(pictures))
    if batch < we.count:
        raise RecipeError(f"optimizer.batch is {batch}, for {we.count} processes; use {we.count} or more")
    micro_batch = plan_memory(net, batch, recipe, compute, we, say)
    threads = recipe.compute.threads or default_threads()

    def begin_folder() -> Statistics:
        make_folder(kept, recipe)  # nothing is written before it is known to fit
        note_environment(kept, pictures, watched, compute, say)
        return measure_once(kept, pictures, recipe, threads, say)

    statistics = we.from_first(begin_folder)
    set_colours(net, recipe, statistics)
    views = training_views(recipe, statistics, boxes)
    if net.whitens and not resumes and not recipe.start.weights:
        net.whiten(training_crops(net, pictures, views, recipe.seed, threads))
    state = State(
        net,
        make_optimizer(net, recipe),
        Plateau(recipe.schedule),
        WeightAverage(net, recipe.regularisation.weight_average),
        Progress(micro_batch).to(compute.device),
    )
    weights = class_weights(pictures.labels, len(pictures.classes), recipe)
    state.class_weights = None if weights is None else weights.to(compute.device)
    feed = Feed(
        pictures,
        views,
        batch,
        seed=recipe.seed,
        threads=threads,
        bad_pictures=recipe.views.bad_pictures,
        pinned=compute.device.type == "cuda",
        processes=we,
    )
    with closing(feed), exact_algorithms(recipe, compute):
        follow(kept, state, feed, watched, watched_boxes, recipe, compute, we, say, show)
    return kept


def follow(
    run: Run,
    state: State,
    feed: Feed,
    watched: Dataset,
    boxes: Boxes | None,
    recipe: Recipe,
    compute: Compute,
    we: Processes,
    say: Say,
    show: Show,
) -> None:
    """Run the loop from where the folder has it; log, save and show what it yields."""
    card: dict[str, Any] = {"logged": 0, "seconds": 0.0}
    progress = state.progress
    if we.from_first(run.checkpoint.exists):
        planned = progress.micro_batch
        card = load_checkpoint(run.checkpoint, state, we)
        if card["device"] != str(compute.device):
            progress.micro_batch = planned
        say(f"{run.folder}: goes on after step {progress.step}, {progress.micro_batch} pictures at a time")
    if progress.epoch >= recipe.schedule.epochs or state.plateau.ended:
        say(f"{run.folder}: has ended after epoch {progress.epoch}")
        return
    state.parallel = Parallel(state.net, we)
    began, saved = time.perf_counter() - card["seconds"], time.perf_counter()
    named: set[str] = set()  # of the pictures that cannot be decoded
    speed = Speed(len(feed.dataset), feed.steps, recipe.schedule.epochs, recipe.validation.every)

    def heed_alone(*_: object) -> None:  # several stop together, between two steps
        if we.count == 1:
            stop.heed()

    def validate(net: Net) -> dict[str, float]:
        if boxes is not None:  # the first test of appendix A
            localiser = Localiser(net, recipe.validation_protocol)
            right = right_with_known_class([localiser], watched, boxes, device=compute.device, progress=heed_alone)
            return {"localisation_error": float(1 - right.mean())}
        table = evaluate(net, watched, [recipe.validation_protocol], device=compute.device, progress=heed_alone)
        return {key: table.rows[0][key] for key in ("top1_error", "top5_error")}

    def save() -> None:
        if not we.first:
            return
        save_checkpoint(run.checkpoint, state, {
            "logged": log.sync(), "seconds": time.perf_counter() - began, "device": str(compute.device),
            "recipe": recipe.to_toml(),
        })  # fmt: skip

    with ExitStack() as stack:
        log = stack.enter_context(Log(run.log, card["logged"]) if we.first else NoLog())
        draw = stack.enter_context(tensorboard(run.folder / "tensorboard", progress.step, wanted=we.first))
        stop = stack.enter_context(stop_signals())
        loop = stack.enter_context(closing(train_epochs(state, feed, validate, recipe, compute)))
        try:
            for measured in loop:
                moment = speed.take(measured)
                if isinstance(measured, Epoch):
                    seconds = time.perf_counter() - began
                    line = epoch_line(measured, moment, seconds)
                    log.add(line)
                    draw(line)
                    if we.first:
                        save_net(run.net, state.average.of(state.net), card_of(recipe, measured, seconds))
                    say(epoch_text(measured))
                else:
                    if measured.step % LOOK_EVERY == 0:
                        line = step_line(measured, moment)
                        log.add(line)
                        draw(line)
                    for name in set(measured.skipped) - named:
                        say(f"skipped: {name} cannot be decoded")
                    named.update(measured.skipped)
                show(moment)
                if time.perf_counter() - saved >= 60 * recipe.compute.checkpoint_minutes:
                    save()
                    saved = time.perf_counter()
                stop.asked = we.any(stop.asked)
                stop.heed()
        except Stopped:
            save()
            raise KeyboardInterrupt(
                f"{run.folder}: saved after step {progress.step}; the same command goes on from there"
            ) from None
        except PictureError as error:
            save()
            raise PictureError(
                f"{error}; the same command goes on after step {progress.step}, or skips such pictures in training "
                'with views.bad_pictures = "skip"'
            ) from None
        save()
    if state.plateau.ended:
        say(f"ended by the plateau after epoch {progress.epoch}: no progress after the last drop")


def refuse_unfit(net: Net, pictures: Dataset, watched: Dataset, recipe: Recipe) -> None:
    """Find out before the first epoch, not after it, that the views or the validation do not go with the net."""
    refuse_large(pictures, recipe)
    sides = recipe.views.sides or recipe.views.side_jitter
    if sides and not net.takes_any_size:
        raise RecipeError(
            f"views.sides: {net.name} takes crops of {net.crop} px only; leave them out, or use an spp-net"
        )
    if sides and min(sides) < net.least_side:
        raise RecipeError(f"views.sides: {min(sides)} px is less than {net.least_side} px, the least of {net.name}")
    parse(recipe.validation_protocol, net.crop, net.name)
    if recipe.boxes is None:
        labels_of(net, watched)
    elif unknown := sorted({*watched.classes} - {*pictures.classes}):
        raise RecipeError(f"{recipe.data}: class {unknown[0]} is watched, but not trained on; add pictures of it")


def start_boxes(net: Net, recipe: Recipe, boxes: Boxes | None) -> None:
    """Let the last layer of a localiser begin at the mean box; of another net it begins as it is."""
    if boxes is None:
        return
    views = BoxViews(recipe.crop, recipe.smallest_sides, mirror=bool(recipe.views.mirror), boxes=boxes)
    mean = torch.from_numpy(mean_target(views, recipe.seed)).float()
    start_head(net, mean, torch.Generator().manual_seed(recipe.seed))


def of_this_process(we: Processes, compute: Compute) -> Compute:
    """The same on the GPU that is this process's own."""
    return replace(compute, device=torch.device("cuda", we.local)) if compute.device.type == "cuda" else compute


def plan_memory(net: Net, batch: int, recipe: Recipe, compute: Compute, we: Processes, say: Say) -> int:
    """How many pictures go through the net at a time, after saying what it needs."""
    need = training_need(net, compute.data_type, averaged=recipe.regularisation.weight_average > 0)
    shared = 1 if compute.device.type == "cuda" else we.neighbours
    free = int(
        recipe.compute.memory * 1e9 if recipe.compute.memory else available_memory(compute.device) * SHARE / shared
    )
    batch = -(-batch // we.count)
    micro_batch = recipe.optimizer.micro_batch or we.from_first(lambda: need.micro_batch(batch, free))
    say(f"computes in {str(compute.data_type).removeprefix('torch.')} on {compute.device}: {compute.why}")
    each = "" if we.count == 1 else f" in each of {we.count} processes"
    say(f"memory: {amount(need.fixed)} and {amount(need.per_picture)} a picture, {amount(free)} may be taken: "
        f"{batch} pictures a step{each}, {min(batch, micro_batch)} at a time")  # fmt: skip
    return micro_batch


@contextmanager
def exact_algorithms(recipe: Recipe, compute: Compute) -> Iterator[None]:
    """Random numbers of the run's own; on CUDA the fastest algorithms, or where the recipe asks for it exact ones."""
    exact, cuda = recipe.compute.deterministic, compute.device.type == "cuda"
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS refuses
    try:
        with torch.random.fork_rng([compute.device] if cuda else []):
            torch.use_deterministic_algorithms(exact or before[0])
            torch.backends.cudnn.benchmark = cuda and not exact
            yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def card_of(recipe: Recipe, epoch: Epoch, seconds: float) -> dict[str, Any]:
    """What is kept with a trained net."""
    return {
        "data": recipe.data,
        "seed": recipe.seed,
        "epochs": epoch.epoch + 1,
        "recipe": recipe.to_toml(),
        "training_seconds": round(seconds),
        "validation": epoch.validation,
        "validation_protocol": recipe.validation_protocol,
        "torch": str(torch.__version__),
    }
