"""Which process this is, of how many, as torchrun says; and what processes tell each other.

One process alone, which is the usual case, tells itself everything at once. Files are read and written by the first.
"""

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from verydeep.errors import ProcessError, VerydeepError

T = TypeVar("T")
PATIENCE = timedelta(hours=2)  # that a process waits for the others, such as for the first one's test of a net


@dataclass(frozen=True)
class Processes:
    """All processes of a command.

    Attributes:
        rank: number of this one.
        count: of all.
        local: number of this one on its machine: which of the machine's GPUs is its own.
        neighbours: how many share its machine, itself included.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    neighbours: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share(self, items: int) -> slice:
        """Which of so many items in a row are this process's: neighbours, as many as the others have, or one less."""
        bounds = np.linspace(0, items, self.count + 1).round().astype(int)
        return slice(int(bounds[self.rank]), int(bounds[self.rank + 1]))

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them; a mistake that it finds is raised in all."""
        if self.count == 1:
            return make()
        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = make()
            except VerydeepError as error:
                told[1] = error
        distributed.broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise told[1]
        made: T = told[0]
        return made

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of all processes' tensors, in all of them."""
        if self.count > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes in the order of their numbers, in all of them."""
        if self.count == 1:
            return list(items)
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, list(items))
        return [item for theirs in found for item in theirs]

    def any(self, said: bool) -> bool:
        """Whether any process says so."""
        return bool(self.sum(torch.tensor(int(said)))) if self.count > 1 else said

    def agree(self, what: str, seen: str) -> None:
        """Check that all processes see the same.

        Raises:
            ProcessError: one sees something else than the first.
        """
        if self.count == 1:
            return
        all_seen: list[Any] = [None] * self.count
        distributed.all_gather_object(all_seen, seen)
        for rank, theirs in enumerate(all_seen):
            if theirs != all_seen[0]:
                raise ProcessError(
                    f"process {rank} of {self.count}: sees {what} {theirs}, process 0 sees {all_seen[0]}; give all of "
                    "them the same"
                )

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            distributed.barrier()


ALONE = Processes()


@cache
def processes() -> Processes:
    """All processes of this command, joined on the first call where torchrun has started several.

    Raises:
        ProcessError: they do not find each other.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "RANK" not in os.environ:
        return ALONE
    local = int(os.environ.get("LOCAL_RANK", "0"))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    try:
        store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
        # After a restart torchrun's store still has the addresses of those that died, under the same names.
        fresh = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        distributed.init_process_group(backend, store=fresh, rank=rank, world_size=count, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ProcessError(
            f"process {os.environ['RANK']} of {count}: does not find the others ({reason}); give torchrun another "
            "--master-port"
        ) from None
    atexit.register(leave)
    return Processes(rank, count, local, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def leave() -> None:
    """Part from the others at the end."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
