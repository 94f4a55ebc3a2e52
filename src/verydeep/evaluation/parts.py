"""Posteriors in parts: what a test has found so far, beside the file that will hold all of it.

A part is a file of some pictures and their posteriors, written whole or not at all. A test that was killed goes on from
the parts of the same weights, pictures and protocol; others, and damaged ones, are thrown away with a remark.
Decision: docs/decisions/062-posteriors-in-parts.md.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from verydeep.data.dataset import Dataset
from verydeep.data.paths import printable
from verydeep.errors import PosteriorsError, WeightsError
from verydeep.evaluation.average import Net
from verydeep.evaluation.protocol import Protocol
from verydeep.pictures.preset import Preset
from verydeep.weights.files import checksum, load, save

MOST = 1_000_000  # parts of a process, whose numbers begin at its own times this
EVERY = 30.0  # seconds between two parts: the most that is lost
KIND = "part of posteriors 1"  # what a part's card says it is, with the version of its layout
Origin = Mapping[str, str]  # checksums of what posteriors are made of


def origin(net: Net, data: Dataset, protocol: Protocol, preset: Preset) -> Origin:
    """What decides posteriors: checksums of weights and classes, of the pictures' names and labels, of the views."""
    sizes = ((480, 640), (333, 500), (640, 480))  # for which two protocols of one name are held to be the same
    shown = [protocol.views(*size, net.crop, preset) for size in sizes]
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    return {
        "weights": checksum(tensors, f"{net.name} {net.classes}"),
        "pictures": hashlib.sha256(f"{data.fingerprint()} {data.orientation}".encode()).hexdigest(),
        "views": hashlib.sha256(f"{protocol} {net.crop} {preset} {shown}".encode()).hexdigest(),
    }


def differences(one: Origin, other: Origin) -> str:
    """In what two origins differ, such as `weights and views`; empty where they agree."""
    return " and ".join(what for what, of in other.items() if one.get(what) != of)


class Parts:
    """The parts of one file of posteriors, in a folder beside it.

    Attributes:
        folder: where they lie.
        seconds: that the parts have taken.
        process: number of the one that writes them; all read all.
    """

    def __init__(self, file: Path, made_of: Origin, images: int, classes: int, process: int = 0) -> None:
        self.folder = file.with_name(f"{file.name}.parts")
        self.made_of, self.classes, self.process = dict(made_of), classes, process
        self.written = np.zeros(images, bool)
        self.seconds = 0.0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PosteriorsError(f"{file}: cannot be written there ({error.strerror}); give another place") from None
        self.since = time.perf_counter()

    def read(self, values: Float32[np.ndarray, "n k"], remark: Callable[[str], None]) -> Bool[np.ndarray, " n"]:
        """Put into the values what the parts hold, and say of which pictures. Parts of other tests are removed."""
        for path in self.paths():
            try:
                images, found, seconds = self.read_part(path)
            except (PosteriorsError, WeightsError) as error:
                remark(f"{str(error).partition(';')[0]}; its pictures are tested again")
                path.unlink()
                continue
            values[images] = found
            self.written[images] = True
            self.seconds += seconds
        if self.written.any():
            remark(f"{printable(str(self.folder))}: {self.written.sum():,} of {len(self.written):,} pictures are done")
        return self.written.copy()

    def read_part(self, path: Path) -> tuple[Int64[np.ndarray, " m"], Float32[np.ndarray, "m k"], float]:
        """The pictures of a part, their posteriors and the seconds that they took.

        Raises:
            WeightsError: it is damaged.
            PosteriorsError: it is of another test.
        """
        tensors, card = load(path)
        made_of = card.get("made_of") if card.get("kind") == KIND else None
        if not isinstance(made_of, dict):
            raise PosteriorsError(f"{printable(str(path))}: is not a part of posteriors")
        if others := differences(made_of, self.made_of):
            raise PosteriorsError(f"{printable(str(path))}: was made of other {others}")
        held = {name: (tensor.dtype, *tensor.shape) for name, tensor in tensors.items()}
        count = len(tensors.get("images", ()))
        due = {"images": (torch.int64, count), "values": (torch.float32, count, self.classes)}
        if held != due or not ((0 <= tensors["images"]) & (tensors["images"] < len(self.written))).all():
            raise PosteriorsError(f"{printable(str(path))}: does not hold what it should")
        return tensors["images"].numpy(), tensors["values"].numpy(), float(card.get("seconds", 0))

    def write(self, values: Float32[np.ndarray, "n k"], finished: Bool[np.ndarray, " n"]) -> None:
        """Write what was finished since the last part, once that is `EVERY` seconds ago.

        Raises:
            WeightsError: it cannot be written.
        """
        now = time.perf_counter()
        if now - self.since < EVERY:
            return
        images = np.flatnonzero(finished & ~self.written)
        if not len(images):
            return
        card = {"kind": KIND, "made_of": self.made_of, "seconds": now - self.since}
        numbers = [int(path.stem) for path in self.paths()]
        last = max((each for each in numbers if each // MOST == self.process), default=self.process * MOST)
        tensors = {"images": torch.from_numpy(images), "values": torch.from_numpy(values[images])}
        save(self.folder / f"{last + 1:06}.safetensors", tensors, card)
        self.written |= finished
        self.seconds += now - self.since
        self.since = now

    def seconds_so_far(self) -> float:
        """What all parts and what came after them took."""
        return self.seconds + time.perf_counter() - self.since

    def remove(self) -> None:
        """Remove the parts, and their folder if nothing else lies there."""
        for path in (*self.paths(), *self.folder.glob(".[0-9]*.safetensors.part")):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def paths(self) -> list[Path]:
        """The files of the parts, in their order."""
        return sorted(path for path in self.folder.glob("*.safetensors") if path.stem.isdecimal())
