"""What a protocol costs: by arithmetic in crops, and by a short measurement in seconds, before anything long begins."""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from verydeep.data.dataset import Dataset
from verydeep.device import choose_device, keep_pages
from verydeep.evaluation.average import Net, testing, view_posteriors
from verydeep.evaluation.looks import group_by_shape, looks
from verydeep.evaluation.posteriors import default_threads
from verydeep.evaluation.protocol import Protocol
from verydeep.evaluation.room import make_room
from verydeep.nets.layers import Layer, place
from verydeep.pictures.preset import OURS, Preset
from verydeep.pictures.views import Seen

SIZES = 256  # pictures whose sizes stand for all
PROBED = (8, 64)  # pictures that a measurement decodes; more only where fewer take too little time to measure it
FEED_SECONDS = 0.1  # that it takes at least
NET_SECONDS = 0.5  # after which no further group is measured


def macs(layers: Sequence[Layer], height: int, width: int, seen: Seen = "everywhere") -> int:
    """Multiply-adds of convolutions and fully connected layers for a picture of this size (px), biases left out.

    What is seen `fine` has all that lies behind the last pool once for each of its offsets.
    """
    last = max((place for place, layer in enumerate(layers) if layer.kind == "pool"), default=0)
    pairs = zip(place(layers, height), place(layers, width), strict=True)
    total = 0
    for index, (rows, columns) in enumerate(pairs):
        offsets = layers[last].stride ** 2 if seen == "fine" and index > last else 1
        total += offsets * rows.side * columns.side * rows.layer.macs_per_cell
    return total


def cost_of_view(net: Net, height: int, width: int, seen: Seen = "everywhere") -> float:
    """What a view of this size (px) costs, in crops: by multiply-adds; by pixels where a net's layers are not known."""
    plan: Sequence[Layer] | None = getattr(net, "plan", None)
    if plan is None:
        return height * width / net.crop**2
    return macs(plan, height, width, seen) / macs(plan, net.crop, net.crop)


def costs(net: Net, data: Dataset, protocols: Sequence[Protocol]) -> dict[Protocol, float]:
    """What a picture of a data set costs under each protocol, in crops: the mean over some hundred of its pictures.

    Raises:
        PictureError: the header of a picture cannot be read.
    """
    preset: Preset = getattr(net, "preset", OURS)
    cost = cache(lambda height, width, seen: cost_of_view(net, height, width, seen))

    @cache
    def of_picture(protocol: Protocol, height: int, width: int) -> float:
        views = protocol.views(height, width, net.crop, preset)
        return sum((1 + shown.mirror) * cost(*shown.view.shape, shown.view.seen) for shown in views)

    sizes = [data.size(image) for image in spread(len(data), SIZES)]
    return {protocol: float(np.mean([of_picture(protocol, *size) for size in sizes])) for protocol in protocols}


def spread(images: int, count: int) -> list[int]:
    """So many of the pictures, evenly spread; all, where there are no more."""
    return np.unique(np.linspace(0, images - 1, min(images, count)).round().astype(int)).tolist()


@dataclass(frozen=True)
class Forecast:
    """What a protocol will take.

    Attributes:
        protocol: the protocol.
        cost: of a picture, in crops.
        seconds: that it takes by itself.
        added: that it takes after those before it, with which it may have tests in common.
    """

    protocol: Protocol
    cost: float
    seconds: float
    added: float


def forecast(
    net: Net,
    data: Dataset,
    tests: Mapping[Protocol, Collection[Protocol]],
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    memory: float | None = None,
    threads: int | None = None,
) -> list[Forecast]:
    """What protocols will take, from measuring a few pictures of each test and the arithmetic of its views.

    Args:
        net: has `name`, `classes`, `crop`, `score_map`; it is moved to the device.
        data: the pictures.
        tests: of each protocol, whose mean it is; a test that several have in common is done once.
        device: `auto` is CUDA, then MPS, then the CPU.
        batch: crops' worth of pixels at once.
        memory: gigabytes that views and maps may take at once.
        threads: that decode pictures meanwhile.
    """
    alone = list(dict.fromkeys(test for parts in tests.values() for test in parts))
    cost = costs(net, data, [*tests, *alone])
    seconds = {
        test: len(data) * seconds_per_picture(net, data, test, cost[test], device, batch, memory, threads)
        for test in alone
    }
    done: set[Protocol] = set()
    forecasts = []
    for protocol, parts in tests.items():
        added = math.fsum(seconds[test] for test in parts if test not in done)
        forecasts.append(Forecast(protocol, cost[protocol], math.fsum(seconds[test] for test in parts), added))
        done |= set(parts)
    return forecasts


def seconds_per_picture(
    net: Net,
    data: Dataset,
    protocol: Protocol,
    cost: float,
    device: str | torch.device = "auto",
    batch: int | None = None,
    memory: float | None = None,
    threads: int | None = None,
) -> float:
    """What a picture will take: its decoding and rescaling, and the cost of its views × what a crop takes the net."""
    where = choose_device(device)
    if where.type == "cpu":
        keep_pages()
    net.to(where)
    preset: Preset = getattr(net, "preset", OURS)
    for count in PROBED:
        some = data.subset(spread(len(data), count))
        start = time.perf_counter()
        views = list(looks(some, protocol, net.crop, threads or default_threads(), preset))
        feed = time.perf_counter() - start
        if feed > FEED_SECONDS or len(some) == len(data):
            break
    with testing(net):
        room = make_room(net, where, batch, memory)
        spent = worth = 0.0
        warm = False
        for group in group_by_shape(views, room.pixels):
            pixels = torch.from_numpy(np.stack([look.picture for look in group])).to(where).permute(0, 3, 1, 2)
            first = group[0]
            if not warm:  # which also makes what later ones find ready
                view_posteriors(net, pixels[:1], mirror=first.mirror, room=room, seen=first.seen).cpu()
                warm = True
            start = time.perf_counter()
            view_posteriors(net, pixels, mirror=first.mirror, room=room, seen=first.seen).cpu()
            spent += time.perf_counter() - start
            height, width = first.picture.shape[:2]
            worth += (1 + first.mirror) * len(group) * cost_of_view(net, height, width, first.seen)
            if spent > NET_SECONDS:
                break
    fed, shown = feed / len(some), cost * spent / worth
    return fed + shown if where.type == "cpu" else max(fed, shown)  # on a CPU both want the same cores


def describe(forecasts: Sequence[Forecast], images: int) -> list[str]:
    """What protocols will take, a line each, and all of them together."""
    wide = max(len(each.protocol.text) for each in forecasts)
    total = duration(math.fsum(each.added for each in forecasts))
    lines = [f"{len(forecasts)} protocols on {images:,} pictures will take about {total} in all:"]
    for each in forecasts:
        line = f"  {each.protocol.text:{wide}}  {each.cost:6.1f} crops a picture, about {duration(each.seconds)}"
        if not each.added:
            line += ", all of it done by then"
        elif each.added < each.seconds:
            line += f", {duration(each.added)} of it not done by then"
        lines.append(line)
    return lines


def duration(seconds: float) -> str:
    """Seconds as people say them, such as `2 h 05 min`."""
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
