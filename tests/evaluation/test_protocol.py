import math
from collections import Counter
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.errors import ProtocolError
from verydeep.evaluation.protocol import LARGEST_SCALE, METHODS, POSITIONS, PROTOCOLS, Protocol, Shown, parse
from verydeep.nets.registry import NETS
from verydeep.pictures.preset import Preset
from verydeep.pictures.views import View, corners_and_centre, whole

SCALES = st.lists(st.integers(224, LARGEST_SCALE), min_size=1, max_size=5, unique=True).map(tuple)
SIMPLE = st.tuples(st.sampled_from(sorted(METHODS)), SCALES, st.booleans())  # built in the tests: beartype draws too
TERMS = st.lists(st.tuples(st.floats(1e-6, 1e6) | st.just(1.0), SIMPLE), min_size=1, max_size=4)


def build(terms):
    return reduce(add, (weight * Protocol(*simple) for weight, simple in terms))


@given(
    name=st.sampled_from(sorted(PROTOCOLS)),
    scales=SCALES,
    mirror=st.booleans(),
    positions=st.sampled_from(POSITIONS),
)
def test_a_protocol_is_read_back_from_its_text(name, scales, mirror, positions):
    protocol = Protocol(name, scales, mirror, positions=positions)
    assert parse(protocol.text, crop=224) == protocol == parse(protocol, crop=224)


@given(terms=TERMS)
def test_a_sum_is_read_back_from_its_text(terms):
    protocol = build([(1.0, ("centre", (256,), True)), *terms])
    assert parse(protocol.text, crop=224) == protocol


@given(simple=st.tuples(SIMPLE, SIMPLE, SIMPLE))
def test_sums_have_no_order_of_adding_but_keep_that_of_writing(simple):
    one, two, three = (Protocol(*each) for each in simple)
    assert (one + two) + three == one + (two + three)
    assert (one + two).name == f"{one.name}+{two.name}"
    assert set((one + two).scales) == {*one.scales, *two.scales}
    assert (one + two).mirror == (one.mirror or two.mirror)


def test_a_sum_of_the_same_scales_is_written_short():
    both = parse("dense@256,384,512", 224) + parse("multi-crop@256,384,512", 224)
    assert both.text == "dense+multi-crop@256,384,512"
    assert both == Protocol("dense+multi-crop", (256, 384, 512), mirror=True) == parse(both.text, 224)
    assert both == parse("dense@256,384,512 + multi-crop@256,384,512", 224)
    assert parse("dense+multi-crop@300-mirror", 224).text == "dense+multi-crop@300-mirror"
    assert parse("dense + multi-crop@384", 224).text == "dense@256 + multi-crop@384"
    assert parse("2*dense@256 + 0.5*centre@256", 224).text == "2*dense@256 + 0.5*centre@256"
    assert (3 * both).text == "3*dense@256,384,512 + 3*multi-crop@256,384,512"


def test_scales_of_other_systems_are_in_proportion_to_the_crop():
    assert parse("googlenet-144", 224).scales == (256, 288, 320, 352)
    assert parse("googlenet-144", 112).scales == (128, 144, 160, 176)
    assert parse("spp-96", 224).scales == parse("spp-96+2", 224).scales == (224, 256, 300, 360, 448, 560)
    assert parse("spp-96", 112).scales == (112, 128, 150, 180, 224, 280)


def test_the_default_scale_is_that_of_the_preset():
    authors = Preset("authors", smallest_side=232)
    assert parse("dense", 224, preset=authors).text == "dense@232"
    assert parse("googlenet-144", 224, preset=authors).scales == (256, 288, 320, 352)
    assert parse("dense@256", 224, preset=authors).text == "dense@256"


COUNTS = {"centre": 1, "ten-crop": 5, "dense": 1, "multi-crop": 25, "googlenet-144": 72, "spp-96": 48, "spp-96+2": 49}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
@pytest.mark.parametrize("size", [(480, 640), (640, 480), (500, 333)])
def test_a_picture_has_as_many_views_as_the_name_says(name, count, size):
    views = parse(name, 224).views(*size, 224)
    assert len(views) == count
    assert [shown.weight for shown in views] == [pytest.approx(1 / count)] * count
    assert len(set(views)) == count


@settings(deadline=None)
@given(terms=TERMS, height=st.integers(1, 3000), width=st.integers(1, 3000), crop=st.sampled_from([32, 63, 224]))
def test_shares_of_all_views_make_one_and_no_view_comes_twice(terms, height, width, crop):
    protocol = build(terms)
    if max(height, width) * max(protocol.scales) ** 2 > 5e7 * min(height, width):
        return  # too long to be rescaled
    views = protocol.views(height, width, crop)
    assert math.isclose(math.fsum(shown.weight for shown in views), 1)
    assert max(Counter((shown.smallest_side, shown.view, shown.mirror) for shown in views).values()) == 1


