import json

import numpy as np
import pytest

from verydeep.cli.app import run
from verydeep.weights.files import load


def test_features_of_a_folder_go_into_one_file_with_the_names(pictures, tmp_path, capsys):
    out, rows = tmp_path / "pictures.safetensors", tmp_path / "rows.json"
    options = ["--layer", "relu7", "--layer", "pool4", "--protocol", "dense@64", "--device", "cpu", "--json", str(rows)]
    assert run(["features", str(pictures), "--out", str(out), *options]) == 0
    tensors, card = load(out)
    assert len(card["images"]) == len(tensors["relu7"]) == len(tensors["pool4"]) == 15
    assert f"{out}: relu7, 15 pictures × {tensors['relu7'].shape[1]:,} numbers, dense@64" in capsys.readouterr().out
    (row,) = json.loads(rows.read_text())
    assert row["layers"] == {"relu7": tensors["relu7"].shape[1], "pool4": tensors["pool4"].shape[1]}
    assert (row["file"], row["protocol"], row["images"]) == (str(out), "dense@64", card["images"])


def test_a_single_picture_and_numpys_format(pictures, tmp_path):
    picture = str(pictures / "cat" / "0.png")
    out = tmp_path / "one.npz"
    assert run(["features", picture, "--out", str(out), "--protocol", "centre@64", "--device", "cpu"]) == 0
    with np.load(out) as arrays:
        assert arrays["images"].tolist() == [picture]
        assert arrays["relu7"].shape[0] == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--out", "x.csv"], "x.csv: is of no format for features; let it end in .safetensors or .npz"),
        (["--out", "x.npz", "--layer", "fc77"], "has no layer 'fc77'; did you mean fc7?"),
        (["--out", "nowhere/x.npz"], "nowhere is not a folder; make it first"),
        ([], "Missing option '--out'"),
    ],
)
def test_a_mistake_ends_in_one_line(options, line, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["features", str(pictures), "--device", "cpu", *options]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not [*tmp_path.iterdir()]
