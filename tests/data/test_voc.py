import numpy as np
import pytest

from verydeep.data.open import open_dataset
from verydeep.data.voc import open_voc_actions
from verydeep.errors import DatasetError

OBJECT = (
    "<object><name>person</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


@pytest.fixture
def voc(put, write):
    """Three pictures, the classes cat and train; of the first two persons what they do."""

    def make(year="VOC2012"):
        names = ("2008_000001", "2008_000002", "2008_000003")
        root = put(*(f"VOCdevkit/{year}/JPEGImages/{name}.jpg" for name in names))
        base = f"VOCdevkit/{year}"
        write(f"{base}/ImageSets/Main/val.txt", "".join(f"{name}\n" for name in names))
        write(f"{base}/ImageSets/Main/cat_val.txt", "2008_000001  1\n2008_000002 -1\n2008_000003  0\n")
        write(f"{base}/ImageSets/Main/train_val.txt", "2008_000001  1\n2008_000002  1\n2008_000003 -1\n")
        write(f"{base}/ImageSets/Main/test.txt", "2008_000009\n")
        write(f"{base}/ImageSets/Action/val.txt", "2008_000001\n2008_000002\n")
        for action, one, two, three in (("jumping", 1, -1, -1), ("running", 1, 0, -1), ("other", -1, -1, 1)):
            lines = f"2008_000001 1 {one}\n2008_000001 2 {two}\n2008_000002 1 {three}\n"
            write(f"{base}/ImageSets/Action/{action}_val.txt", lines)
        boxes = {"2008_000001": [(1, 1, 32, 24), (3, 5, 10, 20)], "2008_000002": [(31, 2, 40, 9)]}
        for name, persons in boxes.items():
            text = "".join(OBJECT.format(*box) for box in persons)
            write(f"{base}/Annotations/{name}.xml", f"<annotation>{text}</annotation>")
        return root

    return make


def test_what_pictures_show_is_read_as_the_lists_have_it(voc):
    root = voc()
    data = open_dataset(root)
    assert (data.kind, data.split, data.classes, data.rule) == ("voc", "val", ("cat", "train"), "area")
    assert data.presence.tolist() == [[1, 1], [-1, 1], [0, -1]]
    assert (data.labels == -1).all()
    assert data.images[0] == "JPEGImages/2008_000001.jpg"
    assert data.picture(1).shape == (25, 32, 3)
    assert data.subset([2, 0]).presence.tolist() == [[0, -1], [1, 1]]
    assert data.fingerprint() != data.subset([0, 1]).fingerprint()
    assert open_dataset(root / "VOCdevkit").images == open_dataset(root / "VOCdevkit" / "VOC2012").images == data.images


def test_the_rule_of_average_precision_is_that_of_the_year(voc):
    assert open_dataset(voc("VOC2007")).rule == "11-point"


def test_several_years_are_not_mixed_up(voc):
    voc("VOC2007")
    with pytest.raises(DatasetError, match="holds VOC2007 and VOC2012; open one of them"):
        open_dataset(voc())


def test_a_person_is_shown_in_its_box_or_as_the_whole_picture(voc):
    root = voc()
    boxed, whole = (open_voc_actions(root, region=region) for region in ("box", "image"))
    assert boxed.classes == ("jumping", "running")  # `other` is not scored, and its persons do neither
    assert boxed.presence.tolist() == [[1, 1], [-1, 0], [-1, -1]]
    assert boxed.images == whole.images
    assert boxed.images[1] == "JPEGImages/2008_000001.jpg#2"
    picture = whole.picture(1)
    np.testing.assert_array_equal(boxed.picture(1), picture[4:20, 2:10])
    assert [boxed.size(i) for i in range(3)] == [boxed.picture(i).shape[:2] for i in range(3)]  # the third is clipped
    assert whole.size(1) == picture.shape[:2]
    assert len({boxed.content(0), boxed.content(1), whole.content(1)}) == 3
    assert whole.content(0) == whole.content(1)
    assert boxed.subset([1]).picture(0).shape == (16, 8, 3)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("Main/cat_val.txt", "", r"cat_val\.txt: is empty; copy it again"),
        ("Main/val.txt", "\n", r"val\.txt: is empty; copy it again"),
        ("Main/cat_val.txt", "2008_000001 1\n2008_000002 -1\n", r"cat_val\.txt: has 2 lines, val\.txt has 3"),
        ("Main/cat_val.txt", "2008_000002 1\n", r"cat_val\.txt: line 1 is of 2008_000002, unlike that of val\.txt"),
        ("Main/cat_val.txt", "2008_000001 2\n", r"line 1 has label '2'; it must be 1, -1 or 0"),
        ("Main/cat_val.txt", "2008_000001\n", "line 1 has 1 columns where 2 are due"),
    ],
)
def test_a_damaged_list_is_said_in_one_line(voc, file, content, words):
    root = voc()
    (root / "VOCdevkit" / "VOC2012" / "ImageSets" / file).write_text(content)
    with pytest.raises(DatasetError, match=words) as caught:
        open_dataset(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("", "is not an annotation"),
        ("<annotation/>", "has 0 objects, and the lists have its number 1"),
        ("<annotation><object/></annotation>", "object 1 has no whole box"),
        (f"<annotation>{OBJECT.format('inf', 1, 4, 9)}</annotation>", "object 1 has no whole box"),
        (f"<annotation>{OBJECT.format(5, 1, 4, 9)}</annotation>", "holds no pixel"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "is not an annotation"),
    ],
)
def test_a_damaged_annotation_is_said_in_one_line(voc, annotation, words):
    root = voc()
    (root / "VOCdevkit" / "VOC2012" / "Annotations" / "2008_000001.xml").write_text(annotation)
    with pytest.raises(DatasetError, match=words) as caught:
        open_voc_actions(root)
    assert "\n" not in str(caught.value)


def test_a_box_beyond_the_picture_is_said_in_one_line(voc):
    root = voc()
    text = OBJECT.format(33, 1, 60, 9)
    (root / "VOCdevkit" / "VOC2012" / "Annotations" / "2008_000002.xml").write_text(f"<annotation>{text}</annotation>")
    data = open_voc_actions(root)
    for look in (data.picture, data.size):
        with pytest.raises(DatasetError, match=r"2008_000002\.jpg: has 32 × 25 px, and the box of its object 1"):
            look(2)


def test_splits_without_labels_or_without_a_list_are_refused(voc):
    root = voc()
    with pytest.raises(DatasetError, match="labels of this split were never given out, use val"):
        open_dataset(root, "test")
    with pytest.raises(DatasetError, match="has no split 'train'; it has test, val"):
        open_dataset(root, "train")
