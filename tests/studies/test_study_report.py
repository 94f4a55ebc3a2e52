"""The report of a study, of figures that are made by hand."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from verydeep.cli.app import run
from verydeep.errors import StudyError
from verydeep.studies.findings import try_findings
from verydeep.studies.plan import jobs, macs_of, trials_of
from verydeep.studies.plots import papers_bars, plots
from verydeep.studies.results import Results, write_json
from verydeep.studies.study import read_study
from verydeep.studies.study_report import report
from verydeep.studies.tables import beside_paper, finding_sheet, measure, signal_sheet

IMAGES = 1000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes the folder of a study: each test errs on so many of the pictures, always on the first ones."""

    def make(name, wrong, **parameters):
        study = read_study(name, parameters)
        results = Results(tmp_path_factory.mktemp("made") / name)
        results.make(study, parameters)
        for job in jobs(study):
            if job.name not in study.fusions:
                recipe = study.recipe_of(job.name, job.seed)
                layers = [{"layer": f"conv{block}_1", "activation": 10.0**-block, "gradient": 10.0 ** (block - 6)}
                          for block in range(1, 7)]  # fmt: skip
                results.of(job).mkdir()
                write_json(results.of(job) / "run.json", {
                    "net": recipe.net, "starts_from": study.runs[job.name].start, "images": 20, "views": 60,
                    "macs": macs_of(recipe), "seconds": 6.0, "epochs": [{"loss": 1.5}], "losses": [[1, 4.0], [9, 1.5]],
                    "signals": {"before": layers, "after": layers} if study.signals else {},
                    "environment": {"machine": "an abacus"}, "recipe": recipe.model_dump(exclude_none=True),
                })  # fmt: skip
            for test, split in trials_of(study, job):
                count = wrong(f"{job.name} {test.protocol}".strip(), job.seed)
                ranks = np.where(np.arange(IMAGES) < count, 5, 0)
                results.add(job, {
                    "study": study.name, "run": job.name, "seed": job.seed, "test": test.protocol, "tested_on": split,
                    "images": IMAGES, "seconds": 1.0, "cost_ratio": 2.0, "top1_error": count / IMAGES,
                }, ranks)  # fmt: skip
        return study, results

    return make


@pytest.fixture(scope="module")
def paper(made):
    """The study `paper` with 100 errors more for A, and 10 fewer for fusions."""
    return made("paper", lambda test, seed: 300 + 100 * (test.split()[0] == "a") - 10 * ("+" in test) + seed)


def text_of(path):
    class Text(HTMLParser):
        def __init__(self):
            super().__init__()
            self.words, self.depth = [], []

        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img", "br", "link", "path", "use", "rect"):
                self.depth.append(tag)

        def handle_endtag(self, tag):
            if self.depth and tag not in ("path", "use", "rect"):
                assert self.depth.pop() == tag

        def handle_data(self, data):
            self.words.append(data)

    page = Text()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.depth == []
    return " ".join(" ".join(page.words).split())


def test_ours_stand_beside_the_papers(paper):
    study, results = paper
    rows = {row[:3]: row for row in beside_paper(study, results, "table-3").rows}
    assert len(rows) == 12
    assert rows["A", "256", "256"][3:5] == ("29.6", "10.4")
    assert rows["A", "256", "256"][5].startswith("40.")  # 400 and 401 of 1,000 pictures
    assert rows["A", "256", "256"][-1] == "1"
    assert rows["D", "256–512", "384"][3:6] == ("25.6", "8.1", "30.0 (27.2–32.9)")  # Wilson's interval, by hand
    last = beside_paper(study, results, "table-7").rows[3]
    assert last[0] == "GoogLeNet, 1 net"
    assert last[-3:] == ("", "", "")


def test_an_error_is_the_mean_over_seeds_and_its_interval_holds_it(paper, made):
    study, results = made("paper", lambda test, seed: 300 + 100 * seed, seeds=3)
    found = measure(study, results, "a dense@256")
    assert (found.error, found.seeds) == (pytest.approx(0.4), 3)
    assert found.low < 0.3 < 0.5 < found.high  # seeds differ much, and are few
    alone = measure(study, results, "e-256 dense@256")
    assert (alone.error, alone.seeds) == (0.3, 1)
    assert alone.high - alone.low < 0.06
    assert measure(paper[0], paper[1], "d+e dense").error == pytest.approx(0.29)


