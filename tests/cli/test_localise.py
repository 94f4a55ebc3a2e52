import json

import numpy as np
import pytest
import torch
from PIL import Image

import verydeep
from verydeep.cli.app import run
from verydeep.data.digits import make_digits
from verydeep.errors import LocalisationError
from verydeep.localisation.head import UNIT, outputs_of

CLASSES = tuple("0123456789")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return make_digits(tmp_path_factory.mktemp("data") / "digits", train=100, val=100)


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """A net, and a localiser that says the middle of every crop."""
    folder = tmp_path_factory.mktemp("nets")
    sizes = {"width": 1 / 64, "crop": 64, "hidden": 8, "start": "he"}
    net = verydeep.create_net("vgg-a", classes=CLASSES, **sizes)
    verydeep.save_net(folder / "net.safetensors", net, {"names": {"0": "zero"}})
    localiser = verydeep.create_net("vgg-a", classes=outputs_of(CLASSES, "scr"), **sizes)
    with torch.no_grad():
        localiser.fc8.weight.zero_()
        localiser.fc8.bias.copy_(torch.tensor([0.5, 0.5, 0.6, 0.8]) / UNIT)
    verydeep.save_net(folder / "localiser.safetensors", localiser, {"validation_protocol": "centre@64"})
    return folder / "net.safetensors", folder / "localiser.safetensors"


@pytest.mark.slow
def test_errors_are_measured_and_a_submission_scores_the_same(digits, nets, tmp_path, capsys):
    net, localiser = nets
    files = {name: tmp_path / name for name in ("row.json", "submission", "labels", "score.json")}
    options = ["--net", str(net), "--localiser", str(localiser), "--protocol", "dense@64", "--device", "cpu"]
    outputs = ["--json", str(files["row.json"]), "--submission", str(files["submission"])]
    outputs += ["--cases", str(tmp_path / "cases")]
    assert run(["localise", str(digits), *options, *outputs]) == 0
    (row,) = json.loads(files["row.json"].read_text())
    assert row["boxes"] == ["dense@64"]
    assert row["images"] == 100
    cases = sorted(path.name for path in (tmp_path / "cases").iterdir())
    assert cases == [f"{kind}-{number:02d}.png" for kind in ("bad", "good") for number in range(1, 11)]
    with Image.open(tmp_path / "cases" / "good-01.png") as drawing:
        assert max(drawing.size) > 160  # enlarged
        name, said = drawing.text["Description"].split(": IoU ")
        assert name in verydeep.open_dataset(digits).names.values()
        assert float(said.partition(";")[0]) >= 0.5
    assert 0 < row["known_class_error"] < 1
    assert row["localisation_error"] >= row["classification_error"]
    assert f"{100 * row['localisation_error']:.1f}" in capsys.readouterr().out
    data = verydeep.open_dataset(digits)
    by_name = dict(
        sorted((image.rpartition("/")[2], label) for image, label in zip(data.images, data.labels, strict=True))
    )
    files["labels"].write_text("".join(f"{label}\n" for label in by_name.values()))
    arguments = [
        str(files["submission"]),
        "--truth",
        str(digits / "Annotations" / "val"),
        "--labels",
        str(files["labels"]),
    ]
    assert run(["localise", "score", *arguments, "--json", str(files["score.json"])]) == 0
    score = json.loads(files["score.json"].read_text())
    for name in ("localisation_error", "classification_error"):
        assert score[name] == pytest.approx(row[name], abs=0.011)  # a corner is rounded to hundredths of a pixel


def test_pictures_without_labels_get_a_submission_alone(digits, nets, tmp_path, capsys):
    net, localiser = nets
    (tmp_path / "test").mkdir()
    (tmp_path / "train" / "0").mkdir(parents=True)
    for number, source in enumerate(sorted((digits / "val" / "3").iterdir())[:3]):
        (tmp_path / "test" / f"{number}.JPEG").write_bytes(source.read_bytes())
        (tmp_path / "train" / "0" / f"{number}.JPEG").write_bytes(source.read_bytes())
    options = ["--net", str(net), "--localiser", str(localiser), "--split", "test", "--device", "cpu"]
    (tmp_path / "map").write_text("".join(f"{key} {key}00\n" for key in "123456789") + "0 1000\n")
    outputs = ["--submission", str(tmp_path / "file"), "--map", str(tmp_path / "map")]
    assert run(["localise", str(tmp_path), *options, *outputs]) == 0
    lines = (tmp_path / "file").read_text().splitlines()
    assert [len(line.split()) for line in lines] == [25, 25, 25]
    assert int(lines[0].split()[0]) % 100 == 0
    assert run(["localise", str(tmp_path), *options]) == 2
    capsys.readouterr()
    assert run(["localise", str(tmp_path), *options, *outputs, "--json", str(tmp_path / "row.json")]) == 0
    assert "--json and --cases leave nothing" in capsys.readouterr().err


