import json
import os
import resource
import shutil
import signal
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from verydeep.data.feed import Feed
from verydeep.data.open import open_dataset
from verydeep.data.shifted_views import ShiftedViews
from verydeep.errors import (
    DatasetError,
    DeviceError,
    NetError,
    PictureError,
    ProtocolError,
    RecipeError,
    TrainingError,
    VerydeepError,
    WeightsError,
)
from verydeep.nets.registry import create_net, load_net
from verydeep.training.loop import Step
from verydeep.training.recipe import read_recipe
from verydeep.training.run import Run, train
from verydeep.training.views import ROUNDS
from verydeep.weights.files import load

EVERY_STEP = {"checkpoint_minutes": 0.0}


def tensors(run):
    return load(Path(run) / "net.safetensors")[0]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def interrupt_after(steps):
    """Presses Ctrl-C when so many steps are done."""

    def show(moment):
        if isinstance(moment.measured, Step) and moment.measured.step == steps:
            os.kill(os.getpid(), signal.SIGINT)

    return show


def read_until(process, line):
    for said in process.stdout:
        if said.strip() == line:
            return
    raise AssertionError(process.stderr.read())


RICH = {  # everything that a checkpoint has to keep
    "net": "vgg-a-bn",
    "regularisation": {"dropout": 0.5, "weight_average": 0.9, "label_smoothing": 0.1},
    "optimizer": {"batch": 5, "micro_batch": 3, "nesterov": True},
    "schedule": {"kind": "plateau", "epochs": 3, "patience": 1},
    "compute": EVERY_STEP,
}


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_an_epoch_ends_as_one_that_was_not_to_the_bit(
    small, start_process, measured, tmp_path
):
    recipe = small(**RICH)
    whole = start_process(recipe, tmp_path / "whole")
    assert whole.wait(120) == 0, whole.stderr.read()
    for step in (7, 13):  # of five an epoch
        killed = start_process(recipe, tmp_path / "cut", pause=0.3)
        read_until(killed, f"Step {step}")
        killed.kill()
        killed.wait()
    last = start_process(recipe, tmp_path / "cut")
    assert last.wait(120) == 0, last.stderr.read()
    assert last.stdout.readline() == "Step 13\n"  # it was shown, but not saved
    assert equal(tensors(tmp_path / "cut"), tensors(tmp_path / "whole"))
    assert measured(tmp_path / "cut") == measured(tmp_path / "whole")


def test_ctrl_c_leaves_a_run_that_resumes_to_the_bit(small, measured, tmp_path):
    recipe = small(**RICH | {"compute": {}})
    train(recipe, run=tmp_path / "whole")
    for step in (2, 10, 11):  # in the first epoch, after the last step of one, after the first of one
        with pytest.raises(
            KeyboardInterrupt, match=f"cut: saved after step {step}; the same command goes on from there"
        ):
            train(recipe, run=tmp_path / "cut", show=interrupt_after(step))
    lines = []
    train(recipe, run=tmp_path / "cut", say=lines.append)
    assert f"{tmp_path / 'cut'}: goes on after step 11, 3 pictures at a time" in lines
    assert equal(tensors(tmp_path / "cut"), tensors(tmp_path / "whole"))
    assert measured(tmp_path / "cut") == measured(tmp_path / "whole")


BY_TURNS = {"net": "spp-net", "hidden": 16, "width": 0.0625, "crop": 64, "schedule": {"epochs": 3}}
WITH_HEADS = {
    "net": "googlenet", "hidden": None, "width": 0.0625, "schedule": {"kind": "polynomial", "epochs": 2},
    "regularisation": {"dropout": 0.4, "side_heads": 0.3, "weight_average": 0.9},
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        BY_TURNS | {"views": {"smallest_side": 72, "sides": [64, 48]}},
        BY_TURNS | {"views": {"smallest_side": 72, "side_jitter": [40, 64]}},
        WITH_HEADS,
    ],
    ids=["sides", "side_jitter", "side_heads"],
)
def test_sides_by_turns_and_side_heads_resume_to_the_bit(small, measured, tmp_path, changes):
    recipe = small(**changes)
    train(recipe, run=tmp_path / "whole")
    for step in (2, 7):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run=tmp_path / "cut", show=interrupt_after(step))
    train(recipe, run=tmp_path / "cut")
    assert equal(tensors(tmp_path / "cut"), tensors(tmp_path / "whole"))
    assert measured(tmp_path / "cut") == measured(tmp_path / "whole")


