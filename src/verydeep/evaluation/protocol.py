"""The test protocols, as values and by name: which views of each picture a net is shown, and what each counts for.

A protocol is a way of looking at a rescaled picture, the scales that it is rescaled to, and whether the mirror image of
every view is shown too; or the weighted sum of such. All views of a way of looking count alike, over all its scales.
What becomes of the scores at the positions of a view is a switch.
Decisions: docs/decisions/061-views-of-the-protocols.md, 020-where-to-average.md.

>>> both = parse("dense@256,384,512", crop=224) + parse("multi-crop@256,384,512", crop=224)
>>> both.text
'dense+multi-crop@256,384,512'
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from verydeep.errors import ProtocolError
from verydeep.pictures.preset import OURS, Preset
from verydeep.pictures.views import (
    View,
    centre_crop,
    corners_and_centre,
    corners_and_centre_of_square,
    grid,
    nine_at_two_sizes,
    shifted,
    squares,
    thirds,
    whole,
)

# The ways of looking: from height, width and crop to the views of a rescaled picture, px. A view that comes twice
# counts twice, and is shown once.


def centre(height: int, width: int, crop: int) -> Sequence[View]:
    """The crop in the middle. Source: section 2.3 (the control of B)."""
    return [centre_crop(height, width, crop)]


def dense(height: int, width: int, crop: int) -> Sequence[View]:
    """The whole, which a net looks at in every position of its crop. Source: section 3.2."""
    return [whole(height, width)]


def fine(height: int, width: int, crop: int) -> Sequence[View]:
    """The whole, which a net looks at with its last pool at every offset.

    Source: Sermanet et al. 2014, "OverFeat: integrated recognition, localization and detection using convolutional
    networks", section 3.3.
    """
    return [replace(whole(height, width), seen="fine")]


def multi_crop(height: int, width: int, crop: int) -> Sequence[View]:
    """A grid of five by five crops: fifty a scale with their mirror images. Source: section 3.2."""
    return grid(height, width, crop, 5)


def googlenet(height: int, width: int, crop: int) -> Sequence[View]:
    """Of each of three squares the corners, the centre, and the whole square resized to the crop.

    Source: Szegedy et al. 2015, "Going deeper with convolutions", section 7.
    """
    return [
        view
        for square in squares(height, width)
        for view in (*corners_and_centre(square, crop), replace(square, side=crop))
    ]


def spp(height: int, width: int, crop: int) -> Sequence[View]:
    """Centre, corners and middles of the sides; where the crop is as high or as wide as the picture, three of them.

    Source: He et al. 2014, "Spatial pyramid pooling in deep convolutional networks", section 3.1.4.
    """
    return squares(height, width) if min(height, width) == crop else thirds(height, width, crop)


def spp_and_whole(height: int, width: int, crop: int) -> Sequence[View]:
    """Those of spp, and at 256 the whole picture as one more view. Source: the same."""
    at_256 = min(height, width) == in_proportion(256, crop)
    return [*spp(height, width, crop), *([replace(whole(height, width), seen="once")] if at_256 else [])]


Look = Callable[[int, int, int], Sequence[View]]


@dataclass(frozen=True)
class Method:
    """A way of looking with its scales (px, for a crop of 224; None: the one usual scale) and mirroring by default."""

    look: Look
    scales: tuple[int, ...] | None = None
    mirror: bool = True


METHODS: Mapping[str, Method] = {
    "centre": Method(centre, mirror=False),
    "ten-crop": Method(corners_and_centre_of_square),
    "dense": Method(dense),
    "fine": Method(fine),
    "multi-crop": Method(multi_crop),
    "googlenet-144": Method(googlenet, scales=(256, 288, 320, 352)),
    "spp-96": Method(spp, scales=(224, 256, 300, 360, 448, 560)),
    "spp-96+2": Method(spp_and_whole, scales=(224, 256, 300, 360, 448, 560)),
    "shifts": Method(shifted, scales=(224,)),
    "nagadomi-36": Method(nine_at_two_sizes, scales=(299,)),
}
PROTOCOLS = ("centre", "ten-crop", "dense", "multi-crop", "dense+multi-crop", "googlenet-144", "spp-96", "spp-96+2")
Positions = Literal["softmax-last", "softmax-first", "maximum", "hcp"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)
LARGEST_SCALE = 8192  # px; more is taken for a slip of the finger


def in_proportion(side: int, crop: int) -> int:
    """What a side is for another crop than 224, px."""
    return round(side * crop / 224)


@dataclass(frozen=True)
class Shown:
    """A view of a picture that a net is shown.

    Attributes:
        smallest_side: Q, of the rescaled picture that the view belongs to, px.
        view: in the pixels of that.
        mirror: whether its mirror image is shown too, and the two posteriors averaged.
        weight: its share in the picture's posterior; those of all views make 1.
        positions: how the scores at its positions become one posterior; see `Protocol`.
    """

    smallest_side: int
    view: View
    mirror: bool
    weight: float
    positions: Positions = "softmax-last"


@dataclass(frozen=True)
class Protocol:
    """What a net is shown of each picture. `a + b` is the mean of two protocols' posteriors, `2 * a + b` with weights.

    Attributes:
        name: a key of `METHODS`, several with `+` between them, or any other with a `look` of one's own.
        scales: smallest sides Q that each picture is rescaled to, px. Source: section 3.2.
        mirror: whether views are shown mirrored too.
        look: a way of looking, where the name is none of `METHODS`.
        terms: of a sum, with their weights.
        positions: how the scores at all positions of a view become one posterior: `softmax-last`, their mean and then
            the soft-max (section 3.2); `softmax-first`, the soft-max at each and then the mean; `maximum`, the soft-max
            at each and then the largest for each class (Sermanet et al. 2014, "OverFeat", section 3.3). `hcp` goes on
            from positions to views: the largest score of each class over all positions, mirror images, views and
            scales, then one soft-max, for pictures with several labels (Wei et al. 2014, "CNN: single-label to
            multi-label", section 3).
    """

    name: str
    scales: tuple[int, ...]
    mirror: bool
    look: Look | None = None
    terms: tuple[tuple[float, "Protocol"], ...] = ()
    positions: Positions = "softmax-last"

    def __post_init__(self) -> None:
        names = self.name.split("+")
        if self.terms:
            return
        if self.name in METHODS:
            object.__setattr__(self, "look", METHODS[self.name].look)
        elif len(names) > 1:
            parts = [Protocol(name, self.scales, self.mirror, positions=self.positions) for name in names]
            object.__setattr__(self, "terms", tuple((1.0, part) for part in parts))
        elif self.look is None:
            near = difflib.get_close_matches(self.name, METHODS, n=1, cutoff=0)[0]
            raise ProtocolError(f"{self.name or 'nothing'} is not a protocol; did you mean {near}?")
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise ProtocolError(f"{self}: has no scale, or one twice; write each once, such as dense@256,384,512")
        for scale in self.scales:
            if not 1 <= scale <= LARGEST_SCALE:
                raise ProtocolError(
                    f"{self}: {scale} px is not a possible scale; use the crop's side to {LARGEST_SCALE}"
                )

    def __str__(self) -> str:
        if not self.terms:
            usual = self.mirror == (self.name not in METHODS or METHODS[self.name].mirror)
            suffix = "" if usual else "+mirror" if self.mirror else "-mirror"
            suffix += "" if self.positions == "softmax-last" else f"+{self.positions}"
            return f"{self.name}@{','.join(map(str, self.scales))}{suffix}"
        details = {term.text.rpartition("@")[2] for _, term in self.terms}
        if len(details) == 1 and {weight for weight, _ in self.terms} == {1}:
            return f"{self.name}@{details.pop()}"
        weights = ["" if weight == 1 else f"{weight}*".replace(".0*", "*") for weight, _ in self.terms]
        return " + ".join(weight + term.text for weight, (_, term) in zip(weights, self.terms, strict=True))

    @property
    def text(self) -> str:
        """Its name with its scales, such as `dense@256,384,512`: what `parse` reads."""
        return str(self)

    @property
    def weighted(self) -> tuple[tuple[float, "Protocol"], ...]:
        """Its terms with their weights; itself, with weight 1, where it is no sum."""
        return self.terms or ((1.0, self),)

    @property
    def takes_largest(self) -> bool:
        """Whether it takes the largest score over all views: of sums, too, whose terms then are all alike."""
        return self.positions == "hcp"

    @property
    def sums_to_one(self) -> bool:
        """Whether what it gives are posteriors as they are; else they are divided by their sum."""
        return all(term.positions != "maximum" for _, term in self.weighted)

    def __add__(self, other: "Protocol") -> "Protocol":
        return total((*self.weighted, *other.weighted))

    def __rmul__(self, weight: int | float) -> "Protocol":
        if not 0 < weight < math.inf:
            raise ProtocolError(f"{self}: {weight} is not a weight; use a number above 0")
        return total(tuple((float(weight * own), term) for own, term in self.weighted))

    def views(self, height: int, width: int, crop: int, preset: Preset = OURS) -> list[Shown]:
        """What a net is shown of a picture, each view once.

        Args:
            height: of the picture as decoded, px.
            width: of the same.
            crop: of the net, px.
            preset: how pictures are rescaled, and where their centre is.

        Raises:
            PictureError: the picture cannot be rescaled.
            ProtocolError: there is no view, or one that the picture does not hold or that is smaller than the crop.
        """
        shares: dict[tuple[int, View, bool, Positions], float] = {}
        weights = sum(weight for weight, _ in self.weighted)
        for weight, term in self.weighted:
            found = [
                (scale, view, term.mirror, term.positions)
                for scale in term.scales
                for view in term.looks_at(*preset.rescaled_size(height, width, scale), crop, preset)
            ]
            for key in found:
                shares[key] = shares.get(key, 0) + weight / weights / len(found)
        return [Shown(*key[:3], share, key[3]) for key, share in shares.items()]

    def looks_at(self, height: int, width: int, crop: int, preset: Preset) -> Sequence[View]:
        """The views of a picture that has been rescaled to this height and width; of a protocol that is no sum."""
        assert self.look
        found = [preset.centre_crop(height, width, crop)] if self.look is centre else self.look(height, width, crop)
        if not found:
            raise ProtocolError(f"{self}: looks at nothing of a picture of {width}x{height} px; give it a view")
        for view in found:
            inside = 0 <= view.top <= height - view.height and 0 <= view.left <= width - view.width
            if not (inside or view.over_edge) or min(view.shape) < crop:
                raise ProtocolError(
                    f"{self}: {view} is not in {width}x{height} px, or smaller than the crop, {crop} px"
                )
        return found

    def shapes(self, height: int, width: int, crop: int, preset: Preset = OURS) -> list[tuple[int, int]]:
        """Heights and widths of the views of a picture of this size as decoded, px."""
        return [shown.view.shape for shown in self.views(height, width, crop, preset)]

    def needs_score_map(self, crop: int, preset: Preset = OURS) -> bool:
        """Whether a net is shown anything else than crops."""
        return {*self.shapes(1, 1, crop, preset), *self.shapes(1, 2, crop, preset)} != {(crop, crop)}


def total(terms: tuple[tuple[float, Protocol], ...]) -> Protocol:
    """The protocol whose posteriors are the weighted mean of others'; of `hcp` the maximum over the views of all.

    Raises:
        ProtocolError: some terms are of `hcp`, and others are not, or have weights.
    """
    parts = [term for _, term in terms]
    scales = dict.fromkeys(scale for part in parts for scale in part.scales)
    name, mirror = "+".join(part.name for part in parts), any(part.mirror for part in parts)
    positions = {part.positions for part in parts}
    if "hcp" in positions and (len(positions) > 1 or len({weight for weight, _ in terms}) > 1):
        raise ProtocolError(
            f"{' + '.join(part.text for part in parts)}: a maximum is no term of a mean and has no weights; use +hcp "
            "everywhere or nowhere, or fuse what each gives"
        )
    only = positions.pop() if len(positions) == 1 else "softmax-last"
    return Protocol(name, tuple(scales), mirror, terms=terms, positions=only)


TERM = re.compile(
    r"((?P<weight>[0-9.e+-]+)\*)?(?P<name>[^@*]*?)(@(?P<scales>[^@]*?))?(?P<mirror>[+-]mirror)?"
    r"(\+(?P<positions>softmax-first|maximum|hcp))?"
)


def parse(protocol: str | Protocol, crop: int, net: str = "the net", preset: Preset = OURS) -> Protocol:
    """The protocol that a text names, such as `dense`, `dense@256,384,512`, `centre@256+mirror`.

    Several with ` + ` between them, spaces included, are averaged, by weights such as `2*` before a name if need be.
    `dense+multi-crop@256` is short for `dense@256 + multi-crop@256`.

    Args:
        protocol: a name of `PROTOCOLS`; scales, by default those of the method for a crop of 224, in proportion, mostly
            round(crop × 256 / 224); `+mirror` or `-mirror`, by default without the mirror image for `centre` and with
            it for all others; `+softmax-first` or `+maximum`, how positions become one posterior, or `+hcp`, how all
            views do. Or a protocol, to be checked only.
        crop: of the net that is to be tested, px.
        net: its name, for errors.
        preset: of the net, whose smallest side is the default instead, if it has one.

    Raises:
        ProtocolError: there is no such protocol, or a scale is impossible or less than the crop.
    """
    read = protocol if isinstance(protocol, Protocol) else read_text(protocol, crop, preset)
    for scale in read.scales:
        if scale < crop:
            raise ProtocolError(f"{read}: {scale} px is less than the crop of {net}, {crop} px; use {crop} or more")
    return read


def read_text(text: str, crop: int, preset: Preset) -> Protocol:
    """The protocol that a text names; whatever it does not say is as by default."""
    terms = [pair for part in text.strip().split(" + ") for pair in read_term(part.strip(), crop, preset).weighted]
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else total(tuple(terms))


def read_term(text: str, crop: int, preset: Preset) -> Protocol:
    """The protocol that a text without ` + ` names."""
    read = TERM.fullmatch(text)
    if read is None:
        raise ProtocolError(f"{text} is not a protocol; write one such as dense@256,384,512")
    names = [read["name"]] if read["name"] in METHODS else read["name"].split("+")
    protocols = [read_method(text, name, read, crop, preset) for name in names]
    found = protocols[0] if len(protocols) == 1 else total(tuple((1.0, protocol) for protocol in protocols))
    if read["weight"] is None:
        return found
    try:
        return float(read["weight"]) * found
    except ValueError:
        raise ProtocolError(f"{text}: {read['weight']} is not a weight; use a number above 0") from None


def read_method(text: str, name: str, read: re.Match[str], crop: int, preset: Preset) -> Protocol:
    """A method with what the text says beside its name."""
    method = METHODS.get(name) or Method(dense)  # an unknown name is refused below
    usual = [in_proportion(scale, crop) for scale in method.scales or ()]
    chosen = list(map(str, usual or [preset.smallest_side or in_proportion(256, crop)]))
    if read["scales"] is not None:
        chosen = read["scales"].split(",")
    for scale in chosen:
        if not re.fullmatch("[0-9]{1,9}", scale):
            raise ProtocolError(f"{text}: {scale!r} is not a scale; write whole pixels, such as dense@256,384,512")
    mirror = read["mirror"] == "+mirror" if read["mirror"] else method.mirror
    positions = {str(each): each for each in POSITIONS}[read["positions"] or "softmax-last"]
    return Protocol(name, tuple(map(int, chosen)), mirror, positions=positions)