def test_views_that_coincide_are_shown_once_and_count_as_often():
    square = parse("googlenet-144", 224).views(300, 300, 224)
    assert len(square) == 24  # the three squares are one
    assert [shown.weight for shown in square] == [pytest.approx(1 / 24)] * 24
    exact = parse("multi-crop@224", 224).views(224, 225, 224)
    # Origins 0, 0.25, 0.5, 0.75 and 1 of the width, each five times, are 0, 0, 1, 1, 1.
    assert {shown.view.left: shown.weight for shown in exact} == {0: pytest.approx(0.4), 1: pytest.approx(0.6)}


def test_terms_of_a_sum_count_by_their_weights_however_many_views_they_have():
    views = parse("3*dense@256 + ten-crop@256", 224).views(480, 640, 224)
    assert views[0] == Shown(256, whole(256, 341), mirror=True, weight=0.75)
    assert [shown.weight for shown in views[1:]] == [pytest.approx(0.05)] * 5


def test_a_way_of_looking_of_ones_own_is_a_protocol_like_any_other():
    def corners(height, width, crop):
        return corners_and_centre(whole(height, width), crop)[:2]

    mine = Protocol("upper-corners", (256, 384), mirror=False, look=corners)
    assert mine.text == "upper-corners@256,384-mirror"
    assert [shown.view.left for shown in mine.views(480, 640, 224)] == [0, 341 - 224, 0, 512 - 224]
    both = mine + parse("centre@256", 224)
    assert both.text == "upper-corners@256,384-mirror + centre@256"
    assert sum(shown.weight for shown in both.views(480, 640, 224)[:4]) == pytest.approx(0.5)
    assert parse(both, 224) is both


@pytest.mark.parametrize(
    ("look", "line"),
    [
        (lambda height, width, crop: [], "mine@256: looks at nothing of a picture of 341x256 px; give it a view"),
        (lambda height, width, crop: [View(0, 200, 224, 224)], "is not in 341x256 px, or smaller than the crop, 224"),
        (lambda height, width, crop: [View(-1, 0, 224, 224)], "is not in 341x256 px"),
        (lambda height, width, crop: [View(0, 0, 100, 224)], "or smaller than the crop, 224 px"),
        (lambda height, width, crop: [View(0, 0, 224, 224, side=100)], "or smaller than the crop, 224 px"),
    ],
)
def test_a_way_of_looking_that_is_wrong_is_refused(look, line):
    with pytest.raises(ProtocolError, match=line):
        Protocol("mine", (256,), mirror=True, look=look).views(480, 640, 224)


@pytest.mark.parametrize("text", ["dense@256+hcp + ten-crop@256", "2*dense@256+hcp + ten-crop@256+hcp"])
def test_a_maximum_is_no_term_of_a_mean(text):
    with pytest.raises(ProtocolError, match=r"is no term of a mean and has no weights; use \+hcp everywhere"):
        parse(text, 224)


def test_the_maximum_over_the_views_of_several_ways_of_looking_is_read_back_from_its_text():
    both = parse("dense@256,384+hcp + ten-crop@256+hcp", 224)
    assert both.takes_largest
    assert both == parse(both.text, 224)
    assert parse("dense+multi-crop@256-mirror+hcp", 224).text == "dense+multi-crop@256-mirror+hcp"


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf])
def test_a_weight_is_above_zero(weight):
    with pytest.raises(ProtocolError, match="is not a weight; use a number above 0"):
        weight * parse("dense", 224)


def test_only_whole_pictures_need_a_score_map():
    needing = {name for name in PROTOCOLS if parse(name, 224).needs_score_map(224)}
    assert needing == {"dense", "dense+multi-crop", "spp-96+2"}
    assert parse("dense@224", 224).needs_score_map(224)


def test_the_centre_is_that_of_the_preset():
    class Authors(Preset):
        def centre_crop(self, height, width, crop):
            return View(3, 5, crop, crop)

    (shown,) = parse("centre", 224).views(480, 640, 224, Authors())
    assert (shown.view.top, shown.view.left) == (3, 5)


def giga_macs(net, protocol, height, width):
    """Multiply-adds of a protocol for a picture, by walking through the layers of each view."""
    total = 0
    for shown in parse(protocol, 224).views(height, width, 224):
        rows, columns = shown.view.shape
        for layer in NETS[net].plan:
            rows, columns = layer.side(rows), layer.side(columns)
            if layer.has_weights:
                total += (1 + shown.mirror) * rows * columns * layer.kernel**2 * layer.inputs * layer.outputs
    return total / 1e9


