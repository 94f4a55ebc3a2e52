"""A study of seconds from end to end: what is kept, what is gone on from, what is refused, what fails."""

import fcntl
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import verydeep
from verydeep.cli.app import run
from verydeep.errors import StudyError
from verydeep.evaluation.posteriors import Posteriors
from verydeep.nets.registry import read_net
from verydeep.studies.plan import jobs, plan
from verydeep.studies.reproduce import prepare, reproduce
from verydeep.studies.results import Job, Results
from verydeep.studies.study import Trial, read_study

JOBS = ["a.0", "b.0", "both.0", "a.1", "b.1", "both.1"]


def errors(folder):
    """The error rows of a folder, without times."""
    rows = json.loads((folder / "errors.json").read_text())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def began(said):
    """The jobs that were begun, in order."""
    return [line.split()[0] for line in said if " is next; " in line]


@pytest.fixture
def go_on(small, digits):
    """Does what remains in a folder; the jobs that were begun come back."""

    def go(folder, **given):
        said = []
        reproduce(small, digits, folder=folder, device="cpu", say=said.append, **given)
        return began(said)

    return go


def test_runs_are_done_seed_by_seed_each_after_what_it_starts_from(done, small):
    assert began(done[2]) == JOBS
    assert [str(job) for job in jobs(read_study(small))] == JOBS  # though b stands before a in the file


def test_every_test_leaves_a_row_and_the_ranks_that_it_is_counted_from(done):
    folder, table, _ = done
    assert [(row["run"], row["seed"], row["test"]) for row in table.rows] == [
        *[("a", seed, test) for seed in (0, 1) for test in ("centre@256", "dense@256")],
        *[("b", seed, test) for seed in (0, 1) for test in ("centre@256", "dense@256")],
        *[("both", seed, "") for seed in (0, 1)],
    ]
    for row in table.rows:
        assert row["study"] == "small"
        assert row["protocol"].endswith("@37")  # of a crop of 32
        ranks = Results(folder).ranks(Job(row["run"], row["seed"]))[f"val {row['test']}"]
        assert [np.mean(ranks >= k) for k in (1, 5)] == [row["top1_error"], row["top5_error"]]


def test_a_row_is_what_evaluate_measures_of_the_net_that_is_kept(done, digits):
    folder, table, _ = done
    net, _ = read_net(folder / "a.1" / "net.safetensors")
    measured = verydeep.evaluate(net, verydeep.open_dataset(digits), ["dense@37"], device="cpu").rows[0]
    kept = next(row for row in table.rows if (row["run"], row["seed"], row["test"]) == ("a", 1, "dense@256"))
    assert {key: kept[key] for key in ("top1_error", "top5_error", "images")} == {
        key: measured[key] for key in ("top1_error", "top5_error", "images")
    }


def test_a_fusion_is_the_mean_of_the_posteriors_of_the_same_seed(done):
    folder, *_ = done
    for seed in (0, 1):
        parts = [Posteriors.load(folder / f"{name}.{seed}" / "dense@256.safetensors") for name in "ab"]
        best = (parts[0].values + parts[1].values).argmax(axis=1)
        row = Results(folder).row(Job("both", seed))
        assert row["top1_error"] == np.mean(best != parts[0].labels)


def test_nothing_done_is_done_again_even_where_only_what_is_committed_is_left(again, go_on, done):
    shutil.rmtree(again / "work")
    before = {path: path.read_bytes() for path in again.rglob("*") if path.is_file() and path.name != "study.json"}
    assert go_on(again) == []
    assert {path: path.read_bytes() for path in before} == before
    assert errors(again) == errors(done[0])


def test_a_study_goes_on_from_what_is_committed_to_the_same_figures(again, go_on, done):
    for name in ("work", "b.1", "both.1"):
        shutil.rmtree(again / name)
    assert go_on(again) == ["b.1", "both.1"]
    assert errors(again) == errors(done[0])


def test_what_is_not_to_be_committed_lies_in_one_folder_that_git_ignores(again):
    assert (again / ".gitignore").read_text() == "/work/\n"
    shutil.rmtree(again / "work")
    assert sum(path.stat().st_size for path in again.rglob("*") if path.is_file()) < 300_000


@pytest.mark.slow  # trains two nets
def test_more_seeds_are_done_beside_those_that_are(again, go_on):
    assert go_on(again, parameters={"seeds": 3}) == ["a.2", "b.2", "both.2"]
    assert Results(again).study().parameters["seeds"] == 3
    assert go_on(again) == []  # the folder remembers how many


@pytest.mark.slow  # other processes import torch
def test_a_study_that_was_killed_ends_as_one_that_was_not(small, digits, tmp_path, done):
    command = [sys.executable, "-m", "verydeep", "reproduce", str(small), "--data", str(digits), "--device", "cpu",
               "--folder", str(tmp_path / "cut")]  # fmt: skip
    for last in ("epoch 1", "both.0 is next"):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert any(line.startswith(last) for line in process.stderr)
            process.kill()
    assert subprocess.run(command, capture_output=True, check=True).stdout
    assert errors(tmp_path / "cut") == errors(done[0])