SMALL_PICTURES = {"hidden": None, "width": 0.05, "crop": 32, "optimizer": {"batch": 7, "learning_rate": 0.1}}


@pytest.fixture
def cifar(tmp_path):
    """CIFAR-10 of four pictures a file."""
    generator = np.random.default_rng(0)
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        records = generator.integers(0, 256, (4, 3073), np.uint8)
        records[:, 0] %= 10
        (tmp_path / "cifar").mkdir(exist_ok=True)
        (tmp_path / "cifar" / f"{name}.bin").write_bytes(records.tobytes())
    return str(tmp_path / "cifar")


@pytest.mark.parametrize(
    ("net", "optimizer", "views"),
    [
        ("cifar-fast", {"shifts": 64.0}, {"method": "shift", "mirror": "alternate", "cutout": 5}),
        ("cifar-fast", {"kind": "muon"}, {"method": "shift", "rgb_shift": 0.0}),
        ("deepcnet-5-32", {}, {"method": "distort", "plain": 1}),
        ("nagadomi", {}, {"method": "nagadomi-36"}),
    ],
)
def test_nets_for_small_pictures_resume_to_the_bit(small, cifar, measured, tmp_path, net, optimizer, views):
    values = SMALL_PICTURES | {
        "net": net, "data": cifar, "views": {"smallest_side": None} | views, "start": {"law": "own"},
        "optimizer": SMALL_PICTURES["optimizer"] | optimizer, "validation": {"split": "test"},
    }  # fmt: skip
    recipe = small(**values | ({"crop": 24, "loss": "squared"} if net == "nagadomi" else {}))
    train(recipe, run=tmp_path / "whole")
    for step in (1, 4):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run=tmp_path / "cut", show=interrupt_after(step))
    train(recipe, run=tmp_path / "cut")
    assert equal(tensors(tmp_path / "cut"), tensors(tmp_path / "whole"))
    assert measured(tmp_path / "cut") == measured(tmp_path / "whole")


def test_a_whitening_layer_is_measured_on_the_crops_that_training_shows(small, cifar, tmp_path):
    recipe = small(**SMALL_PICTURES, net="cifar-fast", data=cifar, validation={"split": "test"},
                   views={"smallest_side": None, "method": "shift", "rgb_shift": 0.0})  # fmt: skip
    net, _ = load_net(train(recipe, run=tmp_path / "run").folder)
    pictures = open_dataset(cifar, "train")
    with closing(Feed(pictures, ShiftedViews(32, 2), 20, seed=recipe.seed)) as feed:
        crops = [batch.views for epoch in range(ROUNDS) for batch in feed.batches(epoch)]
    again = create_net("cifar-fast", width=0.05, classes=net.classes)
    again.mean, again.std = net.mean, net.std
    again.whiten(crops)
    torch.testing.assert_close(net.conv0.weight, again.conv0.weight, rtol=1e-3, atol=1e-4)


def test_the_net_that_is_kept_has_no_side_heads_and_its_weights_start_others(small, tmp_path):
    run = train(small(**WITH_HEADS), run=tmp_path / "run")
    net, _ = load_net(run.folder)
    assert not any(name.startswith(("loss1", "loss2")) for name in net.state_dict())
    again = small(**WITH_HEADS, start={"weights": str(run.folder)}, optimizer={"learning_rate": 1e-9})
    second = train(again, run=tmp_path / "second")
    torch.testing.assert_close(
        tensors(second.folder)["loss3/classifier.weight"], net.get_parameter("loss3/classifier.weight")
    )


