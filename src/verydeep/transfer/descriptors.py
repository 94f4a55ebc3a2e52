"""Pictures → descriptors: what a layer of a net makes of them, averaged over positions, of one scale or several.

Each picture is rescaled to every smallest side Q and goes through the net whole. The map of the penultimate layer is
averaged over its positions, and over picture and mirror image; scales are averaged or put behind each other; the whole
is made of length 1. Descriptors of several nets are put behind each other. Source: appendix B.
Decision: docs/decisions/111-descriptors.md.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float32

from verydeep.data.dataset import Dataset
from verydeep.data.duplicates import contents
from verydeep.data.paths import printable
from verydeep.device import DataType, choose_compute, choose_device, keep_pages
from verydeep.errors import NetError, TransferError
from verydeep.evaluation.average import in_parts, testing
from verydeep.evaluation.looks import Look, ahead, group_by_shape, looks
from verydeep.evaluation.posteriors import default_threads
from verydeep.evaluation.protocol import Protocol, in_proportion, parse
from verydeep.evaluation.room import make_room
from verydeep.nets.canvas import lay
from verydeep.nets.net import Net
from verydeep.nets.wrap import Wrapped
from verydeep.pictures.preset import OURS
from verydeep.processes import processes
from verydeep.transfer.layer import canvas_step, describer, describing_layer, describing_maps, takes_half
from verydeep.transfer.store import Store
from verydeep.weights.files import heading

AnyNet = Net | Wrapped
Combine = Literal["average", "stack"]
PIECE = 2**23  # bytes
SCALES = (256, 384, 512)  # px, for a crop of 224. Source: appendix B, for Caltech


@dataclass(frozen=True)
class Way:
    """How a net describes pictures.

    Attributes:
        layer: whose map is averaged.
        scales: smallest sides Q, px.
        combine: whether the scales' descriptors are averaged or put behind each other ("stack").
        mirror: whether the mirror image is shown too.
    """

    layer: str
    scales: tuple[int, ...]
    combine: Combine = "average"
    mirror: bool = True

    def __str__(self) -> str:
        how = {"average": "averaged", "stack": "stacked"}[self.combine]
        several = f", {how}" if len(self.scales) > 1 else ""
        return (
            f"{self.layer} at Q = {', '.join(map(str, self.scales))}{several}{'' if self.mirror else ', not mirrored'}"
        )


def way_of(
    net: AnyNet,
    layer: str | None = None,
    scales: Sequence[int] | None = None,
    combine: str = "average",
    mirror: bool = True,
) -> Way:
    """How a net describes pictures, with what is not given as in appendix B.

    Args:
        net: whose crop says what the scales are.
        layer: by default the penultimate one, after its ReLU.
        scales: by default 256, 384 and 512 for a crop of 224, in proportion for others.
        combine: "average" or "stack".
        mirror: whether the mirror image is shown too.

    Raises:
        TransferError: there is no such way.
        ProtocolError: a scale is less than the crop, or none.
    """
    if combine not in get_args(Combine):
        raise TransferError(f"combine {combine!r}: is no way to put scales together; use 'average' or 'stack'")
    sides = tuple(in_proportion(side, net.crop) for side in SCALES) if scales is None else tuple(scales)
    parse(Protocol("dense", sides, mirror), net.crop, net.name)
    return Way(describing_layer(net, layer), sides, "stack" if combine == "stack" else "average", mirror)


def describe(
    net: AnyNet | Sequence[AnyNet],
    data: Dataset,
    *,
    layer: str | None = None,
    scales: Sequence[int] | None = None,
    combine: str = "average",
    mirror: bool = True,
    cache: str | Path | None = None,
    device: str | torch.device = "auto",
    data_type: str = "auto",
    batch: int | None = None,
    memory: float | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Float32[np.ndarray, "n d"]:
    """The descriptor of every picture, of length 1.

    Under torchrun each process describes its share of the pictures, and all get all descriptors.

    Args:
        net: or several, whose descriptors are put behind each other; any that `load_net` gives, but for ONNX files.
        data: labelled or not.
        layer: by default the penultimate one, after its ReLU; any other of the net's.
        scales: smallest sides Q, px; by default 256, 384 and 512 for a crop of 224, in proportion for others.
        combine: whether scales are averaged ("average") or put behind each other ("stack").
        mirror: whether mirror images are shown, too.
        cache: a folder that keeps what was described, by weights, layer, scale and the pictures' content; by default
            nothing is kept.
        device: `auto` is CUDA, then MPS, then the CPU.
        data_type: of weights and maps. `auto` is bfloat16 where half a second of measuring says that it is clearly
            faster, and the net one of ours whose layers follow each other; else single precision.
        batch: so many crops' worth of pixels at a time; see `posteriors`.
        memory: gigabytes that views and maps may take at once; see `posteriors`.
        threads: that decode pictures meanwhile.
        progress: called with the number of pictures done and of all.

    Raises:
        NetError: a net has no such layer, or describes a picture by what is no number.
        PictureError: a picture cannot be decoded.
        ProtocolError: a scale does not fit the net.

    Source: appendix B.
    """
    nets = [net] if isinstance(net, (Net, Wrapped)) else list(net)
    if not nets:
        raise TransferError("no net is given to describe pictures; give one or more")
    ways = [way_of(each, layer, scales, combine, mirror) for each in nets]
    return describe_by(nets, ways, data, cache, device, data_type, batch, memory, threads, progress)


def describe_by(
    nets: Sequence[AnyNet],
    ways: Sequence[Way],
    data: Dataset,
    cache: str | Path | None = None,
    device: str | torch.device = "auto",
    data_type: str = "auto",
    batch: int | None = None,
    memory: float | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Float32[np.ndarray, "n d"]:
    """The descriptors of several nets, each in its own way, behind each other."""
    hashes = contents(data, threads or default_threads()) if cache is not None else []
    parts = []
    for place, (net, way) in enumerate(zip(nets, ways, strict=True)):
        told = (lambda done, of, place=place: progress(place * of + done, len(nets) * of)) if progress else None
        found = by_scale(net, data, way, hashes, cache, device, data_type, batch, memory, threads, told)
        parts.append(combined(found, way.combine))
    return stacked(parts)


def combined(found: Float32[np.ndarray, "n q d"], combine: Combine) -> Float32[np.ndarray, "n e"]:
    """The descriptors of several scales as one, of length 1."""
    return of_length_1(found.mean(axis=1) if combine == "average" else found.reshape(len(found), -1))


def stacked(parts: Sequence[Float32[np.ndarray, "n _"]]) -> Float32[np.ndarray, "n d"]:
    """Descriptors of the same pictures by several nets, or of several regions, behind each other, of length 1."""
    return of_length_1(np.concatenate(parts, axis=1)) if len(parts) > 1 else parts[0]


def of_length_1(values: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """Each row divided by its length; a row of zeros stays one."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)


