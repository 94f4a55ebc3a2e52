import numpy as np
import pytest

from verydeep.errors import DatasetError, PosteriorsError, ProtocolError
from verydeep.evaluation.compare import paired_difference
from verydeep.evaluation.error_table import error_row
from verydeep.evaluation.evaluate import evaluate
from verydeep.evaluation.outcome import outcome
from verydeep.evaluation.posteriors import Posteriors, posteriors
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.evaluation.sample import stratified

SHAPES = [(40, 50), (33, 80), (40, 50), (70, 35)]


def test_a_table_has_a_row_for_each_protocol_in_the_order_asked(make_net, make_data):
    protocols = ["dense@32,40", Protocol("centre", (36,), mirror=True), "centre"]
    table = evaluate(make_net(), make_data(SHAPES), protocols, device="cpu", weights="mine")
    assert [row["protocol"] for row in table.rows] == ["dense@32,40", "centre@36+mirror", "centre@37"]
    assert [row["scales"] for row in table.rows] == [[32, 40], [36], [37]]
    assert {row["weights"] for row in table.rows} == {"mine"}


def test_errors_are_those_of_the_posteriors_that_are_left_in_the_folder(make_net, make_data, tmp_path):
    net, data = make_net(), make_data(SHAPES)
    table = evaluate(net, data, ["dense@32,40"], device="cpu", posteriors_folder=tmp_path / "new" / "folder")
    (path,) = (tmp_path / "new" / "folder").iterdir()
    assert path.name == "sliding-made-val-dense@32,40.safetensors"
    found = Posteriors.load(path)
    assert found.values.tobytes() == posteriors(net, data, "dense@32,40", device="cpu").values.tobytes()
    assert table.rows[0]["top1_error"] == np.mean(found.values.argmax(axis=1) != data.labels)


