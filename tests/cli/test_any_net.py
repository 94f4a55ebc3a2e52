import json

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save
from PIL import Image

from verydeep.cli.app import run


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def fishes(tmp_path):
    """Class folders of two of ImageNet's classes, one by name, one by wnid."""
    generator = np.random.default_rng(0)
    for name in ("tench", "n01443537"):
        for number in range(2):
            path = tmp_path / "fishes" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
    return tmp_path / "fishes"


@pytest.fixture
def onnx_file(tmp_path):
    """A net of two classes, in a file."""
    generator = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["pixels", "weight"], ["maps"], strides=[8, 8]),
            helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["scores"]),
        ],
        "net",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(generator.normal(size=(2, 3, 8, 8)).astype(np.float32), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"verydeep": json.dumps({"classes": ["tench", "goldfish"], "mean": 120, "std": 60})})
    save(model, tmp_path / "fish.onnx")
    return tmp_path / "fish.onnx"


def test_a_net_of_torchvision_is_evaluated_in_its_own_preset_and_its_random_weights_are_said(fishes, tmp_path, capsys):
    file = tmp_path / "rows.json"
    name = "torchvision:squeezenet1_1"
    assert run(["evaluate", name, str(fishes), "--protocol", "centre", "--device", "cpu", "--json", str(file)]) == 0
    (row,) = json.loads(file.read_text())
    assert (row["net"], row["protocol"], row["images"], row["classes"]) == (name, "centre@256", 4, 1000)
    assert row["weights"] == "random: no trained ones could be had"
    assert f"{name}: its weights are random, since" in capsys.readouterr().err


def test_an_onnx_file_is_evaluated_and_predicts(fishes, onnx_file, tmp_path, capsys):
    file = tmp_path / "rows.json"
    arguments = ["--protocol", "centre", "--protocol", "ten-crop", "--device", "cpu", "--json", str(file)]
    assert run(["evaluate", str(onnx_file), str(fishes), *arguments]) == 0
    assert [row["protocol"] for row in json.loads(file.read_text())] == ["centre@73", "ten-crop@73"]
    picture = str(fishes / "tench" / "0.png")
    assert run(["predict", picture, "--net", str(onnx_file), "--protocol", "centre", "--device", "cpu"]) == 0
    assert "% " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "torchvision:vgg17", "."], "did you mean vgg1"),
        (["evaluate", "nothing.onnx", "."], "nothing.onnx: no such ONNX file"),
        (["nets", "torchvision:vgg16"], "its layers have no names here"),
        (["predict", "a.png", "--net", "timm:resnet"], "timm has no net resnet; did you mean"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, capsys):
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_dense_testing_of_a_file_without_a_map_is_refused_with_the_reason(fishes, onnx_file, capsys):
    run(["evaluate", str(onnx_file), str(fishes), "--protocol", "dense", "--device", "cpu"])
    printed = capsys.readouterr()
    assert "an ONNX file shows no step between pictures and scores" in printed.out + printed.err


def test_torch_is_not_asked_for_gradients(onnx_file):
    from verydeep.nets.registry import load_net

    assert not load_net(onnx_file)[0](torch.zeros(1, 3, 64, 64)).requires_grad