def by_scale(
    net: AnyNet,
    data: Dataset,
    way: Way,
    hashes: Sequence[bytes],
    cache: str | Path | None,
    device: str | torch.device,
    data_type: str,
    batch: int | None,
    memory: float | None,
    threads: int | None,
    progress: Callable[[int, int], None] | None,
) -> Float32[np.ndarray, "n q d"]:
    """Descriptors of each scale by itself, of any length, from the cache or made.

    Of several processes the first alone reads the cache, and each adds to it what it has made.
    """
    we = processes()
    where = choose_device(device)
    if where.type == "cpu":
        keep_pages()
    net.to(where)
    computed = we.from_first(partial(computed_in, net, way.layer, where, data_type))
    views = Protocol("centre" if getattr(net, "no_score_map", "") else "dense", way.scales, way.mirror)
    preset = getattr(net, "preset", OURS)
    with testing(net), torch.inference_mode(), ExitStack() as closes:
        dimensions = length(net, way.layer)
        values = np.zeros((len(data), len(way.scales), dimensions), np.float32)
        done = np.zeros(values.shape[:2], bool)
        stores: list[Store] = []
        if cache is not None:
            made_of = {"weights": weights_of(net), "layer": way.layer, "mirror": way.mirror, "views": views.name,
                       "preset": str(preset), "orientation": data.orientation, "data_type": str(computed)}  # fmt: skip
            for place, scale in enumerate(way.scales):
                stores.append(we.from_first(partial(Store, Path(cache), made_of | {"scale": scale}, dimensions)))
                closes.enter_context(closing(stores[-1]))
                if we.first:
                    done[:, place] = stores[-1].read(hashes, values[:, place])
            done = we.from_first(done.copy)
        workers = cores_for(net, way.layer, where)
        room = make_room(net, where, batch, memory / workers if memory else memory)
        columns = {scale: place for place, scale in enumerate(way.scales)}
        maps_of, step = describer(net, way.layer, computed), canvas_step(net, way.layer)

        @torch.inference_mode()  # which each thread has for itself
        def described(group: Sequence[Look]) -> tuple[Sequence[Look], Float32[np.ndarray, "m d"]]:
            canvas = lay([look.picture for look in group], step, way.mirror).to(where)
            means = torch.cat([maps.mean() for _, maps in in_parts(maps_of, canvas, room, net.name)])
            return group, means.unflatten(0, (-1, len(group))).mean(dim=0).cpu().numpy()

        for scales, images in remaining(done, way.scales):
            shown = Protocol(views.name, scales, way.mirror)
            mine = images[we.rank :: we.count]
            seen = looks(data, shown, net.crop, threads or default_threads(), preset, mine)
            groups = group_by_shape(seen, room.pixels, step=step)
            for group, found in ahead(described, groups, workers, one_core=workers > 1):
                for look, descriptor in zip(group, found, strict=True):
                    if not np.isfinite(descriptor).all():
                        image = printable(data.images[look.image])
                        raise NetError(
                            f"{net.name}: its descriptor of {image} is no number; train it anew, or leave it out"
                        )
                    column = columns[look.smallest_side]
                    values[look.image, column] = descriptor
                    done[look.image, column] = True
                    if stores:
                        stores[column].add(hashes[look.image], descriptor)
                if progress:
                    progress(int(done.mean(axis=1).sum()), len(data))
    if progress:
        progress(len(data), len(data))
    return we.sum(torch.from_numpy(values)).numpy()  # of which one process alone has each descriptor


