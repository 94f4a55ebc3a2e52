from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from verydeep.data.dataset import PictureArray
from verydeep.data.folders import open_folders
from verydeep.errors import DatasetError, PictureError


@pytest.fixture
def files(put):
    return open_folders(put("a/1.jpg", "a/2.jpg", "b/1.jpg", "c/1.jpg"))


@pytest.fixture
def array(tmp_path, noise):
    return PictureArray(
        kind="array",
        root=tmp_path,
        split="all",
        classes=("a", "b"),
        names={"a": "a", "b": "b"},
        images=("0", "1", "2"),
        labels=np.array([0, 1, 0]),
        pixels=np.stack([noise(8, 6, seed) for seed in range(3)]),
    )


def test_a_picture_is_its_file_decoded(files):
    for index in range(len(files)):
        with Image.open(files.path(index)) as image:
            np.testing.assert_array_equal(files.picture(index), np.asarray(image))
        assert files.size(index) == files.picture(index).shape[:2]
        assert files.encoded(index) == files.path(index).read_bytes()


def test_a_part_has_the_pictures_and_labels_of_its_indices_under_the_same_classes(files, array):
    for dataset, indices in ((files, [3, 0, 3]), (array, np.array([2, 0]))):
        part = dataset.subset(indices)
        assert list(part.images) == [dataset.images[index] for index in indices]
        assert part.labels.tolist() == dataset.labels[indices].tolist()
        assert part.classes == dataset.classes
        for place, index in enumerate(indices):
            np.testing.assert_array_equal(part.picture(place), dataset.picture(int(index)))
    assert len(files.subset([])) == 0
    assert len(array.subset([])) == 0


def test_the_fingerprint_is_of_what_training_would_see(files):
    same = replace(files, max_megapixels=1.0, remarks=("seen",))
    assert same.fingerprint() == files.fingerprint()
    others = [
        files.subset([0, 1, 2]),
        files.subset([1, 0, 2, 3]),
        replace(files, split="train"),
        replace(files, kind="table"),
        replace(files, labels=files.labels[::-1].copy()),
        replace(files, classes=("a", "b", "d")),
    ]
    assert len({files.fingerprint(), *(other.fingerprint() for other in others)}) == len(others) + 1


def test_a_size_far_behind_the_start_of_a_file_is_found(write, encode, noise):
    profile = bytes(200_000)
    path = write("a/1.jpg", encode(noise(40, 30), icc_profile=profile))
    assert path.stat().st_size > 200_000
    dataset = open_folders(path.parent.parent)
    assert dataset.size(0) == (40, 30)


def test_orientation_is_applied_or_ignored_in_size_and_picture_alike(write, encode, noise):
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset = open_folders(write("a/1.jpg", encode(noise(40, 30), exif=exif)).parent.parent)
    assert dataset.size(0) == dataset.picture(0).shape[:2] == (30, 40)
    ignoring = replace(dataset, orientation="ignore")
    assert ignoring.size(0) == ignoring.picture(0).shape[:2] == (40, 30)


def test_a_file_that_went_away_or_is_damaged_is_named(files):
    files.path(0).unlink()
    files.path(1).write_bytes(files.encoded(1)[:300])
    files.path(2).write_text("no picture")
    for read in (files.picture, files.size, files.encoded):
        with pytest.raises(PictureError, match=r"a/1\.jpg: cannot be read \(no such file or directory\)"):
            read(0)
    with pytest.raises(PictureError, match=r"a/2\.jpg"):
        files.picture(1)
    for read in (files.picture, files.size):
        with pytest.raises(PictureError, match=r"b/1\.jpg"):
            read(2)


def test_the_limit_on_size_is_the_data_sets(files):
    with pytest.raises(PictureError, match="megapixels"):
        replace(files, max_megapixels=0.0001).picture(0)


def test_pictures_in_memory_have_their_size(array):
    assert array.size(1) == (8, 6)
    np.testing.assert_array_equal(array.picture(1), array.pixels[1])


def test_only_some_classes_keep_their_pictures_under_new_numbers(files, array):
    part = files.only(["c", "a"])
    assert part.classes == ("c", "a")
    assert list(part.images) == ["a/1.jpg", "a/2.jpg", "c/1.jpg"]
    assert part.labels.tolist() == [1, 1, 0]
    np.testing.assert_array_equal(part.picture(2), files.picture(3))
    unlabelled = replace(array, labels=np.array([-1, 1, 0])).only(["b"])
    assert (list(unlabelled.images), unlabelled.labels.tolist()) == (["1"], [0])
    np.testing.assert_array_equal(unlabelled.picture(0), array.picture(1))


def test_a_class_that_is_not_there_is_named(files):
    with pytest.raises(DatasetError, match="has no class d in split all"):
        files.only(["a", "d"])
