import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest

from verydeep.errors import DatasetError, WeightsError
from verydeep.evaluation import outcome as outcome_module
from verydeep.evaluation.compare import mcnemar, paired_difference
from verydeep.evaluation.error_table import (
    ErrorTable,
    add_differences,
    error_row,
    mark_cheapest,
    top_k_error,
    wilson_interval,
    write_rows,
)
from verydeep.evaluation.outcome import outcome
from verydeep.evaluation.posteriors import Posteriors
from verydeep.evaluation.protocol import Protocol

DENSE = Protocol("dense", (256,), mirror=True)
FEW_VALUES = st.sampled_from([0.0, 0.25, 0.5, 1.0])  # so that many are equal


def made(values, truths, **changes):
    values = np.array(values, np.float32)
    images = tuple(map(str, range(len(values))))
    classes = tuple(map(str, range(values.shape[1])))
    some = Posteriors(values, images, classes, np.array(truths), "vgg-a", "w", "made", "val", DENSE.text, 2.0)
    return replace(some, **changes)


@given(data=st.data(), n=st.integers(1, 12), classes=st.integers(1, 9), k=st.integers(1, 6))
def test_errors_agree_with_sorting_each_picture_by_hand(data, n, classes, k):
    values = data.draw(arrays(np.float32, (n, classes), elements=FEW_VALUES))
    labels = data.draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    wrong = 0
    for row, label in zip(values, labels, strict=True):
        best = sorted(range(classes), key=lambda place: (-row[place], place))[:k]
        wrong += label not in best
    assert top_k_error(values, labels, k) == wrong / n


def test_of_equal_posteriors_the_first_class_leads():
    values = np.full((6, 6), 1 / 6, np.float32)
    assert top_k_error(values, np.arange(6), 1) == 5 / 6
    assert top_k_error(values, np.arange(6), 5) == 1 / 6


def test_errors_do_not_depend_on_how_many_rows_are_compared_at_a_time(monkeypatch):
    generator = np.random.default_rng(0)
    values, labels = generator.random((50, 8), np.float32), generator.integers(0, 8, 50)
    at_once = top_k_error(values, labels, 3)
    monkeypatch.setattr(outcome_module, "ROWS", 7)
    assert top_k_error(values, labels, 3) == at_once


@given(images=st.integers(1, 100_000), share=st.floats(0, 1))
def test_intervals_are_those_of_scipy(images, share):
    wrong = round(share * images)
    low, high = wilson_interval(wrong / images, images)
    theirs = binomtest(wrong, images).proportion_ci(method="wilson")
    np.testing.assert_allclose((low, high), (theirs.low, theirs.high), rtol=1e-6, atol=1e-9)
    assert low <= wrong / images <= high or np.isclose(wrong / images, (low, high)).any()


def test_a_row_says_what_was_measured_on_what():
    row = error_row(made(np.eye(7), range(7)), DENSE)
    interval = row.pop("top1_interval")
    assert interval == row.pop("top5_interval")
    assert interval == pytest.approx([0, 0.354], abs=1e-3)
    assert row == {
        "net": "vgg-a",
        "weights": "w",
        "data": "made",
        "split": "val",
        "classes": 7,
        "protocol": "dense@256",
        "scales": [256],
        "mirror": True,
        "images": 7,
        "top1_error": 0.0,
        "top5_error": 0.0,
        "calibration_error": 0.0,
        "seconds": 2.0,
    }


@pytest.mark.parametrize(("hits", "images", "note"), [(100, 1000, True), (300, 1000, False), (1, 10, False)])
def test_an_error_no_better_than_guessing_over_many_images_asks_for_the_order_of_labels(hits, images, note):
    values = np.zeros((images, 10), np.float32)
    values[:, 0] = 1
    labels = np.array([0] * hits + [9] * (images - hits))
    assert error_row(made(values, labels), DENSE).get("note") == ("label order?" if note else None)


@pytest.mark.parametrize("labels", [None, np.array([0, -1])])
def test_errors_of_pictures_without_labels_are_refused(labels):
    with pytest.raises(DatasetError, match="made: pictures of split val have no label"):
        error_row(made(np.eye(2), [0, 1], labels=labels), DENSE)


def test_a_table_prints_in_per_cent_with_its_protocols():
    rows = [error_row(made(np.eye(7), [0, 1, 2, 3, 4, 6, 6]), DENSE)]
    lines = str(ErrorTable(rows)).splitlines()
    assert lines[0] == "made val, 7 images: errors in per cent with 95 % intervals"
    assert lines[-1].split() == ["vgg-a", "dense@256", "14.3", "(2.6–51.3)", "14.3", "(2.6–51.3)", "14.3", "2.0"]
    assert max(map(len, lines)) <= 80


def test_a_table_of_several_data_sets_names_each():
    rows = [error_row(made(np.eye(7), range(7), data=name), DENSE) for name in ("one", "two")]
    text = str(ErrorTable(rows))
    assert "7 of one val" in text
    assert "7 of two val" in text
    assert str(ErrorTable([]))


