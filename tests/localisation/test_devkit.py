import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import verydeep
from verydeep.cli.app import run
from verydeep.data.boxes import from_inclusive
from verydeep.errors import VerydeepError
from verydeep.localisation.devkit import Guess, is_located, read_predictions, write_predictions

CAT, DOG = "n02121808", "n02084071"
MAP = f"{CAT} 7 domestic_cat\n{DOG} 12 dog\n"


@pytest.fixture
def desk(tmp_path, xml):
    """Writes truth, labels, predictions and what else is given, and scores them."""

    def scored(pictures, lines, labels=None, exclude=None, map=MAP, names="ILSVRC2012_val_{:08d}.xml"):
        (tmp_path / "xml").mkdir(exist_ok=True)
        for number, things in enumerate(pictures, 1):
            (tmp_path / "xml" / names.format(number)).write_text(xml(*things))
        files = {"labels": "".join(f"{label}\n" for label in labels or [7] * len(lines)),
                 "predictions": "".join(f"{line}\n" for line in lines), "map": map, "exclude": exclude}  # fmt: skip
        for name, text in files.items():
            if text is not None:
                (tmp_path / name).write_text(text)
        return verydeep.localisation.score(
            tmp_path / "predictions",
            tmp_path / "xml",
            tmp_path / "labels",
            map=tmp_path / "map" if map else None,
            exclude=tmp_path / "exclude" if exclude is not None else None,
        )

    scored.folder = tmp_path
    return scored


def test_a_box_of_iou_exactly_one_half_is_right_and_pixels_are_inclusive(desk):
    truth = [[(CAT, (0, 0, 9, 9))]] * 4
    lines = [
        "7 0 0 9 4",
        "7 0 0 9 3",
        "7 0 0 9 3.99",
        "7 0 0 19 9",
    ]  # of ten rows five; four; a hair less; twice as wide
    assert desk(truth, lines).localisation_error == 0.5
    for line, error in zip(lines, (0, 1, 1, 0), strict=True):
        assert desk(truth, [line] * 4).localisation_error == error


def test_a_box_of_one_pixel_has_an_area(desk):
    assert desk([[(CAT, (5, 5, 5, 5))]], ["7 5 5 5 5"]).localisation_error == 0


def test_any_true_box_of_the_label_will_do_but_of_no_other(desk):
    truth = [[(DOG, (100, 100, 150, 150)), (CAT, (0, 0, 9, 9)), (CAT, (200, 200, 299, 299))]] * 3
    found = desk(truth, ["7 200 200 299 299", "7 0 0 9 9", "7 100 100 150 150"])
    assert found.localisation_error == pytest.approx(1 / 3)
    assert found.classification_error == 0


def test_the_right_box_under_a_wrong_label_is_wrong(desk):
    found = desk([[(CAT, (0, 0, 9, 9))]], ["12 0 0 9 9 7 50 50 60 60"])
    assert (found.localisation_error, found.classification_error) == (1, 0)


def test_any_of_the_first_five_guesses_will_do(desk):
    truth = [[(CAT, (0, 0, 9, 9))]] * 3
    wrong, right = "12 0 0 9 9", "7 0 0 9 9"
    lines = [" ".join([wrong] * 4 + [right]), " ".join([wrong] * 5 + [right]), ""]
    found = desk(truth, lines)
    assert found.localisation_error == pytest.approx(2 / 3)  # the sixth is dropped, and the last picture has no guess
    assert found.classification_error == pytest.approx(2 / 3)


def test_excluded_pictures_count_for_classification_alone(desk):
    truth = [[(CAT, (0, 0, 9, 9))]] * 4
    lines = ["7 0 0 9 9", "7 50 50 60 60", "12 0 0 9 9", "7 0 0 9 9"]
    found = desk(truth, lines, exclude="2\n3\n2\n")
    assert (found.images, found.excluded) == (4, 2)
    assert found.localisation_error == 0
    assert found.localisation_error_of_all == 0.5
    assert found.classification_error == 0.25


def test_an_excluded_picture_needs_no_file(desk):
    desk([[(CAT, (0, 0, 9, 9))]] * 2, ["7 0 0 9 9"] * 2)
    (desk.folder / "xml" / "ILSVRC2012_val_00000001.xml").unlink()
    with pytest.raises(VerydeepError, match="no XML file for picture 1 of 2"):
        desk([], ["7 0 0 9 9"] * 2)
    assert desk([], ["7 0 0 9 9"] * 2, exclude="1").localisation_error == 0


@pytest.mark.parametrize(
    "corners", ["9 9 0 0", "0 9 9 0", "-1000 -1000 -900 -900", "nan nan nan nan", "-inf -inf inf inf"]
)
def test_a_box_of_odd_geometry_only_fails_to_match(desk, corners):
    assert desk([[(CAT, (0, 0, 9, 9))]], [f"7 {corners}"]).localisation_error == 1
    assert desk([[(CAT, (0, 0, 9, 9))]], [f"7 {corners} 7 0 0 9 9"]).localisation_error == 0


def test_a_box_that_reaches_out_of_the_picture_is_not_clipped(desk):
    assert desk([[(CAT, (0, 0, 9, 9))]], ["7 -20 -20 9 9"]).localisation_error == 1


def test_names_in_the_xml_may_be_the_labels_themselves(desk):
    truth = [[("cat", (0, 0, 9, 9)), ("dog", (50, 50, 59, 59))]]
    assert desk(truth, ["cat 0 0 9 9"], labels=["cat"], map=None).localisation_error == 0
    assert desk(truth, ["cat 50 50 59 59"], labels=["cat"], map=None).localisation_error == 1


