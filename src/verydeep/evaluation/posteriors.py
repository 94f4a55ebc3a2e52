"""A net, a data set, a protocol → posteriors: the testing of section 3.2, and the file that keeps its result."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from safetensors import SafetensorError, safe_open

from verydeep.data.dataset import Dataset
from verydeep.data.paths import printable
from verydeep.device import choose_device, keep_pages
from verydeep.errors import DatasetError, NetError, PosteriorsError, ProtocolError
from verydeep.evaluation.average import Net, testing, view_posteriors
from verydeep.evaluation.classes import labels_if_known
from verydeep.evaluation.looks import Look, group_by_shape, looks
from verydeep.evaluation.parts import Origin, Parts, differences, origin
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.evaluation.room import make_room
from verydeep.pictures.preset import OURS, Preset
from verydeep.processes import processes
from verydeep.weights.files import FORMAT, checksum, save

Progress = Callable[[int, int], None]  # pictures done, of how many
Remark = Callable[[str], None]  # a line for a person
WHOLE = 1 - 1e-6  # of a picture's views, up to rounding


def ignore(line: str) -> None:
    """Say nothing."""


def posteriors(
    net: Net,
    data: Dataset,
    protocol: str | Protocol,
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    memory: float | None = None,
    threads: int | None = None,
    file: str | Path | None = None,
    progress: Progress | None = None,
    remark: Remark = ignore,
    weights: str = "",
) -> "Posteriors":
    """The posteriors of every picture of a data set under a protocol.

    Each picture is rescaled to every smallest side Q of the protocol. The net's scores of a view are averaged over
    positions; then comes the soft-max; posteriors are averaged over view and mirror image, then over views and scales.
    Under torchrun each process tests its share of the pictures, and all get all posteriors; the first writes the file.
    Of a protocol with `+hcp` the largest score over all of them is taken, then one soft-max.

    Args:
        net: an `nn.Module` with `name`, `classes`, `crop` and `score_map`; it is moved to the device.
        data: labelled or not.
        protocol: such as `dense@256,384,512`.
        device: `auto` is CUDA, then MPS, then the CPU.
        batch: so many crops, or as many larger views as have no more pixels, go through the net at once; by default
            what the device takes well. Halved where memory runs out.
        memory: gigabytes that views and maps may take at once, beside the net's weights; by default no limit.
        threads: that decode pictures meanwhile; by default as many as there are processors, at most eight.
        file: where the result is kept. Meanwhile parts of it lie beside it, from which a test that was killed goes on;
            a file that is whole already, of the same weights, pictures and views, is read and not made again.
        progress: called with the number of pictures done and of all.
        remark: called with a line for a person, such as that earlier parts are gone on from.
        weights: what the net's weights are called, for the record.

    Raises:
        ProtocolError: the protocol does not exist or does not fit the net.
        PictureError: a picture cannot be decoded; none is left out in silence.
        NetError: a score is not a number.
        DeviceError: memory does not suffice for a single view.
        PosteriorsError: the file cannot be written there.

    Source: section 3.2.
    """
    preset: Preset = getattr(net, "preset", OURS)
    protocol = parse(protocol, net.crop, net.name, preset)
    refuse_score_map(net, protocol, preset)
    if not len(data):
        raise DatasetError(f"{data.root}: has no pictures in split {data.split}; give another split or folder")
    start, we = time.perf_counter(), processes()
    made_of: Origin = {}
    parts = None
    values = np.full((len(data), len(net.classes)), -np.inf if protocol.takes_largest else 0, np.float32)
    share = np.zeros(len(data))  # of each picture's views that has been counted
    done = np.zeros(len(data), bool)  # before
    if file is not None:
        made_of = origin(net, data, protocol, preset)
        if whole := we.from_first(lambda: kept(Path(file), made_of, remark)):
            return whole
        parts = Parts(Path(file), made_of, len(data), len(net.classes), we.rank)
        done = we.from_first(partial(parts.read, values, remark))
        share[done] = we.first  # the others have not read what was found
    wanted = np.flatnonzero(~done)[we.rank :: we.count]
    with testing(net):
        for group, found in answers(net, data, protocol, preset, wanted, device, batch, memory, threads):
            for look, posterior in zip(group, found, strict=True):
                if np.isnan(posterior).any():
                    image = printable(data.images[look.image])
                    raise NetError(f"{net.name}: its scores of {image} are no numbers; train it anew")
                if protocol.takes_largest:
                    np.maximum(values[look.image], posterior, out=values[look.image])
                else:
                    values[look.image] += look.weight * posterior
                share[look.image] += look.weight
            if parts:
                parts.write(values, share > WHOLE)
            if progress:
                progress(round(done.sum() + share[wanted].sum() / max(len(wanted), 1) * (~done).sum()), len(data))
    if we.count > 1:
        values = we.sum(torch.from_numpy(np.where(share[:, None] > 0, values, np.float32(0)))).numpy()
    if protocol.takes_largest:
        values = softmax(values)
    elif not protocol.sums_to_one:
        values /= values.sum(axis=1, keepdims=True)
    whole = Posteriors(
        values=values,
        images=tuple(data.images),
        classes=tuple(net.classes),
        labels=labels_if_known(net, data),
        net=net.name,
        weights=weights,
        data=name_of(data),
        split=data.split,
        protocol=protocol.text,
        seconds=parts.seconds_so_far() if parts else time.perf_counter() - start,
        made_of=made_of,
    )
    if file is not None and parts:
        if we.first:  # alone, since a folder that another removes at the same time cannot be listed
            whole.save(file)
            parts.remove()
        we.wait()
    return whole


def refuse_score_map(net: Net, protocol: Protocol, preset: Preset) -> None:
    """Refuse a protocol of whole pictures for a net that takes crops only.

    Raises:
        ProtocolError: with the net's reason.
    """
    reason = getattr(net, "no_score_map", "")
    if reason and protocol.needs_score_map(net.crop, preset):
        raise ProtocolError(f"{protocol}: {net.name} has no score map ({reason}); use a protocol of crops")


def answers(
    net: Net,
    data: Dataset,
    protocol: Protocol,
    preset: Preset,
    images: Int64[np.ndarray, " m"],
    device: str | torch.device,
    batch: int | None,
    memory: float | None,
    threads: int | None,
) -> Iterator[tuple[list[Look], Float32[np.ndarray, "g k"]]]:
    """The views of some pictures, in groups of one shape, and what a net in eval mode says of them."""
    where = choose_device(device)
    if where.type == "cpu":
        keep_pages()
    net.to(where)
    room = make_room(net, where, batch, memory)
    views = looks(data, protocol, net.crop, threads or default_threads(), preset, images.tolist())
    for group in group_by_shape(views, room.pixels):
        pictures = torch.from_numpy(np.stack([look.picture for look in group])).to(where)
        pixels = pictures.permute(0, 3, 1, 2)  # n 3 h w, in channels_last memory
        first = group[0]
        found = view_posteriors(net, pixels, mirror=first.mirror, room=room, positions=first.positions, seen=first.seen)
        yield group, found.float().cpu().numpy()


def softmax(scores: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    """Scores → posteriors, row by row."""
    found = np.exp(scores - scores.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def kept(file: Path, made_of: Origin, remark: Remark) -> "Posteriors | None":
    """What a file holds, if it is whole and of the same weights, pictures and views."""
    if not file.exists():
        return None
    try:
        found = Posteriors.load(file)
    except PosteriorsError as error:
        remark(f"{str(error).partition(';')[0]}; it is made anew")
        return None
    if others := differences(found.made_of, made_of):
        remark(f"{printable(str(file))}: was made of other {others}; it is made anew")
        return None
    remark(f"{printable(str(file))}: is there already, of the same weights, pictures and views")
    return found


def default_threads() -> int:
    """As many as this process may use processors, at most eight; of several on a machine each has its share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores // processes().neighbours))