def cores_for(net: AnyNet, layer: str, device: torch.device) -> int:
    """How many groups of pictures go through a net at once, each on one core: two cores on one group are hardly faster.

    Other people's nets are watched from outside, which is for one group at a time; it has all cores.
    """
    return torch.get_num_threads() if device.type == "cpu" and takes_half(net, layer) else 1


def remaining(done: Bool[np.ndarray, "n q"], scales: Sequence[int]) -> list[tuple[tuple[int, ...], list[int]]]:
    """The pictures that are still to be described, together with the scales that they lack."""
    patterns, which = np.unique(done, axis=0, return_inverse=True) if len(done) else (done, np.zeros(0, int))
    return [
        (tuple(scale for scale, there in zip(scales, pattern, strict=True) if not there),
         np.flatnonzero(which.reshape(-1) == place).tolist())
        for place, pattern in enumerate(patterns)
        if not pattern.all()
    ]  # fmt: skip


def length(net: AnyNet, layer: str) -> int:
    """How many numbers the descriptor of a net on its device has."""
    if isinstance(net, Net):
        known = {each.name: each.outputs for each in net.plan}
        if layer in known:
            return known[layer]
    crop = torch.zeros(1, 3, net.crop, net.crop, dtype=torch.uint8, device=next(iter(net.state_dict().values())).device)
    return describing_maps(net, crop, layer).shape[1]


def computed_in(net: AnyNet, layer: str, device: torch.device, data_type: str) -> torch.dtype:
    """The data type that the map of a layer is computed in.

    Raises:
        TransferError: there is no such data type, or the net cannot be computed in it.
    """
    if data_type not in get_args(DataType):
        raise TransferError(f"data_type {data_type!r}: is none; use {', '.join(get_args(DataType))}")
    if takes_half(net, layer):
        return fastest(device, data_type)
    if data_type == "bfloat16":
        raise TransferError(
            f"{net.name}: is not computed in bfloat16, as its layers do not follow each other; use auto"
        )
    return torch.float32


@lru_cache
def fastest(device: torch.device, data_type: str) -> torch.dtype:
    """A data type, measured once in a process where it is left open."""
    return choose_compute(device, cast(DataType, data_type), "channels_last", back=False).data_type


def weights_of(net: AnyNet) -> str:
    """A checksum of all that a net is, whatever it is called; of pieces, by threads, since a net may have gigabytes."""
    about: list[Any] = [type(net).__name__, net.name, net.crop]
    pieces: list[Any] = []
    for name, tensor in sorted(net.state_dict().items()):
        about.append(heading(name, tensor.dtype, tuple(tensor.shape)))
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        pieces += [content[start : start + PIECE] for start in range(0, len(content), PIECE)]
    with ThreadPoolExecutor(default_threads(), thread_name_prefix="weights") as pool:
        digests = pool.map(lambda piece: hashlib.sha256(piece).digest(), pieces)
        return hashlib.sha256(repr(about).encode() + b"".join(digests)).hexdigest()
