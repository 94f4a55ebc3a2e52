import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from verydeep.cli.app import run
from verydeep.data.open import open_dataset
from verydeep.data.splits import split_classes
from verydeep.errors import StudyError
from verydeep.nets.registry import create_net, read_net, save_net
from verydeep.studies.published import published
from verydeep.studies.reproduce import reproduce
from verydeep.studies.transfer_reproduce import Part, prepare_transfer, reproduce_transfer
from verydeep.studies.transfer_rows import random_like, raw_pixels
from verydeep.studies.transfer_study import is_transfer, read_transfer_study, transfer_studies
from verydeep.studies.transfer_table import (
    DESCRIBERS,
    PEOPLE,
    caltech_lines,
    descriptor_lines,
    photograph_lines,
    transfer_sheets,
    voc_lines,
)
from verydeep.transfer import LinearTransfer, describe, mean_class_recall

ROOT = Path(__file__).parents[2]

STUDY = """
title = "Small"
Cs = [1, 10]

[parameters]
net = "net.safetensors"
epochs = 1

[sets.photos]
folder = "photos"
column = "caltech101"
train = 6
test = 3
splits = 2

[sets.animals]
folder = "VOC2007"
column = "voc2007"
train = "train"
watched = "val"
test = "test"

[sets.persons]
folder = "VOC2012"
kind = "voc-actions"
table = "table-12"
column = "voc2012"
train = "train"
test = "val"

[sets.elsewhere]
folder = "not-here"
column = "caltech256"
train = 6

[rows.stacked]
set = "photos"
nets = ["$net"]
scales = [224, 336]
combine = "stack"
like = "D"

[rows.random]
set = "photos"
nets = ["$net"]
weights = "random"
scales = [224]

[rows.pixels]
set = "photos"
way = "pixels"

[rows.lacking]
set = "elsewhere"
way = "pixels"

[rows.animals]
set = "animals"
nets = ["$net", "$net"]
scales = [224]

[rows.largest]
set = "animals"
nets = ["$net"]
scales = [224, 448]
views = "largest"

[rows.both]
set = "persons"
nets = ["$net"]
scales = [224]
regions = ["image", "box"]
"""

TUNED = """
title = "Tuned"
Cs = [1.0]

[sets.photos]
folder = "photos"
column = "caltech101"
train = 8
test = 3

[rows.last]
set = "photos"
way = "last"
nets = ["net.safetensors"]
epochs = 2

[rows.all]
set = "photos"
way = "all"
nets = ["net.safetensors"]
scales = [224]
epochs = 2

[rows.scratch]
set = "photos"
way = "scratch"
recipe = "tiny-imagenet"
changes = { width = 0.0625, crop = 32, hidden = 12, views = { scale_jitter = [32, 40] }, schedule = { warm_up = 0.5 } }
epochs = 1
"""
COLOURS = {"ant": (200, 60, 40), "bee": (60, 190, 70), "cat": (50, 70, 210)}


