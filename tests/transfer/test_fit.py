import numpy as np
import pytest
from sklearn.svm import LinearSVC

import verydeep
from verydeep.data.open import open_dataset
from verydeep.data.splits import split_classes
from verydeep.data.voc import ManyLabels
from verydeep.errors import DatasetError, TransferError
from verydeep.transfer import average_precision, describe, mean_class_recall
from verydeep.transfer.model import load_model


def as_many(data, classes=3):
    """The same pictures as if each could show several classes: those of its own colour, every fifth also the next."""
    presence = np.full((len(data), classes), -1, np.int64)
    presence[np.arange(len(data)), data.labels] = 1
    extra = np.arange(len(data)) % 5 == 0
    presence[extra, (data.labels[extra] + 1) % classes] = 0
    fields = {name: getattr(data, name) for name in ("kind", "root", "split", "classes", "names", "images", "labels")}
    return ManyLabels(**fields, presence=presence, rule="11-point")


def test_it_is_descriptors_a_machine_and_scores(net, pictures):
    train, test = split_classes(pictures, 8, seed=1)
    found = verydeep.fit_transfer(net, train, test, scales=[32, 40], combine="stack", C=1.0)
    way = {"scales": [32, 40], "combine": "stack"}
    values, others = (describe(net, each, **way).astype(float) for each in (train, test))
    machine = LinearSVC(C=1.0, random_state=0, dual="auto").fit(values, train.labels)
    predicted = machine.predict(others)
    np.testing.assert_allclose(found.test_scores, machine.decision_function(others), atol=1e-2)
    assert found.scores["mean_class_recall"] == pytest.approx(mean_class_recall(test.labels, predicted))
    assert found.scores["top1_error"] == pytest.approx((predicted != test.labels).mean())
    assert found.scores["images"], found.scores["trained_on"] == (12, 24)


def test_the_colours_are_learned(net, pictures):
    train, test = split_classes(pictures, 8, seed=0)
    assert verydeep.fit_transfer(net, train, test, layer="pool1", scales=[32]).scores["top1_error"] < 0.2


def test_a_class_without_a_picture_in_the_part_that_is_trained_on_is_none_of_the_models(net, pictures, tmp_path):
    train, test = split_classes(pictures, 8, seed=0)
    ants_and_cats = [data.subset(np.flatnonzero(data.labels != 1)) for data in (train, test)]
    found = verydeep.fit_transfer(net, *ants_and_cats, layer="pool1", scales=[32])
    assert (found.model.classes, found.scores["classes"]) == (("ant", "cat"), 2)
    assert found.scores["top1_error"] < 0.2
    said = load_model(found.model.save(tmp_path / "model")).posteriors(ants_and_cats[1])
    assert (said.values.argmax(axis=1) == found.test_scores.argmax(axis=1)).all()
    assert set(said.labels.tolist()) == {0, 1}


def test_pictures_of_any_number_of_classes_are_scored_by_average_precision(net, pictures):
    train, test = split_classes(pictures, 8, seed=0)
    train, test = as_many(train), as_many(test)
    found = verydeep.fit_transfer(net, train, test, layer="pool1", scales=[32])
    scores = found.scores["average_precision"]
    for place, key in enumerate(test.classes):
        due = average_precision(found.test_scores[:, place], test.presence[:, place], "11-point")
        assert scores[key] == pytest.approx(due)
    assert found.scores["mean_average_precision"] == pytest.approx(np.mean([*scores.values()]))
    assert found.scores["rule"] == "11-point"
    assert found.scores["mean_average_precision"] > 0.7


def test_a_leak_is_named_and_can_be_gone_on_with(net, photos):
    data = open_dataset(photos)
    train, test = data.subset(range(0, 36, 2)), data.subset([1, 3, 13, 4, 25])
    with pytest.raises(DatasetError, match=r"a leak: ant/04\.png, to be tested, is the same picture as ant/04\.png"):
        verydeep.fit_transfer(net, train, test, scales=[32])
    assert verydeep.fit_transfer(net, train, test, scales=[32], allow_leaks=True).scores["images"] == 5


def test_what_cannot_be_learned_or_known_is_named_in_one_line(net, pictures):
    many = as_many(pictures)
    for options, words in [({"kind": "logistic"}, "leave kind 'logistic' out"), ({"class_weight": "balanced"},
                            "leave class_weight out")]:  # fmt: skip
        with pytest.raises(TransferError, match=words):
            verydeep.fit_transfer(net, many, scales=[32], **options)
    bees = pictures.only(["bee"])
    one_ant = pictures.subset([0, *range(12, 36)])
    mistakes = [
        (one_ant, None, "class ant has one picture; add more, or leave it out"),
        (pictures.only(["ant", "bee"]), pictures.only(["cat"]), "class cat is tested and was never trained"),
        (pictures.subset(range(12, 36)), pictures.only(["ant"]), "class ant is tested and was never trained"),
        (bees, bees, "has fewer than two classes"),
        (as_many(pictures), pictures, "one of train and test shows one class a picture"),
        (as_many(pictures.subset(range(12, 36))), None, "class ant: no picture to train on shows it"),
    ]
    for train, test, words in mistakes:
        with pytest.raises(TransferError, match=words) as caught:
            verydeep.fit_transfer(net, train, test, scales=[32])
        assert "\n" not in str(caught.value)
