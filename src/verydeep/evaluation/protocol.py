"""The test protocols by name: which views of each rescaled picture a net is shown."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from verydeep.errors import ProtocolError
from verydeep.pictures.views import View, centre_crop, whole

LARGEST_SCALE = 8192  # px; more is taken for a slip of the finger


def centre(height: int, width: int, crop: int) -> Sequence[View]:
    """The crop in the middle of a rescaled picture. Source: section 2.3 (the control of B)."""
    return [centre_crop(height, width, crop)]


def dense(height: int, width: int, crop: int) -> Sequence[View]:
    """The whole of a rescaled picture, at every position of which the net looks. Source: section 3.2."""
    return [whole(height, width)]


Views = Callable[[int, int, int], Sequence[View]]  # of a rescaled picture of this height and width, for this crop
PROTOCOLS: Mapping[str, Views] = {"centre": centre, "dense": dense}
UNMIRRORED = {"centre"}  # by default; every other protocol looks at the mirrored picture as well


@dataclass(frozen=True)
class Protocol:
    """What a net is shown of each picture; the posteriors of all of it are averaged.

    Attributes:
        name: a key of `PROTOCOLS`.
        scales: smallest sides Q that each picture is rescaled to, px. Source: section 3.2.
        mirror: whether every view is also shown mirrored.
    """

    name: str
    scales: tuple[int, ...]
    mirror: bool

    @property
    def text(self) -> str:
        """Its name with its scales, such as `dense@256,384,512`: what `parse` reads."""
        usual = self.mirror == (self.name not in UNMIRRORED)
        suffix = "" if usual else "+mirror" if self.mirror else "-mirror"
        return f"{self.name}@{','.join(map(str, self.scales))}{suffix}"

    def views(self, height: int, width: int, crop: int) -> Sequence[View]:
        """The views of a rescaled picture, not mirrored."""
        return PROTOCOLS[self.name](height, width, crop)


GRAMMAR = re.compile(r"(?P<name>[^@]*?)(@(?P<scales>[^@]*?))?(?P<mirror>[+-]mirror)?")


def parse(text: str, crop: int, net: str = "the net") -> Protocol:
    """The protocol that a text names, such as `dense`, `dense@256,384,512` or `centre@256+mirror`.

    Args:
        text: a name of `PROTOCOLS`; then scales, round(crop × 256 / 224) by default; then `+mirror` or `-mirror`, by
            default without the mirrored view for `centre` and with it for all others.
        crop: of the net that is to be tested, px.
        net: its name, for errors.

    Raises:
        ProtocolError: there is no such protocol, or a scale is impossible or less than the crop.
    """
    read = GRAMMAR.fullmatch(text.strip())
    if read is None or read["name"] not in PROTOCOLS:
        name = read["name"] if read else text
        near = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0)[0]
        raise ProtocolError(f"{text}: {name or 'nothing'} is not a protocol; did you mean {near}?")
    scales = [str(round(crop * 256 / 224))] if read["scales"] is None else read["scales"].split(",")
    for scale in scales:
        if not re.fullmatch("[0-9]{1,9}", scale.strip()):
            raise ProtocolError(f"{text}: {scale!r} is not a scale; write whole pixels, such as dense@256,384,512")
        if int(scale) < crop:
            raise ProtocolError(
                f"{text}: {int(scale)} px is less than the crop of {net}, {crop} px; use {crop} or more"
            )
        if int(scale) > LARGEST_SCALE:
            raise ProtocolError(f"{text}: {int(scale)} px is too large a scale; use {LARGEST_SCALE} or less")
    sides = tuple(int(scale) for scale in scales)
    if len(set(sides)) < len(sides):
        raise ProtocolError(f"{text}: a scale stands there twice; write each one once")
    mirror = read["mirror"] == "+mirror" if read["mirror"] else read["name"] not in UNMIRRORED
    return Protocol(read["name"], sides, mirror)