def draw(path, colour, seed):
    noise = np.random.default_rng(seed).normal(0, 40, (10, 13, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).resize((52, 40)).save(path)


@pytest.fixture(scope="session")
def sets(tmp_path_factory):
    """Class folders, a year of VOC, and one with persons."""
    root = tmp_path_factory.mktemp("sets")
    for place, (name, colour) in enumerate(COLOURS.items()):
        for number in range(11):
            draw(root / "photos" / name / f"{number:02}.png", colour, 100 * place + number)
    names = sorted(COLOURS)
    for year, task, splits in (("VOC2007", "Main", ("train", "val", "test")), ("VOC2012", "Action", ("train", "val"))):
        lists = root / year / "ImageSets" / task
        lists.mkdir(parents=True)
        (root / year / "ImageSets" / "Main").mkdir(exist_ok=True)
        (root / year / "Annotations").mkdir()
        for part, split in enumerate(splits):
            images = [f"{part}{number:02}" for number in range(15)]
            person = "" if task == "Main" else " 1"
            (lists / f"{split}.txt").write_text("".join(f"{image}{person}\n" for image in images))
            for place, name in enumerate(names):
                shown = [1 if number % 3 == place else -1 for number in range(15)]
                lines = [f"{image}{person} {label}\n" for image, label in zip(images, shown, strict=True)]
                (lists / f"{name}_{split}.txt").write_text("".join(lines))
            for number, image in enumerate(images):
                draw(root / year / "JPEGImages" / f"{image}.jpg", COLOURS[names[number % 3]], 1000 * part + number)
                box = "<xmin>3</xmin><ymin>3</ymin><xmax>42</xmax><ymax>40</ymax>"
                (root / year / "Annotations" / f"{image}.xml").write_text(
                    f"<annotation><object><name>person</name><bndbox>{box}</bndbox></object></annotation>"
                )
    return root


@pytest.fixture(scope="session")
def net(tmp_path_factory):
    """The file of a narrow net."""
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    save_net(path, create_net("vgg-a-bn", width=1 / 16, crop=32, hidden=12, num_classes=5, start="he"), {})
    return path


def write(folder, text, net):
    path = folder / "small.toml"
    path.write_text(text.replace("net.safetensors", str(net)))
    return path


@pytest.fixture(scope="session")
def done(tmp_path_factory, sets, net):
    """The small study, done: its file, its folder, its rows, what it said."""
    folder, said = tmp_path_factory.mktemp("study"), []
    path = write(folder, STUDY, net)
    rows = reproduce_transfer(path, sets, folder=folder / "results", device="cpu", say=said.append)
    return path, folder / "results", rows, said


def test_every_row_is_measured_on_every_split_and_those_without_pictures_are_named(done):
    _, folder, rows, said = done
    assert [row["row"] for row in rows] == ["stacked", "random", "pixels", "animals", "largest", "both"]
    assert [len(row["splits"]) for row in rows] == [2, 2, 2, 1, 1, 1]
    assert said[-1].endswith("9 of 10 parts are done; not-here: not there")
    assert json.loads((folder / "rows.json").read_text()) == rows
    assert all(row["mean_class_recall"] > 0.5 for row in rows[:3])


def test_a_row_is_the_descriptors_the_machines_and_the_mean_over_splits_by_hand(done, sets, net):
    stacked, random, pixels = done[2][:3]
    data, (ours, _) = open_dataset(sets / "photos"), read_net(net)
    ways = [
        (stacked, lambda some: describe(ours, some, scales=[32, 48], combine="stack")),
        (random, lambda some: describe(random_like(ours), some, scales=[32])),
        (pixels, raw_pixels),
    ]
    for row, described in ways:
        for seed, recall in enumerate(row["splits"]):
            train, test = split_classes(data, 6, 3, seed)
            machine = LinearTransfer(Cs=(1, 10), seed=seed).fit(described(train), train.labels)
            due = mean_class_recall(test.labels, machine.predict(described(test)))
            assert (recall, row["C"][seed]) == (pytest.approx(due), machine.C_)
        assert row["mean_class_recall"] == pytest.approx(np.mean(row["splits"]))
        assert row["deviation"] == pytest.approx(np.std(row["splits"], ddof=1))


def test_voc_is_scored_by_both_rules_and_that_of_its_year_leads(done):
    animals, largest, both = done[2][3:]
    assert (animals["rule"], animals["splits"]) == ("11-point", [animals["11-point"]])
    assert (both["rule"], both["splits"]) == ("area", [both["area"]])
    assert (animals["trained_on"], animals["images"], animals["dimensions"]) == (30, 15, 24)
    assert (both["dimensions"], largest["dimensions"]) == (24, 12)
    assert largest["way"] == "Q = 32, 64, averaged, the largest score of all windows"
    assert both["way"] == "Q = 32, image and box"
    assert all(0.4 < row["area"] <= 1 for row in (animals, largest, both))


def test_nothing_is_done_twice_and_what_is_missing_is_done(done, sets, tmp_path):
    path, folder, rows, _ = done
    again, said = shutil.copytree(folder, tmp_path / "again"), []
    assert reproduce_transfer(path, sets, folder=again, say=said.append) == rows
    assert len(said) == 1
    (again / "parts" / "pixels.1.json").unlink()
    third = reproduce_transfer(path, sets, folder=again, say=said.append)
    assert [line.split(" is next")[0] for line in said[1:-1]] == ["pixels.1"]
    assert [row["splits"] for row in third] == [row["splits"] for row in rows]


def test_what_was_done_otherwise_is_not_mixed_in(done, sets, net, tmp_path):
    _, folder, _, _ = done
    other = write(tmp_path, STUDY.replace("Cs = [1, 10]", "Cs = [1]"), net)
    with pytest.raises(StudyError, match=r"stacked\.0\.json: was done otherwise; give the same parameters"):
        prepare_transfer(other, sets, folder=folder)


def test_a_part_that_fails_is_named_and_the_others_are_done(sets, net, tmp_path):
    path = write(tmp_path, STUDY.replace("scales = [224, 336]", "scales = [100]"), net)
    with pytest.raises(StudyError, match=r"2 failed: stacked\.0: .*14 px is less than the crop") as caught:
        reproduce_transfer(path, sets, folder=tmp_path / "results", device="cpu")
    assert "\n" not in str(caught.value)
    assert len([*(tmp_path / "results" / "parts").glob("*.json")]) == 7


def test_the_plan_says_what_remains_and_how_long_it_takes(done, sets, tmp_path):
    path, folder, _, _ = done
    bench = prepare_transfer(path, sets, folder=folder)
    assert bench.seconds(Part("pixels", 0)) is not None
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(bench.plan_table())
    assert "its pictures are not there" in console.export_text()
    fresh = prepare_transfer(path, sets, folder=tmp_path / "none")
    assert fresh.remaining() == "9 of 10 parts remain: 9 of a time not known yet; not-here: not there"
    assert [row["seconds_left"] for row in fresh.plan_rows()] == [None] * 10
    assert not (tmp_path / "none").exists()


def test_no_part_is_begun_that_would_not_end_in_time(done, sets, tmp_path):
    path, folder, _, _ = done
    again, said = shutil.copytree(folder, tmp_path / "again"), []
    kept = json.loads((again / "parts" / "pixels.0.json").read_text())
    (again / "parts" / "pixels.0.json").write_text(json.dumps(kept | {"seconds": 600.0}))
    (again / "parts" / "pixels.1.json").unlink()
    reproduce_transfer(path, sets, folder=again, minutes=5.0, say=said.append)
    assert said == [f"{again}: 1 of 10 parts remain: 10 min; not-here: not there"]


def test_the_tables_have_ours_beside_theirs(done, sets):
    path, folder, rows, _ = done
    eleven, twelve = transfer_sheets(read_transfer_study(path), rows)
    assert eleven.columns == ("", "net", "pictures", "Caltech-101, %", "VOC-2007, %", "Caltech-256, %")
    assert ("the paper's", "D and E", "", "92.7 ± 0.5", "89.7", "86.2 ± 0.3") in eleven.rows
    place = [row[:2] for row in eleven.rows].index(("the paper's", "D"))
    beside = eleven.rows[place + 1]
    assert beside[:2] == ("ours", "D")
    assert beside[3] == f"{100 * rows[0]['mean_class_recall']:.1f} ± {100 * rows[0]['deviation']:.1f}"
    assert twelve.rows[-2][:2] == ("the paper's", "D and E, image and box")
    assert twelve.rows[-1][3] == f"{100 * rows[-1]['area']:.1f}"
    assert eleven.markdown()[0] in (folder / "tables.md").read_text()
    assert sum(line.startswith("| ") for line in caltech_lines(rows)) == 2 + 3 + 3
    assert sum(line.startswith("| ") for line in voc_lines(rows)) == 2 + 3


def test_rows_say_how_far_behind_the_best_they_are_over_the_same_splits():
    about = {"net": "a", "way": "b", "dimensions": None}
    rows = [
        about | {"mean_class_recall": 0.5, "deviation": 0.1, "splits": [0.4, 0.6]},
        about | {"mean_class_recall": 0.7, "deviation": 0.2, "splits": [0.5, 0.9]},
        about | {"11-point": 0.5, "area": 0.6, "splits": [0.6]},
        about | {"11-point": 0.4, "area": 0.75, "splits": [0.75]},
    ]
    assert caltech_lines(rows)[2:4] == [
        "| a | b |  | 50.0 ± 10.0 | 20.0 ± 14.1 | 40.0, 60.0 |",
        "| a | b |  | 70.0 ± 20.0 |  | 50.0, 90.0 |",
    ]
    assert voc_lines(rows)[2:] == ["| a | b | 50.0 | 60.0 | 15.0 |", "| a | b | 40.0 | 75.0 |  |"]


def test_benchmarks_become_tables():
    machine = {"machine": {"processor": "x", "cores": 2}, "torch": "2", "net": "a"}
    way = {"data_type": "bfloat16", "images_per_second": 3.0, "images": 5, "scales": [32, 40]}
    ways = dict.fromkeys(DESCRIBERS, way) | {"ours": way | {"cache_times_faster": 61.2}}
    apart = {"single_to_ours": {"mean": 1e-5, "most": 2e-4}}
    lines = descriptor_lines([machine | ways | {"times_faster": dict.fromkeys(ways, 2.5), "one_less_cosine": apart}])
    assert lines[2] == "| a | ours | bfloat16 | 3.00 |  | 61 times as fast |"
    assert lines[4].endswith("| bfloat16 | 3.00 | 2.50 |  |")
    assert "by 1e-05 on average and 0.0002 at most" in lines[-1]
    found = {"seconds": 12.34, "error": 0.125, "images": 300}
    assert photograph_lines([machine | dict.fromkeys(PEOPLE, found)])[2].endswith("| 12.3 | 12.5 | 300 |")


def test_the_command_does_the_same_and_plans(done, sets, tmp_path, capsys):
    path, folder, rows, _ = done
    given = [str(path), "--data", str(sets), "--folder", str(folder), "--device", "cpu"]
    assert run(["reproduce", *given, "--json", str(tmp_path / "rows.json")]) == 0
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    assert "the paper's" in capsys.readouterr().out
    assert run(["reproduce", *given, "--dry-run", "--json", str(tmp_path / "plan.json")]) == 0
    assert "9 of 10 parts are done" in capsys.readouterr().out
    assert sum(row["done"] for row in json.loads((tmp_path / "plan.json").read_text())) == 9


@pytest.mark.slow  # trains
@pytest.mark.filterwarnings("ignore:.*lr_scheduler")
def test_nets_are_tuned_on_all_training_pictures_of_a_split(sets, net, tmp_path):
    path = write(tmp_path, TUNED, net)
    said = []
    rows = reproduce_transfer(path, sets, folder=tmp_path / "results", device="cpu", say=said.append)
    assert [row["row"] for row in rows] == ["last", "all", "scratch"]
    assert rows[0]["way"] == "densely at Q = 37, 2 epochs"
    assert all(0 <= row["mean_class_recall"] <= 1 and row["trained_on"] == 24 for row in rows)
    runs = tmp_path / "results" / "work"
    last, all_of_it, scratch = (read_net(runs / f"{row['row']}.0/net.safetensors")[0] for row in rows)
    before, _ = read_net(net)
    assert last.conv1_1.weight.equal(before.conv1_1.weight)
    assert not all_of_it.conv1_1.weight.equal(before.conv1_1.weight)
    assert last.classes == ("ant", "bee", "cat")
    assert (scratch.width, scratch.crop, scratch.hidden) == (0.0625, 32, 12)


@pytest.mark.parametrize("name", transfer_studies())
def test_the_studies_that_the_package_brings_hold_together(name):
    study = read_transfer_study(name)
    assert is_transfer(name)
    for row in study.rows.values():
        table = published()[study.sets[row.set].table]["rows"]
        assert row.like is None or study.sets[row.set].column in next(each for each in table if each["net"] == row.like)
    with pytest.raises(StudyError, match="is of transfer"):
        reproduce(name)


def test_every_figure_of_tables_11_and_12_that_is_the_papers_own_has_a_row_that_does_the_same():
    study = read_transfer_study("transfer-paper")
    ours = {(study.sets[row.set].table, study.sets[row.set].column, row.like) for row in study.rows.values()}
    assert ours == {
        (table, column, each["net"])
        for table in ("table-11", "table-12")
        for each in published()[table]["rows"] if each["net"].startswith(("D", "E"))
        for column in each.keys() - {"net"}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('set = "photos"', 'set = "photo"', "rows.stacked: photo is not a set; did you mean photos?"),
        ("[rows.pixels]", "[rows.pixels]\nepoch = 3", "rows.pixels.epoch"),
        ('way = "pixels"', 'way = "scratch"', 'recipe goes with way = "scratch"'),
        (
            'way = "pixels"',
            'way = "pixels"\nchanges = { seed = 1 }',
            "changes are of a recipe; name it, or leave them out",
        ),
        ('nets = ["$net", "$net"]', "", "rows.animals: nets is missing; name one or more"),
        ('watched = "val"', "splits = 3", "sets.animals: train is a split"),
        ('way = "pixels"', 'way = "all"\nnets = ["a", "b"]', 'way = "all" is of one net'),
        ("scales = [224, 448]", 'combine = "stack"', 'views = "largest" goes with one net'),
        ('regions = ["image", "box"]', 'regions = ["left"]', "regions are image and box"),
        ('set = "persons"', 'set = "animals"', "rows.both: regions are for sets of persons"),
        ("$net", "$nets", r"\$nets is not a parameter; did you mean net"),
    ],
)
def test_a_study_that_does_not_hold_together_is_named_in_one_line(net, tmp_path, old, new, words):
    path = tmp_path / "small.toml"
    path.write_text(STUDY.replace(old, new))
    with pytest.raises(StudyError, match=words) as caught:
        read_transfer_study(path)
    assert "\n" not in str(caught.value)


def test_pictures_that_are_nowhere_are_said(done, tmp_path):
    path = done[0]
    with pytest.raises(StudyError, match="holds none of photos, VOC2007, VOC2012, not-here; give the folder"):
        prepare_transfer(path, tmp_path)
    with pytest.raises(StudyError, match="needs pictures; give the folder that holds its sets with --data"):
        reproduce_transfer(path, folder=tmp_path / "results")


def test_the_study_of_the_page_holds_together(tmp_path):
    (block,) = re.findall(
        r"^```toml\n(.*?)^```", (ROOT / "docs/transfer.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    (tmp_path / "birds.toml").write_text(block)
    assert [*read_transfer_study(tmp_path / "birds.toml").rows] == ["averaged", "stacked"]
