"""What `all` means: the protocols that are put side by side, at scales that suit the net."""

import re
from collections.abc import Sequence

from verydeep.evaluation.protocol import Protocol, in_proportion, parse
from verydeep.pictures.preset import OURS, Preset

ALL = re.compile(r"all(@(?P<scales>[^@+-]*))?(?P<mirror>[+-]mirror)?")


def means_every(protocol: str | Protocol) -> bool:
    """Whether it is `all`, in one of its forms."""
    return isinstance(protocol, str) and ALL.fullmatch(protocol.strip()) is not None


def every_protocol(text: str, crop: int, preset: Preset = OURS) -> Sequence[Protocol]:
    """Centre crop, ten crops, dense, dense at several scales, many crops at these, and both together.

    Args:
        text: `all`; `all@256,384,512` at scales of one's own, the middle one for what has one scale; `all-mirror` and
            `all@256-mirror` without mirror images.
        crop: of the net, px.
        preset: of the net, whose smallest side is the single scale, if it has one.

    Raises:
        ProtocolError: a scale is impossible.

    Source: section 4, tables 3 to 5: S - 32, S and S + 32 for a crop of 224, S here being the single scale.
    """
    read = ALL.fullmatch(text.strip())
    assert read
    mirror = read["mirror"] or ""
    if read["scales"] is None:
        (usual,) = parse("centre", crop, preset=preset).scales
        step = in_proportion(32, crop)
        scales = sorted({str(max(crop, usual - step)), str(usual), str(usual + step)}, key=int)
    else:
        scales = read["scales"].split(",")
    one, several = scales[len(scales) // 2], ",".join(scales)
    texts = (
        f"centre@{one}{mirror}",
        f"ten-crop@{one}{mirror}",
        f"dense@{one}{mirror}",
        f"dense@{several}{mirror}",
        f"multi-crop@{several}{mirror}",
        f"dense+multi-crop@{several}{mirror}",
    )
    return list(dict.fromkeys(parse(each, crop, preset=preset) for each in texts))