@pytest.mark.parametrize(
    ("net", "square", "four_to_three", "crops"),
    [
        ("vgg-b", 246.4, 335.5, 1696.3),
        ("vgg-c", 255.2, 347.2, 1765.6),
        ("vgg-d", 325.3, 440.2, 2320.5),
        ("vgg-e", 404.1, 544.8, 2944.8),
    ],
)
def test_dense_testing_costs_a_fifth_to_a_seventh_of_150_crops(net, square, four_to_three, crops):
    scales = "256,384,512"
    found = [giga_macs(net, f"dense@{scales}", *size) for size in ((600, 600), (600, 800))]
    assert found == [pytest.approx(square, abs=0.051), pytest.approx(four_to_three, abs=0.051)]
    assert giga_macs(net, f"multi-crop@{scales}", 600, 800) == pytest.approx(crops, abs=0.051)
    assert round(crops / square, 1) in (6.9, 7.1, 7.3)
    assert round(crops / four_to_three, 1) in (5.1, 5.3, 5.4)


def test_costs_of_other_protocols_are_those_of_their_crops():
    assert giga_macs("vgg-d", "ten-crop", 600, 800) == pytest.approx(154.7, abs=0.05)
    assert giga_macs("vgg-d", "multi-crop@384", 600, 800) == pytest.approx(773.5, abs=0.05)
    assert giga_macs("vgg-d", "googlenet-144", 600, 800) == pytest.approx(2227.7, abs=0.05)
    assert giga_macs("vgg-d", "dense@384", 600, 800) == pytest.approx(135.1, abs=0.05)
    assert giga_macs("vgg-d", "dense@384", 600, 600) == pytest.approx(99.1, abs=0.05)


@pytest.mark.parametrize(("crop", "scale"), [(224, 256), (112, 128), (56, 64), (32, 37), (96, 110)])
def test_the_default_scale_is_that_of_256_for_224(crop, scale):
    assert parse("dense", crop).scales == (scale,)


def test_only_the_centre_crop_is_not_mirrored_by_default():
    assert parse("centre@256", 224) == Protocol("centre", (256,), mirror=False)
    assert parse("dense@256,384,512", 224) == Protocol("dense", (256, 384, 512), mirror=True)
    assert parse("dense@256-mirror", 224).text == "dense@256-mirror"
    assert parse("centre+mirror", 224).text == "centre@256+mirror"
    assert parse(" dense@256+mirror ", 224).text == "dense@256"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dens", "dens is not a protocol; did you mean dense?"),
        ("center@256", "center is not a protocol; did you mean centre?"),
        ("", "nothing is not a protocol; did you mean "),
        ("dense@256@384", "dense@256@384 is not a protocol; write one such as dense@256,384,512"),
        ("dense@", "dense@: '' is not a scale; write whole pixels, such as dense@256,384,512"),
        ("dense@256,", "dense@256,: '' is not a scale; write whole pixels, such as dense@256,384,512"),
        ("dense@25.6", "dense@25.6: '25.6' is not a scale; write whole pixels, such as dense@256,384,512"),
        ("dense@-256", "dense@-256: '-256' is not a scale; write whole pixels, such as dense@256,384,512"),
        ("dense@२५६", "dense@२५६: '२५६' is not a scale; write whole pixels, such as dense@256,384,512"),
        ("dense@256,256", "dense@256,256: has no scale, or one twice; write each once, such as dense@256,384,512"),
        ("dense@200", "dense@200: 200 px is less than the crop of vgg-d, 224 px; use 224 or more"),
        ("dense@256 +", "dense@256 +: '256 +' is not a scale; write whole pixels, such as dense@256,384,512"),
        ("dense+mult-crop", "mult-crop is not a protocol; did you mean multi-crop?"),
        ("dense@256 + dens@256", "dens is not a protocol; did you mean dense?"),
        ("dense@256+centre@256", "dense@256+centre@256 is not a protocol; write one such as"),
        ("0*dense", "dense@256: 0.0 is not a weight; use a number above 0"),
        ("e*dense", "e*dense: e is not a weight; use a number above 0"),
        ("spp-96@200", "spp-96@200: 200 px is less than the crop of vgg-d, 224 px; use 224 or more"),
        ("dense@256 + dense@200", "dense@256 + dense@200: 200 px is less than the crop"),
        ("dense@25600", "dense@25600: 25600 px is not a possible scale; use the crop's side to 8192"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_write(text, line):
    with pytest.raises(ProtocolError) as mistake:
        parse(text, 224, "vgg-d")
    assert str(mistake.value).startswith(line)
    assert "\n" not in str(mistake.value)


def test_protocols_made_by_hand_are_checked_too():
    with pytest.raises(ProtocolError, match="did you mean dense"):
        Protocol("denser", (256,), mirror=True)
    with pytest.raises(ProtocolError, match="less than the crop of the net, 224 px"):
        parse(Protocol("dense", (223,), mirror=True), 224)
