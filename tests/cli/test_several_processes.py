"""Commands under torchrun: what one process says, said once."""

import json
import os
import subprocess
import sys

import pytest
import torch

import verydeep
from verydeep.cli.app import run
from verydeep.data.digits import make_digits
from verydeep.localisation.head import UNIT, outputs_of

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "verydeep")
TIMES = ("seconds",)


def together(*arguments):
    """What two processes of a command print."""
    ended = subprocess.run([*TORCHRUN, *map(str, arguments)], env=os.environ | {"OMP_NUM_THREADS": "1"},
                           capture_output=True, text=True, timeout=200)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def rows(file):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in json.loads(file.read_text())]


@pytest.mark.slow
def test_two_processes_localise_as_one_does(tmp_path, capsys):
    classes = tuple("0123456789")
    digits = make_digits(tmp_path / "digits", train=20, val=31)
    sizes = {"width": 1 / 64, "crop": 64, "hidden": 8, "start": "he"}
    verydeep.save_net(tmp_path / "net.safetensors", verydeep.create_net("vgg-a", classes=classes, **sizes))
    localiser = verydeep.create_net("vgg-a", classes=outputs_of(classes, "scr"), **sizes)
    with torch.no_grad():
        localiser.fc8.weight.mul_(0.1)
        localiser.fc8.bias.copy_(torch.tensor([0.5, 0.5, 0.6, 0.8]) / UNIT)
    verydeep.save_net(tmp_path / "localiser.safetensors", localiser)
    nets = ["--net", tmp_path / "net.safetensors", "--localiser", tmp_path / "localiser.safetensors"]
    common = ["localise", digits, *nets, "--protocol", "dense@64", "--boxes", "dense@64,80", "--device", "cpu"]

    def outputs(name):
        return [
            "--json",
            tmp_path / f"{name}.json",
            "--submission",
            tmp_path / name,
            "--cases",
            tmp_path / f"{name}-cases",
        ]

    assert run([*map(str, [*common, *outputs("alone")])]) == 0
    said = capsys.readouterr().out
    assert together(*common, *outputs("both")) == said
    assert rows(tmp_path / "both.json") == rows(tmp_path / "alone.json")
    assert (tmp_path / "both").read_text() == (tmp_path / "alone").read_text()
    drawn, again = ({path.name for path in (tmp_path / f"{name}-cases").iterdir()} for name in ("alone", "both"))
    assert drawn == again
    assert "good-01.png" in drawn


@pytest.mark.slow
def test_two_processes_learn_from_photographs_as_one_does(pictures, tmp_path):
    net = verydeep.create_net("vgg-a-bn", width=1 / 16, crop=32, hidden=8, num_classes=5, start="he")
    verydeep.save_net(tmp_path / "net.safetensors", net, {"data": "noise"})

    def arguments(name, scales="36,40"):
        return ["transfer", pictures, "--net", tmp_path / "net.safetensors", "--scales", scales, "--device", "cpu",
                "--cache", tmp_path / f"{name}-cache", "--out", tmp_path / name,
                "--json", tmp_path / f"{name}.json"]  # fmt: skip

    assert run([*map(str, arguments("alone"))]) == 0
    assert run([*map(str, arguments("both", "36"))]) == 0  # what two processes then find in the cache
    assert "the model" in together(*arguments("both"))
    assert rows(tmp_path / "both.json") == rows(tmp_path / "alone.json")
    assert len(list((tmp_path / "both-cache").rglob("*.rows"))) == 1 + 2  # of the other scale one of each process
    ours, theirs = (verydeep.transfer.load_model(tmp_path / name) for name in ("alone", "both"))
    assert ours.weights == pytest.approx(theirs.weights, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_two_processes_tune_a_net_and_one_writes_what_came_of_it(pictures, tmp_path):
    net = verydeep.create_net("vgg-a", width=1 / 32, crop=32, hidden=8, num_classes=5, start="he")
    verydeep.save_net(tmp_path / "net.safetensors", net, {"data": "noise"})
    options = ["--net", tmp_path / "net.safetensors", "--tune", "last", "--epochs", "1", "--device", "cpu"]
    said = together("transfer", pictures, *options, "--out", tmp_path / "tuned", "--json", tmp_path / "rows.json")
    assert said.count("the report") == 1
    assert [row["images"] for row in rows(tmp_path / "rows.json")] == [3, 3]
    assert (tmp_path / "tuned" / "report.html").is_file()