def test_ctrl_c_during_validation_loses_no_step(small, measured, tmp_path, monkeypatch):
    recipe = small(schedule={"epochs": 1})
    train(recipe, run=tmp_path / "whole")
    from verydeep.training import run as module

    evaluate = module.evaluate

    def interrupted(*args, progress, **named):
        os.kill(os.getpid(), signal.SIGINT)
        return evaluate(*args, progress=progress, **named)

    monkeypatch.setattr(module, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt, match="saved after step 5"):
        train(recipe, run=tmp_path / "cut")
    monkeypatch.undo()
    steps = []
    train(recipe, run=tmp_path / "cut", show=lambda moment: steps.append(type(moment.measured)))
    assert Step not in steps
    assert equal(tensors(tmp_path / "cut"), tensors(tmp_path / "whole"))
    assert measured(tmp_path / "cut") == measured(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_told_to_stop_ends_cleanly(small, start_process, tmp_path, number):
    process = start_process(small(schedule={"epochs": 50}), tmp_path / "run", pause=0.05)
    read_until(process, "Step 3")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("interrupted: ")
    assert errors.count("\n") == 1  # nothing of torch or of Python at the exit
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_afterwards_ctrl_c_and_random_numbers_are_what_they_were(small, tmp_path):
    handler, numbers = signal.getsignal(signal.SIGINT), torch.random.get_rng_state()
    train(small(), run=tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is handler
    assert torch.equal(torch.random.get_rng_state(), numbers)


def test_a_run_that_has_ended_is_left_as_it_is(small, tmp_path):
    run = train(small(), run=tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    lines = []
    train(small(), run=tmp_path / "run", say=lines.append)
    assert lines[-1] == f"{run.folder}: has ended after epoch 2"
    assert {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == before


def test_the_folder_has_all_that_a_run_leaves(small, photos, tmp_path):
    run = train(small(), run=tmp_path / "run")
    assert isinstance(run, Run)
    names = {path.name for path in run.folder.iterdir()} - {"tensorboard"}
    assert names == {"recipe.toml", "environment.json", "statistics.json", "metrics.jsonl", "checkpoint.safetensors",
                     "net.safetensors"}  # fmt: skip
    epochs = [line for line in run.metrics if line["kind"] == "epoch"]
    assert [(line["epoch"], line["step"]) for line in epochs] == [(1, 5), (2, 10)]
    assert epochs[0].keys() >= {"loss", "top1_error", "validation_top1_error", "validation_top5_error",
                                "learning_rate", "seconds", "skipped"}  # fmt: skip
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert (environment["pictures"], environment["watched"], environment["data_type"]) == (24, 9, "float32")
    net, card = load_net(run.folder)
    assert net.classes == ("blue", "green", "red")
    assert card["epochs"] == 2
    assert card["validation"]["top1_error"] == epochs[-1]["validation_top1_error"]


def test_the_net_that_is_kept_is_the_running_mean_where_there_is_one(small, tmp_path):
    run = train(small(regularisation={"weight_average": 0.9}), run=tmp_path / "run")
    checkpoint = load(run.folder / "checkpoint.safetensors")[0]
    assert torch.equal(tensors(run.folder)["fc7.weight"], checkpoint["average.fc7.weight"])
    assert not torch.equal(tensors(run.folder)["fc7.weight"], checkpoint["net.fc7.weight"])


def test_a_folder_of_another_recipe_is_refused_and_left_as_it_is(small, tmp_path):
    run = train(small(), run=tmp_path / "run")
    before = {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    with pytest.raises(
        RecipeError, match=r"run: is a run of another recipe \(optimizer.momentum differs\); give another"
    ):
        train(small(optimizer={"momentum": 0.8}), run=tmp_path / "run")
    assert {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == before


def test_a_run_may_go_on_with_other_threads_and_its_pictures_elsewhere(small, photos, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(small(), run=tmp_path / "run", show=interrupt_after(3))
    moved = shutil.copytree(photos, tmp_path / "moved")
    run = train(small(data=str(moved), compute={"threads": 1}), run=tmp_path / "run")
    assert run.metrics[-1]["epoch"] == 2
    (moved / "train" / "red" / "0.jpg").unlink()
    with pytest.raises(RecipeError, match="was begun on other pictures than"):
        train(small(data=str(moved)), run=tmp_path / "run")


def test_a_folder_with_other_things_in_it_is_refused(small, tmp_path):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(TrainingError, match=r"is no run, and holds thesis\.doc; give a new folder"):
        train(small(), run=tmp_path)
    with pytest.raises(TrainingError, match="is a file; give a folder"):
        train(small(), run=tmp_path / "thesis.doc")


def test_a_folder_that_cannot_be_made_is_refused(small, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot be made"):
        train(small(), run=tmp_path / "file" / "run")


def test_a_damaged_checkpoint_is_named(small, tmp_path):
    run = train(small(), run=tmp_path / "run")
    checkpoint = run.folder / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"checkpoint\.safetensors: "):
        train(small(), run=tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"net": "vgg-z"}, NetError, "vgg-z is not a net"),
        ({"data": "nowhere"}, DatasetError, "nowhere: does not exist"),
        (
            {"views": {"sides": [32, 24]}},
            RecipeError,
            "vgg-a takes crops of 32 px only; leave them out, or use an spp-net",
        ),
        (
            BY_TURNS | {"views": {"smallest_side": 72, "side_jitter": [4, 64]}},
            RecipeError,
            "4 px is less than 31 px, the",
        ),
        (
            {"regularisation": {"side_heads": 0.3}},
            NetError,
            "vgg-a: has no side heads; leave out regularisation.side_h",
        ),
        ({"views": {"smallest_side": None, "method": "shift"}}, RecipeError, "is for pictures of 32 px in memory"),
        ({"validation": {"protocol": "dens"}}, ProtocolError, "dens is not a protocol"),
        ({"validation": {"protocol": "centre@16"}}, ProtocolError, "16 px is less than the crop"),
        ({"start": {"weights": "none.safetensors"}}, WeightsError, "none.safetensors: no such file"),
        ({"compute": {"device": "toaster"}}, DeviceError, "device toaster: is not here"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(small, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        train(small(**change), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_data_is_refused():
    with pytest.raises(RecipeError, match="data is missing"):
        train("ilsvrc-a")


def test_a_bad_picture_ends_the_run_and_is_named(tmp_path, make_pictures, small):
    make_pictures(tmp_path / "photos", each=8)
    (tmp_path / "photos" / "red" / "3.jpg").write_text("no picture")
    with pytest.raises(PictureError, match=r"red/3\.jpg"):
        train(small(data=str(tmp_path / "photos"), validation={"held_out": 0.1}), run=tmp_path / "run")


def test_a_picture_that_breaks_during_a_run_costs_nothing_of_it(tmp_path, make_pictures, small):
    make_pictures(tmp_path / "train", each=8)
    make_pictures(tmp_path / "val", each=2)
    recipe = small(data=str(tmp_path))

    def break_one(moment):
        if moment.measured.step == 3:
            (tmp_path / "train" / "red" / "3.jpg").write_text("no picture")

    with pytest.raises(PictureError, match=r'red/3\.jpg: .* goes on after step \d+, or skips .*bad_pictures = "skip"'):
        train(recipe, run=tmp_path / "run", show=break_one)
    done = load(tmp_path / "run" / "checkpoint.safetensors")[1]["progress"]["step"]
    assert done >= 3
    steps = []
    skipping = small(data=str(tmp_path), views={"bad_pictures": "skip"})
    run = train(skipping, run=tmp_path / "run", show=lambda moment: steps.append(moment.measured.step))
    assert steps[0] == done + 1
    assert read_recipe(run.recipe) == skipping
    assert [line["skipped"] for line in run.metrics if line["kind"] == "epoch"][-1] == 1


def test_a_bad_picture_is_skipped_and_counted_where_the_recipe_says_so(tmp_path, make_pictures, small):
    make_pictures(tmp_path / "train", each=8)
    make_pictures(tmp_path / "val", each=2)
    (tmp_path / "train" / "red" / "3.jpg").write_text("no picture")
    lines = []
    run = train(small(data=str(tmp_path), views={"bad_pictures": "skip"}), run=tmp_path / "run", say=lines.append)
    assert [line["skipped"] for line in run.metrics if line["kind"] == "epoch"] == [1, 1]
    assert lines.count("skipped: train/red/3.jpg cannot be decoded") == 1


@pytest.mark.parametrize(("step", "file"), [(7, "checkpoint.safetensors"), (10, "metrics.jsonl")])
def test_a_full_disk_is_said_in_a_line_and_the_run_goes_on_when_there_is_room(small, measured, tmp_path, step, file):
    recipe = small(compute={"checkpoint_minutes": 0.0 if step == 7 else 5.0})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(moment):
        if moment.measured.step == step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))  # no file can grow any more, as on a full disk

    try:
        with pytest.raises(VerydeepError, match=rf"cut.{file}: cannot be written .*File too large"):
            train(recipe, run=tmp_path / "cut", show=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "cut").glob(".*"))
    train(recipe, run=tmp_path / "cut")
    train(recipe, run=tmp_path / "whole")
    assert measured(tmp_path / "cut") == measured(tmp_path / "whole")


def test_two_processes_cannot_train_in_one_folder(small, tmp_path):
    def again(moment):
        with pytest.raises(TrainingError, match="another process trains here; wait, or give another folder"):
            train(small(), run=tmp_path / "run")

    train(small(schedule={"epochs": 1}), run=tmp_path / "other")
    train(small(), run=tmp_path / "run", show=again)


def test_a_net_starts_from_the_weights_of_another_run_whatever_becomes_of_it(small, tmp_path):
    first = train(small(), run=tmp_path / "s36")
    second = small(
        start={"weights": str(first.folder)}, views={"smallest_side": 48}, optimizer={"learning_rate": 0.001}
    )
    lines = []
    with pytest.raises(KeyboardInterrupt):
        train(second, run=tmp_path / "s48", say=lines.append, show=interrupt_after(1))
    assert f"vgg-a: starts from {first.folder}" in lines
    shutil.rmtree(first.folder)
    train(second, run=tmp_path / "s48")


def test_another_nets_classes_leave_the_last_layer_random(small, make_pictures, tmp_path):
    first = train(small(schedule={"epochs": 1}), run=tmp_path / "first")
    make_pictures(tmp_path / "two", classes=["red", "blue"])
    lines = []
    recipe = small(data=str(tmp_path / "two"), start={"weights": str(first.folder)}, schedule={"epochs": 1},
                   optimizer={"learning_rate": 1e-9})  # fmt: skip
    second = train(recipe, run=tmp_path / "second", say=lines.append)
    assert f"vgg-a: starts from {first.folder}, but for fc8: random, since the classes are others" in lines
    assert torch.allclose(tensors(second.folder)["fc7.weight"], tensors(first.folder)["fc7.weight"], atol=1e-6)
    assert len(tensors(second.folder)["fc8.weight"]) == 2


def test_the_choice_of_how_to_compute_is_kept_for_the_next_time(small, tmp_path):
    recipe = small(compute={"data_type": "auto", "layout": "auto"})
    with pytest.raises(KeyboardInterrupt):
        train(recipe, run=tmp_path / "run", show=interrupt_after(1))
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    other = {"float32": "bfloat16", "bfloat16": "float32"}[environment["data_type"]]
    (tmp_path / "run" / "environment.json").write_text(json.dumps(environment | {"data_type": other}))
    lines = []
    train(recipe, run=tmp_path / "run", say=lines.append)
    assert f"computes in {other} on cpu: as before" in lines


def test_a_run_that_goes_on_elsewhere_says_and_notes_what_has_changed(small, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(small(), run=tmp_path / "run", show=interrupt_after(1))
    path = tmp_path / "run" / "environment.json"
    environment = json.loads(path.read_text())
    path.write_text(json.dumps(environment | {"torch": "2.0.0"}))
    lines = []
    train(small(), run=tmp_path / "run", say=lines.append)
    (said,) = (line for line in lines if "elsewhere" in line)
    assert said.endswith(f"goes on elsewhere than before, so not to the last bit: torch {torch.__version__}, was 2.0.0")
    assert json.loads(path.read_text()) == environment | {"before": [{"torch": "2.0.0"}]}


def test_exact_algorithms_can_be_asked_for_anywhere(small, tmp_path):
    runs = [train(small(compute={"deterministic": exact}), run=tmp_path / str(exact)) for exact in (True, False)]
    assert equal(*(tensors(run.folder) for run in runs))  # on a CPU all are
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_the_net_needs_is_said_before_it_starts(small, tmp_path):
    lines = []
    train(small(schedule={"epochs": 1}, compute={"memory": 0.5}), run=tmp_path / "run", say=lines.append)
    said = next(line for line in lines if line.startswith("memory: "))
    assert "500.0 MB may be taken: 5 pictures a step, 5 at a time" in said


def test_less_memory_than_one_picture_needs_is_refused(small, tmp_path):
    with pytest.raises(DeviceError, match=r"MB for one picture, 0\.0 MB may be taken"):
        train(small(compute={"memory": 1e-6}), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_takes_a_moment_to_be_shown(small, tmp_path):
    moments = []
    start = time.perf_counter()
    train(small(), run=tmp_path / "run", show=moments.append)
    seconds = time.perf_counter() - start
    assert [moment.measured.step for moment in moments] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
    assert all(0 <= moment.waiting <= 1 for moment in moments)
    assert all(moment.images_per_second > 10 / seconds for moment in moments)
    assert moments[-1].seconds_left == 0
    assert all(moment.epochs == 2 for moment in moments)
