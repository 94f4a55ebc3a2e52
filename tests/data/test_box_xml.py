import numpy as np
import pytest

from verydeep.data.box_xml import read_box_xml
from verydeep.errors import DatasetError

GOOD = (
    "<annotation><filename>%s</filename><size><width>500</width><height>375</height></size><object><name>n01751748</name>"
    "<bndbox><xmin>111</xmin><ymin>108</ymin><xmax>441</xmax><ymax>193</ymax></bndbox></object></annotation>"
)


def test_a_file_of_ilsvrc(write):
    found = read_box_xml(write("a.xml", GOOD))
    assert (found.size, found.names) == ((375, 500), ("n01751748",))
    np.testing.assert_array_equal(found.boxes, [[111, 108, 442, 194]])


def test_voc_counts_pixels_from_1(write):
    np.testing.assert_array_equal(read_box_xml(write("a.xml", GOOD), first=1).boxes, [[110, 107, 441, 193]])


def test_a_picture_without_things_or_size(write):
    found = read_box_xml(write("a.xml", "<annotation><size><width>0</width></size></annotation>"))
    assert (found.size, found.names, found.boxes.shape) == (None, (), (0, 4))


@pytest.mark.parametrize("width", ["-500", "0.5", "99999999999999999999", "1e300"])
def test_a_size_that_no_picture_has_is_none(write, width):
    assert read_box_xml(write("a.xml", GOOD.replace("500", width))).size is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "never followed"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "never followed"),
        ('<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><annotation/>', "never followed"),
        ("<annotation><object>", "is no XML"),
        ("", "is no XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "is no XML"),
        (GOOD.replace("441", "wide"), "has no number at bndbox/xmax"),
        (GOOD.replace("441", "nan"), "has no number at bndbox/xmax"),
        (GOOD.replace("<xmin>111</xmin>", ""), "has no number at bndbox/xmin"),
        (GOOD.replace("500", "long"), "has no number at size/width"),
    ],
)
def test_what_is_no_such_file_is_refused_in_a_line(write, text, said):
    path = write("a.xml", text)
    with pytest.raises(DatasetError, match=said) as caught:
        read_box_xml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
