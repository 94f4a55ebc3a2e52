import pytest

from verydeep.data.open import open_dataset
from verydeep.errors import VerydeepError
from verydeep.nets.registry import create_net, read_net, save_net
from verydeep.studies import bundle as module
from verydeep.studies.bundle import bundle, bundle_localiser
from verydeep.training.recipe import parse_recipe
from verydeep.training.run import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    """A net and a localiser of the digits, an epoch each."""

    def run(name, **boxes):
        recipe = parse_recipe({
            "net": "vgg-a-bn", "width": 0.03, "crop": 64, "hidden": 8, "data": str(digits), "stall_steps": 0, **boxes,
            "start": {"law": "he", "standardise": True}, "optimizer": {"batch": 20}, "views": {"smallest_side": 64},
            "schedule": {"epochs": 1}, "validation": {"protocol": "centre@64"}, "compute": {"threads": 1},
        })  # fmt: skip
        return train(recipe, run=tmp_path_factory.mktemp("runs") / name)

    return run("tiny-imagenet"), run("boxes", boxes={"regression": "scr"})


def test_what_is_bundled_is_half_as_large_and_knows_its_own_errors(trained, digits, tmp_path):
    net, boxes = trained
    (row,) = bundle(net, digits, tmp_path, protocols=["centre@64"])
    _, card = read_net(tmp_path / "tiny-imagenet.safetensors")
    assert (tmp_path / "tiny-imagenet.safetensors").stat().st_size < 0.7 * net.net.stat().st_size
    assert card["errors"] == [row]
    assert row["images"] == len(open_dataset(digits, "val"))
    (row,) = bundle_localiser(boxes, digits, tmp_path)
    _, card = read_net(tmp_path / "boxes.safetensors")
    assert card["localisation"] == [row]
    assert card["validation_protocol"] == "centre@64"
    assert {"localisation_error", "known_class_error", "classification_error"} <= row.keys()
    assert row["weights"] == "boxes"


def test_a_package_brings_no_more_than_it_should(trained, digits, tmp_path, monkeypatch):
    net, _ = trained
    save_net(tmp_path / "other.safetensors", create_net("vgg-a-bn", width=0.03, crop=64, hidden=8))
    size = (tmp_path / "other.safetensors").stat().st_size
    monkeypatch.setattr(module, "MAX_BYTES", size + 1000)
    with pytest.raises(VerydeepError, match="tiny-imagenet: with it the package brings"):
        bundle(net, digits, tmp_path, protocols=["centre@64"])
    assert [file.name for file in tmp_path.iterdir()] == ["other.safetensors"]
