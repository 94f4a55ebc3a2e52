"""OverFeat, fast and accurate: pools without overlap, no normalisation, wide layers behind.

Their last pool may be laid at every offset, which makes a score map of three times, or twice, as many cells a side:
`fine_score_map`, and the protocol `fine`.

Source: Sermanet et al. 2014, "OverFeat: integrated recognition, localization and detection using convolutional
networks", tables 1 and 3.
"""

from verydeep.nets.description import NetDescription
from verydeep.nets.trunk import Conv, Pool, Row, build

FAST: tuple[Row, ...] = (  # Source: Sermanet et al. 2014, table 1
    Conv(96, 11, stride=4), Pool(2, 2),
    Conv(256, 5), Pool(2, 2),
    Conv(512, 3, padding=1),
    Conv(1024, 3, padding=1),
    Conv(1024, 3, padding=1), Pool(2, 2),
)  # fmt: skip
ACCURATE: tuple[Row, ...] = (  # Source: Sermanet et al. 2014, table 3
    Conv(96, 7, stride=2), Pool(3, 3),
    Conv(256, 7), Pool(2, 2),
    Conv(512, 3, padding=1),
    Conv(512, 3, padding=1),
    Conv(1024, 3, padding=1),
    Conv(1024, 3, padding=1), Pool(3, 3),
)  # fmt: skip
MEAN, STD = 118.380948, 61.896913  # of all colours alike. Source: the released program
FOUR, SIX = "245,281,389,461", "245,281,317,389,425,461"  # scales 1, 2, 4 and 6, and all. Source: table 5

NETS = (
    NetDescription(
        "overfeat-fast", build(FAST, (3072, 4096)), 231, "Sermanet et al. 2014, table 1",
        {
            "dense@245+maximum": (0.3928, 0.1712),
            "fine@245+maximum": (0.3901, 0.1697),
            f"fine@{FOUR}+maximum": (0.3857, 0.1639),
            f"fine@{SIX}+maximum": (0.3812, 0.1627),
        },
        mean=MEAN, std=STD,
    ),
    NetDescription(
        "overfeat-accurate", build(ACCURATE), 221, "Sermanet et al. 2014, table 3",
        {"ten-crop@256": (0.3560, 0.1471), f"fine@{FOUR}+maximum": (0.3574, 0.1418)},
        mean=MEAN, std=STD,
    ),
)  # fmt: skip