def test_findings_say_what_differs_and_what_cannot_be_told(made):
    # Of three seeds each, A errs on 100 pictures more than B; A-LRN, of one seed, on as many; D and C alike.
    study, results = made("paper", lambda test, seed: 300 + 100 * (test[:2] in ("a ", "a-")) + 2 * seed, seeds=3)
    tried = try_findings(study, results)
    effect = tried["depth"].effects[0]
    assert (effect.first, effect.second) == ("d-256 dense@256", "a dense@256")
    assert effect.difference == pytest.approx(-0.1)
    assert effect.published == pytest.approx(0.270 - 0.296)
    assert effect.low < -0.1 < effect.high < 0
    assert effect.seeds == 3
    assert tried["depth"].verdict == "holds"
    assert tried["spatial"].verdict == "not resolved"
    assert tried["spatial"].effects[0].difference == 0
    assert tried["small-filters"].effects[0].published == pytest.approx(-0.07)
    rows = finding_sheet(tried).rows
    assert rows[0][:4] == ("Depth helps", "d-256 dense@256 – a dense@256", "−2.6", "−10.0")
    assert rows[0][-1] == "holds"
    assert rows[0][-3].startswith("<0.001")


def test_two_trainings_of_one_seed_resolve_nothing(paper):
    study, results = paper  # one seed of everything, so that nothing is known of seeds
    tried = try_findings(study, results)
    assert tried["depth"].effects[0].difference == pytest.approx(-0.1)
    assert tried["depth"].verdict == "not resolved"
    assert tried["depth"].effects[0].p_values[0] < 1e-6  # which over pictures alone says much
    assert not tried["depth"].effects[0].over_seeds


@pytest.mark.slow  # draws ten pictures twice
def test_the_report_is_one_page_with_findings_tables_and_pictures(paper):
    _, results = paper
    path = report(results.folder)
    text = text_of(path)
    said = ["The experiments of the paper", "Depth helps", "not resolved", "the paper, table 3", "29.6",
            "GoogLeNet, 1 net", "ILSVRC, localisation", "all 20 runs and fusions are done", "an abacus"]  # fmt: skip
    assert [part for part in said if part not in text] == []
    html = path.read_text()
    assert html.count("<svg") == len(list((results.folder / "pictures").glob("*.png"))) == 10
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "mathdefault" not in html
    markdown = (results.folder / "report.md").read_text()
    assert "| A | 256 | 256 | 29.6 | 10.4 | 40.0 (37.0–43.1) |" in markdown
    for name in re.findall(r"pictures/[a-z0-9-]+\.png", markdown):
        with Image.open(results.folder / name) as picture:
            assert picture.width > 600


def test_the_pictures_of_the_slides_have_their_figures(paper):
    assert papers_bars("depth").values[1] == pytest.approx([0.088, 0.087, 0.080, 0.076])
    assert papers_bars("scales").values[0] == pytest.approx([0.099, 0.096])
    assert papers_bars("fusions").values[2] == pytest.approx([0.071, 0.072, 0.068])
    assert [group[0] for group in papers_bars("years").values] == pytest.approx([0.27, 0.152, 0.07])
    names = [plot.name for plot in plots(*paper)]
    assert names == [
        "depth-paper", "depth-ours", "scales-paper", "scales-ours", "fusions-paper", "fusions-ours",
        "entrants-classification", "entrants-localisation", "years", "cost",
    ]  # fmt: skip


@pytest.mark.slow  # draws as many
def test_a_study_that_has_only_begun_is_reported(made, tmp_path):
    study = read_study("tiny")
    results = Results(tmp_path / "tiny")
    results.make(study, {})
    text = text_of(report(results.folder))
    assert "not measured yet" in text
    count = len(list(jobs(study)))
    assert f"{count} of {count} runs and fusions remain" in text


def test_signals_say_what_is_left_of_them_at_the_end(made):
    study, results = made("stall", lambda test, seed: 500)
    row = signal_sheet(study, results).rows[0]
    # Of six layers the last is left out: activations 1e-1 to 1e-5, gradients 1e-1 down to 1e-5.
    assert row == ("a-gaussian", "Gaussian, 0.01", "1.0e-04", "1.0e-04", "1.0e-04", "4.00", "1.50", "50.0")
    assert [plot.name for plot in plots(study, results)] == [
        f"{what}-vgg-{net}" for net in "ade" for what in ("activation", "gradient", "loss")
    ]


def test_the_command_reports_a_study_and_a_run_and_refuses_the_rest(again, tmp_path, capsys):
    folder = again
    assert run(["report", str(folder)]) == 0
    assert run(["report", str(folder / "work" / "a.0")]) == 0
    assert "Training" in (folder / "work" / "a.0" / "report.html").read_text()
    assert capsys.readouterr().out.splitlines() == [f"{folder}/report.html", f"{folder}/work/a.0/report.html"]
    assert run(["report", str(tmp_path)]) == 2
    assert "is not the folder of a study" in capsys.readouterr().err
    with pytest.raises(StudyError, match="is not a folder"):
        report(tmp_path / "none")
