"""Pictures → batches for training: threads decode and crop; what a picture becomes depends on nothing but its place.

The order of an epoch and every random draw come from a counter-based generator keyed by (seed, epoch, image), so that
batches are the same for any number of threads and from wherever an epoch is taken up again.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from verydeep.data.dataset import Dataset
from verydeep.errors import PictureError
from verydeep.pictures.colour import RGBShift
from verydeep.pictures.crop import crop_rescaled, crop_resized, source_window
from verydeep.pictures.resize import rescaled_size
from verydeep.pictures.views import View, random_crop, random_resized_crop
from verydeep.processes import ALONE, Processes

AHEAD = 3  # batches that are made while one is used
CHUNK = 16  # pictures that a thread makes at a time


@dataclass(frozen=True)
class TrainingViews:
    """What a picture becomes at each use in training. Source: section 3.1.

    Attributes:
        crop: side of the net's window, px.
        smallest_side: S, drawn uniformly from this range (ends included) at each use; equal ends fix it, px.
        random_resized: instead a window of random area and aspect, resized to the crop, as is usual today.
        area: of that window, as fractions of the picture's.
        mirror: whether half of the views are mirrored.
        rgb_shift: the axes of the training set's colours; None leaves colours alone.
        sigma: deviation of the shift along each axis, in deviations of the training set's colours.
        coarse_decode: a large JPEG may be decoded at a half, a quarter or an eighth of its size, the colours of any may
            stay at the resolution that they are stored at, and rows below the view are left out. Decision:
            docs/decisions/003-training-may-decode-coarsely.md.
        sides: that the crop is resized to, an epoch each in turn, px; none: it stays as it is.
        side_jitter: instead drawn anew for each epoch from this range (ends included), px. Source of both: He et al.
            2014, "Spatial pyramid pooling in deep convolutional networks", section 2.3.
    """

    crop: int
    smallest_side: tuple[int, int]
    random_resized: bool = False
    area: tuple[float, float] = (0.08, 1.0)
    mirror: bool = True
    rgb_shift: RGBShift | None = None
    sigma: float = 0.1
    coarse_decode: bool = True
    sides: tuple[int, ...] = ()
    side_jitter: tuple[int, int] | None = None

    def side(self, epoch: int, generator: np.random.Generator) -> int:
        """The side of all views of an epoch, px."""
        if self.side_jitter:
            return int(generator.integers(*self.side_jitter, endpoint=True))
        return self.sides[epoch % len(self.sides)] if self.sides else self.crop

    @property
    def numbers(self) -> int:
        """How many numbers a net is to say of a view, besides the picture's class."""
        return 0

    def window(
        self, index: int, height: int, width: int, generator: np.random.Generator
    ) -> tuple[View, tuple[float, ...]]:
        """The crop of a picture that was rescaled to this size, and the numbers that a net is to say of it."""
        return self._mirrored(random_crop(height, width, self.crop, generator)), ()

    def make(
        self, dataset: Dataset, index: int, generator: np.random.Generator, side: int | None = None
    ) -> tuple[UInt8[np.ndarray, "side side 3"], Float32[np.ndarray, " 3"], tuple[float, ...]]:
        """One view of one picture, what is to be added to its R, G and B, and what a net is to say of it.

        Args:
            dataset: that the picture is of.
            index: of the picture.
            generator: what to draw from.
            side: of the view, px; by default the crop's.
        """
        side = side or self.crop
        smallest_side = int(generator.integers(*self.smallest_side, endpoint=True))
        shift = self.rgb_shift.draw(generator, self.sigma) if self.rgb_shift else np.zeros(3, np.float32)
        views: list[View] = []
        numbers: tuple[float, ...] = ()

        def draw(height: int, width: int) -> int:
            """Draw the view of a picture of this size, and say how many of its rows that needs."""
            nonlocal numbers
            if self.random_resized:
                source = view = self._mirrored(random_resized_crop(height, width, generator, self.area))
            else:
                try:
                    rescaled_height, rescaled_width = rescaled_size(height, width, smallest_side)
                except PictureError as error:  # which knows no names
                    raise PictureError(f"{dataset.images[index]}: {error}") from None
                view, numbers = self.window(index, rescaled_height, rescaled_width, generator)
                source = source_window(height, width, smallest_side, view)
            views.append(view)
            return source.top + source.height

        # The smallest window of random area has still as many pixels as a crop.
        least = ceil(self.crop / self.area[0] ** 0.5) if self.random_resized else smallest_side
        if self.coarse_decode:
            picture = dataset.picture(index, at_least=least, fast=True, rows=draw)
        else:
            picture = dataset.picture(index)
        if not views:  # it had to be decoded whole
            height, width, _ = picture.shape
            draw(height, width)
        if self.random_resized:
            return crop_resized(picture, views[0], side), shift, numbers
        return crop_rescaled(picture, smallest_side, replace(views[0], side=side)), shift, numbers

    def _mirrored(self, view: View) -> View:
        return view if self.mirror else View(view.top, view.left, view.height, view.width)


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
        views: TrainingViews,
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

        def make(places: range) -> list[tuple[int, PictureError]]:
            bad = []
            for place in places:
                index = int(indices[place])
                try:
                    made = self.views.make(self.dataset, index, generator(self.seed, epoch, index), side)
                    views.numpy()[place], shifts.numpy()[place], numbers.numpy()[place] = made
                except PictureError as error:
                    bad.append((place, error))
            return bad

        places = range(len(indices))
        chunks = [self._pool.submit(make, places[start : start + CHUNK]) for start in range(0, len(indices), CHUNK)]
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
    chunks: list[Future[list[tuple[int, PictureError]]]]
    first: int
    whole: int


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one picture at one use: a stream of Philox of its own (Salmon et al. 2011)."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, 0], np.uint64), counter=[0, 0, index, epoch]))


def use_one_core_each(pool: ThreadPoolExecutor, threads: int) -> None:
    """Let torch use one core in each thread of a pool, and what it used before elsewhere."""
    cores = torch.get_num_threads()
    barrier = threading.Barrier(threads)  # so that each thread gets one of the tasks

    def use_one_core(_: int) -> None:
        torch.set_num_threads(1)
        barrier.wait()

    list(pool.map(use_one_core, range(threads)))
    torch.set_num_threads(cores)  # parts of it are the whole process's
