from dataclasses import replace

import pytest

from verydeep.data.ilsvrc_classes import ilsvrc_names
from verydeep.errors import DatasetError
from verydeep.evaluation.classes import labels_if_known, labels_of

WNIDS = tuple(ilsvrc_names())


@pytest.fixture
def match(make_net, make_data):
    """The labels, by the net's classes, of a picture of each of a data set's classes."""

    def labels(net_classes, data_classes, names=None):
        net = make_net(classes=net_classes)
        data = replace(make_data([(4, 4)] * len(data_classes), data_classes), names=names or {})
        return [net_classes[place] for place in labels_of(net, data)]

    return labels


def test_keys_are_matched_whatever_their_order(match):
    assert match(("cat", "dog", "cow"), ("dog", "cat")) == ["dog", "cat"]
    assert match(WNIDS, WNIDS[::-1]) == list(WNIDS[::-1])


def test_names_of_imagenet_classes_are_matched_to_wnids(match):
    assert match(WNIDS, ("tench", "Great_White_Shark", "n02391049")) == ["n01440764", "n01484850", "n02391049"]


def test_wnids_are_matched_to_names_of_imagenet_classes(match):
    assert match(("zebra", "tench"), ("n01440764",)) == ["tench"]


def test_what_a_data_set_calls_its_classes_will_do(match):
    assert match(("cat", "dog"), ("0", "1"), {"0": "dog", "1": "cat"}) == ["dog", "cat"]


@pytest.mark.parametrize(
    ("net_classes", "data_classes"),
    [(WNIDS, ("crane",)), (WNIDS, ("maillot",)), (("crane", "tench"), ("n02012849",)), (("crane",), ("n03126707",))],
)
def test_a_name_of_two_classes_is_refused(match, net_classes, data_classes):
    with pytest.raises(DatasetError, match="may be either of two classes that are called so; name classes by wnid"):
        match(net_classes, data_classes)


def test_the_same_name_on_both_sides_needs_no_table(match):
    assert match(("crane", "dog"), ("crane",)) == ["crane"]


def test_two_classes_that_are_one_to_the_net_are_refused(match):
    with pytest.raises(DatasetError, match="tench and n01440764 are both n01440764 to sliding; put them together"):
        match(WNIDS, ("tench", "n01440764"))


@pytest.mark.parametrize("classes", [("zebra",), ("n02391049",), ("n99999999",), ("",)])
def test_a_class_that_the_net_does_not_know_is_refused(match, classes):
    with pytest.raises(
        DatasetError, match=r"made: class .* is not among the 2 classes of sliding; use another net, or"
    ):
        match(("n01440764", "n01443537"), classes)


def test_posteriors_of_a_data_set_of_other_classes_have_no_labels(make_net, make_data):
    assert labels_if_known(make_net(), make_data([(4, 4)], "z")) is None
    assert labels_if_known(make_net(), make_data([(4, 4)], "b")).tolist() == [1]
