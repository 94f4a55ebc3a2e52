import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from verydeep.errors import NetError, PictureError, ProtocolError
from verydeep.evaluation.mean_features import MeanFeatures, mean_features
from verydeep.evaluation.predict import open_files
from verydeep.nets.features import features
from verydeep.nets.registry import create_net
from verydeep.nets.wrap import wrap
from verydeep.pictures.resize import rescale
from verydeep.weights.files import load

SIZES = [(70, 101), (120, 80), (64, 64), (101, 70), (70, 101)]  # rows and columns


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number, (height, width) in enumerate(SIZES):
        picture = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "photos" / ("more" if number > 2 else ".") / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def net():
    return create_net("vgg-d", width=1 / 32, crop=64, num_classes=5, start="he")


@torch.no_grad()
def by_hand(net, path, layers, sides):
    """One picture at a time: the mean over positions, then over the picture and its mirror image, then over scales."""
    picture = np.asarray(Image.open(path))
    rows = {layer: [] for layer in layers}
    for side in sides:
        pixels = torch.from_numpy(rescale(picture, side).copy()).permute(2, 0, 1)[None]
        for shown in (pixels, pixels.flip(-1)):
            for layer, maps in features(net, shown, layers).items():
                rows[layer].append(maps.mean((2, 3))[0])
    return {layer: torch.stack(each).mean(0).numpy() for layer, each in rows.items()}


@pytest.mark.parametrize(("protocol", "sides"), [("dense@64", [64]), ("dense@64,97", [64, 97])])
def test_a_row_is_the_mean_over_positions_mirror_image_and_scales(protocol, sides, net, folder):
    layers = ["relu7", "relu3_3"]
    done = []
    found = mean_features(
        net, open_files([folder], ()), layers, protocol, device="cpu", progress=lambda *moment: done.append(moment)
    )
    assert [*found.values] == layers
    assert found.protocol == protocol
    assert done[-1] == (5, 5)
    assert len(set(found.images)) == 5
    for place, image in enumerate(found.images):
        due = by_hand(net, image, layers, sides)
        for layer in layers:
            np.testing.assert_allclose(found.values[layer][place], due[layer], rtol=1e-4, atol=1e-4)


def test_a_net_in_training_is_measured_as_in_testing_and_left_in_training(net, folder):
    due = mean_features(net, open_files([folder], ()), ["relu7"], device="cpu")
    found = mean_features(net.train(), open_files([folder], ()), ["relu7"], device="cpu", batch=1)
    np.testing.assert_allclose(found.values["relu7"], due.values["relu7"], rtol=1e-4, atol=1e-4)
    assert net.training


def test_layers_of_a_wrapped_net_are_averaged_alike(folder):
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 9, stride=8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(6, 4),
    )  # fmt: skip
    net = wrap(module, classes="abcd", mean=120, std=60, crop=64)
    found = mean_features(net, open_files([folder], net.classes), ["1"], "centre@64", device="cpu")
    image = found.images.index(str(folder / "2.png"))
    pixels = torch.from_numpy(np.asarray(Image.open(folder / "2.png")).copy()).permute(2, 0, 1)[None]
    np.testing.assert_allclose(
        found.values["1"][image], features(net, pixels, ["1"])["1"].mean((2, 3))[0].detach(), rtol=1e-4, atol=1e-5
    )


def test_a_file_holds_the_rows_and_the_names_in_either_format(tmp_path):
    values = {"relu7": np.arange(6, dtype=np.float32).reshape(2, 3), "pool5": np.ones((2, 1), np.float32)}
    found = MeanFeatures(values, ("a b.jpg", "ü/\udce4.png"), "vgg-d", "random", "dense@256", 1.0)
    found.save(tmp_path / "x.safetensors")
    tensors, card = load(tmp_path / "x.safetensors")
    assert (card["images"], card["net"], card["protocol"]) == (list(found.images), "vgg-d", "dense@256")
    found.save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        assert tuple(arrays["images"]) == found.images
        assert (str(arrays["net"]), str(arrays["protocol"])) == ("vgg-d", "dense@256")
        for layer, rows in values.items():
            np.testing.assert_array_equal(arrays[layer], rows)
            np.testing.assert_array_equal(tensors[layer].numpy(), rows)
    with safe_open(tmp_path / "x.safetensors", framework="np") as file:  # as others read it
        assert json.loads(file.metadata()["verydeep"])["kind"] == "features 1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npz", "x.safetensors"]


def test_what_cannot_be_had_is_refused_in_one_line(net, folder, tmp_path):
    data = open_files([folder], ())
    with pytest.raises(NetError, match="vgg-d: has no layer 'relu9'; did you mean relu7"):
        mean_features(net, data, ["relu9"], device="cpu")
    with pytest.raises(ProtocolError, match=r"dense@64\+hcp: features are averaged, .*; leave \+hcp out"):
        mean_features(net, data, ["relu7"], "dense@64+hcp", device="cpu")
    with pytest.raises(NetError, match=r"x\.csv: is of no format for features; let it end in \.safetensors or \.npz"):
        MeanFeatures({}, (), "vgg-d", "", "dense@64", 0.0).save(tmp_path / "x.csv")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(PictureError, match=r"broken\.jpg"):
        mean_features(net, open_files([folder], ()), ["relu7"], device="cpu")
