import json
import subprocess
import sys
from statistics import stdev

import numpy as np
import pytest
import torch

from verydeep.errors import StudyError
from verydeep.nets.layers import count_training_operations
from verydeep.nets.registry import NETS
from verydeep.studies.findings import Effect, try_findings
from verydeep.studies.leaderboard import standings
from verydeep.studies.pages import fill
from verydeep.studies.reproduce import prepare, reproduce
from verydeep.studies.study import read_study
from verydeep.studies.study_report import say_effect
from verydeep.studies.tables import points, sheets, start_of

STUDY = """
title = "A small leaderboard"
tables = ["leaderboard"]
speed = true

[parameters]
full = false

[recipe]
width = 0.05
compute = { data_type = "float32", layout = "channels_last", threads = 1 }
optimizer.batch = 10
schedule.epochs = 3
validation = { split = "test", every = 9 }

[runs.fast]
like = "cifar-fast"
seeds = 2
tests = ["centre@224", "shifts"]

[runs.plain]
like = "cifar-vgg"
recipe.net = "cifar-vgg-a"
seeds = 2
tests = ["centre@224"]

[runs.deep]
like = "cifar-vgg"
recipe.net = "cifar-vgg-b"
graft = "plain"
tests = ["centre@224"]

[runs.large]
when = "$full"
like = "cifar-vgg"
tests = ["centre@224"]

[fusions.both]
of = ["fast shifts", "plain centre@224"]

[findings.depth]
claim = "Depth helps"
source = "section 4.1"
pairs = [["deep centre@224", "plain centre@224"]]
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """The study, done on a CIFAR-10 of eight pictures a file."""
    root = tmp_path_factory.mktemp("leaderboard")
    generator = np.random.default_rng(0)
    (root / "cifar").mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        records = generator.integers(0, 256, (8, 3073), np.uint8)
        records[:, 0] %= 10
        (root / "cifar" / f"{name}.bin").write_bytes(records.tobytes())
    (root / "board.toml").write_text(STUDY)
    reproduce(root / "board.toml", root / "cifar", folder=root / "results", device="cpu")
    return prepare(root / "board.toml", root / "cifar", folder=root / "results")


def test_accuracies_minutes_and_shares_are_those_of_the_runs(bench):
    rows = {(row["run"], row["protocol"]): row for row in standings(bench.study, bench.results)}
    assert rows.keys() == {("fast", "centre@32"), ("fast", "shifts@32"), ("plain", "centre@32"), ("deep", "centre@32"),
                           ("both", "mean of 2")}  # fmt: skip
    folder = bench.results.folder
    runs = [json.loads((folder / f"fast.{seed}" / "run.json").read_text()) for seed in (0, 1)]
    errors = [
        next(row["top1_error"] for row in json.loads((folder / f"fast.{seed}" / "rows.json").read_text())
             if row["test"] == "shifts")
        for seed in (0, 1)
    ]  # fmt: skip
    row = rows["fast", "shifts@32"]
    assert row["seeds"] == 2
    assert row["accuracy_mean"] == pytest.approx(1 - sum(errors) / 2, abs=1e-6)
    assert row["accuracy_std"] == pytest.approx(stdev(errors), abs=1e-6)
    assert row["minutes_mean"] == pytest.approx(sum(run["seconds"] for run in runs) / 120, abs=0.01)
    plan = tuple(NETS["cifar-fast"].build(num_classes=1, width=0.05, crop=32, hidden=None))
    operations = count_training_operations(plan, 32)
    shares = [operations * 40 * 3 / run["seconds"] / run["peak"] / 1e9 for run in runs]
    assert row["flop_share_of_peak"] == pytest.approx(sum(shares) / 2, rel=1e-2, abs=1e-4)
    assert (row["net"], row["epochs"], row["data_type"]) == ("cifar-fast", 3, "float32")
    fused = rows["both", "mean of 2"]
    assert fused["minutes_mean"] == pytest.approx(
        row["minutes_mean"] + rows["plain", "centre@32"]["minutes_mean"], abs=0.02
    )
    assert fused["flop_share_of_peak"] is None


def test_a_net_that_starts_from_another_has_taken_the_time_of_both(bench):
    rows = {row["run"]: row for row in standings(bench.study, bench.results)}
    first, then = (json.loads((bench.results.folder / run / "run.json").read_text()) for run in ("plain.0", "deep.0"))
    assert rows["deep"]["minutes_mean"] == pytest.approx((first["seconds"] + then["seconds"]) / 60, abs=0.01)
    assert (rows["deep"]["epochs"], rows["plain"]["epochs"]) == (6, 3)
    assert (rows["deep"]["seeds"], rows["deep"]["accuracy_std"]) == (1, 0.0)
    operations = then["operations"] * then["views"] / then["seconds"] / then["peak"] / 1e9
    assert rows["deep"]["flop_share_of_peak"] == pytest.approx(operations, rel=1e-2, abs=1e-4)


def test_operations_of_training_leave_out_fixed_weights_and_the_gradient_of_pixels():
    layers = NETS["cifar-fast"].plan
    first, second = 276_768, 13_284_864  # multiply-adds of conv0 and conv1_1, by the net's table
    rest = NETS["cifar-fast"].macs - first - second
    assert count_training_operations(layers, 32) == 2 * first + 6 * second + 6 * rest
    plain = NETS["cifar-vgg-a"]
    assert count_training_operations(plain.plan, 32) == 6 * plain.macs - 2 * 9 * 3 * 64 * 32**2


def test_the_board_has_the_ten_of_2014_and_ours_by_accuracy(bench):
    (sheet,) = sheets(bench.study, bench.results)
    whos = [row[0] for row in sheet.rows]
    ranks = [who.partition(".")[0] for who in whos if "Kaggle" in sheet.rows[whos.index(who)][1]]
    assert ranks == [str(rank) for rank in range(1, 11)]
    assert len(sheet.rows) == 15
    assert {row[1] for row in sheet.rows[-5:]} == {"centre@32", "shifts@32", "mean of 2"}  # nets of noise come last
    row = next(row for row in sheet.rows if row[0].startswith("fast"))
    assert (row[0], row[5]) == ("fast: cifar-fast, float32", str(torch.get_num_threads()))
    assert "±" in row[2]
    assert "interviews" in sheet.note
    assert "nagadomi" in sheet.note


def test_a_page_has_the_leaderboard_and_the_findings_of_a_study(bench):
    root = bench.results.folder.parent
    (root / "board.json").write_text(json.dumps(list(standings(bench.study, bench.results))))
    page = fill("<!-- leaderboard: board.json -->\n<!-- end -->\n<!-- findings: results -->\n<!-- end -->", root)
    assert "| 10. Gil Levi | Kaggle 2014 | 93.00–94.15 |  |  |  |  |" in page
    assert page.count("\nOurs on ") == 1
    effect = try_findings(bench.study, bench.results)["depth"].effects[0]
    assert f"| Depth helps | deep centre@224 – plain centre@224 |  | {points(effect.difference)} |" in page
    assert fill("<!-- findings: nowhere -->\n<!-- end -->", root) == (
        "<!-- findings: nowhere -->\n*Not measured yet: nowhere.*\n<!-- end -->"
    )
    assert say_effect(Effect("deep", "plain", None, "not resolved"), "top-1 error") == (
        "deep against plain: the paper has no figure."
    )


def test_a_start_by_the_authors_own_law_has_a_name(bench):
    assert start_of(bench.study, "fast") == "the authors' own"
    assert start_of(bench.study, "deep") == "He, from plain"


def test_runs_that_take_days_are_left_out_until_they_are_asked_for(tmp_path):
    (tmp_path / "board.toml").write_text(STUDY)
    assert [*read_study(tmp_path / "board.toml").runs] == ["fast", "plain", "deep"]
    assert [*read_study(tmp_path / "board.toml", {"full": "true"}).runs] == ["fast", "plain", "deep", "large"]


def test_a_run_like_a_recipe_is_that_recipe_but_for_what_the_study_says(tmp_path):
    (tmp_path / "board.toml").write_text(STUDY)
    recipe = read_study(tmp_path / "board.toml").recipe_of("fast", 1)
    assert (recipe.net, recipe.views.mirror, recipe.optimizer.shifts) == ("cifar-fast", "alternate", 1000)
    assert (recipe.width, recipe.optimizer.batch, recipe.seed) == (0.05, 10, 1)
    (tmp_path / "board.toml").write_text(STUDY.replace('like = "cifar-fast"', 'like = "cifar-quick"'))
    with pytest.raises(StudyError, match="cifar-quick: cannot be read"):
        read_study(tmp_path / "board.toml")


def test_the_rows_are_written_by_a_command(bench, tmp_path):
    file = tmp_path / "cifar10.json"
    subprocess.run(
        [sys.executable, "-m", "verydeep.studies.leaderboard", bench.results.folder, file], check=True, timeout=60
    )
    rows = json.loads(file.read_text())
    assert rows == list(standings(bench.study, bench.results))
    assert rows == json.loads((bench.results.folder / "leaderboard.json").read_text())
