"""Small things to train: pictures whose colour tells their class, and the smallest recipes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from verydeep.data.feed import Feed
from verydeep.data.statistics import measure
from verydeep.device import Compute
from verydeep.training.average import WeightAverage
from verydeep.training.division import divide
from verydeep.training.recipe import Recipe, parse_recipe
from verydeep.training.schedule import Plateau
from verydeep.training.start import choose_trained, make_optimizer, set_colours, start_net
from verydeep.training.state import Progress, State
from verydeep.training.views import training_views

COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (210, 50, 40)}


@pytest.fixture(scope="session")
def make_pictures():
    """Class folders of noisy pictures of various sizes."""

    def make(folder, each=8, classes=tuple(COLOURS), seed=0):
        generator = np.random.default_rng(seed)
        for name in classes:
            (folder / name).mkdir(parents=True)
            for number in range(each):
                height, width = generator.integers(30, 60, 2)
                noise = generator.normal(0, 40, (height, width, 3)) + COLOURS[name]
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.jpg")
        return folder

    return make


@pytest.fixture(scope="session")
def photos(tmp_path_factory, make_pictures):
    """Three classes, divided into a training and a validation split."""
    root = tmp_path_factory.mktemp("photos")
    make_pictures(root / "train", each=8)
    make_pictures(root / "val", each=3, seed=1)
    return root


@pytest.fixture
def small(photos):
    """A recipe of two quick epochs, with tables or keys of it replaced."""

    def recipe(**changes) -> Recipe:
        tables = {
            "start": {"law": "he", "standardise": True},
            "optimizer": {"learning_rate": 0.02, "batch": 5},
            "schedule": {"kind": "cosine", "epochs": 2},
            "views": {"smallest_side": 36},
            "compute": {"device": "cpu", "data_type": "float32", "layout": "channels_last", "threads": 2},
        }
        values = {"net": "vgg-a", "data": str(photos), "width": 0.05, "crop": 32, "hidden": 16, "seed": 3}
        for name, change in changes.items():
            tables[name] = tables.get(name, {}) | change if isinstance(change, dict) else change
        return parse_recipe(values | tables)

    return recipe


@pytest.fixture
def start_process(tmp_path):
    """Starts a training in a process of its own, which prints a line a step; the process comes back."""
    running = []

    def start(recipe: Recipe, run: Path, *, pause: float = 0.0) -> subprocess.Popen[str]:
        file = tmp_path / "recipe.toml"
        file.write_text(recipe.to_toml())
        process = subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(file), str(run), str(pause)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


TRAIN = """
import sys, time
from verydeep.errors import VerydeepError
from verydeep.training.run import train
def show(moment):
    print(type(moment.measured).__name__, moment.measured.step, flush=True)
    time.sleep(float(sys.argv[3]))
try:
    train(sys.argv[1], run=sys.argv[2], show=show)
except VerydeepError as error:
    sys.exit(f"{type(error).__name__}: {error}")
except KeyboardInterrupt as interruption:
    sys.exit(f"interrupted: {interruption}")
"""
TIMES = ("seconds", "images_per_second", "waiting")  # what differs between two runs of one recipe


@pytest.fixture
def measured():
    """What a run logged, but for times."""

    def read(run: Path) -> list[dict]:
        lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
        return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]

    return read


@pytest.fixture
def ready():
    """All that the loop needs for a recipe: its state before the first step, its feed, how it is computed."""
    feeds = []

    def prepare(recipe: Recipe, pictures=None):
        pictures = divide(recipe)[0] if pictures is None else pictures
        statistics = measure(pictures)
        compute = Compute(torch.device("cpu"), torch.float32, torch.channels_last)
        net = start_net(recipe, pictures.classes, lambda line: None)
        set_colours(net, recipe, statistics)
        choose_trained(net, recipe)
        net.to(memory_format=torch.channels_last)
        batch = min(recipe.optimizer.batch, len(pictures))
        feed = Feed(pictures, training_views(recipe, statistics), batch, seed=recipe.seed, threads=1)
        feeds.append(feed)
        progress = Progress(recipe.optimizer.micro_batch or batch)
        average = WeightAverage(net, recipe.regularisation.weight_average)
        return State(net, make_optimizer(net, recipe), Plateau(recipe.schedule), average, progress), feed, compute

    yield prepare
    for feed in feeds:
        feed.close()
