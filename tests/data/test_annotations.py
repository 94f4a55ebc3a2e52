from dataclasses import replace

import numpy as np
import pytest

from verydeep.data.annotations import one_class_each, read_boxes, reader
from verydeep.data.check import check
from verydeep.data.digits import make_digits, make_picture
from verydeep.data.open import open_dataset
from verydeep.errors import DatasetError


def xml(*things, size=(32, 32)):
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
        "</object>"
        for name, (x0, y0, x1, y1) in things
    )
    return f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{objects}</annotation>"


@pytest.fixture
def troubled(write, encode, noise):
    """Class folders with a good box and one of every trouble."""
    files = {
        "1": xml(("cat", (2, 3, 10, 12))),
        "2": xml(("cat", (10, 12, 2, 3))),
        "3": xml(("cat", (-4, 3, 10, 12))),
        "4": xml(("cat", (40, 40, 50, 50))),
        "5": xml(("cow", (2, 3, 10, 12)), ("dog", (1, 1, 2, 2)), ("cat", (5, 5, 6, 6))),
        "6": '<!DOCTYPE a [<!ENTITY x "y">]><annotation/>',
        "7": None,
    }
    for name, text in files.items():
        path = write(f"val/cat/{name}.jpg", encode(noise(32, 32)))
        if text:
            write(f"Annotations/val/cat/{name}.xml", text)
    write("val/dog/1.jpg", encode(noise(32, 32)))
    write("Annotations/val/dog/1.xml", xml(("dog", (0, 0, 31, 31))))
    return open_dataset(path.parents[2])


def test_every_trouble_is_named_with_its_picture(troubled):
    troubles = [(trouble.image, trouble.kind) for trouble in read_boxes(troubled).troubles]
    assert troubles == [
        ("val/cat/2.jpg", "swapped"), ("val/cat/3.jpg", "outside"), ("val/cat/4.jpg", "outside"),
        ("val/cat/4.jpg", "empty"), ("val/cat/5.jpg", "class"), ("val/cat/6.jpg", "damaged"),
        ("val/cat/7.jpg", "missing"),
    ]  # fmt: skip


def test_bad_boxes_are_mended_or_skipped_or_refused(troubled):
    mended, skipped = read_boxes(troubled, "mend"), read_boxes(troubled, "skip")
    assert mended.counts.tolist() == [1, 1, 1, 0, 1, 0, 0, 1]
    assert skipped.counts.tolist() == [1, 0, 0, 0, 1, 0, 0, 1]
    np.testing.assert_array_equal(mended.of(1), mended.of(0))  # its corners sorted
    np.testing.assert_array_equal(mended.of(2), [[0, 3, 11, 13]])
    np.testing.assert_array_equal(mended.of(4), [[5, 5, 7, 7]])  # of its own class alone
    with pytest.raises(DatasetError, match=r"cat/2\.jpg: box 1 of cat .*: corners swapped"):
        read_boxes(troubled, "stop")


@pytest.mark.parametrize("text", ["<annotation/>", "<html/>", xml(("dog", (1, 2, 3, 4)))])
def test_a_picture_whose_xml_has_no_box_of_its_class_is_listed(put, write, text):
    root = put("val/cat/1.jpg", "val/dog/1.jpg")
    write("Annotations/val/cat/1.xml", text)
    write("Annotations/val/dog/1.xml", xml(("dog", (0, 0, 3, 3)), ("cat", (0, 0, 3, 3))))
    data = open_dataset(root)
    assert read_boxes(data).trouble() == "no box of the picture's class: 1"
    assert check(data).bad_boxes == [("val/cat/1.jpg", "val/cat/1.jpg: has no box of the picture's class")]
    with pytest.raises(DatasetError, match=r"cat/1\.jpg: has no box of the picture's class"):
        read_boxes(data, "stop")


def test_check_lists_bad_boxes(troubled):
    result = check(troubled)
    assert len(result.bad_boxes) == 7
    assert "bad box: val/cat/2.jpg: box 1 of cat (10, 12, 3, 4): corners swapped" in str(result)
    assert "boxes: 3 good ones, 7 bad" in str(result)
    assert result.to_dict()["bad_boxes"][0]["image"] == "val/cat/2.jpg"


def test_boxes_grow_with_a_copy_of_the_picture(troubled):
    boxes = read_boxes(troubled)
    np.testing.assert_array_equal(boxes.of(0), [[2, 3, 11, 13]])
    np.testing.assert_array_equal(boxes.of(0, (16, 64)), [[4, 1.5, 22, 6.5]])


def test_subsets_keep_their_boxes(troubled):
    boxes = read_boxes(troubled)
    part = boxes.subset([7, 4])
    assert part.counts.tolist() == [1, 1]
    np.testing.assert_array_equal(part.of(0), boxes.of(7))
    again = read_boxes(troubled.subset([7, 4]))
    np.testing.assert_array_equal(part.values, again.values)


def test_the_digits_boxes_are_those_that_were_made(tmp_path):
    data = open_dataset(make_digits(tmp_path / "digits", train=100, val=100))
    boxes = read_boxes(data)
    assert not boxes.troubles
    for index in range(5):
        made = make_picture("val", int(data.images[index][-13:-5]))
        np.testing.assert_array_equal(boxes.of(index), [made.box])


