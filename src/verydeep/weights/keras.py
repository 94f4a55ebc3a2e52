"""Keras' VGG16 and VGG19: HDF5 files of three ages, kernels with their outputs last, for pixels in the order BGR.

`.h5` names layers (`block1_conv1`, `fc1`); `.weights.h5` numbers them by kind (`conv2d`, `conv2d_1`, `dense`); `.keras`
is an archive around the second. Nothing but the numbers is read: no config, so no layer of anybody's is made.
"""

import io
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.weights.found import FC, NO_STD, VGG_MEAN, Found, as_windows, check_names, reason

if TYPE_CHECKING:
    from h5py import Dataset, Group

ARCHIVED = "model.weights.h5"  # in a .keras file
BLOCKS = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}  # convolutions → of each block: VGG16, VGG19
NAMED = re.compile(r"(block\d+_conv\d+|conv2d(?:_\d+)?|fc\d+|predictions|dense(?:_\d+)?)")
OPTIMIZER = ("optimizer", "optimizer_weights")  # what a training leaves beside the weights
DEEPEST = 16  # groups within groups; Keras has six


def read_keras(path: Path) -> Found:
    """The weights of a file that Keras wrote, with or without its fully connected layers.

    Raises:
        WeightsError: it is damaged, or of another net than VGG16 and VGG19; or h5py is missing.
    """
    try:
        import h5py
    except ImportError:
        raise WeightsError(f"{path}: h5py is missing; pip install 'verydeep[keras]'") from None
    try:
        with h5py.File(_hdf5(path), "r") as file:
            layers = _layers(file, path)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # a damaged file may trip over anything
        raise WeightsError(f"{path}: is not a whole file of Keras' ({reason(error)}); copy it again") from None
    convolutions = {name: parts for name, parts in layers.items() if parts["kernel"].dim() == 4}
    dense = [name for name in layers if name not in convolutions]
    if len(convolutions) not in BLOCKS or len(dense) not in (0, len(FC)):
        raise WeightsError(
            f"{path}: has {len(convolutions)} convolutions and {len(dense)} dense layers; VGG16 and VGG19 have 13 or "
            "16, and 3 or none"
        )
    blocks = BLOCKS[len(convolutions)]
    names = [f"conv{block}_{index}" for block, depth in enumerate(blocks, 1) for index in range(1, depth + 1)]
    tensors: dict[str, Tensor] = {}
    for ours, parts in zip(names, convolutions.values(), strict=True):
        kernel = parts["kernel"].permute(3, 2, 0, 1)  # h w c k → k c h w
        tensors[f"{ours}.weight"] = kernel if tensors else kernel.flip(1)  # BGR → RGB
        tensors[f"{ours}.bias"] = parts["bias"]
    channels = len(tensors[f"{names[-1]}.bias"])
    for ours, theirs in zip(FC, dense, strict=False):
        kernel = as_windows(layers[theirs]["kernel"].T, channels, f"{path}: {theirs}", channels_last=True)
        tensors[f"{ours}.weight"], tensors[f"{ours}.bias"] = kernel, layers[theirs]["bias"]
        channels = kernel.shape[0]
    return Found("keras", tensors, VGG_MEAN, NO_STD)


def _hdf5(path: Path) -> Path | io.BytesIO:
    """The file itself, or what a .keras archive holds."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(ARCHIVED)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > path.stat().st_size:
            raise WeightsError(f"{path}: is compressed, which Keras does not do; save it with Keras")
        return io.BytesIO(archive.read(entry))


def _layers(file: "Group", path: Path) -> dict[str, dict[str, Tensor]]:
    """Kernel and bias of each layer with weights, in the order of the data."""
    found: dict[str, dict[str, Tensor]] = {}
    for place, dataset in _datasets(file, path, ()):
        names = [part for part in place if NAMED.fullmatch(part)]
        if place[0] in OPTIMIZER or not names:
            continue
        part = {1: "bias", 2: "kernel", 4: "kernel"}.get(dataset.ndim, "")
        if not part or part in found.setdefault(names[-1], {}):
            raise WeightsError(
                f"{path}: {'/'.join(place)} is of no layer of a VGG net; name VGG16's or VGG19's weights"
            )
        found[names[-1]][part] = _tensor(dataset, f"{path}: {'/'.join(place)}")
    for name, parts in found.items():
        if parts.keys() != {"kernel", "bias"}:
            raise WeightsError(f"{path}: {name} has no {'bias' if 'kernel' in parts else 'kernel'}; copy it again")
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _order(name: str) -> tuple[Any, ...]:
    """Where a layer comes among those of its kind: convolutions, fc1, fc2, predictions."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", name.replace("conv2d", "conv")))
    return name.startswith(("fc", "predictions", "dense")), name == "predictions", numbers


def _datasets(group: "Group", path: Path, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], "Dataset"]]:
    """Every array of a file with its place; links that lead out of the file, or in circles, are refused."""
    import h5py

    if len(above) == DEEPEST:
        raise WeightsError(f"{path}: has groups within groups without end; copy it again")
    check_names(group, str(path))
    for name in group:
        place = (*above, name)
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise WeightsError(f"{path}: {'/'.join(place)} is a link, which Keras does not write; save it with Keras")
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _datasets(item, path, place)
        elif isinstance(item, h5py.Dataset):
            yield place, item


def _tensor(dataset: "Dataset", where: str) -> Tensor:
    """The numbers of an array, once it is known that they are in the file."""
    plain = dataset.chunks is None and not dataset.external and not dataset.is_virtual
    if dataset.dtype.kind != "f" or not plain:
        raise WeightsError(f"{where} is no plain array of numbers; save it with Keras, uncompressed")
    if dataset.id.get_storage_size() != math.prod(dataset.shape) * dataset.dtype.itemsize:
        sides = "×".join(map(str, dataset.shape))
        raise WeightsError(f"{where} says that it is {sides} and holds other than that; copy the file again")
    return torch.from_numpy(dataset[()].astype("float32"))
