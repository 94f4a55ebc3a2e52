"""Many relative paths in little memory."""

import os
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import overload

import numpy as np


class Paths(Sequence[str]):
    """A sequence of paths that takes their bytes and 8 more each; a str takes 57 more, and ILSVRC has 1.3 million.

    A name that is not UTF-8 survives as Python's file functions have it (`os.fsdecode`).
    """

    def __init__(self, encoded: Iterable[bytes] = ()) -> None:
        encoded = list(encoded)
        self._bytes = b"".join(encoded)
        self._ends = np.fromiter(accumulate(map(len, encoded)), np.int64, len(encoded))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Paths": ...
    def __getitem__(self, index: int | slice) -> "str | Paths":
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return os.fsdecode(self._encoded(range(len(self))[index]))

    def take(self, indices: Iterable[int]) -> "Paths":
        """The paths at these indices, in their order."""
        return Paths(self._encoded(index) for index in indices)

    def _encoded(self, index: int) -> bytes:
        start = int(self._ends[index - 1]) if index else 0
        return self._bytes[start : int(self._ends[index])]


def printable(path: str) -> str:
    r"""The path as one line that any terminal takes: what is not UTF-8 and what is not printed is written as \\x.. ."""
    if path.isprintable():  # nearly all are
        return path
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
