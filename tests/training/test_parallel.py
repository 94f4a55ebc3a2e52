"""Several processes: the batches, weights and posteriors of one, and no picture counted twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from verydeep.data.feed import Feed
from verydeep.data.statistics import measure
from verydeep.evaluation.posteriors import Posteriors
from verydeep.processes import Processes
from verydeep.training.division import divide
from verydeep.training.folder import Run
from verydeep.training.views import training_views
from verydeep.weights.files import load

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "1", "--nproc-per-node")
QUIET = os.environ | {"OMP_NUM_THREADS": "1"}


def start(count, *arguments):
    """The command in so many processes."""
    own = [sys.executable] if count == 1 else [*TORCHRUN, str(count)]
    command = [*own, "-m", "verydeep", *map(str, arguments)]
    return subprocess.Popen(command, env=QUIET, stdout=-1, stderr=-1, text=True)


def end(process):
    """What it printed, once it has ended well."""
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return printed


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_shares_of_a_batch_are_the_batch_that_one_process_has(small, count):
    recipe = small()
    pictures, _ = divide(recipe)
    views = training_views(recipe, measure(pictures))
    feeds = [Feed(pictures, views, 5, seed=1, threads=1, processes=Processes(rank, count)) for rank in range(count)]
    alone = Feed(pictures, views, 5, seed=1, threads=1)
    for whole, *parts in zip(*(feed.batches(3) for feed in (alone, *feeds)), strict=True):
        for name in ("views", "shifts", "labels"):
            joined = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(joined, getattr(whole, name))
        assert {part.whole for part in parts} == {whole.whole, len(whole)}
        assert [part.first for part in parts] == [sum(map(len, parts[:rank])) for rank in range(count)]
    for feed in (alone, *feeds):
        feed.close()


@pytest.mark.slow
def test_weights_after_ten_steps_of_one_two_and_four_processes_agree(small, tmp_path):
    recipe = small(regularisation={"weight_average": 0.9}, optimizer={"batch": 5, "micro_batch": 2})
    assert recipe.regularisation.dropout == 0.5
    file = tmp_path / "recipe.toml"
    file.write_text(recipe.to_toml())
    found = {}
    for count in (1, 2, 4):
        end(start(count, "train", file, "--folder", tmp_path / f"run-{count}"))
        found[count], card = load(tmp_path / f"run-{count}" / "checkpoint.safetensors")
        assert card["progress"]["step"] == 10
    logged = [[line["seen"] if "seen" in line else line["loss"] for line in Run(tmp_path / f"run-{count}").metrics]
              for count in found]  # fmt: skip
    assert logged[1] == pytest.approx(logged[0], rel=1e-5)
    assert logged[2] == pytest.approx(logged[0], rel=1e-5)
    for count in (2, 4):
        for name, tensor in found[1].items():
            scale = tensor.abs().max().item()
            torch.testing.assert_close(found[count][name], tensor, rtol=0, atol=1e-5 * scale, msg=f"{count}: {name}")


@pytest.mark.slow
def test_posteriors_of_any_number_of_processes_are_the_same_file(photos, tmp_path):
    protocols = ("--protocol", "dense@36,40", "--protocol", "centre@40+mirror+hcp")
    (tmp_path / "net.toml").write_text('net = "vgg-a"\nwidth = 0.05\ncrop = 32\nhidden = 16\nstall_steps = 0\n'
                                       "schedule = { epochs = 1 }\ncompute = { threads = 1 }\n")  # fmt: skip
    end(start(1, "train", tmp_path / "net.toml", photos, "--folder", tmp_path / "run"))
    tables = {}
    for count in (1, 2, 4):  # of nine pictures
        folder = tmp_path / f"found-{count}"
        found = start(count, "evaluate", tmp_path / "run", photos, *protocols, "--posteriors", folder,
                      "--json", tmp_path / f"{count}.json")  # fmt: skip
        tables[count] = end(found)
    one, *others = (sorted((tmp_path / f"found-{count}").iterdir()) for count in (1, 2, 4))
    assert len(one) == 2
    for files in others:
        assert [path.name for path in files] == [path.name for path in one]
        for ours, theirs in zip(one, files, strict=True):
            first, second = Posteriors.load(ours), Posteriors.load(theirs)
            torch.testing.assert_close(torch.from_numpy(first.values), torch.from_numpy(second.values))
            assert (first.images, first.classes, first.made_of) == (second.images, second.classes, second.made_of)
    assert tables[2].count("dense@36,40") == tables[1].count("dense@36,40")  # printed once


@pytest.mark.slow
def test_a_run_of_which_a_process_is_killed_goes_on_and_counts_each_picture_once(small, tmp_path, measured):
    recipe = small(schedule={"kind": "cosine", "epochs": 8}, compute={"checkpoint_minutes": 0.0, "threads": 1})
    file = tmp_path / "recipe.toml"
    file.write_text(recipe.to_toml())
    end(start(2, "train", file, "--folder", tmp_path / "undisturbed"))
    process = start(2, "train", file, "--folder", tmp_path / "killed")
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    while steps(checkpoint) < 7:  # in the midst of the second epoch
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    end(process)
    assert measured(tmp_path / "killed") == measured(tmp_path / "undisturbed")
    ours, theirs = (load(tmp_path / name / "checkpoint.safetensors")[0] for name in ("killed", "undisturbed"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_processes_that_see_other_pictures_are_refused_before_the_first_step(small, make_pictures, tmp_path):
    make_pictures(tmp_path / "0" / "train", each=2)
    make_pictures(tmp_path / "1" / "train", each=3)
    file = tmp_path / "recipe.toml"
    file.write_text(small(validation={"held_out": 0.2}).to_toml())
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom verydeep.training.run import train\n"
        f"train({str(file)!r}, data='{tmp_path}/' + os.environ['RANK'], run='{tmp_path}/run')"
    )
    ended = subprocess.run([*TORCHRUN, "2", script], env=QUIET, capture_output=True, text=True, timeout=100)
    assert ended.returncode
    assert "ProcessError: process 1 of 2: sees pictures" in ended.stderr
    assert not (tmp_path / "run").exists()


def test_torchrun_takes_none_of_our_options_for_its_own():
    from torch.distributed.run import get_args_parser
    from typer.main import get_command

    from verydeep.cli.app import app

    theirs = [option for action in get_args_parser()._actions for option in action.option_strings]
    commands = [get_command(app)]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        for option in (option for parameter in command.params for option in parameter.opts if option.startswith("--")):
            assert not any(each.startswith(option) for each in theirs if each != "--help"), (command.name, option)


def steps(checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    seen = checkpoint.with_name("seen.safetensors")  # safetensors opens a file twice: it may be replaced in between
    seen.unlink(missing_ok=True)
    seen.hardlink_to(checkpoint)
    return load(seen)[1]["progress"]["step"]


def workers(torchrun: int) -> list[int]:
    """The processes that torchrun has started, in their order."""
    return [int(number) for number in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()]
