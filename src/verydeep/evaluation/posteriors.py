"""A net, a data set, a protocol → posteriors: the testing of section 3.2, and the file that keeps its result."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from jaxtyping import Float32, Int64
from safetensors import SafetensorError, safe_open
from torch import nn

from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.device import choose_device
from verydeep.errors import DatasetError, NetError, PosteriorsError
from verydeep.evaluation.average import Net, Room, testing, view_posteriors
from verydeep.evaluation.looks import group_by_shape, looks
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.weights.files import FORMAT, save

PIXELS_AT_ONCE = {"cpu": 2**20, "cuda": 2**23, "mps": 2**21}  # some 0.8 kB each in a full-width net's largest layers
Progress = Callable[[int, int], None]  # pictures done, of how many


def posteriors(
    net: nn.Module,
    data: Dataset,
    protocol: str | Protocol,
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    weights: str = "",
) -> "Posteriors":
    """The posteriors of every picture of a data set under a protocol.

    Each picture is rescaled to every smallest side Q of the protocol. The net's scores of a view are averaged over
    positions; then comes the soft-max; posteriors are averaged over view and mirror image, then over views and scales.

    Args:
        net: has `name`, `classes`, `crop`, `score_map`; it is moved to the device, and its modes are left as they were.
        data: labelled or not.
        protocol: such as `dense@256,384,512`.
        device: `auto` is CUDA, then MPS, then the CPU.
        batch: so many crops, or as many larger views as have no more pixels, go through the net at once; by default
            what the device takes well. Halved where memory runs out.
        threads: that decode pictures meanwhile; by default as many as there are processors, at most eight.
        progress: called with the number of pictures done and of all.
        weights: what the net's weights are called, for the record.

    Raises:
        ProtocolError: the protocol does not exist or does not fit the net.
        PictureError: a picture cannot be decoded; none is left out in silence.
        NetError: a posterior is not a number.
        DeviceError: memory does not suffice for a single view.

    Source: section 3.2.
    """
    tested = cast(Net, net)
    if isinstance(protocol, str):
        protocol = parse(protocol, tested.crop, tested.name)
    if not len(data):
        raise DatasetError(f"{data.root}: has no pictures in split {data.split}; give another split or folder")
    where = choose_device(device)
    room = Room(batch * tested.crop**2 if batch else PIXELS_AT_ONCE[where.type])
    start = time.perf_counter()
    values = np.zeros((len(data), len(tested.classes)), np.float32)
    share_done = 0.0
    net.to(where)
    with testing(net):
        views = looks(data, protocol, tested.crop, threads or default_threads())
        for group in group_by_shape(views, room.pixels // (1 + protocol.mirror)):
            stacked = torch.from_numpy(np.stack([look.picture for look in group]))  # n h w 3
            pixels = stacked.to(where).permute(0, 3, 1, 2)  # n 3 h w, in channels_last memory
            found = view_posteriors(tested, pixels, mirror=protocol.mirror, room=room).float().cpu().numpy()
            for look, posterior in zip(group, found, strict=True):
                values[look.image] += look.weight * posterior
                share_done += look.weight
            if np.isnan(found).any():
                image = data.images[group[int(np.isnan(found).any(axis=1).argmax())].image]
                raise NetError(f"{tested.name}: its scores of {image} are not numbers; its training has diverged")
            if progress:
                progress(min(round(share_done), len(data)), len(data))
    return Posteriors(
        values=values,
        images=tuple(data.images),
        classes=tuple(tested.classes),
        labels=labels_of(tested, data) if set(data.classes) <= set(tested.classes) else None,
        net=tested.name,
        weights=weights,
        data=name_of(data),
        split=data.split,
        protocol=protocol.text,
        seconds=time.perf_counter() - start,
    )


def default_threads() -> int:
    """As many as this process may use processors, at most eight."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def name_of(data: Dataset) -> str:
    """What a data set is called beside its figures: its format, or its folder's name where the format says little."""
    return data.root.resolve().name if data.kind in ("folders", "table") else data.kind


