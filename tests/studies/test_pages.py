import json

import pytest

from verydeep.errors import VerydeepError
from verydeep.nets.registry import load_own_net
from verydeep.studies.pages import fill, main

ROW = {
    "net": "vgg-a",
    "data": "tiny-imagenet",
    "protocol": "dense@64",
    "scales": [64],
    "images": 10000,
    "top1_error": 0.4567,
    "top1_interval": [0.4469, 0.4668],
    "top5_error": 0.2099,
    "top5_interval": [0.202, 0.218],
}


def test_the_table_stands_between_its_marks_and_the_rest_is_left_alone(tmp_path):
    rows = [ROW, {**ROW, "protocol": "centre@64"}, {**ROW, "net": "vgg-d", "scales": [56, 64, 72]}]
    rows += [{**ROW, "net": "vgg-a-bn"}, {**ROW, "classes": 10}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    filled = fill("before\n<!-- errors: rows.json -->\nold\n<!-- end -->\nafter\n", tmp_path)
    assert filled.splitlines() == [
        "before",
        "<!-- errors: rows.json -->",
        "| net | data | protocol | images | top-1 error, % | top-5 error, % | paper's on ILSVRC-2012 |",
        "| --- | --- | --- | --: | --: | --: | --: |",
        "| vgg-a | tiny-imagenet | dense@64 | 10,000 | 45.7 (44.7–46.7) | 21.0 (20.2–21.8) | 29.6 / 10.4 |",
        "| vgg-a | tiny-imagenet | centre@64 | 10,000 | 45.7 (44.7–46.7) | 21.0 (20.2–21.8) |  |",
        "| vgg-d | tiny-imagenet | dense@64 | 10,000 | 45.7 (44.7–46.7) | 21.0 (20.2–21.8) | 24.8 / 7.5 |",
        "| vgg-a-bn | tiny-imagenet | dense@64 | 10,000 | 45.7 (44.7–46.7) | 21.0 (20.2–21.8) | 29.6 / 10.4 |",
        "| vgg-a | tiny-imagenet | dense@64 | 10,000 | 45.7 (44.7–46.7) | 21.0 (20.2–21.8) |  |",
        "<!-- end -->",
        "after",
    ]
    assert fill(filled, tmp_path) == filled


def test_the_bundled_net_is_said_by_its_card(tmp_path):
    net, card = load_own_net("tiny-imagenet")
    minutes = f"{card['epochs']} epochs in {card['training_seconds'] / 60:.0f} minutes."
    said = fill("<!-- card: tiny-imagenet -->\n<!-- end -->", tmp_path).splitlines()[1]
    assert said.startswith(f"`tiny-imagenet` is {net.name}, ")
    assert said.endswith(minutes)


def test_protocols_stand_side_by_side_with_the_choice_below(tmp_path):
    compared = {"compared_with": "dense@64", "top1_difference": -0.0123, "top1_difference_interval": [-0.02, -0.0046]}
    costs = [{"calibration_error": 0.051, "cost_ratio": 2.66, "worse_than_best": True},
             {"calibration_error": 0.06, "cost_ratio": 50.0, "worse_than_best": False, "cheapest": True}]  # fmt: skip
    best = {**ROW, **compared, **costs[1], "protocol": "multi-crop@64", "top1_error": 0.4444}
    (tmp_path / "rows.json").write_text(json.dumps([{**ROW, **costs[0]}, best, {"protocol": "x", "note": "no map"}]))
    lines = fill("<!-- comparison: rows.json -->\n<!-- end -->", tmp_path).splitlines()
    assert lines[1].split(" | ")[3] == "top-1 less dense@64's, points"
    assert lines[3] == "| dense@64 | 45.7 (44.7–46.7) | 21.0 (20.2–21.8) |  | 5.1 | 2.7 |"
    assert lines[4].endswith("| -1.2 (-2.0 to -0.5) | 6.0 | 50.0 |")
    assert lines[5] == ""
    assert lines[6].endswith("of those that are not significantly worse: multi-crop@64, at 50.0 × the cost of a crop.")


def test_runs_stand_below_each_other_with_their_error_after_each_epoch(tmp_path):
    for run, errors in (("with", (0.9, 0.8123)), ("without", (0.95, 0.84))):
        epochs = [{"epoch": number, "validation_top1_error": error} for number, error in enumerate(errors, start=1)]
        (tmp_path / f"{run}.json").write_text(json.dumps({"run": run, "seed": 0, "epochs": epochs}))
    filled = fill("<!-- epochs: with.json without.json -->\n<!-- end -->", tmp_path)
    assert filled.splitlines()[1:-1] == [
        "| run, seed | epoch 1 | epoch 2 |",
        "| --- | --: | --: |",
        "| with, 0 | 90.0 | 81.2 |",
        "| without, 0 | 95.0 | 84.0 |",
    ]


def test_several_files_make_one_table_and_several_tables_a_page(tmp_path):
    machine = {"processor": "Abacus (beads)", "cores": 2}
    speed = {"ratio": 4.126, "tuned_peer_ratio": 1.5, "share_of_limit": 0.876, "machine": machine, "torch": "2.14"}
    for name in ("feed", "step"):
        (tmp_path / f"{name}.json").write_text(json.dumps(speed))
    mark = "<!-- speed: feed.json step.json -->\n<!-- end -->\n"
    filled = fill(mark + mark, tmp_path)
    assert filled.count("| feed | 4.13 | 1.50 | 88 % | Abacus (beads), 2 cores | 2.14 |") == 2
    assert filled.count("| step | 4.13") == 2


def test_dense_testing_stands_beside_crops_with_its_memory_below(tmp_path):
    row = {"protocol": "dense@256", "images": 120, "shapes": 51, "images_per_second": 2.853, "gflop_per_second": 326.3,
           "share_of_crops": 0.758, "peak_memory_mib": 2211.8}  # fmt: skip
    memory = {"protocol": "dense@256,384", "width": 0.0625, "images": 1000, "most_in_first_100_mib": 813.1,
              "most_after_that_mib": 964.9}  # fmt: skip
    content = {"dense": [row], "memory": memory, "lean_memory": memory | {"most_after_that_mib": 814.2}}
    (tmp_path / "dense.json").write_text(json.dumps(content))
    lines = fill("<!-- dense: dense.json -->\n<!-- end -->", tmp_path).splitlines()
    assert lines[3] == "| dense@256 | 120 | 51 | 2.85 | 326 | 76 % | 2,212 |"
    assert lines[5].endswith("from Python: at most 813 MiB in the first hundred, 965 MiB after it.")
    assert lines[7].endswith("the command `verydeep`: at most 813 MiB in the first hundred, 814 MiB after it.")
    way = {"protocol": "dense@256", "images": 20, "seconds": 45.4, "gflop_per_second": 401.2}
    content = {
        "dense": way,
        "crops": way | {"seconds": 226.6},
        "times_faster": 4.99,
        "times_faster_by_arithmetic": 5.27,
    }
    (tmp_path / "crops.json").write_text(json.dumps(content))
    lines = fill("<!-- crops: crops.json -->\n<!-- end -->", tmp_path).splitlines()
    assert lines[3:5] == ["| dense@256 | 20 | 45 | 401 |", "| dense@256 | 20 | 227 | 401 |"]
    assert lines[6] == "So dense testing is 4.99 times as fast; by arithmetic 5.27 times."


def test_a_result_that_is_not_there_yet_is_said(tmp_path):
    filled = fill("<!-- errors: rows.json -->\n| a number | of old |\n<!-- end -->", tmp_path)
    assert filled == "<!-- errors: rows.json -->\n*Not measured yet: rows.json.*\n<!-- end -->"


def test_a_damaged_result_and_an_unknown_table_are_named(tmp_path):
    (tmp_path / "rows.json").write_text("[")
    with pytest.raises(VerydeepError, match=r"rows\.json: cannot be read"):
        fill("<!-- errors: rows.json -->\n<!-- end -->", tmp_path)
    with pytest.raises(VerydeepError, match="'eror'"):
        fill("<!-- eror: rows.json -->\n<!-- end -->", tmp_path)


def test_pages_in_folders_are_written_anew_where_they_differ(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/page.md").write_text("<!-- errors: rows.json -->\n<!-- end -->\n")
    (tmp_path / "plain.md").write_text("plain\n")
    main(["plain.md", "docs"])
    assert capsys.readouterr().out == "docs/page.md: written anew\n"
    assert "Not measured" in (tmp_path / "docs/page.md").read_text()