def test_evaluate_writes_classes_alone_in_the_order_of_the_files(digits, nets, tmp_path):
    options = ["--protocol", "centre@64", "--device", "cpu", "--submission", str(tmp_path / "file")]
    assert run(["evaluate", str(nets[0]), str(digits), *options]) == 0
    lines = (tmp_path / "file").read_text().splitlines()
    data = verydeep.open_dataset(digits)
    said = verydeep.posteriors(verydeep.load_net(nets[0])[0], data, "centre@64", device="cpu")
    order = sorted(range(100), key=lambda image: data.images[image].rpartition("/")[2])
    assert lines == [" ".join(key for key, _ in said.best(image)) for image in order]


def test_draw_leaves_a_picture_with_a_box_and_says_where_it_is(digits, nets, tmp_path, capsys):
    net, localiser = nets
    picture = sorted((digits / "val" / "3").iterdir())[0]
    (tmp_path / "bad.jpg").write_text("no picture")
    options = ["--net", str(net), "--localiser", str(localiser), "--out", str(tmp_path / "out"), "--device", "cpu"]
    outputs = ["--json", str(tmp_path / "rows.json"), "--count", "2"]
    assert run(["localise", "draw", str(picture), str(tmp_path / "bad.jpg"), *options, *outputs]) == 2
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert len(row["found"]) == 2
    before, after = (np.asarray(Image.open(path).convert("RGB")) for path in (picture, row["drawing"]))
    assert before.shape == after.shape
    assert (before != after).any(axis=2).sum() > 50
    said = capsys.readouterr()
    assert row["found"][0]["name"] in said.out
    assert "bad.jpg" in said.err


def test_localise_from_python_gives_classes_posteriors_and_boxes(digits, nets):
    picture = sorted((digits / "val" / "3").iterdir())[0]
    found = verydeep.localise(*nets, picture, device="cpu")
    pixels = verydeep.open_dataset(digits)
    assert len(found) == 5
    name, score, box = found[0]
    assert name in CLASSES
    assert 0 < score <= 1
    height, width = pixels.picture(list(pixels.images).index(f"val/3/{picture.name}")).shape[:2]
    assert 0 <= box[0] < box[2] <= width
    assert 0 <= box[1] < box[3] <= height
    net, localiser = (verydeep.load_net(where)[0] for where in nets)
    again = verydeep.localise(
        net, [localiser], np.asarray(Image.open(picture)), count=1, boxes="centre@64", device="cpu"
    )
    assert len(again) == 1


def test_a_localiser_names_no_picture(nets, tmp_path, capsys):
    Image.new("RGB", (70, 70)).save(tmp_path / "photo.png")
    assert run(["predict", str(tmp_path / "photo.png"), "--net", str(nets[1]), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.strip() == "vgg-a: gives boxes, and names no classes; give it as a localiser"


@pytest.mark.parametrize(
    ("net", "localisers", "said"),
    [
        (1, [1], "gives boxes, and names no classes; give it as a localiser"),
        (0, [], "no localiser is given"),
        (0, [0], "gives class scores, not boxes"),
    ],
)
def test_nets_in_the_wrong_place_are_refused_in_a_line(nets, net, localisers, said):
    with pytest.raises(LocalisationError, match=said):
        verydeep.localise(nets[net], [nets[each] for each in localisers], np.zeros((64, 64, 3), np.uint8), device="cpu")


def test_without_one_good_box_there_is_no_error(nets, tmp_path, capsys):
    for name in ("3", "4"):
        for folder in (tmp_path / "val" / name, tmp_path / "Annotations" / "val" / name):
            folder.mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / "val" / name / "1.png")
        (tmp_path / "Annotations" / "val" / name / "1.xml").write_text("<annotation/>")
    options = ["--net", str(nets[0]), "--localiser", str(nets[1]), "--device", "cpu"]
    assert run(["localise", str(tmp_path), *options]) == 2
    assert "no picture has a good box; see verydeep data check" in capsys.readouterr().err


def test_drawings_go_into_a_folder_not_a_file_and_each_has_its_own(digits, nets, tmp_path, capsys):
    picture = sorted((digits / "val" / "3").iterdir())[0]
    (tmp_path / "twin").mkdir()
    for place in (tmp_path / "photo.png", tmp_path / "twin" / "photo.jpg"):
        Image.open(picture).save(place)
    before = (tmp_path / "photo.png").read_bytes()
    command = ["localise", "draw", str(tmp_path), "--net", str(nets[0]), "--localiser", str(nets[1])]
    assert run([*command, "--device", "cpu", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "photo.png").read_bytes() == before
    assert {path.name for path in tmp_path.glob("*.png")} == {"photo.png", "photo-2.png", "photo-3.png"}
    capsys.readouterr()
    assert run([*command, "--out", str(tmp_path / "photo.png" / "boxes")]) == 2
    assert "photo.png is a file; name a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--localiser", "NET"], "gives class scores, not boxes"),
        (["--localiser", "LOCALISER", "--boxes", "centre", "--boxes", "dense"], "given 2 times for 1 localisers"),
        (["--localiser", "LOCALISER", "--boxes", "sideways"], "is not a protocol"),
    ],
)
def test_mistakes_end_in_a_line(digits, nets, capsys, arguments, said):
    names = {"NET": str(nets[0]), "LOCALISER": str(nets[1])}
    options = ["--net", str(nets[0]), "--protocol", "centre@64", "--device", "cpu", "--images", "5"]
    assert run(["localise", str(digits), *options, *(names.get(each, each) for each in arguments)]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
