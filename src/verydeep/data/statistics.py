"""Mean and covariance of the colours of a split's pixels, exact to the last place. Source: sections 2.1 and 3.1.

Pixels are whole numbers, so their sums and the sums of their products are kept as whole numbers too: the result depends
neither on the number of threads nor on the order of the pictures, and equals numpy's on all pixels at once to rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from verydeep.data.dataset import Dataset
from verydeep.errors import DatasetError, PictureError

CHUNK = 64  # pictures that a thread takes at a time
BLOCK = 8192  # pixels that become float64 at a time: they fit into a cache, and their sums are exact


@dataclass(frozen=True, eq=False)
class Statistics:
    """The colours of many pixels, RGB, on the scale of 0 to 255.

    Attributes:
        mean: of each colour.
        covariance: of the colours, divided by the number of pixels.
        images: pictures that were read.
        pixels: their pixels.
    """

    mean: Float64[np.ndarray, " 3"]
    covariance: Float64[np.ndarray, "3 3"]
    images: int
    pixels: int

    def __str__(self) -> str:
        colours = "  ".join(f"{name} {mean:.3f}" for name, mean in zip("RGB", self.mean, strict=True))
        deviations = "  ".join(
            f"{name} {variance**0.5:.3f}" for name, variance in zip("RGB", self.covariance.diagonal(), strict=True)
        )
        rows = "\n".join("  ".join(f"{value:9.3f}" for value in row) for row in self.covariance)
        return (
            f"{self.images} pictures, {self.pixels} pixels, from 0 to 255\n"
            f"mean: {colours}\ndeviation: {deviations}\ncovariance of R, G, B:\n{rows}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, for JSON."""
        return {
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "images": self.images,
            "pixels": self.pixels,
        }

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> "Statistics":
        """What `to_dict` gave."""
        mean, covariance = (np.array(numbers[key], np.float64) for key in ("mean", "covariance"))
        return cls(mean, covariance, int(numbers["images"]), int(numbers["pixels"]))


def measure(
    dataset: Dataset,
    images: int | None = None,
    seed: int = 0,
    threads: int = 2,
    *,
    bad_pictures: Literal["stop", "skip"] = "stop",
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Mean and covariance of the pixels of a data set's pictures, at the size of their files.

    Args:
        dataset: the pictures, with labels or without.
        images: how many to take, drawn by `seed`; None, or as many as there are, takes all.
        seed: of the draw.
        threads: that decode.
        bad_pictures: "stop" at one that cannot be decoded, or "skip" it.
        progress: called with the pictures done and their number.

    Raises:
        PictureError: a picture cannot be decoded, unless those are skipped.
    """
    chosen: Sequence[int] = range(len(dataset))
    if images is not None and images < len(dataset):
        generator = np.random.Generator(np.random.Philox(key=seed))
        chosen = np.sort(generator.choice(len(dataset), images, replace=False)).tolist()
    total, images_read = np.zeros((4, 4), np.int64), 0

    def add_up(start: int) -> tuple[Int64[np.ndarray, "4 4"], int]:
        sums, count = np.zeros((4, 4), np.int64), 0
        for index in chosen[start : start + CHUNK]:
            try:
                sums += gram(dataset.picture(index))
                count += 1
            except PictureError:
                if bad_pictures == "stop":
                    raise
        return sums, count

    with ThreadPoolExecutor(threads, thread_name_prefix="statistics") as pool:
        starts = range(0, len(chosen), CHUNK)
        for start, (sums, count) in zip(starts, pool.map(add_up, starts), strict=True):
            total, images_read = total + sums, images_read + count
            if progress:
                progress(min(start + CHUNK, len(chosen)), len(chosen))
    if not images_read:
        raise DatasetError(f"{dataset.root}: has no picture that can be decoded")
    return _statistics(images_read, total)


def gram(picture: UInt8[np.ndarray, "h w 3"]) -> Int64[np.ndarray, "4 4"]:
    """The sum over the picture's pixels of (R, G, B, 1) times itself: products, colours, and how many there are."""
    total = np.zeros((4, 4))
    pixels = picture.reshape(-1, 3)
    for start in range(0, len(pixels), BLOCK):
        block = pixels[start : start + BLOCK]
        planes = [*block.T.astype(np.float64, order="C"), np.ones(len(block))]
        for i, j in PAIRS:  # faster than a product of two long thin matrices
            total[i, j] += planes[i] @ planes[j]
    return (total + np.triu(total, 1).T).astype(np.int64)


PAIRS = tuple((i, j) for i in range(4) for j in range(i, 4))


def _statistics(images: int, total: Int64[np.ndarray, "4 4"]) -> Statistics:
    """What the sums say, each number rounded once: Python's integers have no limit."""
    sums: list[list[int]] = total.tolist()
    pixels = sums[3][3]
    mean = [sums[i][3] / pixels for i in range(3)]
    covariance = [[(pixels * sums[i][j] - sums[i][3] * sums[j][3]) / pixels**2 for j in range(3)] for i in range(3)]
    return Statistics(np.array(mean), np.array(covariance), images, pixels)