def name_of(data: Dataset) -> str:
    """What a data set is called beside its figures: its format, or its folder's name where the format says little."""
    return data.root.resolve().name if data.kind in ("folders", "table") else data.kind


@dataclass(frozen=True, eq=False)
class Posteriors:
    """What a net said of each picture of a data set under a protocol.

    Attributes:
        values: posterior of each class for each picture; the sum over classes is 1.
        images: names of the pictures in their data set.
        classes: of the net: wnids or class names.
        labels: of the pictures, places in `classes`, -1 where unlabelled; None where the data set has other classes.
        net: its registry name.
        weights: what the net's weights are called.
        data: name of the data set.
        split: of the data set.
        protocol: such as `dense@256,384,512`.
        seconds: that it took, decoding included.
        made_of: checksums of weights, pictures and views, where they were kept in a file from the beginning.
    """

    values: Float32[np.ndarray, "n k"]
    images: tuple[str, ...]
    classes: tuple[str, ...]
    labels: Int64[np.ndarray, " n"] | None
    net: str
    weights: str
    data: str
    split: str
    protocol: str
    seconds: float
    made_of: Origin = field(default_factory=dict)

    def best(self, image: int, count: int = 5) -> list[tuple[str, float]]:
        """The classes with the largest posteriors of one picture, the largest first; of equal ones the first class."""
        order = np.argsort(-self.values[image], kind="stable")[:count]
        return [(self.classes[place], float(self.values[image, place])) for place in order]

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with the manifest in its metadata, the whole file or nothing."""
        arrays = {"values": self.values} | ({} if self.labels is None else {"labels": self.labels})
        manifest = {key: getattr(self, key) for key in MANIFEST}
        card = {"kind": KIND, "torch": str(torch.__version__), **manifest, "made_of": dict(self.made_of)}
        save(Path(path), {name: torch.from_numpy(array) for name, array in arrays.items()}, card)

    @classmethod
    def load(cls, path: str | Path) -> "Posteriors":
        """The posteriors of a file that `save` wrote.

        Raises:
            PosteriorsError: the file is missing, damaged, or not one of ours.
        """
        manifest, arrays = read(Path(path))
        return cls(values=arrays["values"], labels=arrays.get("labels"), **manifest)


KIND = "posteriors 1"  # what the file's card says it is, with the version of its layout
MANIFEST = {"images": list, "classes": list, "net": str, "weights": str, "data": str, "split": str, "protocol": str,
            "seconds": float}  # fmt: skip


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The manifest and the arrays of a file of posteriors, sizes checked before any array is read.

    Raises:
        PosteriorsError: the file is missing, damaged, or not one of ours.
    """
    with opened(path) as (file, manifest, card, sha256):
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if sha256 != checksum(tensors, card):
        raise damaged(path)
    return manifest, {name: tensor.numpy() for name, tensor in tensors.items()}


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, dict[str, Any], str, str]]:
    """A file of posteriors to read from, with its manifest, its card as text and the checksum that it should have.

    Raises:
        PosteriorsError: the file is missing, not whole, or not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:  # which checks the file's length against its header
            metadata = file.metadata() or {}
            text = metadata.get(FORMAT, "null")
            card = json.loads(text)
            if not isinstance(card, dict) or card.get("kind") != KIND:
                raise PosteriorsError(f"{path}: is not a file of posteriors; give one that `evaluate` has written")
            for key, kind in MANIFEST.items():
                if not isinstance(card.get(key), kind):
                    raise PosteriorsError(f"{path}: its manifest has no {key}; evaluate again")
            manifest = {key: tuple(card[key]) if kind is list else card[key] for key, kind in MANIFEST.items()}
            manifest["made_of"] = of if isinstance(of := card.get("made_of"), dict) else {}
            n, k = len(manifest["images"]), len(manifest["classes"])
            slices = {name: file.get_slice(name) for name in file.keys()}
            held = {name: (part.get_dtype(), *part.get_shape()) for name, part in slices.items()}
            due = {"values": ("F32", n, k), "labels": ("I64", n)}
            if "values" not in held or any(due.get(name) != what for name, what in held.items()):
                raise PosteriorsError(f"{path}: holds {held} for {n} images and {k} classes; evaluate again")
            yield file, manifest, text, metadata.get("sha256", "")
    except FileNotFoundError:
        raise PosteriorsError(f"{path}: no such file of posteriors") from None
    except (SafetensorError, ValueError, RecursionError, OSError) as error:
        raise PosteriorsError(f"{path}: is not a whole file of posteriors ({error}); evaluate again") from None


def damaged(path: Path) -> PosteriorsError:
    """What to say of a file whose bytes are not those that were written."""
    return PosteriorsError(f"{path}: is damaged (its checksum is another); copy it again or evaluate again")
