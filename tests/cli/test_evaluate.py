import io
import json

import pytest

import verydeep
from verydeep.cli.app import run

CLASSES = ("cat", "dog", "eel")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    made = verydeep.create_net("vgg-a", classes=CLASSES, width=1 / 64, crop=32, start="he")
    verydeep.save_net(path, made, {"names": {"cat": "domestic cat"}})
    return str(path)


def test_evaluate_prints_and_writes_the_table_of_the_library(net, pictures, tmp_path, capsys):
    arguments = ["evaluate", net, str(pictures), "--protocol", "centre@32", "--protocol", "dense@32,40"]
    assert run([*arguments, "--device", "cpu", "--json", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    table = verydeep.evaluate(
        verydeep.load_net(net)[0], verydeep.open_dataset(pictures), ["centre@32", "dense@32,40"], device="cpu"
    )
    kept = ("net", "protocol", "scales", "images", "top1_error", "top5_error", "classes")
    assert [[row[key] for key in kept] for row in rows] == [[row[key] for key in kept] for row in table.rows]
    assert all(row["weights"] == net for row in rows)
    printed = capsys.readouterr().out
    assert "dense@32,40" in printed
    assert f"{100 * rows[0]['top1_error']:.1f}" in printed


def test_evaluate_leaves_posteriors_where_it_is_told(net, pictures, tmp_path):
    folder = tmp_path / "posteriors"
    assert run(["evaluate", net, str(pictures), "--protocol", "centre", "--posteriors", str(folder)]) == 0
    (file,) = folder.iterdir()
    assert verydeep.Posteriors.load(file).values.shape == (15, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--protocol", "dens"], "did you mean dense?"),
        (["--protocol", "dense@16"], "less than the crop"),
        (["--device", "abacus"], "abacus"),
        (["--kind", "folder"], "folders"),
    ],
)
def test_a_wrong_option_of_evaluate_is_one_line(net, pictures, options, words, capsys):
    assert run(["evaluate", net, str(pictures), *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_evaluate_stops_at_a_bad_picture_and_names_it(net, pictures, tmp_path, capsys):
    for name in CLASSES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "broken.jpg").write_bytes(b"\xff\xd8\xff but no picture")
    assert run(["evaluate", net, str(tmp_path), "--protocol", "centre"]) == 2
    assert "broken.jpg" in capsys.readouterr().err


def test_predict_names_classes_as_people_do_and_goes_on_after_a_bad_picture(net, pictures, tmp_path, capsys):
    (tmp_path / "broken.png").write_text("no picture")
    good = pictures / "cat" / "0.png"
    arguments = ["predict", str(tmp_path / "broken.png"), str(good), "--net", net]
    assert run([*arguments, "--json", str(tmp_path / "best.json")]) == 2
    captured = capsys.readouterr()
    about, complaint = captured.err.splitlines()
    assert "vgg-a with 3 classes" in about
    assert "broken.png" in complaint
    assert captured.out.splitlines()[0] == str(good)
    (row,) = json.loads((tmp_path / "best.json").read_text())
    assert {guess["name"] for guess in row["best"]} == {"domestic cat", "dog", "eel"}
    assert sum(guess["posterior"] for guess in row["best"]) == pytest.approx(1, abs=1e-5)


def test_predict_reads_standard_input(net, pictures, monkeypatch, capsys):
    encoded = (pictures / "cat" / "0.png").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(encoded)))
    assert run(["predict", "-", "--net", net]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(CLASSES)


def test_data_check_names_every_bad_file(pictures, tmp_path, capsys):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "good.png").write_bytes((pictures / "cat" / "0.png").read_bytes())
    (tmp_path / "cat" / "torn.png").write_bytes((pictures / "cat" / "0.png").read_bytes()[:500])
    (tmp_path / "dog" / "text.jpg").write_text("text")
    assert run(["data", "check", str(tmp_path), "--json", str(tmp_path / "check.json")]) == 2
    printed = capsys.readouterr().out
    assert "torn.png" in printed
    assert "text.jpg" in printed
    (report,) = json.loads((tmp_path / "check.json").read_text())
    assert len(report["bad"]) == 2
    assert run(["data", "check", str(pictures)]) == 0


def test_data_stats_prints_what_the_library_measures(pictures, tmp_path, capsys):
    from verydeep.data.statistics import measure

    assert run(["data", "stats", str(pictures), "--json", str(tmp_path / "stats.json")]) == 0
    (row,) = json.loads((tmp_path / "stats.json").read_text())
    assert row == measure(verydeep.open_dataset(pictures, "train")).to_dict()
    assert f"{row['mean'][0]:.2f}" in capsys.readouterr().out


@pytest.mark.slow
def test_all_says_first_what_it_will_take_and_leaves_a_page(net, pictures, tmp_path, capsys):
    arguments = ["evaluate", net, str(pictures), "--protocol", "all", "--images", "12", "--device", "cpu"]
    page, rows = tmp_path / "page.html", tmp_path / "rows.json"
    assert run([*arguments, "--report", str(page), "--json", str(rows)]) == 0
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert "6 protocols on 12 pictures will take about" in told.err
    assert sum("crops a picture, about" in line for line in lines) == 6
    assert "12 of 15 images" in told.out
    assert "the cost of a crop" in told.out
    found = json.loads(rows.read_text())
    assert {row["images"] for row in found} == {12}
    assert sum(row.get("cheapest", False) for row in found) == 1
    assert "vgg-a on " in page.read_text()
    assert "domestic cat" in page.read_text()


@pytest.mark.parametrize("option", ["--report", "--json"])
def test_a_place_that_is_not_there_is_said_before_anything_is_tested(net, pictures, tmp_path, option, capsys):
    assert run(["evaluate", net, str(pictures), option, str(tmp_path / "none" / "file")]) == 2
    assert "none is not a folder; make it first" in capsys.readouterr().err
