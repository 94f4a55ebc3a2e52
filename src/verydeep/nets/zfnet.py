"""ZF, an AlexNet whose first layers look more closely: 7 × 7 at stride 2, and no groups.

Source: Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks".
"""

from verydeep.nets.description import NetDescription
from verydeep.nets.trunk import Conv, Lrn, Pool, Row, build


def rows(*channels: int) -> tuple[Row, ...]:
    """The convolutional part, with so many channels in layers 3, 4 and 5. Source: figure 3.

    The padding of conv1 and pools that round up give the sides of the figure.
    """
    third, fourth, fifth = channels
    return (
        Conv(96, 7, stride=2, padding=1), Pool(3, 2, ceil=True), Lrn(),
        Conv(256, 5, stride=2), Pool(3, 2, ceil=True), Lrn(),
        Conv(third, 3, padding=1),
        Conv(fourth, 3, padding=1),
        Conv(fifth, 3, padding=1), Pool(3, 2, ceil=True),
    )  # fmt: skip


NETS = (
    NetDescription(
        "zfnet", build(rows(384, 384, 256)), 224, "Zeiler & Fergus 2014, figure 3",
        {"ten-crop@256": (0.384, 0.165)}, aliases=("zf",),
    ),
    NetDescription(
        "zfnet-wide", build(rows(512, 1024, 512)), 224, "Zeiler & Fergus 2014, table 2, layers 3 to 5 wider",
        {"ten-crop@256": (0.375, 0.160)},
    ),
)  # fmt: skip
