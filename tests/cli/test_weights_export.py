import json

import numpy as np
import onnxruntime
import pytest
import torch

from verydeep.cli.app import run
from verydeep.nets.registry import create_net, load_net, save_net


@pytest.fixture
def net(tmp_path):
    made = create_net("vgg-a-bn", width=1 / 32, crop=32, classes=("cat", "dog", "eel"), start="he")
    save_net(tmp_path / "net.safetensors", made, {"data": "photos"})
    return made


@pytest.mark.slow  # torch's exporter
def test_a_net_is_exported_folded_and_evaluated_as_onnx(net, tmp_path, pictures, capsys):
    out, rows = tmp_path / "folded.onnx", tmp_path / "rows.json"
    command = ["weights", "export", str(tmp_path / "net.safetensors"), "--out", str(out), "--fold"]
    assert run([*command, "--json", str(rows)]) == 0
    said = capsys.readouterr().out
    assert f"{out}: onnx\ntakes RGB from 0 to 255, float32, [n, 3, h, w]" in said
    (row,) = json.loads(rows.read_text())
    assert (row["format"], row["file"]) == ("onnx", str(out))
    assert 0 <= row["difference"] < 1e-4
    session = onnxruntime.InferenceSession(out)
    crop = np.zeros((1, 3, 32, 32), np.float32)
    (scores,) = session.run(["scores"], {"pixels": crop})
    with torch.no_grad():
        np.testing.assert_allclose(scores, net(torch.from_numpy(crop)), rtol=1e-3, atol=1e-4)
    errors = []
    for name in (out, tmp_path / "net.safetensors"):
        options = ["--protocol", "dense@48", "--split", "train", "--device", "cpu", "--json", str(rows)]
        assert run(["evaluate", str(name), str(pictures), *options]) == 0
        (row,) = json.loads(rows.read_text())
        errors.append((row["top1_error"], row["images"], round(row["calibration_error"], 3)))
    assert errors[0] == errors[1]


def test_our_own_format_folded_is_a_plain_net(net, tmp_path):
    out = tmp_path / "plain.safetensors"
    assert run(["weights", "export", str(tmp_path / "net.safetensors"), "--out", str(out), "--fold"]) == 0
    plain, card = load_net(out)
    assert (plain.name, plain.classes, card["data"]) == ("vgg-a", net.classes, "photos")
    pixels = torch.randint(0, 256, (2, 3, 32, 32))
    torch.testing.assert_close(plain(pixels), net(pixels), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["torchvision:vgg16", "--out", "x.onnx"],
            "torchvision:vgg16: can be tested, but its layers have",
        ),
        (["net.safetensors", "--out", "x.bin"], "x.bin: of which format?"),
        (["net.safetensors", "--out", "x.bin", "--to", "tflite"], "x.bin: 'tflite' is not a format; use one of onnx"),
        (["net.safetensors", "--out", "x.pth"], "torchvision's vgg11_bn squeezes its last map to 7 × 7 cells"),
        (["missing.safetensors", "--out", "x.onnx"], "missing.safetensors: no such file"),
    ],
)
def test_a_mistake_ends_in_one_line(arguments, line, net, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["weights", "export", *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]
