import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from verydeep.cli.app import run
from verydeep.nets.registry import create_net, load_net, save_net


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Photographs that a colour tells apart, and a narrow net."""
    root = tmp_path_factory.mktemp("desk")
    generator = np.random.default_rng(0)
    for name, colour in (("ant", (200, 60, 40)), ("bee", (60, 190, 70)), ("<b>cat", (50, 70, 210))):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(8):
            noise = generator.normal(0, 60, (10, 13, 3)) + colour
            picture = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
            picture.resize((52, 40)).save(root / "photos" / name / f"{number}.png")
    net = create_net("vgg-a-bn", width=1 / 16, crop=32, hidden=8, num_classes=5, start="he")
    save_net(root / "net.safetensors", net, {"data": "noise"})
    return root


@pytest.fixture
def arguments(desk, tmp_path):
    def arguments(*options, folder=None):
        return [
            *("transfer", str(folder or desk / "photos"), "--net", str(desk / "net.safetensors"), "--device", "cpu"),
            *("--layer", "pool1", "--scales", "32,40", "--out", str(tmp_path / "model")),
            *("--cache", str(tmp_path / "cache"), *options),
        ]

    return arguments


@pytest.fixture
def learn(arguments):
    return lambda *options, **where: run(arguments(*options, **where))


def test_photographs_become_a_model_a_report_and_predictions(desk, learn, tmp_path, capsys):
    assert learn("--json", str(tmp_path / "row.json")) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"uses {desk / 'net.safetensors'}: vgg-a-bn, 5 classes")
    assert "nothing is downloaded" in printed.err.splitlines()[0]
    (row,) = json.loads((tmp_path / "row.json").read_text())
    assert f"{100 * row['top1_error']:.1f} % are named wrongly" in printed.out
    assert (row["images"], row["folds"]) == (24, 5)
    page = (tmp_path / "model" / "report.html").read_text()
    assert "<b>cat" not in page  # names of folders are not HTML
    assert f"{100 * row['top1_error']:.1f} %" in page
    assert 'src="http' not in page
    picture = str(desk / "photos" / "bee" / "0.png")
    arguments = [
        "predict",
        picture,
        "--net",
        str(tmp_path / "model"),
        "--device",
        "cpu",
        "--json",
        str(tmp_path / "p.json"),
    ]
    assert run(arguments) == 0
    (prediction,) = json.loads((tmp_path / "p.json").read_text())
    assert prediction["best"][0]["class"] == "bee"
    assert sum(guess["posterior"] for guess in prediction["best"]) == pytest.approx(1, abs=1e-4)
    assert "of 24 pictures that it had not seen it named" in capsys.readouterr().err


@pytest.mark.slow  # torch's exporter
def test_the_model_becomes_one_onnx_file(desk, arguments, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    # In a process of its own, where types are not checked: while torch traces, sides stand for any numbers.
    command = [sys.executable, "-m", "verydeep", *arguments("--onnx", str(tmp_path / "model.onnx"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    picture = desk / "photos" / "<b>cat" / "3.png"
    pixels = np.asarray(Image.open(picture), np.float32).transpose(2, 0, 1)[None]
    (posteriors,) = session.run(None, {"pixels": pixels})
    run(
        [
            "predict",
            str(picture),
            "--net",
            str(tmp_path / "model"),
            "--device",
            "cpu",
            "--json",
            str(tmp_path / "p.json"),
        ]
    )
    said = {guess["class"]: guess["posterior"] for guess in json.loads((tmp_path / "p.json").read_text())[0]["best"]}
    about = json.loads(session.get_modelmeta().custom_metadata_map["verydeep-transfer"])
    for key, posterior in zip(about["classes"], posteriors[0].tolist(), strict=True):
        assert said[key] == pytest.approx(posterior, abs=0.02)


def test_mistakes_are_one_line(desk, learn, tmp_path, capsys):
    (tmp_path / "one").mkdir()
    table = tmp_path / "t.csv"
    table.write_text(f"file,label\n{desk}/photos/ant/0.png,a\n{desk}/photos/bee/0.png,b\n{desk}/photos/bee/1.png,b\n")
    (tmp_path / "file").write_text("")
    mistakes = [
        (lambda: learn(folder=table), "class a has one picture; add more, or leave it out"),
        (lambda: learn("--scales", "32,large"), "is no list of scales"),
        (lambda: learn("--scales", "20"), "20 px is less than the crop"),
        (lambda: learn("--classifier", "forest"), "kind 'forest': is no linear classifier; use 'svm' or 'logistic'"),
        (lambda: learn("--combine", "sum"), "use 'average' or 'stack'"),
        (lambda: learn("--out", str(tmp_path / "file")), "is a file; name a folder"),
        (lambda: learn(folder=tmp_path / "nothing"), "does not exist"),
        (lambda: learn("--tune", "some"), "--tune some: write none, last or all"),
        (lambda: learn("--tune", "all"), "--layer, --scales and --onnx are for --tune none"),
    ]
    for attempt, words in mistakes:
        assert attempt() == 2
        error = capsys.readouterr().err
        assert words in error.splitlines()[-1]
        assert "Traceback" not in error


def test_a_model_looks_at_pictures_in_its_own_way(learn, tmp_path, capsys):
    assert learn() == 0
    assert run(["predict", "x.png", "--net", str(tmp_path / "model"), "--protocol", "dense"]) == 2
    assert "looks at pictures in its own way; leave it out" in capsys.readouterr().err


@pytest.mark.slow  # trains
@pytest.mark.parametrize("what", ["last", "all"])
def test_tuning_leaves_a_run_that_predicts(desk, tmp_path, capsys, what):
    arguments = [
        *("transfer", str(desk / "photos"), "--net", str(desk / "net.safetensors"), "--tune", what, "--epochs", "3"),
        *("--balanced", "--out", str(tmp_path / "run"), "--device", "cpu", "--json", str(tmp_path / "row.json")),
    ]
    assert run(arguments) == 0, capsys.readouterr().err
    rows = json.loads((tmp_path / "row.json").read_text())
    assert [row["protocol"] for row in rows] == ["centre@37", "dense@37"]
    assert (tmp_path / "run" / "report.html").exists()
    trained, first = (load_net(where)[0].state_dict() for where in (tmp_path / "run", desk / "net.safetensors"))
    moved = {name.partition(".")[0] for name in first if name in trained and trained[name].shape == first[name].shape
             and not trained[name].equal(first[name])}  # fmt: skip
    assert ("conv1_1" in moved) == (what == "all")
    lines = (tmp_path / "run-pictures.csv").read_text().splitlines()[1:]
    tested, taught = ({line.split(",")[0] for line in lines if line.endswith(part)} for part in ("test", "train"))
    assert not tested & taught
    assert len(tested | taught) == 24
    assert {row["images"] for row in rows} == {len(tested)}
    assert len(tested) in (4, 5, 6)
    picture = str(desk / "photos" / "ant" / "0.png")
    assert run(["predict", picture, "--net", str(tmp_path / "run"), "--device", "cpu"]) == 0
