import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from verydeep.errors import DatasetError, RecipeError
from verydeep.training.division import divide, hold_out


@pytest.fixture
def undivided(tmp_path, make_pictures):
    make_pictures(tmp_path / "undivided", each=10)
    return tmp_path / "undivided"


def names(data):
    return set(data.images)


def test_folders_without_splits_are_divided_by_the_seed_and_it_is_said(undivided, small):
    lines = []
    pictures, watched = divide(small(data=str(undivided)), lines.append)
    assert (len(pictures), len(watched)) == (24, 6)
    assert not names(pictures) & names(watched)
    assert np.bincount(watched.labels).tolist() == [2, 2, 2]
    assert lines == [f"{undivided}: has no split 'val'; 6 of its 30 pictures, drawn by the seed from every class, are "
                     "held out: they are watched, not trained on"]  # fmt: skip
    again = divide(small(data=str(undivided)))[1]
    other = divide(small(data=str(undivided), seed=4))[1]
    assert names(again) == names(watched) != names(other)


def test_the_recipe_can_say_how_many_are_held_out(undivided, photos, small):
    lines = []
    pictures, watched = divide(small(data=str(undivided), validation={"held_out": 0.5}), lines.append)
    assert (len(pictures), len(watched), lines) == (15, 15, [])
    pictures, watched = divide(small(validation={"held_out": 0.25}))  # of a data set that has a split to watch
    assert (len(pictures), len(watched)) == (18, 6)
    assert watched.split == "train"


def test_watching_the_training_pictures_is_possible_but_said(undivided, small):
    lines = []
    pictures, watched = divide(small(data=str(undivided), validation={"held_out": 0.0}), lines.append)
    assert names(pictures) == names(watched)
    assert "the errors mean little" in lines[0]


def test_train_folders_without_any_to_watch_are_divided(tmp_path, make_pictures, small):
    make_pictures(tmp_path / "train", each=5)
    pictures, watched = divide(small(data=str(tmp_path)))
    assert (len(pictures), len(watched)) == (12, 3)


def test_a_split_is_watched_where_there_is_one(small):
    pictures, watched = divide(small())
    assert (pictures.split, len(pictures), watched.split, len(watched)) == ("train", 24, "val", 9)


def test_no_more_pictures_are_watched_than_the_recipe_says(small):
    first, second = (divide(small(validation={"images": 4}))[1] for _ in range(2))
    assert len(first) == 4
    assert names(first) == names(second)


def test_a_damaged_split_is_not_mistaken_for_a_missing_one(tmp_path, make_pictures, small):
    make_pictures(tmp_path / "train", each=5)
    make_pictures(tmp_path / "val", each=1)
    (tmp_path / "val" / "red" / "0.jpg").unlink()
    with pytest.raises(DatasetError, match="class folder without pictures"):
        divide(small(data=str(tmp_path)))


def test_one_class_is_refused(tmp_path, make_pictures, small):
    make_pictures(tmp_path / "photos", classes=["red"])
    with pytest.raises(RecipeError, match="has one class, red; there is nothing to tell apart"):
        divide(small(data=str(tmp_path / "photos")))


def test_one_picture_a_class_is_refused(tmp_path, make_pictures, small):
    make_pictures(tmp_path / "photos", each=1)
    with pytest.raises(RecipeError, match="one picture a class"):
        divide(small(data=str(tmp_path / "photos")))


def test_pictures_without_labels_are_refused(tmp_path, small):
    for number in range(4):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{number}.png")
    table = tmp_path / "table.csv"
    table.write_text("file,label,split\n0.png,a,train\n1.png,b,train\n2.png,,train\n3.png,a,val\n")
    with pytest.raises(RecipeError, match="training pictures without labels"):
        divide(small(data=str(table)))
    table.write_text("file,label,split\n0.png,a,train\n1.png,b,train\n2.png,,val\n3.png,a,val\n")
    with pytest.raises(RecipeError, match="pictures of split val have no labels"):
        divide(small(data=str(table)))


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.floats(0.01, 0.99),
    most=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_every_picture_is_on_one_side_and_every_class_of_two_on_both(labels, share, most, seed):
    labels = np.array(labels)
    trained, held = hold_out(labels, share, most, np.random.default_rng(seed))
    assert sorted([*trained, *held]) == list(range(len(labels)))
    for label in set(labels.tolist()):
        of_class, of_held = (labels == label).sum(), (labels[held] == label).sum()
        assert of_held == (0 if of_class == 1 else min(max(round(share * of_class), 1), of_class - 1, most))


def test_a_recipe_may_ask_for_some_of_the_classes_spread_over_their_order(photos, small):
    pictures, watched = divide(small(classes=2))
    assert pictures.classes == watched.classes == ("blue", "green")
    assert (len(pictures), len(watched)) == (16, 6)
    with pytest.raises(RecipeError, match=r"classes is 4, .* has 3; use 3 or fewer"):
        divide(small(classes=4))
