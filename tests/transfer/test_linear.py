import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from verydeep.errors import TransferError
from verydeep.transfer import LinearTransfer, average_precision, mean_class_recall
from verydeep.transfer.linear import ManyMachines, hold_out, temperature

KINDS = ("svm", "logistic")


@parametrize_with_checks([LinearTransfer(kind) for kind in KINDS])
def test_scikit_learn_finds_nothing_wrong(estimator, check):
    check(estimator)


def blobs(classes=4, each=30, dimensions=8, spread=1.0, seed=0):
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(100).normal(size=(classes, dimensions))
    labels = np.repeat(np.arange(classes), each)
    values = centres[labels] + spread * generator.normal(size=(len(labels), dimensions))
    return values / np.linalg.norm(values, axis=1, keepdims=True), labels


def test_a_machine_is_the_minimum_of_squared_hinge_and_l2_with_a_constant_1_behind_the_descriptor():
    values, labels = blobs()
    found = LinearTransfer(C=2.0).fit(values, labels)
    extended = np.hstack([values, np.ones((len(values), 1))])
    for label in range(4):
        signs = np.where(labels == label, 1, -1)

        def loss(weights, signs=signs):
            hinge = np.maximum(0, 1 - signs * (extended @ weights))
            return weights @ weights / 2 + 2.0 * (hinge**2).sum()

        ours = np.append(found.coef_[label], found.intercept_[label])
        assert loss(ours) == pytest.approx(minimize(loss, np.zeros(9), options={"gtol": 1e-9}).fun, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_few_pictures_are_told_apart_by_the_same_machines_as_on_whole_descriptors(kind):
    values, labels = blobs(3, each=9, dimensions=70)
    ours = LinearTransfer(kind, C=5.0).fit(values, labels)
    whole = {"svm": LinearSVC(C=5.0, random_state=0, max_iter=2000), "logistic": LogisticRegression(C=5.0)}[kind]
    whole.fit(values, labels)
    others, _ = blobs(3, each=20, dimensions=70, seed=1)
    np.testing.assert_allclose(ours.decision_function(others), whole.decision_function(others), atol=2e-3)


def test_two_classes_are_told_apart_as_by_scikit_learn():
    values, labels = blobs(2)
    ours = LinearTransfer("logistic", C=3.0).fit(values, labels)
    theirs = LogisticRegression(C=3.0).fit(values, labels)
    np.testing.assert_allclose(ours.predict_proba(values), theirs.predict_proba(values), atol=1e-3)
    np.testing.assert_allclose(ours.decision_function(values), theirs.decision_function(values), atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_c_is_what_is_best_on_the_part_held_out_tried_by_hand(kind):
    values, labels = blobs(spread=1.5)
    found = LinearTransfer(kind, seed=3).fit(values, labels)
    held = hold_out(labels, 0.2, 3)
    assert np.bincount(labels[held]).tolist() == [6] * 4  # as of 30 pictures a class in the paper
    tried = {}
    for C in (0.001, 0.01, 0.1, 1, 10, 100, 1000):
        one = LinearTransfer(kind, C=C, held_out=0.2, seed=3).fit(values[~held], labels[~held])
        tried[C] = mean_class_recall(labels[held], one.predict(values[held]))
    assert found.tried_ == pytest.approx(tried)
    assert found.C_ == min(C for C, recall in tried.items() if recall == max(tried.values()))
    np.testing.assert_allclose(found.coef_, LinearTransfer(kind, C=found.C_).fit(values, labels).coef_, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_said_in_one_line(value):
    values, labels = blobs()
    fitted = LinearTransfer(C=1).fit(values, labels)
    values[7, 2] = value
    for look in (lambda: LinearTransfer().fit(values, labels), lambda: fitted.predict(values)):
        with pytest.raises(
            ValueError, match="X: 1 of 120 descriptors hold NaN or infinity, the first in row 7"
        ) as caught:
            look()
        assert "\n" not in str(caught.value)


def test_groups_are_held_out_whole():
    labels = np.arange(40) % 4
    groups = np.arange(40) // 8
    held = hold_out(labels, 0.2, 0, groups)
    assert held.any()
    for group in range(5):
        assert len({*held[groups == group].tolist()}) == 1
    assert {*labels[~held]} == {0, 1, 2, 3}


def test_nothing_is_held_out_of_classes_with_one_picture():
    assert not hold_out(np.array([0, 1, 2]), 0.2, 0).any()
    values, labels = blobs(3, each=1)
    assert LinearTransfer().fit(values, labels).C_ == 1.0


def test_machines_are_as_sure_as_they_are_right():
    values, labels = blobs(each=300, spread=1.2)
    others, truth = blobs(each=300, spread=1.2, seed=1)
    posteriors = LinearTransfer().fit(values, labels).predict_proba(others)
    np.testing.assert_allclose(posteriors.sum(axis=1), 1)
    right = (posteriors.argmax(axis=1) == truth).mean()
    assert posteriors.max(axis=1).mean() == pytest.approx(right, abs=0.05)


def test_the_temperature_is_found():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(20000, 3))
    posteriors = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = (generator.random((20000, 1)) > posteriors.cumsum(axis=1)).sum(axis=1)
    assert temperature(scores * 0.25, labels) == pytest.approx(0.25, rel=0.05)


def test_few_pictures_that_are_all_named_rightly_do_not_make_sure():
    labels = np.arange(12) % 3
    scores = 5.0 * np.eye(3)[labels]
    posteriors = np.exp(scores / temperature(scores, labels))
    assert (posteriors.max(axis=1) / posteriors.sum(axis=1)).max() == pytest.approx(13 / 14, rel=1e-3)


def test_class_weights_make_the_rare_class_count():
    values, labels = blobs(2, each=200, spread=2.0)
    kept = np.flatnonzero((labels == 0) | (np.arange(400) < 210))
    rare = labels[kept]
    plain, balanced = (LinearTransfer(C=1, class_weight=w).fit(values[kept], rare) for w in (None, "balanced"))
    assert (balanced.predict(values) == 1).mean() > (plain.predict(values) == 1).mean() + 0.1
    named = LinearTransfer(C=1, class_weight={"a": 1, "b": 50}).fit(values[kept], np.array(["a", "b"])[rare])
    assert (named.predict(values) == "b").mean() > (plain.predict(values) == 1).mean() + 0.1


def test_a_grid_search_chooses_the_kind():
    values, labels = blobs()
    search = GridSearchCV(LinearTransfer(C=1), {"kind": KINDS}, cv=2).fit(values, labels)
    assert search.best_params_["kind"] in KINDS


def test_an_unknown_kind_is_refused():
    with pytest.raises(TransferError, match="kind 'svn': is no linear classifier; use 'svm' or 'logistic'"):
        LinearTransfer("svn").fit(*blobs())


def test_difficult_pictures_do_not_train_their_class():
    values, labels = blobs(3)
    presence = np.where(labels[:, None] == np.arange(3), 1, -1)
    unsure = presence.copy()
    unsure[:5, 0] = 0
    wrong = presence.copy()
    wrong[:5, 0] = -1
    other = ManyMachines([1.0]).fit(values, unsure)
    assert other.C == 1.0
    np.testing.assert_allclose(
        ManyMachines([1.0]).fit(values[5:], presence[5:]).weights[0], other.weights[0], atol=1e-3
    )
    assert np.abs(ManyMachines([1.0]).fit(values, wrong).weights[0] - other.weights[0]).max() > 0.1


def test_the_c_of_many_machines_is_best_on_the_watched_pictures():
    values, labels = blobs(3, spread=2.5)
    others, truth = blobs(3, spread=2.5, seed=1)
    presence, watched = (np.where(each[:, None] == np.arange(3), 1, -1) for each in (labels, truth))
    found = ManyMachines().fit(values, presence, (others, watched), rule="11-point")

    def score(C):
        alone = ManyMachines([C])
        alone._solve(values, presence, C)
        scores = alone.scores(others)
        return np.mean([average_precision(scores[:, k], watched[:, k], "11-point") for k in range(3)])

    assert score(found.C) == pytest.approx(max(map(score, found.Cs)))
    both = ManyMachines([found.C]).fit(np.concatenate([values, others]), np.concatenate([presence, watched]))
    np.testing.assert_allclose(found.weights, both.weights, atol=1e-6)


@pytest.mark.parametrize(("value", "words"), [(-1, "no picture to train on"), (1, "every picture to train on")])
def test_a_class_that_nothing_tells_apart_is_named(value, words):
    values, labels = blobs(3)
    presence = np.where(labels[:, None] == np.arange(3), 1, -1)
    presence[:, 1] = value
    with pytest.raises(TransferError, match=f"class 1: {words}"):
        ManyMachines().fit(values, presence)