@pytest.mark.slow  # other processes import torch
def test_two_processes_share_a_study(small, digits, tmp_path, done):
    command = [sys.executable, "-m", "verydeep", "reproduce", str(small), "--data", str(digits), "--device", "cpu",
               "--folder", str(tmp_path / "shared")]  # fmt: skip
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted([*began(said[0]), *began(said[1])]) == sorted(JOBS)
    assert errors(tmp_path / "shared") == errors(done[0])


def test_a_test_that_was_cut_off_goes_on(again, go_on, done):
    rows = json.loads((again / "b.1" / "rows.json").read_text())
    (again / "b.1" / "rows.json").write_text(json.dumps(rows[:1]))
    assert go_on(again) == ["b.1"]
    assert errors(again) == errors(done[0])


def test_tests_of_weights_that_are_gone_are_refused(again, go_on):
    shutil.rmtree(again / "work")
    (again / "b.1" / "rows.json").unlink()
    with pytest.raises(StudyError, match=r"b\.1: .*is not here, but tests of it remain"):
        go_on(again)


def test_tests_are_done_again_whose_posteriors_a_fusion_wants_that_joined_later(again, go_on, done):
    shutil.rmtree(again / "both.0")
    for name in "ab":  # as they are of a test that no fusion wants
        (again / f"{name}.0" / "dense@256.safetensors").unlink()
        (again / f"{name}.1" / "dense@256.safetensors").unlink()  # its fusion is done
    assert go_on(again) == ["a.0", "b.0", "both.0"]
    assert errors(again) == errors(done[0])


