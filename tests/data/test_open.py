from pathlib import Path

import pytest

from verydeep.data.digits import VERSION, make_digits
from verydeep.data.open import open_dataset
from verydeep.errors import DatasetError


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: does not exist"):
        open_dataset(tmp_path / "nowhere")


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(DatasetError, match="is empty; is it the right folder"):
        open_dataset(tmp_path)


def test_a_folder_of_nothing_known_says_what_was_looked_for(write, tmp_path):
    write("a.txt"), write("b.bin")
    with pytest.raises(
        DatasetError, match="no class folders, and none of the files of ILSVRC, Tiny-ImageNet, CIFAR-10"
    ):
        open_dataset(tmp_path)


def test_an_unknown_kind_names_the_nearest(tmp_path):
    with pytest.raises(
        DatasetError, match="cifar10: is not a format of data sets; the nearest is cifar-10, the others"
    ):
        open_dataset(tmp_path, kind="cifar10")


def test_digits_are_made_once_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def make(folder):
        made.append(folder)
        return make_digits(folder, train=60, val=60)

    monkeypatch.setattr("verydeep.data.digits.make_digits", make)
    val, train = open_dataset("digits"), open_dataset("digits", "train")
    assert made == [tmp_path / "verydeep" / f"digits-{VERSION}-0"]
    assert (val.kind, val.root, val.split, train.split) == ("digits", made[0], "val", "train")
    with pytest.raises(DatasetError, match="has no split 'test'; it has train, val"):
        open_dataset("digits", "test")


def test_a_path_called_digits_is_a_path(tmp_path, monkeypatch, put):
    put("digits/a/1.jpg")
    monkeypatch.chdir(tmp_path)
    assert open_dataset(Path("digits")).kind == "folders"
    assert open_dataset("./digits").kind == "folders"
    assert open_dataset("digits", kind="folders").kind == "folders"


def test_the_limit_on_size_is_handed_on(put):
    assert open_dataset(put("a/1.jpg"), max_megapixels=1.0).max_megapixels == 1.0
