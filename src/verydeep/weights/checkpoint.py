"""PyTorch's files (`.pth`, `.pt`, `.bin`): state dicts in a zip archive or in the older row of pickles.

Their pickles are read by torch's own reader with `weights_only`, which calls nothing but what makes tensors, and only
after a look at the numbers in them: docs/decisions/092-sizes-before-memory.md.
"""

import pickletools
import re
import zipfile
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.weights.found import check_names, reason

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which checkpoints of trainings keep their weights
PREFIX = "module."  # of names that DataParallel saved
WHOLE_NUMBERS = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"})
LONGEST_PICKLE = 64 * 2**20  # bytes; that of a VGG net has 5,000


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, by name, none of which takes memory beyond what the file has.

    Raises:
        WeightsError: the file is damaged, would run code, or holds no state dict.
    """
    loaded = read_plain(path)
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    return _tensors(loaded, path)


def read_plain(path: Path) -> Any:
    """What was given to torch.save, if it was tensors and plain data alone.

    Raises:
        WeightsError: the file is damaged, or would run code.
    """
    archive = zipfile.is_zipfile(path)
    try:
        _check_zip(path) if archive else _check_pickles(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except WeightsError:
        raise
    except Exception as error:  # a damaged file may trip over anything
        raise WeightsError(f"{path}: {_complaint(error)}") from None


def _tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    """What is a plain tensor among what was loaded."""
    named = loaded if isinstance(loaded, Mapping) else {}
    tensors = {str(name).removeprefix(PREFIX): tensor for name, tensor in named.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no state dict but a {type(loaded).__name__}; save net.state_dict()")
    check_names(tensors, str(path))
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise WeightsError(f"{path}: {name} is no plain tensor; save it as one")
        if tensor.numel() * tensor.element_size() > path.stat().st_size:
            shape = "×".join(map(str, tensor.shape))
            raise WeightsError(f"{path}: {name} says that it is {shape}, more than the file has; copy it again")
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _check_zip(path: Path) -> None:
    """Refuse what would unpack to more than it is, and programs."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename.partition("/")[2] for entry in entries]
        if any(name.startswith("code/") or name == "constants.pkl" for name in names):
            raise WeightsError(f"{path}: is a program (TorchScript), which is not run here; save its state_dict()")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise WeightsError(f"{path}: is compressed, which torch.save does not do; save it with torch.save")
        if "data.pkl" not in names:
            raise WeightsError(f"{path}: is an archive, but not of weights; give a file of a kind in docs/weights.md")
        listed = entries[names.index("data.pkl")]
        if listed.file_size > LONGEST_PICKLE:
            raise WeightsError(
                f"{path}: its list of tensors is {listed.file_size:,} bytes long; save the weights alone"
            )
        with archive.open(listed) as pickle:
            _check_numbers(pickletools.genops(pickle), path)


def _check_pickles(path: Path) -> None:
    """Look at the pickles of the older format: a magic number, a version, the machine, the tensors, their order."""
    with path.open("rb") as file:
        for _ in range(2):
            deque(pickletools.genops(file), maxlen=0)
        for _ in range(2):
            _check_numbers(pickletools.genops(file), path)


def _check_numbers(pickle: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]], path: Path) -> None:
    """Refuse a pickle whose sizes, summed, are beyond what its file can have: torch takes memory for them first."""
    most = 4 * max(path.stat().st_size, 2**14)  # a size, a stride and a length for each number of two bytes or more
    total = 0
    for opcode, argument, _ in pickle:
        if opcode.name in WHOLE_NUMBERS:
            total += abs(argument)
        if total > most:
            raise WeightsError(f"{path}: says that it holds more than the file has; copy it again")


def _complaint(error: Exception) -> str:
    """What is wrong with a file that torch does not read."""
    name = re.search(r"(?:GLOBAL|class|operand) (\w+\.[\w.]*\w)", str(error))
    if name:
        return f"refused, it would call {name[1]}, which weights have no need of; save net.state_dict()"
    return f"is not a whole file of PyTorch's ({reason(error)}); copy it again"
