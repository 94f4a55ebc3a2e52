"""A run: a folder with a recipe, what it measured, its state and its net; and how a recipe becomes one."""

import json
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from verydeep.data.dataset import Dataset
from verydeep.data.feed import Feed, TrainingViews
from verydeep.data.open import open_dataset
from verydeep.data.statistics import Statistics, measure
from verydeep.device import Compute, available_memory, choose_compute, keep_pages
from verydeep.errors import RecipeError, TrainingError
from verydeep.evaluation.evaluate import evaluate
from verydeep.nets.registry import save_net
from verydeep.nets.vgg import VGG
from verydeep.pictures.colour import RGBShift
from verydeep.training.average import WeightAverage
from verydeep.training.checkpoint import load_checkpoint, save_checkpoint
from verydeep.training.loop import Epoch, Progress, Step, train_epochs
from verydeep.training.memory import SHARE, training_need
from verydeep.training.recipe import Recipe, read_recipe
from verydeep.training.schedule import Plateau
from verydeep.training.start import make_optimizer, start_net
from verydeep.weights.files import write_atomically

STATISTICS_IMAGES = 20_000  # pictures that mean and covariance are measured on; at most, drawn by the seed
LOG_EVERY = 20  # steps between two lines of metrics.jsonl
Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """A run's folder.

    Attributes:
        folder: `recipe.toml`, `environment.json`, `metrics.jsonl`, `checkpoint.safetensors`, `net.safetensors`.
    """

    folder: Path

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`: of kind "step" and "epoch"."""
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def net(self) -> Path:
        """The file of the trained net, as tested after the last epoch."""
        return self.folder / "net.safetensors"


@dataclass(frozen=True)
class Moment:
    """Where a run stands, for whoever shows it.

    Attributes:
        measured: the step or epoch that has just ended.
        epochs: in all.
        images_per_second: over the last seconds.
        waiting: share of that time that the net waited for the feed.
        seconds_left: of training, by that speed.
    """

    measured: Step | Epoch
    epochs: int
    images_per_second: float
    waiting: float
    seconds_left: float


def train(
    recipe: str | Path | Recipe,
    *,
    data: str | Path | None = None,
    run: str | Path | None = None,
    say: Say = lambda line: None,
    show: Callable[[Moment], None] = lambda moment: None,
) -> Run:
    """Train by a recipe, or go on where a run of it was left, to the bit.

    Args:
        recipe: a file, or a value.
        data: a data set instead of the recipe's.
        run: the run's folder; by default `runs/` and the recipe file's name.
        say: gets a line for each thing that a person should know before training and at its end.
        show: gets every step and epoch.

    Raises:
        RecipeError: the recipe cannot be used, or the folder is of another one.
        TrainingError: the loss is not finite, or has stalled.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    folder = Path(run) if run else Path("runs") / (recipe.net if isinstance(recipe, Recipe) else Path(recipe).stem)
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    if data is not None:
        recipe = recipe.model_copy(update={"data": str(data)})
    if recipe.data is None:
        raise RecipeError("data is missing; write it into the recipe, or give it after the recipe")
    keep_pages()
    pictures, watched = open_pictures(recipe)
    claim_folder(folder, recipe, pictures)
    statistics = measure_once(folder, pictures, recipe, say)
    compute = choose_compute(recipe.compute.device, recipe.compute.data_type, recipe.compute.layout)
    torch.use_deterministic_algorithms(recipe.compute.deterministic)
    net = start_net(recipe, pictures, statistics, say)
    net.to(device=compute.device).to(memory_format=compute.layout)  # type: ignore[call-overload]
    need = training_need(net, compute.data_type, averaged=recipe.regularisation.weight_average > 0)
    free = int(recipe.compute.memory * 1e9) if recipe.compute.memory else int(available_memory(compute.device) * SHARE)
    batch = min(recipe.optimizer.batch, len(pictures))
    micro_batch = recipe.optimizer.micro_batch or need.micro_batch(batch, free)
    shift = RGBShift.from_covariance(statistics.covariance) if recipe.views.rgb_shift else None
    views = TrainingViews(
        recipe.crop, recipe.smallest_sides, recipe.views.method == "random-resized", recipe.views.area,
        recipe.views.mirror, shift, recipe.views.rgb_shift, recipe.views.coarse_decode,
    )  # fmt: skip
    threads = recipe.compute.threads or min(8, os.cpu_count() or 1)
    say(f"{recipe.net}: {sum(p.numel() for p in net.parameters()):,} parameters; "
        f"{len(pictures):,} pictures of {len(pictures.classes)} classes, EXIF orientation: {pictures.orientation}")  # fmt: skip
    say(f"computes in {str(compute.data_type).removeprefix('torch.')} on {compute.device}: {compute.why}")
    say(f"memory: {need.fixed / 1e9:.2f} GB and {need.per_picture / 1e6:.1f} MB a picture, {free / 1e9:.1f} GB may be "
        f"taken: {batch} pictures a step, {micro_batch} at a time")  # fmt: skip
    feed = Feed(pictures, views, batch, seed=recipe.seed, threads=threads, bad_pictures=recipe.views.bad_pictures)
    try:
        follow(Run(folder), recipe, net, feed, watched, compute, micro_batch, say, show)
    finally:
        feed.close()
    return Run(folder)


def follow(
    run: Run,
    recipe: Recipe,
    net: VGG,
    feed: Feed,
    watched: Dataset,
    compute: Compute,
    micro_batch: int,
    say: Say,
    show: Callable[[Moment], None],
) -> None:
    """Run the loop; log, save and show what it yields."""
    optimizer, plateau = make_optimizer(net, recipe), Plateau(recipe.schedule)
    average, progress = WeightAverage(net, recipe.regularisation.weight_average), Progress()
    checkpoint, metrics = run.folder / "checkpoint.safetensors", run.folder / "metrics.jsonl"
    logged, before = 0, 0.0
    if checkpoint.exists():
        progress, card = load_checkpoint(checkpoint, net, optimizer, average, plateau)
        logged, before = card["logged"], card["seconds"]
        say(f"{run.folder}: goes on after step {progress.step} of epoch {progress.epoch + 1}")
    metrics.touch()
    os.truncate(metrics, logged)  # what was logged after the checkpoint will be logged again

    def validate(tested: VGG) -> dict[str, float]:
        row = evaluate(tested.eval(), watched, [recipe.validation.protocol], device=compute.device).rows[0]
        return {key: row[key] for key in ("top1_error", "top5_error")}

    def save() -> None:
        log.flush()
        os.fsync(log.fileno())
        seconds = before + time.perf_counter() - began
        card = {"logged": log.tell(), "seconds": seconds, "recipe": recipe.to_toml()}
        save_checkpoint(checkpoint, net, optimizer, average, plateau, progress, card)

    began = saved = time.perf_counter()
    speed = Speed(len(feed.dataset), recipe.schedule.epochs)
    with ExitStack() as stack:
        log, stop = stack.enter_context(metrics.open("ab")), stack.enter_context(stop_signals())
        loop = train_epochs(net, feed, optimizer, plateau, average, validate, progress, recipe, compute, micro_batch)
        for measured in stack.enter_context(closing(loop)):
            moment = speed.take(measured)
            if isinstance(measured, Epoch):
                seconds = before + time.perf_counter() - began
                write_line(log, epoch_line(measured, seconds, progress.skipped, speed))
                save_net(run.net, average.of(net), card_of(recipe, measured, seconds))
                say_epoch(measured, say)
            elif measured.step % LOG_EVERY == 0:
                write_line(log, step_line(measured, moment))
            for name in getattr(measured, "skipped", ()):
                say(f"skipped: {name} cannot be decoded")
            show(moment)
            late = time.perf_counter() - saved > 60 * recipe.compute.checkpoint_minutes
            if stop.asked or late or isinstance(measured, Epoch):
                save()
                saved = time.perf_counter()
            if stop.asked:
                raise KeyboardInterrupt(f"{run.folder}: saved after step {progress.step}; the same command goes on")
    if plateau.ended:
        say(f"ended by the plateau after epoch {progress.epoch}: no progress after the last drop")


class Speed:
    """How fast a run is, over its last seconds."""

    SECONDS = 30.0

    def __init__(self, pictures: int, epochs: int) -> None:
        self.pictures, self.epochs = pictures, epochs
        self.times: list[tuple[float, int, float]] = [(time.perf_counter(), 0, 0.0)]
        self.images_per_second = self.waiting = 0.0

    def take(self, measured: Step | Epoch) -> Moment:
        """Count a step; an epoch's validation is left out."""
        now = time.perf_counter()
        if isinstance(measured, Epoch):
            self.times = [(now, 0, 0.0)]
            left = self.pictures * (self.epochs - measured.epoch - 1)
        else:
            self.times.append((now, measured.pictures, measured.waited))
            while len(self.times) > 2 and now - self.times[1][0] > self.SECONDS:
                self.times.pop(0)
            seconds = now - self.times[0][0]
            self.images_per_second = sum(n for _, n, _ in self.times[1:]) / seconds
            self.waiting = sum(waited for _, _, waited in self.times[1:]) / seconds
            done = (measured.epoch * measured.steps + (measured.step - 1) % measured.steps + 1) / measured.steps
            left = round(self.pictures * (self.epochs - done))
        return Moment(measured, self.epochs, self.images_per_second, self.waiting,
                      left / max(self.images_per_second, 1e-9))  # fmt: skip


def open_pictures(recipe: Recipe) -> tuple[Dataset, Dataset]:
    """The pictures to train on and those to watch."""
    data = recipe.data or ""
    pictures = open_dataset(data, split="train", kind=recipe.kind)
    generator = np.random.default_rng((recipe.seed, 1))
    if recipe.validation.held_out:
        order = generator.permutation(len(pictures))
        held = max(1, round(len(pictures) * recipe.validation.held_out))
        pictures, watched = pictures.subset(np.sort(order[held:])), pictures.subset(np.sort(order[:held]))
    else:
        watched = open_dataset(data, split=recipe.validation.split, kind=recipe.kind)
    if recipe.validation.images and recipe.validation.images < len(watched):
        watched = watched.subset(np.sort(generator.permutation(len(watched))[: recipe.validation.images]))
    if (pictures.labels < 0).any():
        raise RecipeError(f"{data}: has training pictures without labels; label them or remove them")
    return pictures, watched


def claim_folder(folder: Path, recipe: Recipe, pictures: Dataset) -> None:
    """Make the run's folder, or check that it is of the same recipe and data; note the environment.

    Raises:
        RecipeError: it is of another recipe, or of other data.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be made ({error.strerror}); give another folder") from error
    noted = folder / "recipe.toml"
    environment = folder / "environment.json"
    if noted.exists():
        theirs = read_recipe(noted)
        if theirs.model_copy(update={"compute": recipe.compute}) != recipe:
            key = first_difference(theirs, recipe)
            raise RecipeError(f"{folder}: is a run of another recipe ({key} differs); give another folder")
        fingerprint = json.loads(environment.read_text())["data"] if environment.exists() else None
        if fingerprint not in (None, pictures.fingerprint()):
            raise RecipeError(f"{folder}: was begun on other pictures than {recipe.data} has now; give another folder")
        return
    facts = {
        "data": pictures.fingerprint(), "remarks": list(pictures.remarks), "orientation": pictures.orientation,
        "python": sys.version.split()[0], "torch": torch.__version__, "machine": platform.processor() or platform.machine(),
        "system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
    }  # fmt: skip
    write_atomically(environment, (json.dumps(facts, indent=2) + "\n").encode())
    write_atomically(noted, recipe.to_toml().encode())


def first_difference(one: Recipe, other: Recipe) -> str:
    """The first key that differs between two recipes."""
    for name, value in one.model_dump().items():
        second = other.model_dump()[name]
        if value != second:
            inner = [key for key in value if value[key] != second[key]] if isinstance(value, dict) else []
            return f"{name}.{inner[0]}" if inner else name
    return "nothing"


def measure_once(folder: Path, pictures: Dataset, recipe: Recipe, say: Say) -> Statistics:
    """The mean and covariance of the training pixels, kept in the run's folder."""
    path = folder / "statistics.json"
    if path.exists():
        return Statistics.from_dict(json.loads(path.read_text()))
    say(f"measures the mean and covariance of {min(len(pictures), STATISTICS_IMAGES):,} training pictures")
    statistics = measure(pictures, images=min(len(pictures), STATISTICS_IMAGES), seed=recipe.seed)
    write_atomically(path, (json.dumps(statistics.to_dict()) + "\n").encode())
    return statistics


def write_line(log: Any, values: dict[str, Any]) -> None:
    """Add a line to `metrics.jsonl`."""
    log.write(json.dumps(values).encode() + b"\n")
    log.flush()


def step_line(step: Step, moment: Moment) -> dict[str, Any]:
    """What is logged of a step."""
    return {"kind": "step", "step": step.step, "epoch": step.epoch + 1, "loss": step.loss.item(),
            "top1_error": step.wrong.item() / max(step.pictures, 1), "learning_rate": step.learning_rate,
            "images_per_second": round(moment.images_per_second, 1), "waiting": round(moment.waiting, 3)}  # fmt: skip


def epoch_line(epoch: Epoch, seconds: float, skipped: int, speed: Speed) -> dict[str, Any]:
    """What is logged of an epoch."""
    validation = {f"validation_{key}": value for key, value in epoch.validation.items()}
    return {"kind": "epoch", "epoch": epoch.epoch + 1, "step": epoch.step, "loss": epoch.loss,
            "top1_error": epoch.top1_error, **validation, "learning_rate": epoch.learning_rate,
            "seconds": round(seconds, 1), "images_per_second": round(speed.images_per_second, 1),
            "waiting": round(speed.waiting, 3), "skipped": skipped}  # fmt: skip


def card_of(recipe: Recipe, epoch: Epoch, seconds: float) -> dict[str, Any]:
    """What is kept with a trained net."""
    return {"data": recipe.data, "seed": recipe.seed, "epochs": epoch.epoch + 1, "recipe": recipe.to_toml(),
            "training_seconds": round(seconds), "validation": epoch.validation, "torch": torch.__version__}  # fmt: skip


def say_epoch(epoch: Epoch, say: Say) -> None:
    """A line for a person."""
    tested = "".join(f", {key.replace('_', ' ')} {100 * value:.2f} %" for key, value in epoch.validation.items())
    rate = f"{epoch.learning_rate:.2g}" if math.isfinite(epoch.learning_rate) else "?"
    say(f"epoch {epoch.epoch + 1}: loss {epoch.loss:.4f}, training error {100 * epoch.top1_error:.2f} %; "
        f"validation{tested or ' not due'}; rate {rate}")  # fmt: skip


@dataclass
class Stop:
    """Whether someone asked the run to stop."""

    asked: bool = False


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Take Ctrl-C and SIGTERM as a wish to stop after the step that is going on; a second one stops at once."""
    stop = Stop()
    kept: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        signal.signal(number, kept[number])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            kept[number] = signal.signal(number, ask)
    except ValueError:  # not in the main thread: whoever owns that one decides
        pass
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


