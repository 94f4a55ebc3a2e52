"""A data set under a protocol → what a net is shown, in groups of one shape.

Pictures are decoded ahead by threads, once each, and rescaled once for each scale. A data set has pictures of hundreds
of sizes, and a net is fast on groups of one size only, so views wait until enough of their shape have come. How many
may wait is bounded: docs/decisions/021-grouping-by-shape.md.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from verydeep.data.dataset import Dataset
from verydeep.data.paths import printable
from verydeep.errors import PictureError
from verydeep.evaluation.protocol import Protocol
from verydeep.pictures.crop import take
from verydeep.pictures.resize import rescale

T = TypeVar("T")
PENDING = 16  # full groups: as many pixels may wait for others of their shape


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
    """The views of every picture in turn; all views of a picture count alike.

    Raises:
        PictureError: a picture cannot be decoded or rescaled; none is ever left out.
    """

    def of(image: int) -> list[Look]:
        picture = data.picture(image)
        try:
            rescaled = [rescale(picture, smallest_side) for smallest_side in protocol.scales]
        except PictureError as error:  # which knows no names
            raise PictureError(f"{printable(data.images[image])}: {error}") from None
        views = [
            take(whole, view).copy()  # so that a window does not keep the whole in memory
            for whole in rescaled
            for view in protocol.views(height=whole.shape[0], width=whole.shape[1], crop=crop)
        ]
        return [Look(image, 1 / len(views), view) for view in views]

    for found in ahead(of, range(len(data)), threads):
        yield from found


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


def group_by_shape(looks: Iterable[Look], pixels: int, pending: int | None = None) -> Iterator[list[Look]]:
    """The same views in groups of one shape, none lost.

    Args:
        looks: views of any shapes.
        pixels: of a full group, which leaves at once; a single view may have more.
        pending: pixels that may wait, by default those of some full groups; beyond it the group with the most leaves.
    """
    pending = PENDING * pixels if pending is None else pending
    groups: dict[tuple[int, int], list[Look]] = {}
    waiting = 0
    for look in looks:
        height, width = look.picture.shape[:2]
        group = groups.setdefault((height, width), [])
        group.append(look)
        waiting += height * width
        if (len(group) + 1) * height * width > pixels:
            waiting -= len(group) * height * width
            yield groups.pop((height, width))
        while waiting > pending:
            height, width = max(groups, key=lambda shape: len(groups[shape]) * shape[0] * shape[1])
            waiting -= len(groups[height, width]) * height * width
            yield groups.pop((height, width))
    yield from groups.values()
