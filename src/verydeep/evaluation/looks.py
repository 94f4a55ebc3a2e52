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
from verydeep.data.feed import use_one_core_each
from verydeep.data.paths import printable
from verydeep.errors import PictureError
from verydeep.evaluation.protocol import Positions, Protocol
from verydeep.nets.canvas import roomy
from verydeep.pictures.crop import take
from verydeep.pictures.preset import OURS, Preset
from verydeep.pictures.views import Seen

S = TypeVar("S")
T = TypeVar("T")
Shape = tuple[int, int, bool, Positions, Seen]  # height, width, with its mirror image or not, positions, seen where


@dataclass(frozen=True)
class Look:
    """One view of a picture.

    Attributes:
        image: index of the picture in its data set.
        weight: share of this view in the picture's posterior.
        picture: RGB, 0 to 255, rescaled, the view's window only.
        mirror: whether it counts together with its mirror image.
        positions: how the scores at its positions become one posterior.
        seen: at which positions: see `pictures.views.View`.
        smallest_side: Q, of the rescaled picture that the view belongs to, px.
    """

    image: int
    weight: float
    picture: UInt8[np.ndarray, "h w 3"]
    mirror: bool = False
    positions: Positions = "softmax-last"
    seen: Seen = "everywhere"
    smallest_side: int = 0

    def shape(self, step: int = 1) -> Shape:
        """What views in one batch have in common, on a canvas whose sides grow by a step, px."""
        height, width, _ = self.picture.shape
        return (*roomy(height, width, step), self.mirror, self.positions, self.seen)


def looks(
    data: Dataset,
    protocol: Protocol,
    crop: int,
    threads: int,
    preset: Preset = OURS,
    images: Sequence[int] | None = None,
) -> Iterator[Look]:
    """The views of every picture, those of one shape near each other.

    Args:
        data: the pictures.
        protocol: what of them is shown.
        crop: of the net, px.
        threads: that decode and rescale ahead.
        preset: how pictures are rescaled, and where their centre is.
        images: indices of those that are wanted; None: all.

    Raises:
        PictureError: a picture cannot be decoded or rescaled; none is ever left out.
    """

    def of(image: int) -> list[Look]:
        picture = data.picture(image)
        with naming(data, image):
            height, width, _ = picture.shape
            views = protocol.views(height, width, crop, preset)
            rescaled = {side: preset.rescale(picture, side) for side in {shown.smallest_side for shown in views}}
        windows = [take(rescaled[shown.smallest_side], shown.view) for shown in views]
        if sum(window.size for window in windows) < sum(whole.size for whole in rescaled.values()):
            windows = [window.copy() for window in windows]  # else they would keep the wholes in memory
        return [
            Look(image, shown.weight, window, shown.mirror, shown.positions, shown.view.seen, shown.smallest_side)
            for shown, window in zip(views, windows, strict=True)
        ]

    for found in ahead(of, order_by_shape(data, protocol, crop, threads, preset, images), threads):
        yield from found


def order_by_shape(
    data: Dataset,
    protocol: Protocol,
    crop: int,
    threads: int,
    preset: Preset = OURS,
    images: Sequence[int] | None = None,
) -> Sequence[int]:
    """The pictures, those whose views have the same shapes side by side, the largest first.

    Raises:
        PictureError: the header of a picture cannot be read, or its sides are so unequal that it cannot be rescaled.
    """

    def of(image: int) -> list[tuple[int, int]]:
        size = data.size(image)
        with naming(data, image):
            return protocol.shapes(*size, crop, preset)

    images = range(len(data)) if images is None else images
    if not protocol.needs_score_map(crop, preset):
        return images  # crops, of one shape whatever the picture's
    found = dict(zip(images, ahead(of, images, threads), strict=True))
    largest = {image: max(height * width for height, width in shapes) for image, shapes in found.items()}
    return sorted(images, key=lambda image: (largest[image], found[image]), reverse=True)


@contextmanager
def naming(data: Dataset, image: int) -> Iterator[None]:
    """What goes wrong with a picture's sizes is said with the picture's name."""
    try:
        yield
    except PictureError as error:
        raise PictureError(f"{printable(data.images[image])}: {error}") from None


def ahead(function: Callable[[S], T], items: Iterable[S], threads: int, *, one_core: bool = False) -> Iterator[T]:
    """The function's values in the order of the items, worked out by threads, at most two a thread ahead.

    Args:
        function: of an item.
        items: of any number.
        threads: that call it.
        one_core: whether torch is to use one core in each of them.
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="looks") as pool:
        if one_core:
            use_one_core_each(pool, threads)
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


def group_by_shape(looks: Iterable[Look], pixels: int, pending: int = 4, step: int = 1) -> Iterator[list[Look]]:
    """The same views in groups of one shape, none lost.

    Args:
        looks: views of any shapes; groups are the fuller the nearer those of one shape come together.
        pixels: of a full group, mirror images included, which leaves at once; a single view may have more.
        pending: how many full groups' pixels may wait; where there are more, the group that began first leaves.
        step: of the sides of a canvas that views of a group share, px; 1: they are of one shape. See `nets.canvas`.
    """
    groups: dict[Shape, list[Look]] = {}
    waiting = 0

    def size(shape: Shape) -> int:
        height, width, mirror, *_ = shape
        return (1 + mirror) * height * width

    def leave(shape: Shape) -> list[Look]:
        nonlocal waiting
        group = groups.pop(shape)
        waiting -= len(group) * size(shape)
        return group

    for look in looks:
        shape = look.shape(step)
        groups.setdefault(shape, []).append(look)
        waiting += size(shape)
        if (len(groups[shape]) + 1) * size(shape) > pixels:
            yield leave(shape)
        while waiting > pending * pixels:
            yield leave(next(iter(groups)))
    yield from groups.values()
