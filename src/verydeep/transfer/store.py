"""Descriptors on disk: what a layer made of a picture at one scale, by the picture's content.

A folder for whatever makes them: weights, layer, scale, mirror image. In it files of rows, each a hash of the picture,
its descriptor and a checksum, which processes only add to: whatever was cut off or damaged is described again.
"""

import hashlib
import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Bool, Float32

from verydeep.data.paths import printable
from verydeep.errors import TransferError
from verydeep.weights.files import write_atomically

VERSION = 1  # of what makes descriptors, beside what `made_of` says


class Store:
    """The descriptors of one kind that a folder keeps."""

    def __init__(self, folder: Path, made_of: Mapping[str, Any], dimensions: int) -> None:
        text = json.dumps({"version": VERSION, "dimensions": dimensions, **made_of}, indent=1, sort_keys=True)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:24]
        self.row = np.dtype([("content", "u1", 32), ("values", "<f4", dimensions), ("checksum", "<u4")])
        self.file: BinaryIO | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / "made-of.json", text.encode())  # for a person who wonders what lies there
        except OSError as error:
            raise TransferError(
                f"{printable(str(folder))}: cannot be written ({error.strerror}); give another"
            ) from None

    def read(self, contents: Sequence[bytes], values: Float32[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
        """Put into `values` what is kept of these pictures, and say of which."""
        there = np.zeros(len(contents), bool)
        places: dict[bytes, list[int]] = {}
        for place, content in enumerate(contents):
            places.setdefault(content, []).append(place)
        for path in sorted(self.folder.glob("*.rows")):
            count = path.stat().st_size // self.row.itemsize
            rows = np.memmap(path, self.row, "r", shape=(count,)) if count else ()
            for row in rows:
                wanted = places.get(row["content"].tobytes(), ())
                if wanted and not there[wanted[0]] and row["checksum"] == zlib.crc32(row["values"].tobytes()):
                    values[wanted] = row["values"]
                    there[wanted] = True
        return there

    def add(self, content: bytes, values: Float32[np.ndarray, " d"]) -> None:
        """Keep a descriptor.

        Raises:
            TransferError: the disk is full, or the like.
        """
        row = np.zeros((), self.row)
        row["content"], row["values"] = np.frombuffer(content, np.uint8), values
        row["checksum"] = zlib.crc32(values.astype("<f4").tobytes())
        try:
            if self.file is None:  # one of its own for each process, of several machines too
                self.folder.mkdir(parents=True, exist_ok=True)
                self.file = (self.folder / f"{time.time_ns():x}-{os.getpid()}.rows").open("xb", buffering=2**20)
            self.file.write(row.tobytes())
        except OSError as error:
            raise TransferError(f"{self.folder}: cannot be written ({error.strerror}); give another --cache") from None

    def close(self) -> None:
        """Write out what was added."""
        if self.file is not None:
            self.file.close()


def cache_folder() -> Path:
    """Where descriptors are kept: $XDG_CACHE_HOME/verydeep/descriptors or ~/.cache/verydeep/descriptors."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "verydeep" / "descriptors"
