import numpy as np
import pytest

from verydeep.errors import DatasetError, PosteriorsError, ProtocolError
from verydeep.evaluation.evaluate import evaluate
from verydeep.evaluation.posteriors import Posteriors, posteriors
from verydeep.evaluation.protocol import Protocol

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
