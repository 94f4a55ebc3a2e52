"""The curves of a run for TensorBoard, where that is installed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@contextmanager
def tensorboard(folder: Path, step: int, *, wanted: bool = True) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that takes each line of `metrics.jsonl`; without TensorBoard it does nothing.

    Args:
        folder: for TensorBoard's own files.
        step: that the run goes on from; what an earlier process wrote of later ones is hidden.
        wanted: whether there are to be any.
    """
    if not wanted or find_spec("tensorboard") is None:
        yield lambda line: None
        return
    from torch.utils.tensorboard import SummaryWriter  # a second's work

    with SummaryWriter(folder, purge_step=step + 1) as writer:

        def add(line: Mapping[str, Any]) -> None:
            for key, value in line.items():
                if key not in ("kind", "step"):
                    writer.add_scalar(f"{line['kind']}/{key}", value, line["step"])

        yield add