def labels_of(net: Net, data: Dataset) -> Int64[np.ndarray, " n"]:
    """The labels of a data set as places among the net's classes; classes are matched by key, wnid or name.

    Raises:
        DatasetError: the data set has a class that the net does not know.
    """
    places = {key: place for place, key in enumerate(net.classes)}
    for key in data.classes:
        if key not in places:
            raise DatasetError(
                f"{data.root}: class {key} is not among the {len(places)} classes of {net.name}; use another net"
            )
    moved = np.array([*(places[key] for key in data.classes), UNLABELLED], np.int64)
    return moved[data.labels]  # UNLABELLED, -1, picks the last


@dataclass(frozen=True, eq=False)
class Posteriors:
    """What a net said of each picture of a data set under a protocol.

    Attributes:
        values: posterior of each class for each picture; the sum over classes is 1.
        images: names of the pictures in their data set.
        classes: of the net: wnids or class names.
        labels: of the pictures, places in `classes`, -1 where unlabelled; None where the classes are others.
        net: its registry name.
        weights: what the net's weights are called.
        data: name of the data set.
        split: of the data set.
        protocol: such as `dense@256,384,512`.
        seconds: that it took, decoding included.
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

    def best(self, image: int, count: int = 5) -> list[tuple[str, float]]:
        """The classes with the largest posteriors of one picture, the largest first; of equal ones the first class."""
        order = np.argsort(-self.values[image], kind="stable")[:count]
        return [(self.classes[place], float(self.values[image, place])) for place in order]

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with the manifest in its metadata, whole or not at all."""
        tensors = {"values": torch.from_numpy(self.values)}
        if self.labels is not None:
            tensors["labels"] = torch.from_numpy(self.labels)
        manifest = {key: value for key, value in vars(self).items() if key not in ("values", "labels")}
        save(Path(path), tensors, {"kind": KIND, "torch": torch.__version__, **manifest})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The posteriors of a file that `save` wrote.

        Raises:
            PosteriorsError: the file is missing, damaged, or not one of ours.
        """
        manifest, tensors = read(Path(path))
        return cls(values=tensors["values"], labels=tensors.get("labels"), **manifest)


KIND = "posteriors 1"  # what the manifest says it is, with the version of this layout
MANIFEST = {"images": list, "classes": list, "net": str, "weights": str, "data": str, "split": str, "protocol": str,
            "seconds": float}  # fmt: skip


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The manifest and the arrays of a file of posteriors, after checking that they belong together."""
    try:
        with safe_open(path, framework="numpy") as file:  # checks that the file is as long as its header says
            manifest = json.loads((file.metadata() or {}).get(FORMAT, "{}"))
            if not isinstance(manifest, dict) or manifest.pop("kind", None) != KIND:
                raise PosteriorsError(f"{path}: is not a file of posteriors; give one that `evaluate` has written")
            for key, kind in MANIFEST.items():
                if not isinstance(manifest.get(key), kind):
                    raise PosteriorsError(f"{path}: its manifest has no {key}; evaluate again")
            manifest = {key: tuple(manifest[key]) if kind is list else manifest[key] for key, kind in MANIFEST.items()}
            n, k = len(manifest["images"]), len(manifest["classes"])
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            if shapes not in ({"values": (n, k)}, {"values": (n, k), "labels": (n,)}):
                raise PosteriorsError(f"{path}: holds {shapes} for {n} images and {k} classes; evaluate again")
            tensors = {name: file.get_tensor(name) for name in shapes}
    except FileNotFoundError:
        raise PosteriorsError(f"{path}: no such file of posteriors") from None
    except (SafetensorError, ValueError, OSError) as error:
        raise PosteriorsError(f"{path}: is not a whole file of posteriors ({error}); evaluate again") from None
    values, labels = tensors["values"], tensors.get("labels")
    if values.dtype != np.float32 or (labels is not None and labels.dtype != np.int64):
        raise PosteriorsError(f"{path}: its numbers are of another kind; evaluate again")
    if not (np.abs(values.sum(axis=1) - 1) < 1e-3).all() or values.min(initial=0) < 0:
        raise PosteriorsError(f"{path}: its values are no posteriors (a row does not sum to 1); evaluate again")
    if labels is not None and not ((labels >= UNLABELLED) & (labels < k)).all():
        raise PosteriorsError(f"{path}: a label is not among the {k} classes; evaluate again")
    return manifest, tensors
