import hashlib
from pathlib import Path

import numpy as np
import pytest
from defusedxml.ElementTree import parse
from PIL import Image

from verydeep.data.digits import COLUMNS, HANDWRITTEN, ONE, Draw, _weights, make_digits, make_picture
from verydeep.data.open import open_dataset
from verydeep.errors import DatasetError


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return make_digits(tmp_path_factory.mktemp("made") / "digits", train=60, val=40)


def test_both_splits_open_as_digits_and_as_plain_folders(digits):
    for kind in (None, "folders"):
        train, val = open_dataset(digits, "train", kind), open_dataset(digits, "val", kind)
        assert (len(train), len(val)) == (60, 40)
        assert train.classes == val.classes == tuple("0123456789")
    train = open_dataset(digits, "train")
    assert train.kind == "digits"
    assert train.names["7"] == "seven"
    assert train.remarks == ()


def test_each_file_is_its_picture_and_its_box_is_beside_it(digits):
    dataset = open_dataset(digits, "val")
    for index in range(len(dataset)):
        path = Path(dataset.images[index])
        made = make_picture("val", int(path.stem.rpartition("_")[2]))
        assert str(made.digit) == path.parts[1] == dataset.classes[dataset.labels[index]]
        error = dataset.picture(index).astype(int) - made.picture
        assert np.abs(error).mean() < 12  # JPEG of quality 80 at worst, on colours at half the resolution
        root = parse(digits / "Annotations" / path.with_suffix(".xml")).getroot()
        assert root.findtext("filename") == path.stem
        assert root.findtext("object/name") == str(made.digit)
        assert [int(root.findtext(f"size/{key}")) for key in ("height", "width", "depth")] == [*made.picture.shape]
        corners = [int(root.findtext(f"object/bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
        assert corners == [made.box.left, made.box.top, made.box.right - 1, made.box.bottom - 1]


@pytest.mark.parametrize("split", ["train", "val"])
def test_pictures_are_of_the_stated_sizes_and_digits_large_and_inside(split):
    for index in range(150):
        made = make_picture(split, index)
        height, width = sorted(made.picture.shape[:2])
        assert 72 <= height <= 128
        assert 96 <= width <= 160
        box = made.box
        assert 0 <= box.left < box.right <= made.picture.shape[1]
        assert 0 <= box.top < box.bottom <= made.picture.shape[0]
        assert 0.4 * height <= box.bottom - box.top <= 0.75 * height  # of the ink: rows without any are cut off
        assert abs(box.top + box.bottom - made.picture.shape[0]) / 2 <= height / 8 + 1
        assert abs(box.left + box.right - made.picture.shape[1]) / 2 <= height / 8 + 1


def test_the_same_seed_gives_the_same_pixels_everywhere():
    sha = hashlib.sha256()
    for split in ("train", "val"):
        for index in range(20):
            made = make_picture(split, index)
            sha.update(made.picture.tobytes() + repr((made.digit, made.box, made.quality)).encode())
    # Another value here means that VERSION must be raised.
    assert sha.hexdigest() == "3ba89612e404cafccd4b019c56ed533097fe0899234f61eb47d7d0fa9107d160"
    assert not np.array_equal(make_picture("train", 0, seed=1).picture, make_picture("train", 0).picture)


def test_draws_are_whole_numbers_of_a_fixed_stream_and_fill_their_range():
    draw = Draw(0, "val", 5)
    raw = np.random.Philox(key=np.array([0, 0], np.uint64), counter=[0, 0, 0, 11]).random_raw(3)
    assert [draw.between(-3, 6) for _ in raw] == [-3 + (int(each) >> 32) * 10 // 2**32 for each in raw]
    assert {Draw(0, "train", index).between(2, 5) for index in range(99)} == {2, 3, 4, 5}


@pytest.mark.parametrize(("parts", "count"), [(HANDWRITTEN, 1797), (COLUMNS, 640)])
def test_the_splits_share_neither_handwriting_nor_parts_of_the_photographs(parts, count):
    train, val = (set(range(count)[part]) for part in parts.values())
    assert train
    assert val
    assert not train & val


def test_interpolation_is_pillows_bicubic():
    values = np.random.default_rng(0).integers(0, 17, (8, 8))
    ours = _weights(40) @ values @ _weights(40).T / ONE**2
    theirs = np.asarray(Image.fromarray(values.astype(np.float32)).resize((40, 40), Image.Resampling.BICUBIC))
    inside = slice(10, 30)  # Pillow repeats the edge, ours is empty beyond it
    # Distances are rounded to 64ths: 1/128 at a slope of at most some 16 * 1.5 for each axis
    np.testing.assert_allclose(ours[inside, inside], theirs[inside, inside], atol=0.4)


def test_all_classes_occur_about_equally_often():
    counts = np.bincount([make_picture("train", index).digit for index in range(300)], minlength=10)
    assert counts.min() >= 15


def test_the_files_do_not_depend_on_the_number_of_threads(tmp_path):
    one, three = (make_digits(tmp_path / str(n), train=12, val=12, seed=5, threads=n) for n in (1, 3))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) == 49
    assert all((one / file).read_bytes() == (three / file).read_bytes() for file in files)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, write):
    write("here/note.txt", "mine")
    with pytest.raises(DatasetError, match="here: is there already and not empty"):
        make_digits(tmp_path / "here")
    with pytest.raises(DatasetError, match=r"note\.txt: is there already"):
        make_digits(tmp_path / "here" / "note.txt")
    with pytest.raises(DatasetError, match="cannot be written"):
        make_digits(tmp_path / "here" / "note.txt" / "below")
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "note.txt"]


def test_what_was_cut_off_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("verydeep.data.digits._xml", fail)
    with pytest.raises(DatasetError, match=r"digits: cannot be written \(no space left on device\)"):
        make_digits(tmp_path / "digits", train=3, val=3)
    assert list(tmp_path.iterdir()) == []
