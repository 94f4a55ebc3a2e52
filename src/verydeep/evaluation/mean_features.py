"""A net, pictures, names of layers → a row of numbers for each picture, and the file that keeps them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from verydeep.data.dataset import Dataset
from verydeep.device import available_memory, choose_device, keep_pages
from verydeep.errors import DatasetError, DeviceError, NetError, ProtocolError
from verydeep.evaluation.average import in_parts, testing
from verydeep.evaluation.looks import group_by_shape, looks
from verydeep.evaluation.posteriors import Progress, default_threads, refuse_score_map
from verydeep.evaluation.protocol import Protocol, parse
from verydeep.evaluation.room import make_room
from verydeep.nets.features import check_layers, layer_maps
from verydeep.nets.net import Net
from verydeep.nets.wrap import Wrapped
from verydeep.pictures.preset import OURS, Preset
from verydeep.weights.files import replacing, save

KIND = "features 1"  # what the file's card says it is, with the version of its layout
SUFFIXES = (".safetensors", ".npz")


@dataclass(frozen=True, eq=False)
class MeanFeatures:
    """What layers of a net make of pictures, averaged over positions and views.

    Attributes:
        values: by layer a row for each picture, a column for each channel.
        images: names of the pictures.
        net: its registry name.
        weights: what its weights are called.
        protocol: what of the pictures was shown, such as `dense@256`.
        seconds: that it took, decoding included.
    """

    values: Mapping[str, Float32[np.ndarray, "n _"]]
    images: tuple[str, ...]
    net: str
    weights: str
    protocol: str
    seconds: float

    def save(self, path: str | Path) -> None:
        """Write one file, the whole or nothing: safetensors, the names in its card, or npz, the names as an array.

        Raises:
            WeightsError: it cannot be written.
            NetError: its name ends in something else.
        """
        path = check_suffix(Path(path))
        known = {"net": self.net, "weights": self.weights, "protocol": self.protocol}
        if path.suffix == ".safetensors":
            tensors = {layer: torch.from_numpy(rows) for layer, rows in self.values.items()}
            save(path, tensors, {"kind": KIND, "images": list(self.images), **known})
            return
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, images=np.array(self.images), **known, **self.values)


def check_suffix(path: Path) -> Path:
    """The path, once it is known how to write there."""
    if path.suffix not in SUFFIXES:
        raise NetError(f"{path}: is of no format for features; let it end in {' or '.join(SUFFIXES)}")
    return path


@torch.inference_mode()
def mean_features(
    net: Net | Wrapped,
    data: Dataset,
    layers: Sequence[str],
    protocol: str | Protocol = "dense",
    *,
    device: str | torch.device = "auto",
    batch: int | None = None,
    memory: float | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    weights: str = "",
) -> MeanFeatures:
    """What layers of a net make of every picture, averaged over positions, then over mirror image, views and scales.

    Args:
        net: is moved to the device.
        data: labelled or not.
        layers: names: see `nets.features.features`.
        protocol: what of a picture the net is shown, as in testing.
        device: `auto` is CUDA, then MPS, then the CPU.
        batch: so many crops, or as many larger views as have no more pixels, go through the net at once.
        memory: gigabytes that views and maps may take at once, beside the net's weights; by default no limit.
        threads: that decode pictures meanwhile; by default as many as there are processors, at most eight.
        progress: called with the number of pictures done and of all.
        weights: what the net's weights are called, for the record.

    Raises:
        NetError: a layer does not exist.
        ProtocolError: the protocol does not exist or does not fit the net.
        PictureError: a picture cannot be decoded; none is left out in silence.
        DeviceError: memory does not suffice for a single view, or for the rows of all pictures.
    """
    preset: Preset = getattr(net, "preset", OURS)
    protocol = parse(protocol, net.crop, net.name, preset)
    refuse_score_map(net, protocol, preset)
    check_layers(net, layers)
    if protocol.positions != "softmax-last":
        raise ProtocolError(
            f"{protocol}: features are averaged, and there is no soft-max; leave +{protocol.positions} out"
        )
    if not len(data):
        raise DatasetError(f"{data.root}: has no pictures in split {data.split}; give another split or folder")
    start = time.perf_counter()
    where = choose_device(device)
    if where.type == "cpu":
        keep_pages()
    net.to(where)

    def rows_of(pixels: Tensor) -> dict[str, Tensor]:
        return {name: maps.float().mean(dim=(2, 3)) for name, maps in layer_maps(net, pixels, layers)}

    values: dict[str, Float32[np.ndarray, "n _"]] = {}
    share = 0.0  # of all pictures' views that has been counted
    with testing(net):
        room = make_room(net, where, batch, memory)
        for group in group_by_shape(looks(data, protocol, net.crop, threads or default_threads(), preset), room.pixels):
            pixels = torch.from_numpy(np.stack([look.picture for look in group])).to(where).permute(0, 3, 1, 2)
            shown = torch.cat([pixels, pixels.flip(-1)]) if group[0].mirror else pixels
            parts = [rows for _, rows in in_parts(rows_of, shown, room, net.name)]
            for layer in dict.fromkeys(layers):
                rows = torch.cat([part[layer] for part in parts]).unflatten(0, (-1, len(group))).mean(dim=0)
                if layer not in values:
                    values[layer] = _room_for(len(data), layer, rows.shape[1])
                for look, row in zip(group, rows.cpu().numpy(), strict=True):
                    values[layer][look.image] += look.weight * row
            share += sum(look.weight for look in group)
            if progress:
                progress(round(share), len(data))
    seconds = time.perf_counter() - start
    return MeanFeatures(values, tuple(data.images), net.name, weights, protocol.text, seconds)


def _room_for(pictures: int, layer: str, channels: int) -> Float32[np.ndarray, "n c"]:
    """Rows of zeros."""
    needed = 4 * pictures * channels
    if needed > available_memory(torch.device("cpu")):
        raise DeviceError(
            f"{layer}: {pictures:,} rows of {channels:,} numbers need {needed / 1e9:.1f} GB; do the pictures in parts"
        )
    return np.zeros((pictures, channels), np.float32)


def to_dict(found: MeanFeatures, file: str) -> dict[str, Any]:
    """What was written, as plain values, for JSON."""
    layers = {layer: rows.shape[1] for layer, rows in found.values.items()}
    known = {"net": found.net, "weights": found.weights, "protocol": found.protocol, "seconds": found.seconds}
    return {"file": file, "images": list(found.images), "layers": layers, **known}