def test_tiny_imagenets_boxes(put, write):
    names = [f"train/n01/images/n01_{i}.JPEG" for i in range(2)] + [f"val/images/val_{i}.JPEG" for i in range(2)]
    root = put(*names)
    write("wnids.txt", "n01\n")
    write("words.txt", "n01\tcat\n")
    write("train/n01/n01_boxes.txt", "n01_0.JPEG\t0\t0\t63\t63\nn01_1.JPEG\t25\t0\t32\t0\n")
    write("val/val_annotations.txt", "val_0.JPEG\tn01\t0\t63\t63\t63\nval_1.JPEG\tn01\t1\t2\t3\t4\n")
    train, val = (read_boxes(open_dataset(root, split)) for split in ("train", "val"))
    np.testing.assert_array_equal(train.values, [[0, 0, 64, 64], [25, 0, 33, 1]])
    np.testing.assert_array_equal(val.values, [[0, 63, 64, 64], [1, 2, 4, 5]])
    assert not train.troubles
    assert (val.sizes == 64).all()


def test_ilsvrc_as_the_kits_lay_it_out(put, write):
    root = put(*(f"ILSVRC/Data/CLS-LOC/{split}/n0144076{n}/{n}.JPEG" for split in ("train", "val") for n in (4, 5)))
    write("ILSVRC/Annotations/CLS-LOC/train/n01440764/4.xml", xml(("n01440764", (1, 2, 3, 4)), size=(12, 16)))
    write("ILSVRC/Annotations/CLS-LOC/val/4.xml", xml(("n01440764", (0, 0, 1, 1))))
    write("ILSVRC/Annotations/CLS-LOC/val/5.xml", xml(("n01440765", (0, 0, 2, 2))))
    train, val = (open_dataset(root, split) for split in ("train", "val"))
    np.testing.assert_array_equal(read_boxes(train).of(0, (24, 32)), [[2, 4, 8, 10]])  # annotated at half the size
    assert read_boxes(val).values[:, 2].tolist() == [2, 3]
    assert check(train).bad_boxes == []  # that half of the training pictures have none is no fault
    assert check(train).without_boxes == 1


def test_words_in_place_of_a_wnid_are_understood(put, write):
    root = put("train/n02092002/1.JPEG", "train/n02012849/2.JPEG", "train/n03126707/3.JPEG")
    write("Annotations/train/n02092002/1.xml", xml(("Scottish_deerhound", (1, 2, 3, 4))))
    write("Annotations/train/n02012849/2.xml", xml(("crane", (1, 2, 3, 4))))
    data = open_dataset(root, "train")
    named = replace(
        data, names={"n02092002": "Scottish deerhound, deerhound", "n02012849": "crane", "n03126707": "crane"}
    )
    boxes = read_boxes(named)
    assert boxes.counts.tolist() == [0, 1, 0]  # which crane is meant is not known
    assert [trouble.kind for trouble in boxes.troubles] == ["class", "missing"]


def test_voc_beside_its_pictures(put, write):
    root = put("VOC/JPEGImages/a.jpg", "VOC/JPEGImages/b.jpg")
    write("VOC/Annotations/a.xml", xml(("dog", (1, 1, 24, 24)), ("cat", (2, 2, 3, 3))))
    table = write("animals.csv", "file,label\nVOC/JPEGImages/a.jpg,dog\nVOC/JPEGImages/b.jpg,cat\n")
    boxes = read_boxes(open_dataset(table))
    np.testing.assert_array_equal(boxes.values, [[0, 0, 24, 24]])
    assert root


def test_of_voc_the_pictures_that_show_one_class_are_taken(put, write):
    base = "VOCdevkit/VOC2012"
    root = put(*(f"{base}/JPEGImages/{name}.jpg" for name in "abc"))
    for name, things in {"a": ["cat"], "b": ["cat", "dog"], "c": ["dog"]}.items():
        write(f"{base}/Annotations/{name}.xml", xml(*((thing, (1, 1, 24, 24)) for thing in things)))
    write(f"{base}/ImageSets/Main/val.txt", "a\nb\nc\n")
    write(f"{base}/ImageSets/Main/cat_val.txt", "a 1\nb 1\nc -1\n")
    write(f"{base}/ImageSets/Main/dog_val.txt", "a -1\nb 1\nc 1\n")
    data = one_class_each(open_dataset(root, "val", kind="voc"))
    assert [data.classes[label] for label in data.labels] == ["cat", "dog"]
    assert data.remarks == ("1 of 3 pictures do not show one class alone, and are left out",)
    assert read_boxes(data).counts.tolist() == [1, 1]
    assert check(open_dataset(root, "val", kind="voc")).boxes == 2
    assert one_class_each(data.subset([1])).labels.tolist() == [1]


def test_data_without_boxes_are_refused(put):
    data = open_dataset(put("cat/1.jpg"))
    assert reader(data) is None
    assert check(data).boxes is None
    with pytest.raises(DatasetError, match="has no boxes"):
        read_boxes(data)
