import json

import numpy as np
import pytest
import torch

import verydeep
from verydeep.data.splits import split_classes
from verydeep.errors import TransferError, WeightsError
from verydeep.nets.wrap import wrap
from verydeep.transfer.model import FILE, is_model, load_model
from verydeep.weights.files import load, save


@pytest.fixture
def model(net, pictures):
    train, _ = split_classes(pictures, 8, seed=0)
    other = verydeep.create_net("vgg-b", width=1 / 16, crop=32, hidden=7, num_classes=3, start="he", seed=1)
    return verydeep.fit_transfer([net, other], train, scales=[32, 40], combine="stack").model


def test_a_model_says_what_its_classifier_says(model, pictures):
    said = model.posteriors(pictures)
    np.testing.assert_allclose(said.values.sum(axis=1), 1, rtol=1e-5)
    scores = model.describe(pictures) @ model.weights.T + model.shift
    np.testing.assert_array_equal(said.values.argmax(axis=1), scores.argmax(axis=1))
    assert (said.labels == pictures.labels).all()
    assert said.protocol == "relu7 at Q = 32, 40, stacked + relu7 at Q = 32, 40, stacked"


def test_what_was_saved_says_the_same(model, pictures, tmp_path):
    folder = model.save(tmp_path / "model")
    assert is_model(folder)
    assert not is_model(tmp_path)
    again = load_model(folder)
    assert again.posteriors(pictures).values.tobytes() == model.posteriors(pictures).values.tobytes()
    assert (again.classes, again.names, again.ways) == (model.classes, model.names, model.ways)


def test_it_predicts_files_and_a_bad_one_does_not_hurt_the_others(model, photos, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    good = str(photos / "bee" / "01.png")
    one, other = model.predict([good, tmp_path / "bad.png"], count=2, device="cpu")
    assert (one.image, len(one.best)) == (good, 2)
    assert "bad.png" in other.error


def test_a_folder_that_was_changed_is_refused_in_one_line(model, tmp_path):
    folder = model.save(tmp_path / "model")
    tensors, card = load(folder / FILE)

    def broken(**changes):
        save(folder / FILE, tensors, json.loads(json.dumps(card)) | changes)

    for changes, words in [
        ({"kind": "posteriors 1"}, "is no model of `verydeep transfer`"),
        ({"classes": ["a"]}, "its classifier does not fit its 1 classes"),
        ({"ways": []}, "its classifier does not fit"),
        ({"nets": [{"net": "../../etc/passwd.safetensors", "weights": ""}]}, "no such file of weights"),
        (
            {"nets": [card["nets"][0] | {"weights": "0"}, card["nets"][1]]},
            "has other weights now than when it was made",
        ),
    ]:
        broken(**changes)
        with pytest.raises(WeightsError, match=words) as caught:
            load_model(folder)
        assert "\n" not in str(caught.value)


def test_a_net_of_ones_own_code_cannot_be_kept(pictures, tmp_path):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                                 torch.nn.Flatten(), torch.nn.Linear(4, 2))  # fmt: skip
    mine = wrap(module, classes="ab", mean=120.0, std=60.0, crop=32, name="mine")
    model = verydeep.fit_transfer(mine, pictures, scales=[32]).model
    with pytest.raises(TransferError, match="mine: is a net of one's own code"):
        model.save(tmp_path / "model")
