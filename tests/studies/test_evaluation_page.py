import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix as their_matrix

from verydeep.errors import VerydeepError
from verydeep.evaluation.error_table import ErrorTable, add_differences, error_row, mark_cheapest
from verydeep.evaluation.outcome import Outcome
from verydeep.evaluation.protocol import parse
from verydeep.studies.evaluation_page import (
    class_errors,
    confusion_matrix,
    confusions,
    errors_by_scale,
    write_evaluation,
)

EVIL = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>"
K = 6


def made(labels, predicted, protocol="dense@64", classes="abcdef"):
    labels, predicted = np.array(labels, np.int64), np.array(predicted, np.int64)
    confidence = np.linspace(0.2, 1, len(labels), dtype=np.float32)
    return Outcome(
        labels=labels, ranks=(labels != predicted).astype(np.int64), predicted=predicted, confidence=confidence,
        classes=tuple(classes), net="vgg-a", weights="w", data="made", split="val", protocol=protocol, seconds=1.5,
    )  # fmt: skip


def tabled(count=60, names="abcdef"):
    """The table of an evaluation by several protocols, its worst first."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % K
    texts = ("centre@64", "dense@64", "dense@56,64", "dense@56")
    outcomes = {}
    for place, text in enumerate(texts):
        wrong = generator.random(count) < 0.5 - 0.1 * place
        outcomes[text] = made(labels, np.where(wrong, (labels + 1) % K, labels), text, names)
    shown = [outcomes[text] for text in texts[:3]]
    rows = [error_row(each, parse(each.protocol, 1)) | {"cost_ratio": 3.0**place} for place, each in enumerate(shown)]
    add_differences(rows, shown, against=0)
    mark_cheapest(rows)
    about = {key: rows[0][key] for key in ("net", "weights", "data", "split", "classes")}
    rows.append({**about, "protocol": "multi-crop@64", "note": "not applicable: no reason"})
    return ErrorTable(rows, outcomes)


LABELS = st.integers(1, 40).flatmap(  # true and named
    lambda n: st.tuples(*[arrays(np.int64, n, elements=st.integers(0, K - 1))] * 2)
)


@given(labels=LABELS)
def test_the_matrix_is_scikit_learns_where_every_class_is_there(labels):
    true, named = (np.append(each, np.arange(K)) for each in labels)
    shares, present = confusion_matrix(made(true, named))
    np.testing.assert_allclose(shares[:, :-1], their_matrix(true, named, normalize="true"))
    assert (shares[:, -1] == 0).all()
    assert (present == np.arange(K)).all()


@given(labels=LABELS)
def test_classes_without_pictures_are_one_column(labels):
    outcome = made(*labels)
    shares, present = confusion_matrix(outcome)
    for row, true in enumerate(present):
        named = outcome.predicted[outcome.labels == true]
        due = [np.mean(named == each) for each in present] + [np.mean(~np.isin(named, present))]
        np.testing.assert_allclose(shares[row], due)


@given(labels=LABELS)
def test_classes_and_confusions_agree_with_counting_one_by_one(labels):
    outcome = made(*labels)
    names = {"a": "apple"}
    errors = {each.name: each for each in class_errors(outcome, names)}
    assert [each.error for each in errors.values()] == sorted((each.error for each in errors.values()), reverse=True)
    found = {(each.true, each.named): each for each in confusions(outcome, names)}
    assert [each.images for each in found.values()] == sorted((each.images for each in found.values()), reverse=True)
    name = lambda label: names.get(outcome.classes[label], outcome.classes[label])  # noqa: E731 - of use here only
    for true in range(K):
        pictures = [named for label, named in zip(outcome.labels, outcome.predicted, strict=True) if label == true]
        if not pictures:
            assert name(true) not in errors
            continue
        each = errors[name(true)]
        assert each.images == len(pictures)
        assert each.error == pytest.approx(sum(named != true for named in pictures) / len(pictures))
        for named in range(K):
            count = pictures.count(named) if named != true else 0
            assert (found[name(true), name(named)].images if count else count) == count
            if count:
                assert found[name(true), name(named)].share == pytest.approx(count / len(pictures))
        if each.taken_for:
            assert found[each.name, each.taken_for].images == max(
                pictures.count(named) for named in range(K) if named != true
            )


def test_single_scales_of_one_way_of_looking_belong_together():
    names = ("dense@64", "dense@56", "dense@56,64", "dense@56-mirror", "centre@64", "my own@3", "multi-crop@64",
             "multi-crop@72")  # fmt: skip
    found = errors_by_scale({name: made([0], [0], name) for name in names})
    assert {way: list(scales) for way, scales in found.items()} == {"dense": [56, 64], "multi-crop": [64, 72]}
    assert found["dense"][56].protocol == "dense@56"


def test_a_page_says_what_was_found(tmp_path):
    table = tabled()
    write_evaluation(tmp_path / "page.html", table, names={"b": "banana"}, notes=["one picture was left out"])
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    text = " ".join(re.sub("<svg.*?</svg>|<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL).split())
    best = min(table.measured, key=lambda row: row["top1_error"])
    assert f"names {100 * best['top1_error']:.1f} % wrongly by {best['protocol']}" in text
    assert table.verdict() in text
    for row in table.measured:
        assert row["protocol"] in text
        assert f"{100 * row['top1_error']:.1f} ({100 * row['top1_interval'][0]:.1f}–" in text
    assert "not applicable: no reason" in text
    assert "Differences are to centre@64, picture by picture" in text
    assert f"p = {best['top1_mcnemar_p']:.2g}" in text
    assert "banana" in text
    assert "one picture was left out" in text
    assert html.count("<svg") == 4  # cost, scales, confidence, confusions
    assert "Error against Q" in text
    assert not re.search(r'(src|href)="(?!data:|#)', html)


def test_a_page_of_one_protocol_and_of_many_classes_has_what_there_is(tmp_path):
    labels = np.arange(400) % 80
    outcome = made(labels, labels, "centre@64", classes=[f"class{i}" for i in range(80)])
    table = ErrorTable([error_row(outcome, parse("centre@64", 1)) | {"cost_ratio": 1.0}], {"centre@64": outcome})
    write_evaluation(tmp_path / "page.html", table)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count("<svg") == 2
    assert "The other 68 classes" in html
    assert "No picture is taken for another class." in html
    assert "Differences are" not in html


def test_names_from_outside_are_never_markup(tmp_path):
    classes = [EVIL, *"bcdef"]
    write_evaluation(tmp_path / "page.html", tabled(names=classes), names={"b": EVIL}, notes=[EVIL])
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<img" not in html


def test_a_page_that_cannot_be_written_is_said_in_a_line(tmp_path):
    with pytest.raises(VerydeepError, match=r"none/page\.html: cannot be written \(No such file or directory\)"):
        write_evaluation(tmp_path / "none" / "page.html", tabled())
