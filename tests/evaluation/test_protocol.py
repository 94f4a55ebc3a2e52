import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.errors import ProtocolError
from verydeep.evaluation.protocol import LARGEST_SCALE, PROTOCOLS, Protocol, parse

SCALES = st.lists(st.integers(224, LARGEST_SCALE), min_size=1, max_size=5, unique=True).map(tuple)


@given(name=st.sampled_from(sorted(PROTOCOLS)), scales=SCALES, mirror=st.booleans())
def test_a_protocol_is_read_back_from_its_text(name, scales, mirror):
    protocol = Protocol(name, scales, mirror)
    assert parse(protocol.text, crop=224) == protocol == parse(protocol, crop=224)


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