@pytest.mark.slow  # trains four nets
def test_a_run_that_fails_is_named_and_those_that_do_not_need_it_go_on(small, digits, tmp_path, capsys):
    text = small.read_text()
    small.write_text(
        text.replace('recipe.net = "vgg-b"', 'recipe.net = "vgg-b"\nrecipe.optimizer.learning_rate = 1e30')
    )
    folder = tmp_path / "results"
    assert run(["reproduce", str(small), "--data", str(digits), "--folder", str(folder), "--device", "cpu"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("2 failed: b.0: ")
    assert "b.1: " in last
    assert "both.0, both.1 cannot begin without" in last
    assert [row["run"] for row in errors(folder)] == ["a"] * 4


def test_a_bug_keeps_its_traceback_once_the_others_are_done(again, go_on, monkeypatch):
    shutil.rmtree(again / "a.1")
    shutil.rmtree(again / "both.1")
    monkeypatch.setattr("verydeep.studies.reproduce.fuse", lambda given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        go_on(again)
    assert (again / "a.1" / "rows.json").exists()


@pytest.mark.slow  # trains two nets
def test_what_another_process_does_is_left_to_it(again, go_on):
    for name in ("a.1", "b.1", "both.1"):
        shutil.rmtree(again / name)
    with (again / "work" / "a.1.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert go_on(again) == []
    assert go_on(again) == ["a.1", "b.1", "both.1"]


def test_nothing_is_begun_that_would_not_end_in_time(again, go_on):
    shutil.rmtree(again / "both.1")
    assert go_on(again, minutes=0.0) == []
    assert go_on(again, minutes=10.0) == ["both.1"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parameters": {"epochs": 2}}, r"a\.0 was trained by another recipe \(schedule\.epochs differs\)"),
        ({"parameters": {"rate": "0.01"}}, r"optimizer\.learning_rate differs"),
        ({"data": "others"}, r"a\.0 was tested on other pictures"),
    ],
)
def test_a_folder_of_other_recipes_or_pictures_is_refused(again, small, digits, tmp_path, given, words):
    if "data" in given:
        shutil.copytree(digits, tmp_path / "others")
        next((tmp_path / "others").rglob("val/*/*.JPEG")).unlink()
        given = {"data": tmp_path / "others"}
    with pytest.raises(StudyError, match=words):
        prepare(small, **({"data": digits} | given), folder=again)


def test_a_folder_that_is_no_study_or_of_another_is_refused(again, small, digits, tmp_path):
    with pytest.raises(StudyError, match="is of study small, not digits"):
        prepare("digits", digits, folder=again)
    with pytest.raises(StudyError, match="is not the folder of a study"):
        prepare(small, digits, folder=tmp_path)
    (again / "study.json").write_text("{")
    with pytest.raises(StudyError, match=r"study\.json: cannot be read"):
        prepare(small, digits, folder=again)


def test_data_are_needed_and_have_to_be_divided(small, tmp_path, digits):
    with pytest.raises(StudyError, match="study small: needs a data set; give one with --data"):
        reproduce(small, folder=tmp_path / "results")
    with pytest.raises(StudyError, match="has no split of pictures to test on"):
        reproduce(small, next(digits.rglob("train")), folder=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_the_plan_says_what_remains_and_how_long_by_what_was_timed(again, small, digits):
    results = Results(again)
    study = read_study(small, {"seeds": 3})
    bench = prepare(small, digits, folder=again)
    steps = {str(step.job): step for step in plan(study, results, bench.pictures, bench.watched)}
    assert [name for name, step in steps.items() if not step.done] == ["a.2", "b.2", "both.2"]
    trained = [results.trained(Job("a", seed))["seconds"] for seed in (0, 1)]
    tested = [
        [results.row(Job(name, seed), f"{by}@256") for seed in (0, 1) for name in "ab"] for by in ("centre", "dense")
    ]
    macs = {name: results.trained(Job(name, 0))["macs"] for name in "ab"}
    each = [np.median([row["seconds"] / row["cost_ratio"] / macs[row["run"]] for row in rows]) for rows in tested]
    expected = np.mean(trained) + sum(
        one * rows[0]["cost_ratio"] * macs["a"] for one, rows in zip(each, tested, strict=True)
    )
    assert steps["a.2"].seconds == pytest.approx(expected, rel=1e-3)  # costs are rounded in rows


def test_a_training_that_was_cut_off_counts_by_its_epochs(again, small, digits):
    shutil.rmtree(again / "b.1")
    line = {"kind": "epoch", "epoch": 1, "step": 4, "seconds": 1.0}
    (again / "work" / "b.1" / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    study = read_study(small)
    bench = prepare(small, digits, folder=again)
    step = next(step for step in plan(study, Results(again), bench.pictures, bench.watched) if str(step.job) == "b.1")
    tests = sum(Results(again).row(Job("b", 0), test)["seconds"] for test in study.runs["b"].tests)
    assert step.seconds < 10 * tests  # its only epoch is done, so that the tests alone remain


def test_a_dry_run_prints_the_plan_and_writes_nothing(small, digits, tmp_path, capsys):
    folder = tmp_path / "results"
    arguments = ["reproduce", str(small), "--data", str(digits), "--folder", str(folder), "--dry-run"]
    assert run([*arguments, "--json", str(tmp_path / "plan.json")]) == 0
    printed = capsys.readouterr().out
    assert "6 of 6 runs and fusions remain" in printed
    assert all(job in printed for job in JOBS)
    rows = json.loads((tmp_path / "plan.json").read_text())
    assert [(row["run"], row["needs"], row["trained"]) for row in rows[:2]] == [("a", [], False), ("b", ["a.0"], False)]
    assert not folder.exists()


def test_the_command_prints_the_papers_figures_beside_ours(again, small, digits, tmp_path, capsys):
    arguments = [
        "reproduce",
        str(small),
        "--data",
        str(digits),
        "--folder",
        str(again),
        "--json",
        str(tmp_path / "rows.json"),
    ]
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    assert "table 3" in printed
    assert "Depth helps" in printed
    assert len(json.loads((tmp_path / "rows.json").read_text())) == 10


def test_a_parameter_that_is_no_pair_is_a_mistake_of_the_user(small, digits, capsys):
    assert run(["reproduce", str(small), "--data", str(digits), "--set", "epochs"]) == 2
    assert "--set epochs: is not KEY=VALUE" in capsys.readouterr().err


@pytest.mark.slow  # trains two nets
def test_training_pictures_are_tested_on_where_the_study_says(small, digits, tmp_path):
    text = small.read_text().replace("[parameters]", 'splits = ["val", "train"]\nsignals = true\n[parameters]')
    small.write_text(text.replace("seeds = 2", "seeds = 1"))
    folder = tmp_path / "results"
    reproduce(small, digits, folder=folder, device="cpu", parameters={"epochs": 1})
    results = Results(folder)
    row = results.row(Job("a", 0), "dense@256", "train")
    assert (row["split"], row["images"]) == ("train", 40)  # as many as there are to test on
    signals = results.trained(Job("b", 0))["signals"]
    layers = [layer["layer"] for layer in signals["before"]]
    assert layers == [layer["layer"] for layer in signals["after"]]
    assert (layers[0], layers[-1], len(layers)) == ("conv1_1", "fc8", 13)
    # conv1_1 of b came from a, so that it does before b's training what a's does after its own, but for rounding.
    mine, theirs = signals["before"][0], results.trained(Job("a", 0))["signals"]["after"][0]
    assert mine["activation"] == pytest.approx(theirs["activation"], rel=2e-3)


def test_posteriors_are_kept_only_where_a_fusion_needs_them(done):
    folder, *_ = done
    assert Results(folder).posteriors(Job("a", 0), Trial("a", "dense@256")).exists()
    assert not list(folder.rglob("*centre@256.safetensors"))


def test_weights_are_kept_in_half_precision_where_another_run_starts_from_them(done):
    folder, *_ = done
    net, card = read_net(folder / "a.0" / "net.safetensors")
    assert card["run"] == "a"
    assert torch.equal(net.conv1_1.weight, net.conv1_1.weight.half().float())
    assert not (folder / "b.0" / "net.safetensors").exists()
    assert (folder / "work" / "b.0.safetensors").exists()
