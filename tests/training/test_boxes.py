import numpy as np
import pytest
import torch
from PIL import Image

import verydeep
from verydeep.errors import VerydeepError
from verydeep.localisation.head import outputs_of, regression_of
from verydeep.training.recipe import parse_recipe
from verydeep.training.run import train

CLASSES = ("square", "tall")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Bright rectangles on dark, with their XML; of one picture the box is missing."""
    root, generator = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 10)):
        for name in CLASSES:
            for folder in (root / split / name, root / "Annotations" / split / name):
                folder.mkdir(parents=True)
            for number in range(count):
                picture = generator.integers(0, 60, (40, 48, 3), dtype=np.uint8)
                height, width = (20, 20) if name == "square" else (30, 14)
                top, left = int(generator.integers(40 - height)), int(generator.integers(48 - width))
                picture[top : top + height, left : left + width] = 220
                Image.fromarray(picture).save(root / split / name / f"{number}.png")
                box = (
                    f"<xmin>{left}</xmin><ymin>{top}</ymin>"
                    f"<xmax>{left + width - 1}</xmax><ymax>{top + height - 1}</ymax>"
                )
                xml = f"<annotation><object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>"
                (root / "Annotations" / split / name / f"{number}.xml").write_text(xml)
    (root / "Annotations" / "train" / "tall" / "7.xml").unlink()
    return root


def recipe_of(shapes, regression="pcr", **tables):
    values = {
        "net": "vgg-a-bn", "width": 1 / 32, "crop": 32, "hidden": 16, "data": str(shapes),
        "start": {"law": "he", "standardise": True}, "boxes": {"regression": regression},
        "optimizer": {"learning_rate": 0.01, "batch": 8}, "schedule": {"kind": "one-cycle", "epochs": 4},
        "views": {"smallest_side": 36}, "regularisation": {"dropout": 0.0},
        "compute": {"data_type": "float32", "layout": "contiguous", "threads": 1, "device": "cpu"},
    }  # fmt: skip
    return parse_recipe(values | {key: {**values[key], **table} for key, table in tables.items()})


@pytest.mark.slow
@pytest.mark.parametrize("regression", ["scr", "pcr"])
def test_a_localiser_learns_through_the_loop_of_classification(shapes, tmp_path, regression):
    said = []
    run = train(recipe_of(shapes, regression), run=tmp_path / "run", say=said.append)
    epochs = [line for line in run.metrics if line["kind"] == "epoch"]
    assert epochs[-1]["loss"] < 0.8 * epochs[0]["loss"]
    assert epochs[-1]["validation_localisation_error"] < 0.9
    net, card = verydeep.load_net(tmp_path / "run")
    assert regression_of(net) == (regression, CLASSES if regression == "pcr" else ())
    assert card["validation"] == {"localisation_error": epochs[-1]["validation_localisation_error"]}
    assert any("no XML: 1" in line for line in said)
    assert any("1 of 80 pictures have no good box, and are left out" in line for line in said)


def test_only_the_fully_connected_layers_are_tuned_where_the_recipe_says_so(shapes, tmp_path):
    torch.manual_seed(0)
    start = verydeep.create_net("vgg-a-bn", classes=CLASSES, width=1 / 32, crop=32, hidden=16, start="he")
    verydeep.save_net(tmp_path / "start.safetensors", start)
    weights = {"weights": str(tmp_path / "start.safetensors"), "train": "fully-connected"}
    recipe = recipe_of(shapes, start=weights, schedule={"kind": "one-cycle", "epochs": 1})
    net, _ = verydeep.load_net(train(recipe, run=tmp_path / "run").folder)
    assert net.classes == outputs_of(CLASSES, "pcr")
    before, after = start.state_dict(), net.state_dict()
    same = {name for name, value in after.items() if torch.equal(value, before[name])}
    changed = {name.partition(".")[0] for name in after.keys() - same}
    assert changed == {"fc6", "fc7", "fc8"}


@pytest.mark.parametrize("regression", ["scr", "pcr"])
def test_a_localiser_goes_on_from_one_with_its_last_layer_and_from_other_nets_without(regression, shapes, tmp_path):
    path, other = tmp_path / "start.safetensors", "pcr" if regression == "scr" else "scr"
    still = {"learning_rate": 1e-30, "last_layer": 1.0, "weight_decay": 0.0, "batch": 16}
    for kind in (regression, other):
        start = verydeep.create_net("vgg-a-bn", classes=outputs_of(CLASSES, kind), width=1 / 32, crop=32, hidden=16)
        verydeep.save_net(path, start)
        recipe = recipe_of(
            shapes, boxes={"regression": regression}, start={"weights": str(path)}, optimizer=still,
            schedule={"kind": "one-cycle", "epochs": 1},
        )  # fmt: skip
        net, _ = verydeep.load_net(train(recipe, run=tmp_path / f"from-{kind}").folder)
        assert torch.equal(net.fc7.weight, start.fc7.weight)
        assert (net.fc8.weight.shape == start.fc8.weight.shape) == (kind == regression)
        assert (kind == regression) == (net.fc8.bias.std().item() < 1e-9), "the mean box is not the same four times"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"boxes": {"bad": "stop"}}, "its XML is missing"),
        ({"boxes": {"regression": "one"}}, "boxes.regression is 'one'"),
        ({"views": {"method": "random-resized"}}, 'boxes go with "crop" alone'),
        ({"regularisation": {"label_smoothing": 0.1}}, "is for classes"),
        ({"boxes": {"regresion": "scr"}}, "boxes.regresion is not a key; write boxes.regression"),
    ],
)
def test_what_boxes_do_not_go_with_is_refused_in_a_line(shapes, tmp_path, tables, said):
    with pytest.raises(VerydeepError, match=said) as caught:
        train(recipe_of(shapes, **tables), run=tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_pictures_without_boxes_are_refused(pictures_without_boxes, tmp_path):
    with pytest.raises(VerydeepError, match="has no boxes"):
        train(recipe_of(pictures_without_boxes), run=tmp_path / "run")


@pytest.fixture
def pictures_without_boxes(tmp_path):
    for name in CLASSES:
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (40, 40), (10 * number, 0, 0)).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"
