from dataclasses import replace

import pytest

from verydeep.errors import ProtocolError
from verydeep.evaluation.every import every_protocol, means_every
from verydeep.evaluation.protocol import Protocol
from verydeep.pictures.preset import OURS


def texts(*arguments, **keywords):
    return [protocol.text for protocol in every_protocol(*arguments, **keywords)]


def test_all_is_every_protocol_of_table_5_and_its_forerunners_at_the_paper_s_scales():
    assert texts("all", crop=224) == [
        "centre@256",
        "ten-crop@256",
        "dense@256",
        "dense@224,256,288",
        "multi-crop@224,256,288",
        "dense+multi-crop@224,256,288",
    ]
    assert texts("all", crop=56)[3] == "dense@56,64,72"


def test_scales_and_mirroring_may_be_one_s_own():
    assert texts("all@256,384,512", crop=224)[2:4] == ["dense@384", "dense@256,384,512"]
    assert texts("all@64,80,96-mirror", crop=64) == [
        "centre@80",
        "ten-crop@80-mirror",
        "dense@80-mirror",
        "dense@64,80,96-mirror",
        "multi-crop@64,80,96-mirror",
        "dense+multi-crop@64,80,96-mirror",
    ]
    assert texts("all@256", crop=224) == [
        "centre@256", "ten-crop@256", "dense@256", "multi-crop@256", "dense+multi-crop@256"
    ]  # fmt: skip


@pytest.mark.parametrize(("smallest_side", "scales"), [(256, "224,256,288"), (232, "224,232,264"), (224, "224,256")])
def test_the_scales_of_a_preset_are_around_its_own_and_never_below_the_crop(smallest_side, scales):
    preset = replace(OURS, smallest_side=smallest_side)
    assert texts("all", crop=224, preset=preset)[3] == f"dense@{scales}"


def test_what_means_all():
    assert all(map(means_every, ("all", " all@32", "all-mirror", "all@32,40+mirror")))
    assert not any(map(means_every, ("dense", "alls", "all@32@40", Protocol("centre", (32,), mirror=False))))
    with pytest.raises(ProtocolError, match="'x' is not a scale"):
        every_protocol("all@x", crop=32)
