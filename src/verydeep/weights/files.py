"""One file of named tensors with a card: safetensors, written so that a crash leaves the old file or the new one."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from verydeep.errors import WeightsError

FORMAT = "verydeep"  # the card's key in the file's metadata


def save(path: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write tensors and a card (anything that JSON takes) to a safetensors file, atomically.

    Raises:
        WeightsError: the file cannot be written.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(card)
    with replacing(path) as partial:
        save_file(contiguous, partial, metadata={FORMAT: text, "sha256": checksum(contiguous, text)})


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the card of a file that `save` wrote.

    Raises:
        WeightsError: the file is missing, damaged, or has no card of ours.
    """
    tensors, metadata = read_tensors(path)
    text = metadata.get(FORMAT, "null")
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: is not a whole safetensors file ({error}); copy it again") from error
    if not isinstance(card, dict):
        raise WeightsError(f"{path}: has no card of verydeep in its metadata; give a file that verydeep wrote")
    if "sha256" in metadata and metadata["sha256"] != checksum(tensors, text):
        raise WeightsError(f"{path}: is damaged (its checksum is another); copy it again")
    return tensors, card


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of any safetensors file.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata alone.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    with opened(path) as file:
        return file.metadata() or {}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file; what is wrong with it ends in one line.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file of weights") from error
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: is not a whole safetensors file ({error}); copy it again") from error


def checksum(tensors: Mapping[str, Tensor], card: str) -> str:
    """SHA-256 over contiguous tensors and a card, in hexadecimal."""
    return digest(tensors, card).hexdigest()


def digest(tensors: Mapping[str, Tensor], card: str) -> "hashlib._Hash":
    """The same before its end, so that more can follow: of each tensor, by name, its heading and its bytes."""
    sha = hashlib.sha256(card.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(heading(name, tensor.dtype, tuple(tensor.shape)))
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha


def heading(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> bytes:
    """What a checksum holds of a tensor beside its bytes."""
    return f"{name} {dtype} {shape}".encode()


def put(target: torch.nn.Module, tensors: Mapping[str, Tensor], where: str, saved_as: str | None = None) -> None:
    """Copy tensors of any float type into the parameters and buffers of the same names; see `check_fit`."""
    check_fit(target, tensors, where, saved_as)
    with torch.no_grad():
        for name, value in target.state_dict().items():
            value.copy_(tensors[name])


def check_fit(target: torch.nn.Module, tensors: Mapping[str, Tensor], where: str, saved_as: str | None = None) -> None:
    """Check that tensors have the names and shapes of a module's parameters and buffers.

    Args:
        target: the module.
        tensors: by name.
        where: the file that they come from.
        saved_as: the net that the file says it was saved from, which the error advises.

    Raises:
        WeightsError: a name is missing or unknown, or a shape differs; the first is named.
    """
    state = target.state_dict()
    remedy = f"load it as {saved_as or 'the net that it was saved from'}, with its width, crop and classes"
    for name in (*state, *tensors):
        if name not in tensors:
            raise WeightsError(f"{where}: {name} is missing; {remedy}")
        if name not in state:
            raise WeightsError(f"{where}: {name} is not in this net; {remedy}")
        theirs, ours = tensors[name], state[name]
        if theirs.shape != ours.shape:
            shapes = ["×".join(map(str, shape)) or "one number" for shape in (theirs.shape, ours.shape)]
            raise WeightsError(f"{where}: {name} is {shapes[0]}, this net has {shapes[1]}; {remedy}")
        if theirs.is_floating_point() != ours.is_floating_point():
            types = [str(tensor.dtype).removeprefix("torch.") for tensor in (theirs, ours)]
            raise WeightsError(f"{where}: {name} is {types[0]}, this net has {types[1]}; save it again")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file such that a reader, or a crash, finds the old one or the new one, never a part.

    Raises:
        WeightsError: the file cannot be written (no space, no permission, no folder).
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to; at the end what stands there is synced and takes the file's place in one move.

    Raises:
        WeightsError: the file cannot be written (no space, no permission, no folder).
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(f"{path}: cannot be written ({reason}); nothing was changed") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
