import json
import subprocess
import sys
from pathlib import Path

import pytest

from verydeep.errors import StudyError
from verydeep.studies.paper_page import cited, errors, figures, functions, main, page
from verydeep.studies.published import published, published_errors

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("section 3.1; Glorot & Bengio 2010, equation 16; He et al. 2015, section 2.2.", ["section 3.1"]),
        ("tables 3 to 7; the slides.", [f"table {number}" for number in range(3, 8)]),
        ("table 1, sections 2.1 and 3.2.", ["table 1", "section 2.1", "section 3.2"]),
        ("section 3.1 (S), 3.2 (Q).", ["section 3.1", "section 3.2"]),
        ('section 4, "Evaluation": top-1 and top-5 error.', ["section 4"]),
        ("section 4.4 of version 1.", ["section 4.4"]),
        ('slides "depth", "scales".', ["slides depth", "slides scales"]),
        ("appendix B.2", ["appendix B"]),
        ("Krizhevsky et al. 2012, sections 2, 4.1.", []),
        ("torchvision, transforms/functional.py (resize, center_crop)", []),
    ],
)
def test_only_what_is_cited_of_the_paper_itself_counts(text, parts):
    assert cited(text) == parts


@pytest.fixture
def code(tmp_path):
    """A repository of one file that cites every row of the page but those of `left_out`."""

    def write(left_out=(), more=""):
        import tomllib

        rows = tomllib.loads((ROOT / "src/verydeep/studies/paper.toml").read_text())["rows"]
        names = [row["name"] for row in rows if "command" in row and row["name"] not in left_out]
        sources = "; ".join(f'slides "{name[7:]}"' if name.startswith("slides") else name for name in names)
        file = tmp_path / "src/verydeep/nets/thing.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = ["CONSTANT = 1  # Source: table 1", "", "", "class Thing:", "    def method(self):",
                 f'        """Does it all. Source: {sources}."""', more]  # fmt: skip
        file.write_text("\n".join(lines))
        return tmp_path

    return write


def test_a_citation_belongs_to_the_innermost_function_or_constant_around_it(code):
    found = functions(code() / "src/verydeep")
    assert found["section 3.1"] == {"nets/thing.py": ["method"]}
    assert found["table 1"] == {"nets/thing.py": ["CONSTANT", "method"]}


def test_each_row_links_its_functions(code):
    line = next(line for line in page(code()).splitlines() if line.startswith("| section 3.2 |"))
    assert "[nets/thing.py](../src/verydeep/nets/thing.py) `method`" in line
    assert "dense@256,384,512" in line


def test_a_row_with_nothing_behind_it_is_refused(code):
    with pytest.raises(StudyError, match=r"paper\.toml: section 3\.2 has no Source: line"):
        page(code(left_out=["section 3.2"]))


def test_a_citation_without_a_row_is_refused(code):
    with pytest.raises(StudyError, match=r"nets/thing\.py: cites section 9\.9, which has no row"):
        page(code(more="X = 2  # Source: section 9.9"))


def test_ours_stand_beside_the_papers_with_the_study_they_are_of(code):
    root = code()
    assert "not measured yet" in page(root)
    folder = root / "docs/results/tiny"
    folder.mkdir(parents=True)
    rows = [
        {
            "run": run,
            "seed": seed,
            "test": "dense@256",
            "tested_on": "val",
            "top1_error": error,
            "top5_error": error / 2,
        }
        for run, seed, error in (("d-256", 0, 0.40), ("d-256", 1, 0.42), ("a", 0, 0.5))
    ]
    (folder / "errors.json").write_text(json.dumps(rows))
    line = next(line for line in page(root).splitlines() if line.startswith("| section 4.1 |"))
    assert "−2.6: d-256 dense@256 against a dense@256 | −9.0 (tiny) |" in line
    assert errors(rows, "d-256 dense@256") == pytest.approx((0.41, 0.205))
    assert errors(rows, "b dense@256") is None


def test_checking_writes_nothing_and_says_what_to_do(code, monkeypatch, capsys):
    monkeypatch.chdir(code())
    assert main(["--check", "paper.md"]) == 1
    assert "run `make pages`" in capsys.readouterr().err
    assert not Path("paper.md").exists()
    assert main(["paper.md"]) == 0
    assert main(["--check", "paper.md"]) == 0


def test_a_check_takes_moments_and_needs_no_torch_but_for_counting():
    command = "import sys, verydeep.studies.paper_page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


def test_published_figures_are_those_of_the_paper():
    known = published_errors()
    # By hand from section 4: E jittered 25.5 / 8.0 at one scale, 24.8 / 7.5 at several; both nets 23.7 / 6.8.
    assert known["e-jitter dense@384"] == pytest.approx((0.255, 0.080))
    assert known["e-jitter dense@256,384,512"] == pytest.approx((0.248, 0.075))
    assert known["d+e both"] == pytest.approx((0.237, 0.068))
    assert [len(published()[f"table-{number}"]["rows"]) for number in range(3, 8)] == [12, 10, 6, 4, 15]
    for name in ("depth", "scales", "fusions", "entrants-classification", "entrants-localisation", "years"):
        bars = published()[name]
        for matrix in (bars[key] for key in ("top5", "ours") if key in bars):
            assert [len(group) for group in matrix] == [len(bars["series"])] * len(bars["groups"])


def test_the_registry_has_the_same_published_errors():
    from verydeep.nets.vgg import PUBLISHED

    known = published_errors()
    runs = {
        "vgg-a": "a",
        "vgg-a-lrn": "a-lrn",
        "vgg-b": "b",
        "vgg-c": "c-jitter",
        "vgg-d": "d-jitter",
        "vgg-e": "e-jitter",
    }
    for net, theirs in PUBLISHED.items():
        for protocol, pair in theirs.items():
            assert known[f"{runs[net]} {protocol}"] == pytest.approx(pair)


def test_localisation_errors_stand_beside_the_papers():
    rows = [{"run": "pcr", "test": "centre@224", "known_class_error": 0.25},
            {"run": "pcr", "test": "centre@224", "known_class_error": 0.27},
            {"run": "boxes of both", "test": "", "localisation_error": 0.4, "known_class_error": 0.2}]  # fmt: skip
    assert figures({"boxes": ["table-8", 3]}, {"small": rows, "none": []}) == ("33.1", "26.0 (small)")
    assert figures({"boxes": ["table-9", 3]}, {"small": rows}) == ("26.9", "40.0 (small)")
    assert figures({"boxes": ["table-9", 0]}, {"small": rows}) == ("29.5", "not measured yet")