def erring_on(*wrong, costs=(1.0, 5.0, 20.0)):
    """Rows and outcomes of protocols that err on these of 400 pictures of ten classes."""
    protocols = [Protocol("dense", (256 + 32 * place,), mirror=True) for place in range(len(wrong))]
    outcomes = []
    for protocol, pictures in zip(protocols, wrong, strict=True):
        named = np.arange(400) % 10
        named[list(pictures)] = (named[list(pictures)] + 1) % 10
        values = np.eye(10, dtype=np.float32)[named]
        outcomes.append(outcome(made(values, np.arange(400) % 10, protocol=protocol.text)))
    rows = [
        error_row(each, protocol) | {"cost_ratio": cost}
        for each, protocol, cost in zip(outcomes, protocols, costs, strict=False)
    ]
    return rows, outcomes


def test_rows_are_compared_picture_by_picture_with_one_of_them():
    rows, outcomes = erring_on(range(100), range(60, 140), range(50, 110))
    add_differences(rows, outcomes, against=1)
    assert [row.get("compared_with") for row in rows] == ["dense@288", None, "dense@288"]
    pair = outcomes[0].wrong(1), outcomes[1].wrong(1)
    assert pair[0].sum() == 100
    assert (rows[0]["top1_difference"], *rows[0]["top1_difference_interval"]) == paired_difference(*pair)
    assert rows[0]["top1_difference"] == 20 / 400
    assert rows[0]["top1_mcnemar_p"] == mcnemar(*pair)
    assert "top1_difference" not in rows[1]
    assert rows[0]["top1_smallest_effect"] > 0
    assert {"top5_difference", "top5_difference_interval", "top5_mcnemar_p", "top5_smallest_effect"} <= rows[0].keys()
    assert [row["worse_than_best"] for row in rows] == [True, True, False]


@pytest.mark.parametrize(
    ("wrong", "costs", "chosen"),
    [
        ((range(100), range(90), range(89)), (1, 5, 20), 1),  # ten more of the same: seen
        ((range(100), range(95), range(94)), (1, 5, 20), 1),
        ((range(94), range(95), range(93)), (1, 5, 20), 0),  # one more: not seen
        ((range(100), range(95), range(50)), (1, 5, 20), 2),
        ((range(100), range(100), range(101)), (5, 5, 20), 0),
        ((range(101), range(100), range(200)), (5, 5, 20), 1),  # equally cheap: the better
    ],
)
def test_the_cheapest_is_chosen_that_is_not_seen_to_be_worse_than_the_best(wrong, costs, chosen):
    rows, outcomes = erring_on(*wrong, costs=costs)
    add_differences(rows, outcomes, against=0)
    mark_cheapest(rows)
    assert [row.get("cheapest", False) for row in rows] == [place == chosen for place in range(3)]
    words = ErrorTable(rows).verdict()
    assert rows[chosen]["protocol"] in words
    assert f"{costs[chosen]:.1f} × the cost of a crop" in words
    best = min(rows, key=lambda row: row["top1_error"])["protocol"]
    assert (f"the best ({best}," in words) == (best != rows[chosen]["protocol"])


def test_a_table_shows_differences_costs_and_the_choice_and_why_a_protocol_is_not_there():
    rows, outcomes = erring_on(range(100), range(60, 140), range(50, 110))
    add_differences(rows, outcomes, against=1)
    mark_cheapest(rows)
    about = {key: rows[0][key] for key in ("net", "weights", "data", "split", "classes")}
    rows.insert(1, {**about, "protocol": "dense@352", "note": "not applicable: it takes crops only"})
    table = ErrorTable(rows)
    lines = [" ".join(line.split()) for line in str(table).splitlines()]
    low, high = (100 * bound for bound in rows[0]["top1_difference_interval"])
    assert f"+5.0 ({low:+.1f} to {high:+.1f}) 25.0 1.0 2.0" in " ".join(lines)
    assert "vgg-a dense@352" in lines
    assert "dense@352: not applicable: it takes crops only" in lines
    assert "Difference: of top-1 error to dense@288, on the same images." in lines
    assert "dense@320" in lines[-1]
    assert max(map(len, str(table).splitlines())) <= 140
    assert table.measured == [rows[0], *rows[2:]]
    assert ErrorTable([*rows, *rows]).verdict() == ""  # as of two nets
    assert json.loads(table.to_json()) == rows


def test_a_part_of_a_data_set_is_said_to_be_one():
    row = error_row(made(np.eye(7), range(7)), DENSE) | {"of_images": 1000}
    assert str(ErrorTable([row])).startswith("made val, 7 of 1,000 images: errors")
    assert ErrorTable([row]).verdict() == ""


def test_rows_are_written_as_a_json_list_or_not_at_all(tmp_path):
    rows = [error_row(made(np.eye(7), range(7)), DENSE)]
    write_rows(tmp_path / "rows.json", rows)
    assert json.loads((tmp_path / "rows.json").read_text()) == rows == json.loads(ErrorTable(rows).to_json())
    with pytest.raises(WeightsError, match="cannot be written"):
        write_rows(tmp_path / "none" / "rows.json", rows)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]
