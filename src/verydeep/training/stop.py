"""Ctrl-C, and the signal by which machines end programs, as a wish to stop once the state is saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any


class Stopped(Exception):
    """Someone asked the run to stop, and it has come to a point from which it can go on."""


@dataclass
class Stop:
    """Whether someone asked the run to stop."""

    asked: bool = False

    def heed(self, *_: object) -> None:
        """Stop here, if it was asked for."""
        if self.asked:
            raise Stopped


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note Ctrl-C and SIGTERM instead of stopping wherever the program is; a second one stops it at once."""
    stop = Stop()
    kept: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        signal.signal(number, kept[number])

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            kept[number] = signal.signal(number, ask)
    except ValueError:  # not in the main thread: whoever owns that one decides
        pass
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