def test_without_a_map_all_boxes_of_a_picture_count_where_no_name_is_a_label(desk):
    found = desk([[(CAT, (0, 0, 9, 9)), (CAT, (50, 50, 59, 59))]], ["7 50 50 59 59"], map=None)
    assert found.localisation_error == 0
    assert "no name in it is a label" in found.remarks[0]


def test_labels_are_numbers_however_they_are_written(desk):
    assert desk([[(CAT, (0, 0, 9, 9))]], ["7.0000e+00 0 0 9 9"], labels=["7"]).localisation_error == 0


def test_files_without_numbers_come_in_the_order_of_their_names(desk):
    truth = [[(CAT, (0, 0, 9, 9))], [(CAT, (50, 50, 59, 59))]]
    assert desk(truth, ["7 0 0 9 9", "7 50 50 59 59"], names="picture-{}.xml").localisation_error == 0


@pytest.mark.parametrize("exclude", [None, "3"])
def test_files_without_numbers_are_one_for_each_picture_or_nobody_knows_whose_they_are(desk, exclude):
    with pytest.raises(VerydeepError, match="has 2 XML files for 3 labels"):
        desk([[(CAT, (0, 0, 9, 9))]] * 2, ["7 0 0 9 9"] * 3, names="picture-{}.xml", exclude=exclude)


@pytest.mark.parametrize(
    ("line", "map", "said"),
    [
        ("7 0 0 9 9", "n99999999 7 cat\n", "makes no name in .* a label"),
        ("n02121808 0 0 9 9", MAP, "no label in it is one of"),
        ("12 0 0 9 9 7 0 0 9 9", MAP, None),
    ],
)
def test_files_that_cannot_belong_together_are_scored_with_a_remark(desk, line, map, said):
    found = desk([[(CAT, (0, 0, 9, 9))]], [line], map=map)
    assert found.localisation_error == (said is not None)
    assert len(found.remarks) == (said is not None)
    assert all(re.search(said, remark) for remark in found.remarks)


@pytest.mark.parametrize(
    ("lines", "labels", "exclude", "said"),
    [
        (["7 0 0 9"], ["7"], None, "line 1 has 4 entries"),
        (["7 0 0 9 x"], ["7"], None, "are no four numbers"),
        (["7 0 0 9 9"] * 2, ["7"], None, "has 2 lines for the 1 pictures"),
        (["7 0 0 9 9"], ["7 12"], None, "line 1 has 2 labels"),
        (["7 0 0 9 9"], ["7"], "2", "line 1 is '2'; write a number from 1 to 1"),
        (["7 0 0 9 9"], ["7"], "one", "line 1 is 'one'"),
        (["7 0 0 9 9"], ["7"], "1", "excludes every picture"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_a_line(desk, lines, labels, exclude, said):
    with pytest.raises(VerydeepError, match=said) as caught:
        desk([[(CAT, (0, 0, 9, 9))]], lines, labels=labels, exclude=exclude)
    assert "\n" not in str(caught.value)


def test_the_command_prints_the_errors_and_writes_them(desk, capsys):
    desk([[(CAT, (0, 0, 9, 9))]] * 4, ["7 0 0 9 9", "7 50 50 60 60", "12 0 0 9 9", "7 0 0 9 9"], exclude="2")
    folder = desk.folder
    files = {option: str(folder / option) for option in ("labels", "map", "exclude")}
    options = [part for option, file in files.items() for part in (f"--{option}", file)]
    arguments = ["localise", "score", str(folder / "predictions"), "--truth", str(folder / "xml"), *options]
    assert run([*arguments, "--json", str(folder / "score.json")]) == 0
    row = json.loads((folder / "score.json").read_text())
    assert (row["images"], row["excluded"]) == (4, 1)
    assert row["localisation_error"] == pytest.approx(1 / 3)
    assert row["classification_error"] == 0.25
    assert "localisation error 33.3" in capsys.readouterr().out
    assert run([*arguments[:3], "--truth", str(folder / "none"), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def slowly(guesses, label, boxes):
    """The kit's rule once more, pixel by pixel."""

    def pixels(box):  # fmt: skip
        x0, y0, x1, y1 = box
        return {(x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)}

    for guess, box in guesses:
        for true in boxes:
            both, either = pixels(box) & pixels(true), pixels(box) | pixels(true)
            if guess == label and both and 2 * len(both) >= len(either):
                return True
    return False


side = st.integers(0, 12)
box = st.tuples(side, side, side, side)
in_order = box.map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])))
guess = st.tuples(st.sampled_from(["1", "2"]), st.one_of(in_order, box))


@given(st.lists(guess, max_size=5), st.lists(in_order, max_size=4))
@settings(max_examples=300, deadline=None)
def test_the_rule_is_that_of_counting_pixels(guesses, boxes):
    ours = is_located(
        [Guess(label, tuple(map(float, corners))) for label, corners in guesses],
        "1",
        from_inclusive(np.array(boxes, np.float64).reshape(-1, 4)),
    )
    assert ours == slowly(guesses, "1", boxes)


def test_what_is_written_is_read_again(tmp_path):
    guesses = [
        [Guess("7", (0.0, 1.25, 9.0, 9.5)), Guess("12", (3.0, 3.0, 4.0, 4.0))],
        [],
        [Guess("9", (1.0, 2.0, 3.0, 4.0))],
    ]
    write_predictions(tmp_path / "file", guesses)
    assert read_predictions(tmp_path / "file") == guesses
