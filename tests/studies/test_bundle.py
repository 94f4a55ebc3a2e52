import json

import pytest

import verydeep
from verydeep.cli.app import run
from verydeep.data.open import open_dataset
from verydeep.errors import LocalisationError, VerydeepError
from verydeep.nets import registry
from verydeep.nets.registry import create_net, read_net, save_net
from verydeep.serve.sight import open_served
from verydeep.studies import bundle as module
from verydeep.studies.bundle import bundle, bundle_localiser
from verydeep.training.recipe import parse_recipe
from verydeep.training.run import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    """A net and a localiser of the digits, an epoch each."""

    def trained_run(name, **boxes):
        recipe = parse_recipe({
            "net": "vgg-a-bn", "width": 0.03, "crop": 64, "hidden": 8, "data": str(digits), "stall_steps": 0, **boxes,
            "start": {"law": "he", "standardise": True}, "optimizer": {"batch": 20}, "views": {"smallest_side": 64},
            "schedule": {"epochs": 1}, "validation": {"protocol": "centre@64"}, "compute": {"threads": 1},
        })  # fmt: skip
        return train(recipe, run=tmp_path_factory.mktemp("runs") / name)

    return trained_run("tiny-imagenet"), trained_run("boxes", boxes={"regression": "scr"})


def test_what_is_bundled_is_half_as_large_and_knows_its_own_errors(trained, digits, tmp_path):
    net, boxes = trained
    (row,) = bundle(net, digits, tmp_path, protocols=["centre@64"])
    _, card = read_net(tmp_path / "tiny-imagenet.safetensors")
    assert (tmp_path / "tiny-imagenet.safetensors").stat().st_size < 0.7 * net.net.stat().st_size
    assert card["errors"] == [row]
    assert row["images"] == len(open_dataset(digits, "val"))
    rows = bundle_localiser(boxes, digits, tmp_path, protocols=["centre@64", "dense@64"])
    _, card = read_net(tmp_path / "tiny-imagenet-boxes.safetensors")
    assert card["localisation"] == rows
    assert [row["boxes"] for row in rows] == [["centre@64"], ["dense@64"]]
    assert all({"localisation_error", "known_class_error", "classification_error"} <= row.keys() for row in rows)
    assert {row["weights"] for row in rows} == {"tiny-imagenet-boxes"}
    assert str(digits.parent) not in json.dumps(card)  # where the pictures lay


def test_the_bundled_localiser_is_what_draws_boxes_where_nobody_names_another(
    trained, digits, tmp_path, monkeypatch, capsys
):
    net, boxes = trained
    monkeypatch.setattr(registry, "BUNDLED_FOLDER", tmp_path / "bundled")
    (tmp_path / "bundled").mkdir()
    picture = next((digits / "val" / "3").iterdir())
    arguments = ["localise", "draw", str(picture), "--out", str(tmp_path / "out"), "--device", "cpu"]
    bundle(net, digits, tmp_path / "bundled", protocols=["centre@64"])
    assert run(arguments) == 2
    assert "tiny-imagenet-boxes: is not in this copy of verydeep; give a localiser" in capsys.readouterr().err
    assert open_served("tiny-imagenet", device="cpu").localisers == []
    with pytest.raises(LocalisationError, match="is not in this copy"):
        verydeep.localise("tiny-imagenet", None, picture)
    ways = ["centre@64", "dense@64", "dense@64,72"]
    _, *rows = bundle_localiser(boxes, digits, tmp_path / "bundled", protocols=ways)  # a centre crop is not all of it
    assert run([*arguments, "--json", str(tmp_path / "rows.json")]) == 0
    best = min(rows, key=lambda row: row["known_class_error"])
    line = (
        f"tiny-imagenet-boxes: vgg-a-bn with one box for all classes of {digits.name}; of 40 validation pictures "
        f"{100 * best['known_class_error']:.0f} % get a wrong box for the right class "
        f"(IoU below 0.5; {best['boxes'][0]})"
    )
    assert line in capsys.readouterr().err.splitlines()
    ((found,),) = (row["found"] for row in json.loads((tmp_path / "rows.json").read_text()))
    (same,) = verydeep.localise("tiny-imagenet", None, picture, count=1, device="cpu")
    assert (found["class"], found["box"]) == (same.name, list(same.box))
    served = open_served("tiny-imagenet", device="cpu")
    assert served.credentials[1] == line
    other = create_net("vgg-a-bn", width=0.03, crop=64, hidden=8, num_classes=10)
    save_net(tmp_path / "other.safetensors", other, {"data": "others"})
    assert open_served(tmp_path / "other.safetensors", device="cpu").localisers == []


def test_a_package_brings_no_more_than_it_should(trained, digits, tmp_path, monkeypatch):
    net, _ = trained
    save_net(tmp_path / "other.safetensors", create_net("vgg-a-bn", width=0.03, crop=64, hidden=8))
    size = (tmp_path / "other.safetensors").stat().st_size
    monkeypatch.setattr(module, "MAX_BYTES", size + 1000)
    with pytest.raises(VerydeepError, match="tiny-imagenet: with it the package brings"):
        bundle(net, digits, tmp_path, protocols=["centre@64"])
    assert [file.name for file in tmp_path.iterdir()] == ["other.safetensors"]
