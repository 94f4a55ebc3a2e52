import numpy as np
import pytest

from verydeep.data.duplicates import contents, leaks, refuse_leaks
from verydeep.data.open import open_dataset
from verydeep.data.splits import split_classes
from verydeep.errors import DatasetError


@pytest.fixture
def folders(put):
    return put(*(f"{name}/{n}.jpg" for name, count in (("ant", 5), ("bee", 9), ("cat", 4)) for n in range(count)))


def test_a_split_takes_as_many_of_every_class_and_tests_others_of_them(folders):
    data = open_dataset(folders)
    train, test = split_classes(data, 3, 4, seed=7)
    assert np.bincount(train.labels).tolist() == [3, 3, 3]
    assert np.bincount(test.labels).tolist() == [2, 4, 1]
    assert not {*train.images} & {*test.images}
    everything = split_classes(data, 3, None, seed=7)[1]
    assert np.bincount(everything.labels).tolist() == [2, 6, 1]
    assert {*test.images} <= {*everything.images}


def test_the_seed_decides_alone_and_no_class_decides_for_another(folders):
    data = open_dataset(folders)
    one, again, other = (tuple(split_classes(data, 3, seed=seed)[0].images) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    bees = split_classes(data.only(["bee"]), 3, seed=0)[0].images
    assert [image for image in one if image.startswith("bee/")] == list(bees)


@pytest.mark.parametrize(("train", "name", "has"), [(4, "cat", 4), (8, "ant", 5)])
def test_a_class_with_too_few_pictures_is_named(folders, train, name, has):
    line = f"class {name} has {has} pictures, and {train} to train on with one to test"
    with pytest.raises(DatasetError, match=line):
        split_classes(open_dataset(folders), train)


def test_numbers_that_make_no_split_are_refused(folders):
    with pytest.raises(DatasetError, match="0 pictures of a class to train on, 50 to test; use 1 or more"):
        split_classes(open_dataset(folders), 0)


def test_a_picture_on_both_sides_is_a_leak_whatever_it_is_called(folders):
    (folders / "bee" / "copy.jpg").write_bytes((folders / "ant" / "0.jpg").read_bytes())
    data = open_dataset(folders)
    ant, copy = (data.images.index(name) for name in ("ant/0.jpg", "bee/copy.jpg"))
    others = [place for place in range(len(data)) if place not in (ant, copy)]
    refuse_leaks(data.subset([ant, *others[:4]]), data.subset(others[4:]))
    with pytest.raises(DatasetError, match=r"bee/copy\.jpg, to be tested, is the same picture as ant/0\.jpg") as caught:
        refuse_leaks(data.subset([*others[:4], ant]), data.subset([*others[4:], copy]))
    assert "allow-leaks" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_leaks_are_found_pair_by_pair(folders):
    found = contents(open_dataset(folders))
    assert len({*found}) == len(found)
    assert leaks(found[:3], [found[5], found[2], found[0], found[2]]) == [(2, 1), (0, 2), (2, 3)]
    assert leaks(found[:3], found[3:]) == []
