from collections import Counter

import pytest

from verydeep.data.ilsvrc_classes import as_wnids, ilsvrc_names, wnids_of


def test_the_wnids_are_the_1000_of_the_challenge_in_sorted_order():
    timm_data = pytest.importorskip("timm.data")
    assert list(ilsvrc_names()) == sorted(ilsvrc_names()) == timm_data.ImageNetInfo().label_names()


def test_each_name_is_one_of_those_that_wordnet_gives_the_class():
    info = pytest.importorskip("timm.data").ImageNetInfo()
    for wnid, name in ilsvrc_names().items():
        assert name.lower() in [word.strip().lower() for word in info.label_name_to_description(wnid).split(",")]


def test_two_names_stand_for_two_classes_each():
    twice = {name for name, count in Counter(ilsvrc_names().values()).items() if count > 1}
    assert twice == {"crane", "maillot"}
    assert wnids_of("crane") == ("n02012849", "n03126707")
    assert wnids_of("maillot") == ("n03710637", "n03710721")


def test_torchvisions_names_in_their_order_are_these_classes():
    from torchvision.models import VGG16_Weights

    categories = VGG16_Weights.DEFAULT.meta["categories"]
    assert as_wnids(categories) == tuple(ilsvrc_names())
    with_doubles = [{"crane bird": "crane", "maillot tank suit": "maillot"}.get(name, name) for name in categories]
    assert as_wnids(with_doubles) == tuple(ilsvrc_names())
    assert all(wnid in wnids_of(name) for wnid, name in zip(ilsvrc_names(), categories, strict=True))


def test_other_names_or_another_order_stay_as_they_are():
    names = list(ilsvrc_names().values())
    assert as_wnids(names[::-1]) == tuple(names[::-1])
    assert as_wnids(["cat", "dog"]) == ("cat", "dog")
    assert wnids_of("aeroplane") == ()


def test_a_folders_spelling_of_a_name_will_do():
    assert wnids_of("Great_White_Shark") == ("n01484850",)
