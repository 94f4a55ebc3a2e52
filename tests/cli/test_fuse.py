import json

import numpy as np
import pytest

import verydeep
from verydeep.cli.app import run
from verydeep.evaluation.posteriors import Posteriors


@pytest.fixture
def files(tmp_path):
    """Two files of posteriors of 60 pictures of three classes."""
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("one", "two")]
    for seed, path in enumerate(paths):
        generator = np.random.default_rng(seed)
        values = generator.random((60, 3), np.float32) + np.eye(3, dtype=np.float32)[np.arange(60) % 3] / 3
        values /= values.sum(axis=1, keepdims=True)
        Posteriors(
            values, tuple(f"{i}.png" for i in range(60)), ("cat", "dog", "eel"), np.arange(60) % 3,
            f"vgg-{'de'[seed]}", f"runs/{seed}", "pictures", "val", "dense@256", 1.0,
        ).save(path)  # fmt: skip
    return paths


def test_fuse_prints_each_file_and_the_fusion_and_writes_it(files, tmp_path, capsys):
    output, rows = tmp_path / "fused.safetensors", tmp_path / "rows.json"
    assert run(["fuse", *files, "--weights", "1,3", "--output", str(output), "--json", str(rows)]) == 0
    printed = capsys.readouterr().out
    found = json.loads(rows.read_text())
    assert [row["net"] for row in found] == ["vgg-d", "vgg-e", "vgg-d + vgg-e"]
    assert all(f"{100 * row['top1_error']:.1f}" in printed for row in found)
    assert found[-1]["weights"] == "0.25 × runs/0 + 0.75 × runs/1"
    assert found[-1]["compared_with"] in printed
    due = verydeep.fuse(files, [1, 3])
    assert Posteriors.load(output).values.tobytes() == due.values.tobytes()


def test_fitted_weights_are_said_with_the_number_of_pictures_that_chose_them(files, tmp_path, capsys):
    rows = tmp_path / "rows.json"
    assert run(["fuse", *files, "--weights", "fit", "--seed", "2", "--json", str(rows)]) == 0
    assert "fitted on 12 pictures; the errors are of the others" in capsys.readouterr().err
    assert {row["images"] for row in json.loads(rows.read_text())} == {48}


def test_pictures_without_labels_are_fused_without_errors(files, tmp_path, capsys):
    bare = tmp_path / "bare.safetensors"
    one = Posteriors.load(files[0])
    Posteriors(one.values, one.images, one.classes, None, "n", "w", "d", "s", "dense@256", 1.0).save(bare)
    assert run(["fuse", str(bare), str(bare)]) == 2
    assert "have no label" in capsys.readouterr().err
    assert run(["fuse", str(bare), str(bare), "--output", str(tmp_path / "out.safetensors")]) == 0
    assert "no errors to show" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--weights", "1"], "1 weights for 2 files of posteriors; give one for each"),
        (["--weights", "1,x"], "--weights 1,x: is not numbers between commas; write such as 1,2 or fit"),
        (["--weights", "fitted"], "--weights fitted: is not numbers"),
        (["--output", "none/fused.safetensors"], "none is not a folder; make it first"),
    ],
)
def test_a_wrong_option_of_fuse_is_one_line(files, options, words, capsys):
    assert run(["fuse", *files, *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_file_that_was_cut_off_is_named(files, tmp_path, capsys):
    content = (tmp_path / "two.safetensors").read_bytes()
    (tmp_path / "two.safetensors").write_bytes(content[:-10])
    assert run(["fuse", *files]) == 2
    error = capsys.readouterr().err
    assert "two.safetensors: is not a whole file of posteriors" in error
    assert error.count("\n") == 1
