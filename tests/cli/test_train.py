import json
import os
import signal
import subprocess
import sys

import pytest

import verydeep
from verydeep.cli.app import run

RECIPE = """
net = "vgg-a"
width = 0.02
crop = 32
hidden = 8
stall_steps = 0
optimizer.batch = 8
optimizer.learning_rate = 1e-3
schedule.kind = "cosine"
schedule.epochs = {epochs}
validation.held_out = 0.2
compute.threads = 1
compute.data_type = "float32"
compute.layout = "contiguous"
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(RECIPE.format(epochs=2))
    return path


def test_train_leaves_a_net_that_evaluates_and_says_where(recipe, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", str(recipe), str(pictures), "--device", "cpu"]
    assert run([*arguments, "--json", "epochs.json"]) == 0
    assert capsys.readouterr().out == "runs/small/net.safetensors\n"
    assert [row["epoch"] for row in json.loads((tmp_path / "epochs.json").read_text())] == [1, 2]
    assert run(["evaluate", "runs/small", str(pictures), "--protocol", "centre"]) == 0
    assert run(arguments) == 0  # there is nothing left to do


def test_a_run_folder_of_another_recipe_is_refused(recipe, pictures, tmp_path, capsys):
    folder = str(tmp_path / "run")
    assert run(["train", str(recipe), str(pictures), "--folder", folder]) == 0
    recipe.write_text(RECIPE.format(epochs=3))
    capsys.readouterr()
    assert run(["train", str(recipe), str(pictures), "--folder", folder]) == 2
    error = capsys.readouterr().err
    assert "schedule.epochs" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [("optimizer.lr = 1", "optimizer.lr is not a key"), ("width = -1", "width"), ("crop =", "is not TOML")],
)
def test_a_mistake_in_a_recipe_is_one_line_that_names_it(recipe, pictures, line, words, tmp_path, capsys):
    recipe.write_text(
        f"{line}\n" + ("" if line.startswith("width") else RECIPE.format(epochs=1)).replace("width", "seed")
    )
    assert run(["train", str(recipe), str(pictures), "--folder", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.slow  # another process imports torch
@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_ctrl_c_leaves_a_run_that_goes_on(recipe, pictures, tmp_path):
    recipe.write_text(RECIPE.format(epochs=100_000))
    command = [sys.executable, "-m", "verydeep", "train", str(recipe), str(pictures), "--folder", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert any(line.startswith("epoch ") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        last = process.stderr.read().splitlines()[-1]
    assert process.returncode == 130
    assert "the same command goes on" in last
    assert verydeep.load_net(tmp_path / "run")[0].name == "vgg-a"


def test_a_folder_alone_is_trained_on_by_a_recipe_that_is_explained_and_kept(pictures, tmp_path, capsys):
    folder = tmp_path / "run"
    options = ["--from-scratch", "--minutes", "0.1", "--device", "cpu"]
    assert run(["train", str(pictures), "--folder", str(folder), *options]) == 0
    result = capsys.readouterr()
    assert result.out == f"{folder}/net.safetensors\n"
    assert "schedule:" in result.err
    assert str(pictures) in (folder / "recipe.toml").read_text()


def test_options_of_a_folder_are_refused_beside_a_recipe(recipe, pictures, capsys):
    assert run(["train", str(recipe), str(pictures), "--from-scratch"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
