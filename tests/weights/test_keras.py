import os
import zipfile

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verydeep.errors import WeightsError
from verydeep.nets.registry import create_net, load_net
from verydeep.weights.keras import read_keras

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:You are saving your model as an HDF5 file"
)

BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
ENDINGS = (".h5", ".weights.h5", ".keras")


def narrow(name="vgg16", top=True, side=64, width=1 / 16):
    """A net of the layers and names of keras.applications, narrow, whose biases are not 0."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((side, side, 3))]
    for block, depth in enumerate(BLOCKS[name], 1):
        channels = int(64 * width) * (1, 2, 4, 8, 8)[block - 1]
        for index in range(1, depth + 1):
            options = {"activation": "relu", "padding": "same", "bias_initializer": "random_uniform"}
            layers.append(keras.layers.Conv2D(channels, 3, name=f"block{block}_conv{index}", **options))
        layers.append(keras.layers.MaxPooling2D(2, name=f"block{block}_pool"))
    if top:
        layers.append(keras.layers.Flatten(name="flatten"))
        layers += [keras.layers.Dense(24, activation="relu", name=word) for word in ("fc1", "fc2")]
        layers.append(keras.layers.Dense(7, bias_initializer="random_uniform", name="predictions"))
    return keras.Sequential(layers)


def save(net, path):
    net.save_weights(path) if path.name.endswith(".weights.h5") else net.save(path)
    return path


def their_output(net, picture):
    """What Keras makes of a picture by its own preprocessing, maps channel-major."""
    prepared = keras.applications.vgg16.preprocess_input(picture.permute(0, 2, 3, 1).numpy().astype("float32"))
    output = torch.as_tensor(np.asarray(net.predict(prepared, verbose=0)))
    return output.permute(0, 3, 1, 2) if output.dim() == 4 else output


def relative(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.inference_mode()
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("name", "ours"), [("vgg16", "vgg-d"), ("vgg19", "vgg-e")])
def test_scores_of_a_photograph_are_those_of_keras(name, ours, ending, tmp_path, photograph):
    theirs = narrow(name)
    net, card = load_net(save(theirs, tmp_path / f"some{ending}"))
    assert (net.name, net.crop, net.hidden, card["library"]) == (ours, 64, 24, "keras")
    assert relative(net(photograph(64)), their_output(theirs, photograph(64))) < 1e-5
    assert relative(net(photograph(64).flip(1)), their_output(theirs, photograph(64))) > 0.01


@torch.inference_mode()
@pytest.mark.parametrize("ending", ENDINGS)
def test_without_its_top_the_maps_are_those_of_keras(ending, tmp_path, photograph, refused):
    theirs = narrow(top=False)
    path = save(theirs, tmp_path / f"some{ending}")
    assert "has no layer of class scores; give classes" in refused(load_net, path)
    net = create_net("vgg16", weights=path, width=1 / 16, classes=["cat", "dog"])
    pool5 = next(maps for name, maps in net.maps(photograph(96)) if name == "pool5")
    assert relative(pool5, their_output(narrow_at(theirs, 96), photograph(96))) < 1e-5
    assert net.fc8.weight.shape[0] == 2


def narrow_at(net, side):
    """The same net for another side."""
    other = narrow(top=False, side=side)
    other.set_weights(net.get_weights())
    return other


@pytest.mark.slow  # 134 MB of weights
@torch.inference_mode()
def test_the_real_vgg16_of_keras_applications_scores_as_ours(tmp_path, photograph):
    theirs = keras.applications.VGG16(weights=None, input_shape=(64, 64, 3), classes=7, classifier_activation="softmax")
    for ending in ENDINGS:
        net, _ = load_net(save(theirs, tmp_path / f"some{ending}"))
        assert (net.name, net.width, net.crop) == ("vgg-d", 1.0, 64)
        assert relative(net(photograph(64)).softmax(dim=1), their_output(theirs, photograph(64))) < 1e-5
        (tmp_path / f"some{ending}").unlink()


def test_files_of_2016_are_read_too(tmp_path):
    theirs = narrow()
    with h5py.File(tmp_path / "some.h5", "w") as file:
        for layer in theirs.layers:
            group = file.create_group(layer.name)
            for word, value in zip(("W", "b"), layer.get_weights(), strict=False):
                group[f"{layer.name}_{word}_1:0"] = value
    net, _ = load_net(tmp_path / "some.h5")
    kernel, bias = theirs.get_layer("fc2").get_weights()
    np.testing.assert_array_equal(net.fc7.weight.flatten(1).detach(), kernel.T)
    np.testing.assert_array_equal(net.fc7.bias.detach(), bias)


def test_what_a_training_left_is_passed_over(tmp_path, photograph):
    theirs = narrow()
    theirs.compile("adam", "sparse_categorical_crossentropy")
    theirs.fit(np.zeros((2, 64, 64, 3)), np.zeros(2), verbose=0)
    for ending in ENDINGS:
        net, _ = load_net(save(theirs, tmp_path / f"some{ending}"))
        with torch.inference_mode():
            assert relative(net(photograph(64)), their_output(theirs, photograph(64))) < 1e-5


def test_other_nets_are_refused(tmp_path, refused):
    other = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
    assert refused(load_net, save(other, tmp_path / "other.keras")) == (
        f"{tmp_path}/other.keras: has 1 convolutions and 0 dense layers; VGG16 and VGG19 have 13 or 16, and 3 or none"
    )
    path = save(narrow(), tmp_path / "some.h5")
    line = refused(lambda: create_net("vgg16", weights=path, width=1 / 16, hidden=24, crop=64, num_classes=9))
    assert line.startswith(f"{path}: fc8.weight is 7×24×1×1, this net has 9×24×1×1")


LIES = {
    "compressed": lambda file: file.create_dataset("fc1/fc1/kernel:0", data=np.zeros((99, 99)), compression="gzip"),
    "of words": lambda file: file.create_dataset("fc1/fc1/kernel:0", data=np.array([[b"a"]])),
    "of a shape without numbers": lambda file: file.create_dataset("fc1/fc1/kernel:0", (2**30, 2**30), "f4"),
    "in another file": lambda file: file.create_dataset(
        "fc1/fc1/kernel:0", (2, 2), "f4", external=[("/etc/hostname", 0, 16)]
    ),
    "a link": lambda file: file.__setitem__("fc1", h5py.ExternalLink("/etc/passwd", "/")),
    "a soft link": lambda file: file.__setitem__("fc1", h5py.SoftLink("/fc2")),
    "a circle": lambda file: file.__setitem__("fc1/fc1", file["/"]),
    "of three axes": lambda file: file.create_dataset("fc1/fc1/kernel:0", data=np.zeros((2, 2, 2))),
    "twice": lambda file: [file.create_dataset(f"fc1/{name}/kernel:0", data=np.zeros((2, 2))) for name in "ab"],
    "alone": lambda file: file.create_dataset("fc1/fc1/kernel:0", data=np.zeros((2, 2))),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(lie, tmp_path, refused):
    with h5py.File(tmp_path / "some.h5", "w") as file:
        LIES[lie](file)
    assert refused(read_keras, tmp_path / "some.h5").startswith(f"{tmp_path}/some.h5: ")


def test_a_compressed_archive_is_refused(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "some.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**6))
    assert "is compressed, which Keras does not do" in refused(load_net, tmp_path / "some.keras")


def test_a_config_is_never_looked_at(tmp_path):
    path = save(narrow(), tmp_path / "some.keras")
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(tmp_path / "bare.keras", "w") as archive:
        archive.writestr("config.json", '{"class_name": "Lambda", "config": {"function": "os.system"}')
        archive.writestr("model.weights.h5", weights)
    assert torch.equal(load_net(path)[0].fc6.weight, load_net(tmp_path / "bare.keras")[0].fc6.weight)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save(narrow(side=32, width=1 / 64), tmp_path_factory.mktemp("keras") / "small.weights.h5")


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), other=st.binary(min_size=1, max_size=6), cut=st.booleans())
def test_a_damaged_file_is_read_or_refused_in_one_line(small, tmp_path, data, other, cut):
    content = small.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    (tmp_path / "damaged.h5").write_bytes(content[:place] + (b"" if cut else other + content[place + len(other) :]))
    try:
        load_net(tmp_path / "damaged.h5")
        line = ""
    except WeightsError as error:
        line = str(error)
    assert "\n" not in line
