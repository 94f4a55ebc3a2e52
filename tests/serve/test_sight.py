import json

import numpy as np
import pytest
import torch
from torch import nn

import verydeep
from verydeep.errors import LocalisationError, NetError, ProtocolError
from verydeep.evaluation.posteriors import Posteriors
from verydeep.evaluation.protocol import parse
from verydeep.serve.sight import ServedNet, best_of_all, open_served, shares, usual_ways


def test_it_says_what_predict_and_localise_say(served, files, picture, tmp_path):
    answer = served.look(picture)
    found = verydeep.localise(*files, picture, protocol=served.protocols[-1].text, device="cpu")
    assert [each["key"] for each in answer["classes"][:5]] == [name for name, _, _ in found]
    assert [each["posteriors"][-1] for each in answer["classes"][:5]] == pytest.approx(
        [score for _, score, _ in found], abs=1e-4
    )
    height, width, _ = picture.shape
    for each, (_, _, box) in zip(answer["classes"], found, strict=False):
        assert each["box"] == pytest.approx(shares(box, height, width))
    assert {each["key"]: each["name"] for each in answer["classes"]}["eel"] == "moray eel"


def test_every_way_of_looking_is_what_posteriors_are_by_it(served, picture):
    answer = served.look(picture)
    assert [way["protocol"] for way in answer["ways"]] == ["centre@73", "dense@73", "dense@73,109,146"]
    assert answer["ways"][2]["words"] == "dense, 3 sizes"
    assert all(way["seconds"] > 0 for way in answer["ways"])
    alone = open_served(served.where, ["dense@73"], device="cpu").look(picture)
    by_key = {each["key"]: each["posteriors"] for each in answer["classes"]}
    assert all(by_key[each["key"]][1] == each["posteriors"][0] for each in alone["classes"])


def test_an_answer_is_json_and_has_a_map_a_class_and_a_size(served, picture):
    answer = json.loads(json.dumps(served.look(picture), allow_nan=False))
    assert answer["picture"]["address"].startswith("data:image/jpeg;base64,")
    assert (answer["picture"]["height"], answer["picture"]["width"]) == picture.shape[:2]
    for each in answer["classes"]:
        assert len(each["maps"]) == len(answer["maps"]) == 3
        assert np.asarray(each["maps"][0]).ndim == 2
    left, top, right, bottom = answer["crop"]
    assert (bottom - top) * 90 == pytest.approx((right - left) * 140, rel=0.02)


def test_classes_are_the_five_best_of_the_last_way_then_what_others_had_among_theirs():
    def said(*values):
        row = np.array([values], np.float32)
        return Posteriors(row, ("picture",), tuple("abcdefg"), None, "net", "", "array", "all", "dense@64", 0.1)

    first, last = said(9, 8, 7, 6, 5, 0, 0), said(0, 1, 2, 9, 8, 7, 6)
    assert best_of_all([first, last]) == [3, 4, 5, 6, 2, 1, 0]
    assert best_of_all([last]) == [3, 4, 5, 6, 2]


def test_usual_ways_are_those_that_the_net_was_tested_by():
    net = verydeep.create_net("vgg-a", width=1 / 64, crop=64, hidden=8, num_classes=3)
    rows = [{"protocol": "centre@64", "top1_error": 0.5}, {"protocol": "dense@64,80,96", "top1_error": 0.4}]
    assert usual_ways(net, {"errors": rows}) == ["centre@64", "dense@64", "dense@64,80,96"]
    assert usual_ways(net, {"errors": rows[:1]}) == ["centre@64", "dense@64", "dense@64,96,128"]
    with torch.device("meta"):
        paper = verydeep.create_net("vgg-d")
    assert usual_ways(paper, {}) == ["centre@256", "dense@256", "dense@256,384,512"]
    for way in usual_ways(paper, {}):
        parse(way, 224)


def test_a_net_without_a_map_is_shown_crops_and_says_why(picture):
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    net = verydeep.wrap(module, classes=("a", "b", "c"), mean=0, crop=16)
    net.no_score_map = "it takes crops only"
    ways = usual_ways(net, {})
    assert ways == ["centre", "ten-crop"]
    served = ServedNet("mine", net, {}, [parse(way, 16) for way in ways])
    answer = served.look(picture)
    assert answer["maps"] == []
    assert answer["no_map"] == "it takes crops only"
    assert len(answer["classes"]) == 3


def test_what_does_not_fit_is_said_before_anything_is_served(files, tmp_path):
    net, localiser = files
    with pytest.raises(ProtocolError, match="sideways"):
        open_served(net, ["sideways"], device="cpu")
    with pytest.raises(LocalisationError, match="gives class scores, not boxes"):
        open_served(net, localisers=[net], device="cpu")
    other = verydeep.create_net("vgg-a", width=1 / 64, crop=32, hidden=8, num_classes=2)
    verydeep.save_net(tmp_path / "other.safetensors", other)
    with pytest.raises((LocalisationError, NetError)):
        open_served(tmp_path / "other.safetensors", localisers=[localiser], device="cpu")
