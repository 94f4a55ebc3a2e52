"""A run's folder: what lies in it, whose it is, and where it was computed."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from verydeep import __version__
from verydeep.data.dataset import Dataset
from verydeep.data.statistics import Statistics, measure
from verydeep.device import DATA_TYPES, LAYOUTS, Compute, choose_compute, choose_device
from verydeep.errors import RecipeError, TrainingError
from verydeep.training.log import Say
from verydeep.training.recipe import Recipe, read_recipe
from verydeep.weights.files import write_atomically

STATISTICS_IMAGES = 20_000  # pictures that mean and covariance are measured on, at most; drawn by the seed
NAMES = {"recipe.toml", "environment.json", "statistics.json", "metrics.jsonl", "checkpoint.safetensors",
         "net.safetensors", "tensorboard"}  # fmt: skip

MAY_CHANGE: dict[str, Any] = {"compute": True, "data": True, "views": {"bad_pictures"}}  # of a run's recipe
DECISIVE = ("machine", "torch", "threads", "device", "data_type", "layout")  # for the last bit of every number


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        folder: with the files below.
    """

    folder: Path

    @property
    def recipe(self) -> Path:
        """What was trained, as given."""
        return self.folder / "recipe.toml"

    @property
    def environment(self) -> Path:
        """On which pictures and where."""
        return self.folder / "environment.json"

    @property
    def log(self) -> Path:
        """The file of `metrics`."""
        return self.folder / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The state that the run goes on from."""
        return self.folder / "checkpoint.safetensors"

    @property
    def net(self) -> Path:
        """The file of the trained net, as tested after the last epoch."""
        return self.folder / "net.safetensors"

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`, of kind "step" and "epoch", but for one that was just being written."""
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True) if self.log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def noted(self) -> dict[str, Any]:
        """What `environment.json` says."""
        try:
            return dict(json.loads(self.environment.read_text(encoding="utf-8"))) if self.environment.exists() else {}
        except ValueError as error:
            raise TrainingError(f"{self.environment}: is damaged ({error}); remove it") from error


def check_folder(run: Run, recipe: Recipe, pictures: Dataset) -> None:
    """Check, without writing anything, that a run of a recipe may begin or go on in a folder.

    What the run computes on may change from one day to the next, its pictures may move, and broken ones may be skipped
    from now on; nothing else.

    Raises:
        RecipeError: the folder is a run of another recipe, or of other pictures.
        TrainingError: it holds something else.
    """
    folder = run.folder
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder}: is a file; give a folder for the run")
    if not run.recipe.exists():
        strangers = sorted({path.name for path in folder.glob("*")} - NAMES)
        if strangers:
            raise TrainingError(f"{folder}: is no run, and holds {strangers[0]}; give a new folder for the run")
        return
    theirs = read_recipe(run.recipe)
    key = first_difference(theirs, recipe)
    if key:
        raise RecipeError(f"{folder}: is a run of another recipe ({key} differs); give another folder")
    if run.noted.get("data", pictures.fingerprint()) != pictures.fingerprint():
        raise RecipeError(f"{folder}: was begun on other pictures than {recipe.data} has now; give another folder")


def make_folder(run: Run, recipe: Recipe, remarks: Sequence[str] = ()) -> None:
    """Make the folder, with its recipe under some remarks on it; or leave it, but for what may change of the recipe.

    Raises:
        TrainingError: it cannot be made.
    """
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{run.folder}: cannot be made ({error.strerror}); give another folder") from error
    if run.recipe.exists():
        if read_recipe(run.recipe).views == recipe.views:
            return
        lines = run.recipe.read_text(encoding="utf-8").splitlines()
        remarks = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    text = "".join(f"# {remark}\n" for remark in remarks) + recipe.to_toml()
    write_atomically(run.recipe, text.encode())


def first_difference(one: Recipe, other: Recipe) -> str:
    """The first key that differs between two recipes, where they decide what is learned; "" for none."""
    ours, theirs = (each.model_dump(exclude=MAY_CHANGE) for each in (one, other))
    for name, value in ours.items():
        if value != theirs[name]:
            inner = [key for key in value if value[key] != theirs[name][key]] if isinstance(value, dict) else []
            return f"{name}.{inner[0]}" if inner else name
    return ""


def choose_again(recipe: Recipe, run: Run) -> Compute:
    """How to compute: as the recipe says, else as the run did before on the same device, else what is fastest here."""
    wished, before = recipe.compute, run.noted
    if before.get("device") != str(choose_device(wished.device)):
        return choose_compute(wished.device, wished.data_type, wished.layout)
    return replace(
        choose_compute(
            wished.device,
            before["data_type"] if wished.data_type == "auto" else wished.data_type,
            before["layout"] if wished.layout == "auto" else wished.layout,
        ),
        why="as before",
    )


def note_environment(run: Run, pictures: Dataset, watched: Dataset, compute: Compute, say: Say) -> None:
    """Write down what a run computes on; where that has changed since it began, say so and write it down beside."""
    here = {
        "verydeep": __version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "machine": processor(compute.device),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(compute.device),
        "data_type": name_of(compute.data_type, DATA_TYPES),
        "layout": name_of(compute.layout, LAYOUTS),
    }
    before = run.noted
    if not before:
        pictures_facts = {
            "data": pictures.fingerprint(),
            "pictures": len(pictures),
            "watched": len(watched),
            "orientation": pictures.orientation,
            "remarks": list(pictures.remarks),
        }
        write_json(run.environment, pictures_facts | here)
        return
    was = {key: before.get(key) for key in here if here[key] != before.get(key)}
    decisive = ", ".join(f"{key} {here[key]}, was {was[key]}" for key in DECISIVE if key in was)
    if decisive:
        say(f"{run.folder}: goes on elsewhere than before, so not to the last bit: {decisive}")
    if was:
        write_json(run.environment, before | here | {"before": [*before.get("before", []), was]})


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a file of JSON, whole or not at all."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def name_of(value: Any, names: Mapping[str, Any]) -> str:
    """What a recipe calls a data type or a layout."""
    return next(name for name, each in names.items() if each == value)


def processor(device: torch.device) -> str:
    """What a device is called by its maker."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure_once(run: Run, pictures: Dataset, recipe: Recipe, threads: int, say: Say) -> Statistics:
    """The mean and covariance of the training pixels, kept in the run's folder."""
    path = run.folder / "statistics.json"
    if path.exists():
        return Statistics.from_dict(json.loads(path.read_text(encoding="utf-8")))
    images = min(len(pictures), STATISTICS_IMAGES)
    say(f"measures the mean and covariance of {images:,} training pictures")
    statistics = measure(pictures, images, recipe.seed, threads, bad_pictures=recipe.views.bad_pictures)
    write_json(path, statistics.to_dict())
    return statistics
