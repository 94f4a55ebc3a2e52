"""Where and how to compute: the device, the data type and the memory layout, chosen by a short measurement."""

import ctypes
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from verydeep.errors import DeviceError

DataType = Literal["auto", "float32", "bfloat16"]
Layout = Literal["auto", "channels_last", "contiguous"]
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
DATA_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PATIENCE = 0.5  # seconds that the measurement may take, about
HANDICAP = {torch.float32: 1.0, torch.bfloat16: 1.25}  # single precision is the surer, and has its own fast way on CPUs
Candidate = tuple[torch.dtype, torch.memory_format]


@dataclass(frozen=True)
class Compute:
    """How a net is computed.

    Attributes:
        device: where.
        data_type: of activations; weights stay in single precision.
        layout: of activations and convolutions' weights in memory.
        why: how it was chosen, for a person.
    """

    device: torch.device
    data_type: torch.dtype = torch.float32
    layout: torch.memory_format = torch.channels_last
    why: str = ""


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device of a name; `auto` is CUDA, then MPS, then the CPU.

    Raises:
        DeviceError: it is unknown or not here.
    """
    if device == "auto":
        available = (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True))
        return torch.device(next(name for name, here in available if here))
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device {device}: is not here ({str(error).splitlines()[0]}); use cpu or auto") from error
    return chosen


def choose_compute(
    device: str | torch.device = "auto", data_type: DataType = "auto", layout: Layout = "auto", *, back: bool = True
) -> Compute:
    """What trains fastest here, or runs so, among what was not decided; half precision only where it clearly wins.

    Args:
        device: see `choose_device`.
        data_type: of activations.
        layout: of activations and weights.
        back: whether gradients are wanted, too.
    """
    chosen = choose_device(device)
    candidates = [
        (DATA_TYPES[type_name], LAYOUTS[layout_name])
        for type_name in (["float32", "bfloat16"] if data_type == "auto" else [data_type])
        for layout_name in (["channels_last", "contiguous"] if layout == "auto" else [layout])
    ]
    if len(candidates) == 1:
        return Compute(chosen, *candidates[0], why="as the recipe says")
    seconds = time_blocks(chosen, candidates, back)
    figures = ", ".join(
        f"{str(kind).removeprefix('torch.')} {str(order).removeprefix('torch.')} {1000 * seconds[kind, order]:.1f} ms"
        for kind, order in candidates
    )
    why = f"a convolution, its ReLU and its pool, {'there and back, ' if back else ''}took {figures}"
    return Compute(chosen, *clearly_fastest(seconds), why=why)


def clearly_fastest(seconds: dict[Candidate, float]) -> Candidate:
    """The data type and layout to take: half precision only where it wins by more than its handicap."""
    return min(seconds, key=lambda candidate: seconds[candidate] * HANDICAP[candidate[0]])


def time_blocks(device: torch.device, candidates: list[Candidate], back: bool = True) -> dict[Candidate, float]:
    """Seconds of a small block of a net, forward and backward or forward alone, for each data type and layout.

    They take turns, and the best of each counts, so that what else runs on the machine slows all alike. It takes about
    `PATIENCE` seconds, and at least one round after the first, which prepares kernels.
    """
    steps = {candidate: make_block(device, *candidate, back) for candidate in candidates}
    seconds = dict.fromkeys(candidates, float("inf"))
    start, rounds = time.perf_counter(), 0
    while rounds < 2 or (time.perf_counter() - start < PATIENCE and rounds < 20):
        for candidate, step in steps.items():
            began = time.perf_counter()
            step()
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
            if rounds:
                seconds[candidate] = min(seconds[candidate], time.perf_counter() - began)
        rounds += 1
    return seconds


def make_block(
    device: torch.device, data_type: torch.dtype, layout: torch.memory_format, back: bool
) -> Callable[[], None]:
    """A step through a 3 × 3 convolution of 64 channels on 8 maps of 56 × 56, its ReLU and its pool; and back."""
    block = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    block.to(device).to(memory_format=layout)
    maps = torch.ones(8, 64, 56, 56, device=device).to(data_type).contiguous(memory_format=layout).requires_grad_(back)

    def step() -> None:
        with torch.autocast(device.type, data_type, enabled=data_type != torch.float32), torch.set_grad_enabled(back):
            pooled = block(maps)
        if back:
            pooled.backward(torch.ones_like(pooled))

    return step


@cache
def convolution_peak(device: torch.device, data_type: torch.dtype) -> float:
    """Gigaflop a second of the fastest 3 × 3 convolution forward, channels last, that is found among some sizes.

    It takes about a second. A step's share of it says how much of a training is not convolution.
    """
    rates = []
    for channels, side in ((64, 112), (128, 112), (256, 56), (512, 28)):
        maps = torch.ones(4, channels, side, side, device=device, dtype=data_type)
        maps = maps.contiguous(memory_format=torch.channels_last)
        convolution = nn.Conv2d(channels, channels, 3, padding=1, device=device, dtype=data_type)
        convolution.to(memory_format=torch.channels_last)
        with torch.no_grad():
            for _ in range(8):  # the first prepares kernels
                start = time.perf_counter()
                convolution(maps)
                if device.type != "cpu":
                    torch.accelerator.synchronize(device)
                rates.append(2 * 9 * channels**2 * side**2 * len(maps) / (time.perf_counter() - start) / 1e9)
    return max(rates)


@cache
def keep_pages() -> bool:
    """Tell glibc to keep the memory that it has, and to take it in huge pages, for the whole process from now on.

    Else large blocks go back to the kernel after each use, and a training step spends a third of its time in page
    faults: docs/decisions/006-kept-pages.md and 040-huge-pages.md.

    Returns:
        Whether the C library is glibc and took the setting.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    no_mmap, no_trim = library.mallopt(-4, 0), library.mallopt(-1, -1)  # M_MMAP_MAX, M_TRIM_THRESHOLD; malloc.h
    if no_mmap and no_trim:
        advise_huge_pages(library)
    return bool(no_mmap and no_trim)


