"""CNN-F, CNN-M and CNN-S: fast, medium and slow.

Source: Chatfield, Simonyan, Vedaldi & Zisserman 2014, "Return of the devil in the details", table 1.
"""

from verydeep.nets.description import NetDescription
from verydeep.nets.trunk import Conv, Lrn, Pool, Row, build

FAST: tuple[Row, ...] = (
    Conv(64, 11, stride=4), Lrn(), Pool(3, 2, ceil=True),
    Conv(256, 5, padding=2), Lrn(), Pool(3, 2, ceil=True),
    Conv(256, 3, padding=1),
    Conv(256, 3, padding=1),
    Conv(256, 3, padding=1), Pool(3, 2, ceil=True),
)  # fmt: skip
MEDIUM: tuple[Row, ...] = (
    Conv(96, 7, stride=2), Lrn(), Pool(3, 2, ceil=True),
    Conv(256, 5, stride=2, padding=1), Lrn(), Pool(3, 2, ceil=True),
    Conv(512, 3, padding=1),
    Conv(512, 3, padding=1),
    Conv(512, 3, padding=1), Pool(3, 2, ceil=True),
)  # fmt: skip
SLOW: tuple[Row, ...] = (
    Conv(96, 7, stride=2), Lrn(), Pool(3, 3, ceil=True),
    Conv(256, 5), Pool(2, 2, ceil=True),  # the released file pads nothing: docs/decisions/080-readings-of-the-nets.md
    Conv(512, 3, padding=1),
    Conv(512, 3, padding=1),
    Conv(512, 3, padding=1), Pool(3, 3, ceil=True),
)  # fmt: skip


def _cnn(
    kind: str, rows: tuple[Row, ...], ten_crop: float, centre: float | None = None, fc7: int = 4096
) -> NetDescription:
    """One of the nets, with its top-5 errors; its authors give no others."""
    source = "Chatfield et al. 2014, table 1" if fc7 == 4096 else "Chatfield et al. 2014, section 3.4"
    errors = {"ten-crop@256": (None, ten_crop)} | ({"centre@256": (None, centre)} if centre else {})
    return NetDescription(f"cnn-{kind}", build(rows, (4096, fc7)), 224, source, errors, aliases=(f"vgg-{kind}",))


NETS = (
    _cnn("f", FAST, 0.167, 0.189),
    _cnn("m", MEDIUM, 0.137),
    _cnn("m-2048", MEDIUM, 0.135, fc7=2048),
    _cnn("m-1024", MEDIUM, 0.137, fc7=1024),
    _cnn("m-128", MEDIUM, 0.156, fc7=128),
    _cnn("s", SLOW, 0.131, 0.154),
)
