"""Pictures → batches for training: threads decode and crop; what a picture becomes depends on nothing but its place.

The order of an epoch and every random draw come from a counter-based generator keyed by (seed, epoch, image), so that
batches are the same for any number of threads and from wherever an epoch is taken up again.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from verydeep.data.dataset import Dataset
from verydeep.data.uses import Bad, Made, Use, Views, generator
from verydeep.processes import ALONE, Processes

AHEAD = 3  # batches that are made while one is used


@dataclass(frozen=True)
class Batch:
    """Views of pictures for one step, as they come out of the threads.

    Attributes:
        views: uint8, RGB, channels last.
        shifts: added to all pixels of each view.
        labels: indices of classes.
        skipped: names of pictures that could not be decoded and are missing in the batch.
        waited: seconds that the net waited for it.
        numbers: that a net is to say of each view besides; none where it only names classes.
        first: row of the first picture in the whole batch, which several processes may share.
        others: pictures of the whole batch that other processes have.
    """

    views: UInt8[Tensor, "n 3 side side"]
    shifts: Float32[Tensor, "n 3 1 1"]
    labels: Int64[Tensor, " n"]
    skipped: tuple[str, ...] = ()
    waited: float = 0.0
    numbers: Float32[Tensor, "n m"] | None = None
    first: int = 0
    others: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def whole(self) -> int:
        """Pictures of the whole batch."""
        return len(self) + self.others

    def parts(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, ...]]:
        """Pixels m 3 c c and labels on a device, at most `size` pictures at a time, and numbers m k if there are any.

        Nothing is clipped after the shift.
        """
        said = () if self.numbers is None else (self.numbers,)
        for start in range(0, len(self), size):
            views, shifts, labels, *numbers = (
                tensor[start : start + size].to(device, non_blocking=True)
                for tensor in (self.views, self.shifts, self.labels, *said)
            )
            yield views.float().add_(shifts), labels, *numbers


class Feed:
    """The batches of each epoch: every picture once, in batches whose sizes differ by one at most.

    Decision: docs/decisions/008-batches-of-an-epoch.md.

    Args:
        dataset: labelled pictures.
        views: what each becomes.
        batch: pictures a batch, at most.
        seed: with the epoch and the picture's index it decides all that is random.
        threads: that decode and crop.
        bad_pictures: "stop" at one that cannot be decoded, or "skip" it.
        pinned: whether batches lie in memory that a GPU can fetch them from by itself.
        processes: that share each batch; all together have the batches that one alone has.
    """

    def __init__(
        self,
        dataset: Dataset,
        views: Views,
        batch: int,
        *,
        seed: int = 0,
        threads: int = 2,
        bad_pictures: Literal["stop", "skip"] = "stop",
        pinned: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        self.dataset, self.views, self.seed = dataset, views, seed
        self.bad_pictures, self.pinned, self.processes = bad_pictures, pinned, processes
        self.steps = -(-len(dataset) // batch)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="feed")
        use_one_core_each(self._pool, threads)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def order(self, epoch: int) -> Int64[np.ndarray, " n"]:
        """The indices of all pictures in the order of an epoch."""
        return generator(self.seed, epoch, len(self.dataset)).permutation(len(self.dataset))

    def side(self, epoch: int) -> int:
        """The side of all views of an epoch, px."""
        return self.views.side(epoch, generator(self.seed, epoch, len(self.dataset) + 1))

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the one with number `first` on.

        Raises:
            PictureError: a picture cannot be decoded, unless those are skipped.
        """
        ahead: deque[Coming] = deque()
        try:
            for indices in np.array_split(self.order(epoch), self.steps)[first:]:
                ahead.append(self._begin(epoch, indices))
                if len(ahead) > AHEAD:
                    yield self._finish(ahead.popleft())
            while ahead:
                yield self._finish(ahead.popleft())
        finally:  # a loop that ends early leaves no work behind
            for coming in ahead:
                for future in coming.chunks:
                    future.cancel()

    def _begin(self, epoch: int, whole: Int64[np.ndarray, " n"]) -> "Coming":
        """Hand this process's share of a batch to the threads."""
        share = self.processes.share(len(whole))
        indices = whole[share]
        side = self.side(epoch)
        views = torch.empty((len(indices), side, side, 3), dtype=torch.uint8, pin_memory=self.pinned)
        shifts = torch.empty((len(indices), 3), pin_memory=self.pinned)
        numbers = torch.empty((len(indices), self.views.numbers), pin_memory=self.pinned)

        rows, use = Made(views.numpy(), shifts.numpy(), numbers.numpy()), Use(self.seed, epoch)

        def make(start: int) -> Bad:
            part = slice(start, start + self.views.at_once)
            bad = self.views.fill(self.dataset, indices[part], use, Made(*(each[part] for each in rows)))
            return [(start + place, error) for place, error in bad]

        chunks = [self._pool.submit(make, start) for start in range(0, len(indices), self.views.at_once)]
        return Coming(indices, views, shifts, numbers, chunks, share.start, len(whole))

    def _finish(self, coming: "Coming") -> Batch:
        """Wait for a batch."""
        start = time.perf_counter()
        bad = [each for chunk in coming.chunks for each in chunk.result()]
        waited = time.perf_counter() - start
        if bad and self.bad_pictures == "stop":
            raise bad[0][1]
        views, shifts, numbers, indices = coming.views, coming.shifts, coming.numbers, coming.indices
        skipped = [self.dataset.images[int(indices[place])] for place, _ in bad]
        if self.bad_pictures == "skip":
            skipped = self.processes.gather(skipped)
        if bad:
            good = np.delete(np.arange(len(indices)), [place for place, _ in bad])
            views, shifts, numbers, indices = views[good], shifts[good], numbers[good], indices[good]
        labels = torch.from_numpy(self.dataset.labels[indices])
        said = numbers if self.views.numbers else None
        return Batch(views.permute(0, 3, 1, 2), shifts[:, :, None, None], labels, tuple(skipped), waited, said,
                     coming.first, coming.whole - len(skipped) - len(labels))  # fmt: skip


@dataclass(frozen=True)
class Coming:
    """This process's share of a batch that threads are at work on.

    Attributes:
        indices: of its pictures.
        views: that the threads fill; so are shifts and numbers.
        chunks: the threads' work, a chunk of pictures each.
        first: row of the first picture in the whole batch.
        whole: pictures of the whole batch.
    """

    indices: Int64[np.ndarray, " n"]
    views: UInt8[Tensor, "n side side 3"]
    shifts: Float32[Tensor, "n 3"]
    numbers: Float32[Tensor, "n m"]
    chunks: list[Future[Bad]]
    first: int
    whole: int


def use_one_core_each(pool: ThreadPoolExecutor, threads: int) -> None:
    """Let torch use one core in each thread of a pool, and what it used before elsewhere."""
    cores = torch.get_num_threads()
    barrier = threading.Barrier(threads)  # so that each thread gets one of the tasks

    def use_one_core(_: int) -> None:
        torch.set_num_threads(1)
        barrier.wait()

    list(pool.map(use_one_core, range(threads)))
    torch.set_num_threads(cores)  # parts of it are the whole process's
