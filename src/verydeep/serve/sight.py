"""A net that is served, and what it says of one picture: all that the page shows."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from verydeep.data.dataset import UNLABELLED, PictureArray
from verydeep.device import choose_device
from verydeep.errors import NetError
from verydeep.evaluation.average import Net
from verydeep.evaluation.posteriors import Posteriors, posteriors, refuse_score_map
from verydeep.evaluation.predict import best_protocol, credentials
from verydeep.evaluation.protocol import Protocol, in_proportion, parse
from verydeep.localisation.localise import BUNDLED, box_credentials, open_localiser, place
from verydeep.localisation.locate import Localiser, places_of
from verydeep.nets.net import Net as OwnNet
from verydeep.nets.registry import bundled, load_net
from verydeep.pictures.preset import OURS, Preset
from verydeep.serve.position_maps import PositionMap, position_maps
from verydeep.studies.report import thumbnail

BEST = 5  # classes of each way of looking that are shown
LONGEST = 1280  # px of the picture as it comes back
WORDS = {  # for people
    "centre": "centre crop",
    "ten-crop": "ten crops",
    "multi-crop": "many crops",
}


@dataclass(frozen=True, eq=False)
class ServedNet:
    """A net that looks at pictures, in several ways.

    Attributes:
        where: what it was opened by.
        net: on its device.
        card: of the net.
        protocols: ways of looking; the last one names the classes.
        localisers: that give boxes of its classes; none for no boxes.
        device: where it computes.
    """

    where: str
    net: Net
    card: Mapping[str, Any] = field(default_factory=dict)
    protocols: Sequence[Protocol] = ()
    localisers: Sequence[Localiser] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def credentials(self) -> list[str]:
        """A line on what the net knows and how often it errs, and one on each localiser."""
        return [credentials(self.where, self.net, self.card), *map(box_credentials, self.localisers)]

    @property
    def no_map(self) -> str:
        """Why the net has no map of scores, in one clause; empty where it has one."""
        return str(getattr(self.net, "no_score_map", ""))

    def look(self, picture: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
        """What the page shows of a picture, as JSON has it; places are shares of the picture's height and width.

        Raises:
            PictureError: the picture cannot be rescaled.
            DeviceError: there is too little memory.
        """
        began = time.perf_counter()
        data = PictureArray(
            kind="array", root=Path(), split="all", classes=tuple(self.net.classes), names={}, images=("picture",),
            labels=np.array([UNLABELLED]), pixels=picture[None],
        )  # fmt: skip
        said = [posteriors(self.net, data, way, device=self.device, threads=1) for way in self.protocols]
        chosen = best_of_all(said)
        maps = [] if self.no_map else position_maps(self.net, picture, self.device)
        boxes: dict[str, list[float]] = {}
        if self.localisers:
            assert isinstance(self.net, OwnNet)
            guesses = place(said[-1], self.net, self.localisers, data, count=BEST, device=self.device, threads=1)
            height, width = picture.shape[:2]
            boxes = {each.name: shares(each.box, height, width) for each in guesses.of(0)}
        names = self.card.get("names", {})
        return {
            "picture": {"address": thumbnail(picture, LONGEST), "height": picture.shape[0], "width": picture.shape[1]},
            "net": self.where,
            "ways": [self.way(way, each) for way, each in zip(self.protocols, said, strict=True)],
            "crop": self.centre(*picture.shape[:2]),
            "maps": [where_of(each) for each in maps],
            "no_map": self.no_map,
            "classes": [
                {
                    "key": key,
                    "name": names.get(key, key),
                    "posteriors": [rounded(each.values[0, index]) for each in said],
                    "maps": [rounded(each.posteriors[index]) for each in maps],
                    "box": boxes.get(key),
                }
                for index, key in ((index, self.net.classes[index]) for index in chosen)
            ],
            "seconds": time.perf_counter() - began,
        }

    def way(self, protocol: Protocol, said: Posteriors) -> dict[str, Any]:
        """What a way of looking is called, and how long it took."""
        words = WORDS.get(protocol.name, protocol.name)
        if len(protocol.scales) > 1:
            words += f", {len(protocol.scales)} sizes"
        return {"protocol": protocol.text, "words": words, "seconds": said.seconds}

    def centre(self, height: int, width: int) -> list[float] | None:
        """What the centre crop sees of a picture of this size; None where no way of looking takes it."""
        protocol = next((each for each in self.protocols if each.name == "centre"), None)
        if protocol is None:
            return None
        preset: Preset = getattr(self.net, "preset", OURS)
        rescaled = preset.rescaled_size(height, width, protocol.scales[0])
        view = preset.centre_crop(*rescaled, self.net.crop)
        return shares((view.left, view.top, view.left + view.width, view.top + view.height), *rescaled)


def open_served(
    where: str | Path,
    protocols: Sequence[str] = (),
    localisers: Sequence[str | Path] | None = None,
    boxes: str | None = None,
    device: str | torch.device = "auto",
) -> ServedNet:
    """A net ready to be served: opened, on its device, and tried out on a grey picture.

    Args:
        where: all that `load_net` takes.
        protocols: ways of looking, the last of which names the classes; by default those of `usual_ways`.
        localisers: that give boxes of the net's classes; by default the one that the package brings, where it fits.
        boxes: the protocol that says which crops give boxes; by default that by which a localiser errs least.
        device: where to compute.

    Raises:
        VerydeepError: one of these cannot be opened, or does not fit the others.
    """
    net, card = load_net(where)
    chosen = choose_device(device)
    net.to(chosen)
    preset: Preset = getattr(net, "preset", OURS)
    ways = [parse(each, net.crop, net.name, preset) for each in protocols or usual_ways(net, card)]
    for way in ways:
        refuse_score_map(net, way, preset)
    if localisers is None:
        localisers = usual_localisers(net, card)
    opened = [open_localiser(each, boxes) for each in localisers]
    if opened and not isinstance(net, OwnNet):
        raise NetError(f"{where}: is not one of our nets, whose crops boxes are rated by; leave out the localisers")
    for localiser in opened:
        parse(localiser.protocol, localiser.net.crop, localiser.net.name)
        places_of(localiser.net, net.classes)
    served = ServedNet(str(where), net, card, ways, opened, chosen)
    served.look(np.full((net.crop, net.crop * 4 // 3, 3), 128, np.uint8))
    return served


def usual_ways(net: Net, card: Mapping[str, Any]) -> list[str]:
    """Centre crop, dense and several scales, by which the net was tested if its card says so; crops without a map.

    Source: tables 3 and 4.
    """
    if getattr(net, "no_score_map", ""):
        return ["centre", "ten-crop"]
    best = parse(best_protocol(net, card), net.crop, net.name, getattr(net, "preset", OURS))
    first = min(best.scales)
    scales = best.scales if best.name == "dense" and len(best.scales) > 1 else (first, first * 3 // 2, first * 2)
    centre = max(net.crop, min(first, in_proportion(256, net.crop)))
    return [f"centre@{centre}", f"dense@{first}", f"dense@{','.join(map(str, scales))}"]


def usual_localisers(net: Net, card: Mapping[str, Any]) -> list[str]:
    """The localiser that the package brings, where the net has its crop and learned from the same data; else none."""
    if BUNDLED not in bundled() or not isinstance(net, OwnNet):
        return []
    localiser = open_localiser(BUNDLED)
    is_alike = (localiser.net.crop, localiser.net.stride) == (net.crop, net.stride)
    return [BUNDLED] if is_alike and localiser.card.get("data") == card.get("data") else []


def best_of_all(said: Sequence[Posteriors]) -> list[int]:
    """The best classes of the last way of looking, then those of the others, all in the order of the last."""
    last = said[-1].values[0]
    order = [np.argsort(-each.values[0], kind="stable")[:BEST].tolist() for each in said]
    others = {index for best in order for index in best} - set(order[-1])
    return [*order[-1], *sorted(others, key=lambda index: -last[index])]


def where_of(each: PositionMap) -> dict[str, Any]:
    """A map without its numbers."""
    return {"smallest_side": each.smallest_side, "first": list(each.first), "step": list(each.step)}


def shares(box: Sequence[int | float], height: int, width: int) -> list[float]:
    """A box in pixels as shares of the picture: left, top, right, bottom."""
    return [box[0] / width, box[1] / height, box[2] / width, box[3] / height]


def rounded(posteriors: Any) -> Any:
    """Posteriors as JSON has them, no longer than a person can use."""
    return np.round(np.asarray(posteriors, np.float64), 4).tolist()
