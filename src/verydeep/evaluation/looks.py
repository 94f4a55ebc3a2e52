"""A data set under a protocol → what a net is shown, in groups of one shape.

Pictures are decoded ahead by threads, once each, and rescaled once for each scale. A data set has pictures of hundreds
of sizes, and a net is fast on groups of one size only, so pictures come in the order of the shapes that they are seen
in, the largest first: few views ever wait for others, and what memory the whole takes is known from the first group on.
Decision: docs/decisions/021-grouping-by-shape.md.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from verydeep.data.dataset import Dataset
from verydeep.data.paths import printable
from verydeep.errors import PictureError
from verydeep.evaluation.protocol import Protocol
from verydeep.pictures.crop import take
from verydeep.pictures.resize import rescale, rescaled_size

T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """One view of a picture.

    Attributes:
        image: index of the picture in its data set.
        weight: share of this view in the picture's posterior.
        picture: RGB, 0 to 255, rescaled, the view's window only.
    """

    image: int
    weight: float
    picture: UInt8[np.ndarray, "h w 3"]


def looks(data: Dataset, protocol: Protocol, crop: int, threads: int) -> Iterator[Look]:
    """The views of every picture, those of one shape near each other; all views of a picture count alike.

    Raises:
        PictureError: a picture cannot be decoded or rescaled; none is ever left out.
    """

    def of(image: int) -> list[Look]:
        picture = data.picture(image)
        with naming(data, image):
            rescaled = [rescale(picture, smallest_side) for smallest_side in protocol.scales]
        views = [
            take(whole, view).copy()  # so that a window does not keep the whole in memory
            for whole in rescaled
            for view in protocol.views(height=whole.shape[0], width=whole.shape[1], crop=crop)
        ]
        return [Look(image, 1 / len(views), view) for view in views]

    for found in ahead(of, order_by_shape(data, protocol, crop, threads), threads):
        yield from found


def order_by_shape(data: Dataset, protocol: Protocol, crop: int, threads: int) -> Sequence[int]:
    """The pictures of a data set, those whose views have the same shapes side by side, the largest first.

    Raises:
        PictureError: the header of a picture cannot be read, or its sides are so unequal that it cannot be rescaled.
    """

    def shapes(height: int, width: int) -> list[tuple[int, int]]:
        sizes = [rescaled_size(height, width, smallest_side) for smallest_side in protocol.scales]
        return [(view.height, view.width) for size in sizes for view in protocol.views(*size, crop)]

    def of(image: int) -> list[tuple[int, int]]:
        size = data.size(image)
        with naming(data, image):
            return shapes(*size)

    images = range(len(data))
    if shapes(1, 1) == shapes(1, 2):
        return images  # crops, of one shape whatever the picture's
    found = list(ahead(of, images, threads))
    largest = [max(height * width for height, width in views) for views in found]
    return sorted(images, key=lambda image: (largest[image], found[image]), reverse=True)


@contextmanager
def naming(data: Dataset, image: int) -> Iterator[None]:
    """What goes wrong with a picture's sizes is said with the picture's name."""
    try:
        yield
    except PictureError as error:
        raise PictureError(f"{printable(data.images[image])}: {error}") from None


def ahead(function: Callable[[int], T], items: Iterable[int], threads: int) -> Iterator[T]:
    """The function's values in the order of the items, worked out by threads, at most two a thread ahead."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="looks") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def group_by_shape(looks: Iterable[Look], pixels: int, pending: int = 4) -> Iterator[list[Look]]:
    """The same views in groups of one shape, none lost.

    Args:
        looks: views of any shapes; groups are the fuller the nearer those of one shape come together.
        pixels: of a full group, which leaves at once; a single view may have more.
        pending: how many full groups' pixels may wait; where there are more, the group that began first leaves.
    """
    groups: dict[tuple[int, int], list[Look]] = {}
    waiting = 0

    def leave(height: int, width: int) -> list[Look]:
        nonlocal waiting
        waiting -= len(groups[height, width]) * height * width
        return groups.pop((height, width))

    for look in looks:
        height, width = look.picture.shape[:2]
        groups.setdefault((height, width), []).append(look)
        waiting += height * width
        if (len(groups[height, width]) + 1) * height * width > pixels:
            yield leave(height, width)
        while waiting > pending * pixels:
            yield leave(*next(iter(groups)))
    yield from groups.values()
