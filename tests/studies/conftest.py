import json
import shutil

import pytest

from verydeep.data.digits import make_digits
from verydeep.studies.reproduce import reproduce

SMALL = """
title = "A small study"
tables = ["table-3", "errors"]

[parameters]
epochs = 1
seeds = 2
rate = 0.02

[recipe]
width = 0.03
crop = 32
hidden = 16
stall_steps = 0
start = { law = "he", standardise = true }
optimizer = { learning_rate = "$rate", batch = 16 }
schedule = { kind = "cosine", epochs = "$epochs" }
compute = { data_type = "float32", layout = "contiguous", threads = 1, checkpoint_minutes = 0.0 }

[runs.b]
recipe.net = "vgg-b"
graft = "a"
seeds = "$seeds"
tests = ["centre@256", "dense@256"]

[runs.a]
recipe.net = "vgg-a"
seeds = "$seeds"
tests = ["centre@256", "dense@256"]

[fusions.both]
of = ["a dense@256", "b dense@256"]

[findings.depth]
claim = "Depth helps"
source = "table 3"
pairs = [["b dense@256", "a dense@256"], ["both", "a dense@256"]]
"""


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A few of the built-in digits, 60 to train on and 40 to test on."""
    return make_digits(tmp_path_factory.mktemp("pictures") / "digits", train=60, val=40)


@pytest.fixture(scope="session")
def done(tmp_path_factory, digits):
    """The small study, done: its folder, its table, what it said."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.toml").write_text(SMALL)
    said = []
    table = reproduce(folder / "small.toml", digits, folder=folder / "results", device="cpu", say=said.append)
    return folder / "results", table, said


@pytest.fixture
def again(done, tmp_path):
    """A copy of what was done, to go on from."""
    return shutil.copytree(done[0], tmp_path / "results")


@pytest.fixture
def small(tmp_path):
    """The file of a study of seconds: A, B grafted from it, and both fused, twice."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def run_folder(tmp_path):
    """A run of three epochs of four steps, as training writes it."""
    run = tmp_path / "run"
    run.mkdir()
    records = []
    for epoch in range(3):
        for step in range(4 * epoch + 1, 4 * epoch + 5):
            records.append({"kind": "step", "step": step, "epoch": epoch, "loss": 3 / step, "learning_rate": 0.1})
        error = 0.9 - 0.1 * epoch
        records.append(
            {
                "kind": "epoch",
                "epoch": epoch,
                "step": 4 * epoch + 4,
                "loss": 3 / step,
                "top1_error": error,
                "validation_top1_error": error - 0.05,
                "validation_top5_error": error / 2,
                "learning_rate": 0.1,
                "seconds": 1.0,
            }
        )
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return run
