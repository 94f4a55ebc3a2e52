import numpy as np
import pytest
import torch
from PIL import Image

from verydeep.device import Compute
from verydeep.errors import DatasetError, RecipeError
from verydeep.nets.registry import bundled
from verydeep.training.loop import Step
from verydeep.training.plan import batch_size, duration, plan, time_net, train_folder
from verydeep.training.recipe import read_recipe
from verydeep.training.start import start_net


@pytest.fixture
def few(tmp_path, make_pictures):
    """Three classes of ten pictures."""
    return make_pictures(tmp_path / "few", each=10)


@pytest.fixture(scope="module")
def planned(tmp_path_factory, make_pictures):
    """A plan for three classes of ten pictures and hardly any time: the folder, the recipe, the reasons."""
    folder = make_pictures(tmp_path_factory.mktemp("planned") / "few", each=10)
    return folder, *plan(folder, from_scratch=True, minutes=1e-4)


def stop_after(steps):
    def show(moment):
        if moment.measured.step == steps:
            raise KeyboardInterrupt

    return show


def test_a_plan_says_in_a_line_each_what_it_chose_and_why(planned):
    folder, recipe, reasons = planned
    subjects = [reason.split(": ")[0] for reason in reasons]
    assert subjects == ["pictures", "net", "views", "schedule", "batch"]
    assert reasons[0] == "pictures: 24 to train on, 8 to 8 of each of 3 classes, and 6 to watch"
    assert all("\n" not in reason for reason in reasons)
    assert (recipe.data, recipe.crop, recipe.optimizer.batch) == (str(folder), 32, 8)  # of pictures of 30 to 60 px


def test_a_plan_fits_into_the_minutes_that_there_are(planned):
    _, recipe, reasons = planned
    assert recipe.schedule.epochs == 1
    assert reasons[3].startswith("schedule: 1 epoch, while 60 would be better, and take ")


@pytest.mark.slow
def test_the_chosen_recipe_is_the_runs_under_its_reasons_and_the_run_goes_on_by_it(few, tmp_path):
    lines = []
    with pytest.raises(KeyboardInterrupt):
        train_folder(few, run=tmp_path / "run", from_scratch=True, minutes=1e-4, say=lines.append, show=stop_after(2))
    text = (tmp_path / "run" / "recipe.toml").read_text()
    reasons = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
    assert reasons == lines[: len(reasons)]
    assert len(reasons) == 5
    lines.clear()
    run = train_folder(few, run=tmp_path / "run", say=lines.append)
    assert lines[0] == f"{run.folder}: goes on by the recipe that was chosen when it began"
    assert (tmp_path / "run" / "recipe.toml").read_text() == text
    assert run.metrics[-1]["epoch"] == read_recipe(run.recipe).schedule.epochs == 1


@pytest.mark.slow
def test_thirty_pictures_in_three_folders_give_a_net_that_tells_them_apart(few, tmp_path):
    steps = []
    run = train_folder(
        few,
        run=tmp_path / "run",
        from_scratch=True,
        show=lambda moment: steps.append(isinstance(moment.measured, Step)),
    )
    assert sum(steps) == 3 * read_recipe(run.recipe).schedule.epochs
    assert run.metrics[-1]["validation_top1_error"] <= 1 / 6  # one of the six; by chance it would be four


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        plan(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="is empty"):
        plan(tmp_path / "empty")


def test_one_class_cannot_be_planned_for(tmp_path, make_pictures):
    make_pictures(tmp_path / "photos", classes=["red"])
    with pytest.raises(RecipeError, match="has one class"):
        plan(tmp_path / "photos")


def test_batches_grow_with_the_pictures_from_8_to_128():
    assert [batch_size(pictures) for pictures in (4, 24, 240, 320, 1000, 10**6)] == [8, 8, 16, 32, 64, 128]


def test_a_measurement_leaves_the_weights_of_a_net_alone(planned):
    net = start_net(planned[1], ("a", "b"), lambda line: None)
    before = [weight.clone() for weight in net.parameters()]
    assert 0 < time_net(net, 2, Compute(torch.device("cpu"))) < 60
    assert all(map(torch.equal, before, net.parameters()))


def test_durations_are_said_in_the_unit_that_suits():
    assert [duration(seconds) for seconds in (0.1, 80.4, 100.0, 3000.0, 9000.0)] == [
        "1 seconds", "80 seconds", "2 minutes", "50 minutes", "2.5 hours"]  # fmt: skip


@pytest.mark.slow
def test_larger_pictures_get_a_larger_crop(tmp_path):

    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(3):
            noise = np.random.default_rng(number).integers(0, 256, (200, 240, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{number}.jpg")
    recipe, _ = plan(tmp_path, from_scratch=True, minutes=60.0)
    assert recipe.crop == 128
    assert recipe.smallest_sides == (128, 165)


@pytest.mark.skipif("tiny-imagenet" not in bundled(), reason="this copy brings no net")
def test_the_bundled_net_is_fine_tuned_unless_it_shall_not(few, tmp_path):
    recipe, reasons = plan(few, minutes=1e-4)
    assert recipe.start.weights == "tiny-imagenet"
    assert reasons[1].startswith("net: fine-tunes tiny-imagenet, which comes with verydeep")
    assert plan(few, from_scratch=True, minutes=1e-4)[0].start.weights is None
    lines = []
    train_folder(few, run=tmp_path / "run", minutes=1e-4, say=lines.append)
    assert any("starts from tiny-imagenet, but for fc8" in line for line in lines)
