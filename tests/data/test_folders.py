import os

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from verydeep.data.folders import open_folders
from verydeep.errors import DatasetError

PLAIN = ("dog/2.jpg", "dog/10.JPEG", "cat/1.png", "Zebra/1.jpg")


@pytest.mark.parametrize("split", ["train", "val", "test", "anything"])
def test_without_split_folders_every_picture_comes_whatever_the_split(put, split):
    dataset = open_folders(put(*PLAIN), split)
    assert dataset.split == "all"
    assert dataset.classes == ("Zebra", "cat", "dog")
    assert list(dataset.images) == ["Zebra/1.jpg", "cat/1.png", "dog/10.JPEG", "dog/2.jpg"]
    assert dataset.labels.tolist() == [0, 1, 2, 2]
    assert dataset.orientation == "apply"
    assert dataset.remarks == ()


def test_split_folders_hold_their_own_pictures(put):
    root = put("train/a/1.jpg", "train/b/1.jpg", "val/b/2.jpg", "notes/fig.jpg")
    train, val = open_folders(root, "train"), open_folders(root, "val")
    assert list(train.images) == ["train/a/1.jpg", "train/b/1.jpg"]
    assert (train.split, val.split) == ("train", "val")
    assert list(val.images) == ["val/b/2.jpg"]
    assert (val.classes, val.labels.tolist()) == (("b",), [0])
    with pytest.raises(DatasetError, match="has no split 'test'; it has train, val"):
        open_folders(root, "test")


@pytest.mark.parametrize("name", ["valid", "validation", "Val"])
def test_validation_folders_go_by_several_names(put, name):
    root = put("train/a/1.jpg", f"{name}/a/2.jpg")
    assert list(open_folders(root, "val").images) == [f"{name}/a/2.jpg"]


def test_one_split_alone_will_do(put):
    root = put("test/a/1.jpg")
    assert list(open_folders(root, "test").images) == ["test/a/1.jpg"]
    with pytest.raises(DatasetError, match="it has test"):
        open_folders(root, "val")


def test_a_class_may_be_called_train(put):
    dataset = open_folders(put("bus/1.jpg", "car/1.jpg", "train/1.jpg", "train/wagons/1.jpg"))
    assert dataset.classes == ("bus", "car", "train")
    assert list(dataset.images) == ["bus/1.jpg", "car/1.jpg", "train/1.jpg"]


def test_a_stray_picture_beside_class_folders_is_left_out(put):
    root = put("train/a/1.jpg", "train/b/1.jpg", "train/preview.jpg", "notes/read me.jpg.txt")
    train = open_folders(root, "train")
    assert (train.split, list(train.images)) == ("train", ["train/a/1.jpg", "train/b/1.jpg"])
    assert train.remarks[0].startswith("train/preview.jpg was left out")


def test_a_split_without_class_folders_is_unlabelled(put):
    dataset = open_folders(put("train/a/1.jpg", "train/b/1.jpg", "test/2.jpg", "test/1.jpg"), "test")
    assert list(dataset.images) == ["test/1.jpg", "test/2.jpg"]
    assert dataset.labels.tolist() == [-1, -1]
    assert dataset.classes == ("a", "b")


def test_what_is_no_picture_by_name_is_left_out_and_counted(put, write):
    root = put("a/1.jpg", "a/.hidden.jpg", "b/deeper/1.jpg", "b/2.jpg", ".git/1.jpg", "__MACOSX/1.jpg")
    write("a/tmp"), write("b/Thumbs.db"), write(".DS_Store"), write("read me.txt")
    dataset = open_folders(root)
    assert list(dataset.images) == ["a/1.jpg", "b/2.jpg"]
    [remark] = dataset.remarks
    assert remark.startswith("6 files and folders were left out")
    assert remark.endswith("first: .DS_Store")


def test_one_stray_file_is_named(put, write):
    root = put("BACKGROUND_Google/image_0001.jpg")
    write("BACKGROUND_Google/tmp", b"\xff\xd8")
    assert open_folders(root).remarks == (
        "BACKGROUND_Google/tmp was left out: it has no picture's suffix, or no class",
    )


def test_a_class_folder_without_pictures_is_named(put, write):
    root = put("a/1.jpg")
    write("b/readme.txt")
    with pytest.raises(DatasetError, match=r"/b: a class folder without pictures; remove it"):
        open_folders(root)


def test_class_folders_one_level_too_deep_are_said(put):
    with pytest.raises(DatasetError, match=r"/images: a class folder without pictures, but with folders, such as cat"):
        open_folders(put("images/cat/1.jpg"))


def test_folders_that_hold_no_classes_are_said(tmp_path, put, write):
    with pytest.raises(DatasetError, match="is empty"):
        open_folders(tmp_path)
    write("notes.txt")
    with pytest.raises(DatasetError, match="is no data set of a known format"):
        open_folders(tmp_path)
    put("1.jpg", "2.jpg")
    with pytest.raises(DatasetError, match="has 2 pictures but no class folders"):
        open_folders(tmp_path)
    with pytest.raises(DatasetError, match=r"nowhere: cannot be read \(no such file"):
        open_folders(tmp_path / "nowhere")


def test_names_that_are_not_utf8_can_be_read(tmp_path, write, encode, noise):
    try:
        write(os.fsdecode(b"caf\xe9/\xff.jpg"), encode(noise(20, 20)))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    dataset = open_folders(tmp_path)
    assert dataset.picture(0).shape == (20, 20, 3)
    assert len(dataset.fingerprint()) == 64


def test_links_are_followed(put, tmp_path):
    root = put("here/1.jpg")
    (root / "there").symlink_to(root / "here")
    (root / "here" / "2.jpg").symlink_to(root / "here" / "1.jpg")
    dataset = open_folders(root)
    assert list(dataset.images) == ["here/1.jpg", "here/2.jpg", "there/1.jpg", "there/2.jpg"]
    np.testing.assert_array_equal(dataset.picture(0), dataset.picture(3))


def test_classes_and_labels_are_those_of_torchvisions_image_folder(put):
    root = put(*(f"{name}/{number}.jpg" for name in ("b", "B", "a 1", "a", "a-1", "10", "9") for number in (2, 10, 1)))
    theirs, ours = ImageFolder(root), open_folders(root)
    assert list(ours.classes) == theirs.classes
    assert [(str(root / image), label) for image, label in zip(ours.images, ours.labels, strict=True)] == theirs.samples
