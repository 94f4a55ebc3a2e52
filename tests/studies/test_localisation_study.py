import json

import pytest

from verydeep.data.digits import make_digits
from verydeep.errors import StudyError
from verydeep.studies.published import published
from verydeep.studies.reproduce import reproduce
from verydeep.studies.results import Results
from verydeep.studies.study import read_study
from verydeep.studies.study_report import report
from verydeep.studies.tables import sheets

GRAPH = """
title = "Digits and boxes"
tables = ["boxes", "table-8", "table-10", "errors"]

[recipe]
net = "vgg-a-bn"
width = 0.03125
crop = 64
hidden = 16
start = { law = "he", standardise = true }
optimizer = { learning_rate = 0.01, batch = 20 }
schedule = { kind = "one-cycle", epochs = 1 }
views = { smallest_side = 252, mirror = false }
compute = { data_type = "float32", layout = "contiguous" }

[runs.classes]
tests = ["centre@252"]

[runs.pcr-384]
recipe.boxes.regression = "pcr"
weights = "classes"
tests = ["centre@252", "dense@252-mirror"]

[fusions."boxes of both"]
of = ["classes centre@252"]
boxes = ["pcr-384 dense@252-mirror"]

[findings.layers]
claim = "Boxes from every cell are better than the centre's"
source = "appendix A"
pairs = [["pcr-384 dense@252-mirror", "pcr-384 centre@252"]]
"""


@pytest.mark.slow
def test_a_study_with_localisers_is_done_tabled_and_reported(tmp_path):
    digits = make_digits(tmp_path / "digits", train=100, val=100)
    (tmp_path / "boxes.toml").write_text(GRAPH)
    folder = tmp_path / "run"
    rows = reproduce(tmp_path / "boxes.toml", digits, folder=folder, device="cpu").rows
    known = [row for row in rows if "known_class_error" in row and row["run"] == "pcr-384"]
    assert [row["test"] for row in known] == ["centre@252", "dense@252-mirror"]
    (located,) = [row for row in rows if row["run"] == "boxes of both"]
    assert located["localisation_error"] >= located["classification_error"]
    baselines = json.loads((folder / "baselines.json").read_text())
    assert set(baselines) == {"the whole picture", "the best single box, chosen on the training pictures"}
    study, results = read_study(tmp_path / "boxes.toml"), Results(folder)
    boxes, table_8, table_10, errors = sheets(study, results)
    assert [row[0] for row in boxes.rows] == [
        *baselines,
        "pcr-384 centre@252",
        "pcr-384 dense@252-mirror",
        "boxes of both",
    ]
    assert boxes.rows[2][2].startswith(f"{100 * known[0]['known_class_error']:.1f} (")
    assert all("33.1" not in row for row in table_8.rows[:3])
    assert table_10.rows[0][1:4] == ("boxes of both", "26.9", "25.3")
    assert table_10.rows[0][4].startswith(f"{100 * located['localisation_error']:.1f}")
    assert [row[0] for row in errors.rows] == ["classes"]
    page = report(folder)
    html, markdown = page.read_text(encoding="utf-8"), page.with_suffix(".md").read_text(encoding="utf-8")
    assert "points of localisation error with the class known" in html
    assert "points of top-1 error" not in html
    cases = sorted(path.name for path in (folder / "work" / "boxes-of-both.0-cases").iterdir())
    assert html.count("<figure>\n<img") == len(cases) > 10
    assert {path.stem for path in (folder / "pictures").iterdir()} == {"boxes-known", "boxes-guesses"}
    assert "pictures/boxes-known.png" in markdown
    assert (folder / ".gitignore").read_text() == "/work/\n/report.html\n"  # which shows pictures of the data set
    again = reproduce(tmp_path / "boxes.toml", digits, folder=folder, device="cpu").rows
    assert again == rows  # nothing is done twice


@pytest.mark.parametrize("name", ["localisation-paper", "localisation-tiny", "localisation-voc"])
def test_the_studies_of_localisation_fill_the_tables_of_the_paper(name):
    study = read_study(name)
    tests = {str(test) for run in study.runs if study.gives_boxes(run) for test in study.tests(run)}
    there = tests | {fusion for fusion in study.fusions if study.fusions[fusion].boxes}
    for table in ("table-8", "table-9", "table-10"):
        assert table in study.tables
        assert [row for row in published()[table]["rows"] if "ours" in row and not there & {*row["ours"]}] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('boxes = ["classes centre@252"]', "gives no boxes"),
        ('boxes = ["pcr-384 centre@224"]', "is not tested by centre@224"),
        ('boxes = ["pcr-384 dense@252-mirror"]\nnet = "tiny-imagenet"', "write one test in `of`"),
    ],
)
def test_boxes_that_cannot_be_are_refused(tmp_path, wrong, said):
    (tmp_path / "boxes.toml").write_text(GRAPH.replace('boxes = ["pcr-384 dense@252-mirror"]', wrong))
    with pytest.raises(StudyError, match=said):
        read_study(tmp_path / "boxes.toml")