def advise_huge_pages(library: ctypes.CDLL) -> None:
    """Let the heap grow at once to the size of the memory, untouched, and ask for huge pages wherever it gets used.

    What is not touched takes no memory. Where the system counts promises instead (overcommit 2), or refuses, the heap
    stays as it is: slower, not wrong.
    """
    overcommit, huge = Path("/proc/sys/vm/overcommit_memory"), 2 << 20
    if not overcommit.exists() or overcommit.read_text().strip() == "2":
        return
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
    block = library.malloc(size)
    if block:
        start = -(-block // huge) * huge
        library.madvise(start, (block + size - start) // huge * huge, 14)  # MADV_HUGEPAGE; mman.h
        library.free(block)  # nothing is given back: the whole of it is now the heap's free top


def available_memory(device: torch.device) -> int:
    """Bytes that can still be taken on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo") as file:  # noqa: PTH123 - a file of the kernel
            fields = dict(line.split(":") for line in file)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return int(min(free, container_memory()))


CGROUPS = {  # of both versions: the limit, what is used, and the name of what of it can be taken back at any time
    "memory.max": ("memory.current", "memory.stat", "inactive_file"),
    "memory/memory.limit_in_bytes": ("memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
}


def container_memory(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the container around this process may still take; infinite where nothing limits it."""
    for limit, (used, statistics, reclaimable) in CGROUPS.items():
        try:
            allowed = float((root / limit).read_text().replace("max", "inf"))
            fields = dict(line.split() for line in (root / statistics).read_text().splitlines())
            return max(0.0, allowed - int((root / used).read_text()) + int(fields[reclaimable]))
        except (OSError, ValueError, KeyError):
            continue  # the other version, or none
    return math.inf
