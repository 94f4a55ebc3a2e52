"""The test protocols by name: which views of each rescaled picture a net is shown."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from verydeep.errors import ProtocolError
from verydeep.pictures.views import View, centre_crop, whole


def centre(height: int, width: int, crop: int) -> Sequence[View]:
    """The crop in the middle of a rescaled picture. Source: section 2.3 (the control of B)."""
    return [centre_crop(height, width, crop)]


def dense(height: int, width: int, crop: int) -> Sequence[View]:
    """The whole of a rescaled picture, which a net looks at in every position of its crop. Source: section 3.2."""
    return [whole(height, width)]


Views = Callable[[int, int, int], Sequence[View]]  # of a rescaled picture of this height and width, for this crop
PROTOCOLS: Mapping[str, Views] = {"centre": centre, "dense": dense}
UNMIRRORED = {"centre"}  # by default; every other protocol looks at the mirror image as well
LARGEST_SCALE = 8192  # px; more is taken for a slip of the finger


@dataclass(frozen=True)
class Protocol:
    """What a net is shown of each picture; the posteriors of all of it are averaged.

    Attributes:
        name: a key of `PROTOCOLS`.
        scales: smallest sides Q that each picture is rescaled to, px. Source: section 3.2.
        mirror: whether every view is shown mirrored too.
    """

    name: str
    scales: tuple[int, ...]
    mirror: bool

    def __post_init__(self) -> None:
        if self.name not in PROTOCOLS:
            near = difflib.get_close_matches(self.name, PROTOCOLS, n=1, cutoff=0)[0]
            raise ProtocolError(f"{self.name or 'nothing'} is not a protocol; did you mean {near}?")
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise ProtocolError(f"{self}: has no scale, or one twice; write each once, such as dense@256,384,512")
        for scale in self.scales:
            if not 1 <= scale <= LARGEST_SCALE:
                raise ProtocolError(
                    f"{self}: {scale} px is not a possible scale; use the crop's side to {LARGEST_SCALE}"
                )

    def __str__(self) -> str:
        usual = self.mirror == (self.name not in UNMIRRORED)
        suffix = "" if usual else "+mirror" if self.mirror else "-mirror"
        return f"{self.name}@{','.join(map(str, self.scales))}{suffix}"

    @property
    def text(self) -> str:
        """Its name with its scales, such as `dense@256,384,512`: what `parse` reads."""
        return str(self)

    def views(self, height: int, width: int, crop: int) -> Sequence[View]:
        """The views of a rescaled picture, not mirrored."""
        return PROTOCOLS[self.name](height, width, crop)


GRAMMAR = re.compile(r"(?P<name>[^@]*?)(@(?P<scales>[^@]*?))?(?P<mirror>[+-]mirror)?")


def parse(protocol: str | Protocol, crop: int, net: str = "the net") -> Protocol:
    """The protocol that a text names, such as `dense`, `dense@256,384,512` or `centre@256+mirror`.

    Args:
        protocol: a name of `PROTOCOLS`; scales, by default round(crop × 256 / 224); `+mirror` or `-mirror`, by
            default without the mirror image for `centre` and with it for all others. Or a protocol, to be checked only.
        crop: of the net that is to be tested, px.
        net: its name, for errors.

    Raises:
        ProtocolError: there is no such protocol, or a scale is impossible or less than the crop.
    """
    read = protocol if isinstance(protocol, Protocol) else read_text(protocol, default_scale=round(crop * 256 / 224))
    for scale in read.scales:
        if scale < crop:
            raise ProtocolError(f"{read}: {scale} px is less than the crop of {net}, {crop} px; use {crop} or more")
    return read


def read_text(text: str, default_scale: int) -> Protocol:
    """The protocol that a text names; whatever it does not say is as by default."""
    read = GRAMMAR.fullmatch(text.strip())
    if read is None:
        raise ProtocolError(f"{text} is not a protocol; write one such as dense@256,384,512")
    scales = [str(default_scale)] if read["scales"] is None else read["scales"].split(",")
    for scale in scales:
        if not re.fullmatch("[0-9]{1,9}", scale):
            raise ProtocolError(f"{text}: {scale!r} is not a scale; write whole pixels, such as dense@256,384,512")
    mirror = read["mirror"] == "+mirror" if read["mirror"] else read["name"] not in UNMIRRORED
    return Protocol(read["name"], tuple(map(int, scales)), mirror)