def test_names_of_files_hold_nothing_that_a_file_system_refuses(make_net, make_data, tmp_path):
    net = make_net()
    net.name = "zoo:a/b"
    evaluate(net, make_data(SHAPES), ["2*centre@36 + dense@32"], device="cpu", posteriors_folder=tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.name == "zoo-a-b-made-val-2-centre@36 + dense@32.safetensors"


def test_classes_are_matched_by_key_whatever_their_order(make_net, make_data):
    net = make_net()
    truth = posteriors(net, make_data(SHAPES), "centre@32", device="cpu").values.argmax(axis=1)
    classes = "gfedcba"
    labels = [classes.index(net.classes[place]) for place in truth]
    table = evaluate(net, make_data(SHAPES, classes, labels), ["centre@32"], device="cpu")
    assert table.rows[0]["top1_error"] == 0


def test_a_data_set_with_only_some_of_the_classes_is_fine_and_one_with_others_is_refused(make_net, make_data):
    assert evaluate(make_net(), make_data(SHAPES, "ca"), ["centre"], device="cpu").rows[0]["classes"] == 7
    with pytest.raises(DatasetError, match="made: class z is not among the 7 classes of sliding; use another net"):
        evaluate(make_net(), make_data(SHAPES, "caz"), ["centre"], device="cpu")


def test_pictures_without_labels_are_refused_before_anything_runs(make_net, make_data):
    net = make_net()
    with pytest.raises(DatasetError, match="made: pictures of split val have no label; use a split that has them all"):
        evaluate(net, make_data(SHAPES, labels=[0, 1, 2, -1]), ["centre"], device="cpu")
    with pytest.raises(ProtocolError, match="denser is not a protocol"):
        evaluate(net, make_data(SHAPES), ["centre", "denser"], device="cpu")
    assert net.shown == []


def test_a_folder_that_cannot_be_made_is_said_before_anything_runs(make_net, make_data, tmp_path):
    (tmp_path / "file").touch()
    net = make_net()
    with pytest.raises(PosteriorsError, match=r"file/p: cannot be made a folder \(Not a directory\)"):
        evaluate(net, make_data(SHAPES), ["centre"], device="cpu", posteriors_folder=tmp_path / "file" / "p")
    assert net.shown == []


def test_progress_names_the_protocol(make_net, make_data):
    calls = []
    evaluate(make_net(), make_data(SHAPES), ["centre", "dense"], device="cpu", progress=lambda *c: calls.append(c))
    assert ("centre@37", 4, 4) in calls
    assert calls[-1] == ("dense@37", 4, 4)


MANY = [(40, 50), (33, 80), (40, 50), (70, 35), (44, 44)] * 6


@pytest.mark.slow
def test_all_puts_every_protocol_beside_the_centre_crop(make_net, make_data, tmp_path):
    net, data, lines = make_net(), make_data(MANY), []
    how = {"device": "cpu", "posteriors_folder": tmp_path, "remark": lines.append}
    table = evaluate(net, data, "all@32,36,40", **how)
    names = ["centre@36", "ten-crop@36", "dense@36", "dense@32,36,40", "multi-crop@32,36,40"]
    assert [row["protocol"] for row in table.rows] == [*names, "dense+multi-crop@32,36,40"]
    assert {row["compared_with"] for row in table.rows[1:]} == {"centre@36"}
    assert table.rows[0]["cost_ratio"] == 1
    assert sum(row.get("cheapest", False) for row in table.rows) == 1
    alone = {name: posteriors(net, data, name, device="cpu") for name in names}
    for row in table.rows[:-1]:
        due = error_row(alone[row["protocol"]], parse(row["protocol"], 32))
        assert {key: row[key] for key in due if key not in ("seconds", "calibration_error")} == {
            key: due[key] for key in due if key not in ("seconds", "calibration_error")
        }
        assert row["calibration_error"] == pytest.approx(due["calibration_error"], abs=1e-6)
    wrong = [outcome(alone[name]).wrong(1) for name in ("dense@36", "centre@36")]
    assert table.rows[2]["top1_difference_interval"] == list(paired_difference(*wrong)[1:])
    assert lines[0].startswith("6 protocols on 30 pictures will take about ")
    assert [line.split()[0] for line in lines[1:]] == [row["protocol"] for row in table.rows]
    assert table.verdict()
    assert "already" not in "".join(lines)
    lines.clear()
    again = evaluate(net, data, "all@32,36,40", **how)
    assert f"less what {tmp_path} has of them already" in lines
    assert [row["top1_error"] for row in again.rows] == [row["top1_error"] for row in table.rows]


def test_what_protocols_have_in_common_is_tested_once(make_net, make_data, tmp_path):
    net, data, calls = make_net(), make_data(SHAPES), []
    protocols = ["dense@36", "dense@32,36", "dense+multi-crop@32,36", "multi-crop@40"]
    table = evaluate(
        net, data, protocols, device="cpu", posteriors_folder=tmp_path, progress=lambda *told: calls.append(told[0])
    )
    assert list(dict.fromkeys(calls)) == ["dense@36", "dense@32", "multi-crop@32", "multi-crop@36", "multi-crop@40"]
    kept = {Posteriors.load(path).protocol: Posteriors.load(path) for path in tmp_path.iterdir()}
    assert kept.keys() == {*calls, *protocols}
    for name in protocols:
        np.testing.assert_allclose(kept[name].values, posteriors(net, data, name, device="cpu").values, atol=1e-6)
    assert table.outcomes.keys() == kept.keys()
    calls.clear()
    again = evaluate(net, data, protocols, device="cpu", posteriors_folder=tmp_path,
                     progress=lambda *told: calls.append(told[0]))  # fmt: skip
    assert not calls
    assert [row["top1_error"] for row in again.rows] == [row["top1_error"] for row in table.rows]
    lines = []
    posteriors(net, data, "dense@32,36", device="cpu", file=next(tmp_path.glob("*-dense@32,36.*")), remark=lines.append)
    assert "is there already" in lines[0]  # the mean is as good as the test of its own


def test_a_part_of_the_pictures_has_of_every_class_its_share(make_net, make_data, tmp_path):
    net, data = make_net(), make_data([(40, 50)] * 28)
    table = evaluate(net, data, ["centre"], images=14, seed=3, device="cpu", posteriors_folder=tmp_path)
    (row,) = table.rows
    assert (row["images"], row["of_images"], row["seed"]) == (14, 28, 3)
    (path,) = tmp_path.iterdir()
    assert path.name == "sliding-made-val-14-of-28-seed-3-centre@37.safetensors"
    found = Posteriors.load(path)
    assert (np.bincount(found.labels) == 2).all()
    assert found.images == tuple(data.images[place] for place in stratified(data.labels, 14, 3))
    (whole,) = evaluate(net, data, ["centre"], images=28, device="cpu").rows
    assert whole["images"] == 28
    assert "of_images" not in whole
    with pytest.raises(DatasetError, match="made: 0 images cannot be tested; give 1 or more"):
        evaluate(net, data, ["centre"], images=0, device="cpu")


def test_a_net_without_a_score_map_gets_a_row_that_says_so_and_the_others_go_on(make_net, make_data):
    net = make_net()
    net.no_score_map = "it takes crops only"
    table = evaluate(net, make_data(MANY), ["centre", "dense", "ten-crop"], device="cpu", weights="mine")
    assert table.rows[1] == {
        "net": "sliding",
        "weights": "mine",
        "data": "made",
        "split": "val",
        "classes": 7,
        "protocol": "dense@37",
        "note": "not applicable: it takes crops only",
    }
    assert [row["protocol"] for row in table.measured] == ["centre@37", "ten-crop@37"]
    assert table.measured[1]["compared_with"] == "centre@37"
    assert "not applicable: it takes crops only" in str(table)
    every = evaluate(net, make_data(MANY), "all", device="cpu")
    assert ["note" in row for row in every.rows] == [False, False, True, True, False, True]
    with pytest.raises(ProtocolError, match=r"dense@37: sliding has no score map \(it takes crops only\)"):
        evaluate(net, make_data(MANY), ["dense"], device="cpu")


def test_a_protocol_alone_may_be_given_as_it_is_and_twice_is_once(make_net, make_data):
    net, data = make_net(), make_data(SHAPES)
    for protocols in ("centre", Protocol("centre", (37,), mirror=False), ["centre", "centre@37"]):
        (row,) = evaluate(net, data, protocols, device="cpu").rows
        assert row["protocol"] == "centre@37"
        assert "compared_with" not in row
