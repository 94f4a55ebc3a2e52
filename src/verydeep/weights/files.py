"""One file of tensors with its card: safetensors, written whole or not at all, read without running anything."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from verydeep.errors import WeightsError

FORMAT = "verydeep"  # the card's key in the file's metadata


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, sync it and rename it: a reader finds the old one or the new one.

    Raises:
        WeightsError: the file cannot be written (no space, no permission, no folder).
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(f"{path}: cannot be written ({error.strerror}); nothing was changed") from error


def save(path: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write tensors and a card (anything that JSON takes) to a safetensors file, atomically."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, serialise(contiguous, metadata={FORMAT: json.dumps(card)}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the card of a file that `save` wrote.

    Raises:
        WeightsError: the file is missing, damaged, or has no card of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            card = json.loads(metadata[FORMAT])
            return {name: file.get_tensor(name) for name in file.keys()}, card  # noqa: SIM118 - not a dict
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file of weights") from error
    except KeyError as error:
        raise WeightsError(f"{path}: has no card of verydeep in its metadata; import it first") from error
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: is not a whole safetensors file ({error}); copy it again") from error


def check_fit(target: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Check that tensors have the names and shapes of a module's parameters and buffers.

    Raises:
        WeightsError: a name is missing or unknown, or a shape differs; the first is named.
    """
    state = target.state_dict()
    for name in sorted(state.keys() ^ tensors.keys()):
        missing = "is missing; load it as the net that it was saved from" if name in state else "is not in this net"
        raise WeightsError(f"{where}: {name} {missing}")
    for name, value in state.items():
        if value.shape != tensors[name].shape:
            ours, theirs = ("×".join(map(str, shape)) for shape in (value.shape, tensors[name].shape))
            raise WeightsError(f"{where}: {name} is {theirs}, this net has {ours}; load it as the net it was saved from")


def put(target: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors of any float type into the parameters and buffers of the same names; see `check_fit`."""
    check_fit(target, tensors, where)
    with torch.no_grad():
        for name, value in target.state_dict().items():
            value.copy_(tensors[name])
