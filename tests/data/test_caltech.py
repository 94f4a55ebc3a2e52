import numpy as np
import pytest

from verydeep.data.open import open_dataset
from verydeep.errors import DatasetError


@pytest.fixture
def caltech_101(put, write):
    root = put(
        *(f"101_ObjectCategories/{name}/image_{n:04}.jpg" for name in ("BACKGROUND_Google", "ant") for n in (1, 2, 3)),
        "101_ObjectCategories/ant/copy.jpg",
    )
    write("101_ObjectCategories/BACKGROUND_Google/tmp", (root / "101_ObjectCategories/ant/image_0001.jpg").read_bytes())
    write("Annotations/ant/annotation_0001.mat")
    return root


@pytest.mark.parametrize("inside", ["", "101_ObjectCategories"])
def test_caltech_101_is_recognised_and_files_that_are_no_pictures_of_it_are_left_out_and_named(caltech_101, inside):
    data = open_dataset(caltech_101 / inside)
    assert (data.kind, data.split) == ("caltech-101", "all")
    assert data.classes == ("BACKGROUND_Google", "ant")
    assert np.bincount(data.labels).tolist() == [3, 3]
    assert "BACKGROUND_Google/tmp was left out" in data.remarks[0]
    assert data.remarks[1].endswith("not named as the set names its own: ant/copy.jpg")


def test_the_classes_of_caltech_256_keep_their_numbers_and_are_called_by_their_names(put, write):
    root = put(
        "256_ObjectCategories/001.ak47/001_0001.jpg",
        "256_ObjectCategories/001.ak47/001_0002.jpg",
        "256_ObjectCategories/056.dog/056_0001.jpg",
        "256_ObjectCategories/056.dog/greg/auto.jpg",
        "256_ObjectCategories/257.clutter/257_0001.jpg",
    )
    write("256_ObjectCategories/056.dog/RENAME2")
    data = open_dataset(root)
    assert data.kind == "caltech-256"
    assert data.names == {"001.ak47": "ak47", "056.dog": "dog", "257.clutter": "clutter"}
    assert np.bincount(data.labels).tolist() == [2, 1, 1]
    assert "2 files and folders were left out" in data.remarks[0]


def test_a_class_of_strangers_is_refused(put):
    root = put("101_ObjectCategories/BACKGROUND_Google/image_0001.jpg", "101_ObjectCategories/ant/1.jpg")
    with pytest.raises(DatasetError, match="ant: has no picture named as the set names its own"):
        open_dataset(root)


def test_another_folder_is_no_caltech_set(put):
    with pytest.raises(DatasetError, match=r"has neither BACKGROUND_Google nor 257\.clutter"):
        open_dataset(put("cat/1.jpg"), kind="caltech-101")
