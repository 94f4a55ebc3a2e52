import json
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from verydeep.data.ilsvrc_classes import ilsvrc_names
from verydeep.errors import NetError
from verydeep.nets.registry import load_net
from verydeep.pictures.preset import OURS, PillowPreset

KNOWN = {"classes": ["a", "b", "c"], "mean": [120, 110, 100], "std": 60, "crop": 32}


def trunk(outputs):
    torch.manual_seed(0)
    return nn.Conv2d(3, outputs, 5, stride=3)


@pytest.fixture
def write(tmp_path):
    """A function that writes a file of one convolution and, unless it is to give a map, the mean over its cells."""

    def write(
        shape=("n", 3, "h", "w"), outputs=3, pool=True, softmax=False, metadata=None, dtype=np.float32, twice=False
    ):
        conv = trunk(outputs)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        first = "pixels" if shape[1] == 3 else "turned"
        nodes = [helper.make_node("Conv", [first, "weight", "bias"], ["maps"], strides=[3, 3])]
        if first == "turned":
            nodes.insert(0, helper.make_node("Transpose", ["pixels"], ["turned"], perm=[0, 3, 1, 2]))
        last = "maps"
        if pool:
            nodes.append(helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]))
            nodes.append(helper.make_node("Flatten", ["pooled"], ["rows"]))
            last = "rows"
        if softmax:
            nodes.append(helper.make_node("Softmax", ["rows"], ["posteriors"], axis=1))
            last = "posteriors"
        given = [helper.make_tensor_value_info(last, kind, None)]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("pixels", kind, shape)],
            given + ([helper.make_tensor_value_info("maps", kind, None)] if twice else []),
            [
                numpy_helper.from_array(conv.weight.detach().numpy().astype(dtype), "weight"),
                numpy_helper.from_array(conv.bias.detach().numpy().astype(dtype), "bias"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, metadata if metadata is not None else {"verydeep": json.dumps(KNOWN)})
        onnx.save(model, tmp_path / "net.onnx")
        return tmp_path / "net.onnx"

    return write


def noise(n, height, width):
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)


def by_hand(pixels, outputs=3):
    """The scores of the file's net, by torch."""
    return trunk(outputs)((pixels - torch.tensor([120.0, 110, 100])[:, None, None]) / 60)


@torch.no_grad()
@pytest.mark.parametrize(
    "shape",
    [("n", 3, "h", "w"), (1, 3, 32, 32), (4, 3, 32, 32), ("n", 3, 32, 32), ("n", "h", "w", 3), (1, 32, 32, 3)],
)
def test_scores_are_those_of_the_graph_whatever_the_layout_and_the_size_of_its_batch(write, shape):
    net, card = load_net(write(shape))
    pixels = noise(6, 32, 32)
    torch.testing.assert_close(net(pixels), by_hand(pixels).mean((2, 3)), rtol=1e-4, atol=1e-4)
    assert (net.name, net.classes, net.crop, net.preset) == ("net", ("a", "b", "c"), 32, OURS)
    assert (card["weights"][-8:], card["remarks"]) == ("net.onnx", [])
    assert net.no_score_map == "an ONNX file shows no step between pictures and scores"


