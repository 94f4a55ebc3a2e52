"""How long two processes take to average tensors: a program for torchrun, which prints seconds as JSON.

python -m torch.distributed.run --standalone --nproc-per-node 2 -m verydeep.training.all_reduce cpu 1024 1000000
"""

import json
import sys
import time
from collections.abc import Sequence

import torch

from verydeep.processes import processes

ROUNDS = 5  # of which the best counts, after one that prepares


def main(arguments: Sequence[str]) -> None:
    """Print the seconds of each size in bytes, on a kind of device; a GPU each where there are as many."""
    kind, *sizes = arguments
    we = processes()
    enough = kind == "cuda" and torch.cuda.device_count() >= we.count
    device = torch.device("cuda", we.local) if enough else torch.device("cpu")
    seconds = [seconds_of(int(size), device) for size in sizes]
    if we.first:
        print(json.dumps(seconds))


def seconds_of(size: int, device: torch.device) -> float:
    """Seconds of the sum of so many bytes over all processes."""
    we, tensor = processes(), torch.zeros(size // 4, device=device)
    best = float("inf")
    for turn in range(ROUNDS + 1):
        we.wait()
        start = time.perf_counter()
        torch.distributed.all_reduce(tensor)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn:
            best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main(sys.argv[1:])