@torch.no_grad()
def test_a_file_that_gives_a_map_of_scores_of_any_size_has_a_score_map(write):
    net, _ = load_net(write(pool=False))
    pixels = noise(2, 50, 61)
    cells = by_hand(pixels)
    assert net.no_score_map == ""
    rows = columns = 10  # (32 - 5) // 3 + 1
    score_map = net.score_map(pixels)
    assert score_map.shape == (2, 3, 16 - 9, 19 - 9)
    torch.testing.assert_close(
        score_map[:, :, 3, 4], cells[:, :, 3 : 3 + rows, 4 : 4 + columns].mean((2, 3)), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_half_precision_is_kept_to(write):
    net, _ = load_net(write(dtype=np.float16))
    pixels = noise(2, 32, 32)
    torch.testing.assert_close(net(pixels).float(), by_hand(pixels).mean((2, 3)), rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_of_a_soft_max_the_logarithm_is_taken(write):
    net, card = load_net(write(softmax=True))
    pixels = noise(2, 32, 32)
    torch.testing.assert_close(net(pixels).softmax(1), by_hand(pixels).mean((2, 3)).softmax(1), rtol=1e-4, atol=1e-5)
    assert any("ends in a soft-max; took the logarithm" in remark for remark in card["remarks"])


def test_without_metadata_classes_are_numbered_and_the_normalisation_is_said_to_be_guessed(write):
    net, card = load_net(write(("n", 3, 64, 64), metadata={}))
    assert (net.classes, net.crop) == (("0", "1", "2"), 64)
    torch.testing.assert_close(net.mean.flatten(), 255 * torch.tensor([0.485, 0.456, 0.406]))
    assert "names no mean; took ImageNet's" in card["remarks"][0]


def test_a_thousand_classes_without_names_are_taken_for_ilsvrcs(write):
    net, card = load_net(write(("n", 3, 64, 64), outputs=1000, metadata={}))
    assert net.classes == tuple(ilsvrc_names())
    assert "took its 1000 for ILSVRC-2012's in the order of the wnids" in card["remarks"][1]


@pytest.mark.parametrize("names", ['["x", "y", "z"]', "{0: 'x', 1: 'y', 2: 'z'}", '{"2": "z", "0": "x", "1": "y"}'])
def test_names_as_other_exporters_write_them_are_read(write, names):
    assert load_net(write(metadata={"names": names}))[0].classes == ("x", "y", "z")


def test_a_preset_in_the_metadata_is_followed(write):
    known = {**KNOWN, "smallest_side": 40, "interpolation": "bicubic"}
    preset = load_net(write(metadata={"verydeep": json.dumps(known)}))[0].preset
    assert preset == PillowPreset("net.onnx", 40, interpolation="bicubic")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"shape": ("n", 1, "h", "w")}, r"takes tensor\(float\) \['n', 1, 'h', 'w'\], not pictures"),
        ({"shape": ("n", 3, 32, 48)}, "takes pictures of 32 × 48 px; only squares can be tested here"),
        ({"twice": True}, "has 1 inputs and 2 outputs, where pictures go in and scores come out"),
        ({"metadata": {"verydeep": "[]"}}, "its metadata `verydeep`, the whole: "),
        ({"metadata": {"verydeep": '{"crop": "big"}'}}, "its metadata `verydeep`, crop: "),
        ({"metadata": {"verydeep": '{"classes": ["a"], "mean": 0}'}}, "where its 1 classes make it"),
        ({"shape": ("n", 3, 3, 3)}, "fails on a crop of 3 px"),
    ],
)
def test_a_file_of_something_else_is_refused(write, sizes, message):
    with pytest.raises(NetError, match=message):
        load_net(write(**sizes))


def test_a_model_of_transfer_is_no_net_to_be_shown_crops(write):
    with pytest.raises(NetError, match=r"is a model of `verydeep transfer`, .* give the folder"):
        load_net(write(softmax=True, metadata={"verydeep-transfer": "{}"}))


def test_a_damaged_or_missing_file_is_refused(write):
    path = write()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(NetError, match=r"net.onnx: is not an ONNX file that can be run .*; export it anew") as refused:
        load_net(path)
    assert "\n" not in str(refused.value)
    with pytest.raises(NetError, match=r"none.onnx: no such ONNX file"):
        load_net(path.with_name("none.onnx"))


def test_where_onnxruntime_is_missing_the_install_line_is_said(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NetError, match=r"onnxruntime is missing; pip install 'verydeep\[onnx\]'"):
        load_net(write())


def test_two_files_are_told_apart_by_what_they_hold(write):
    one = load_net(write())[0].state_dict()
    other = load_net(write(outputs=1000, metadata={}))[0].state_dict()
    assert not one["module.sha256"].equal(other["module.sha256"])
