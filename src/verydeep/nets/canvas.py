"""Pictures of several sizes in one batch: each in a corner of a canvas, and seen as if there were nothing around it.

A convolution takes zeros for what lies beyond the end of a map. On a canvas that is larger than the picture something
else lies there, so it is made zero first, as far as the convolution reaches; the maps are those of the picture alone.
Decision: docs/decisions/133-several-sizes-on-one-canvas.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, Real, UInt8
from torch import Tensor, nn

from verydeep.nets.order import cheapest_order
from verydeep.nets.times import Times

BY_CELL = (nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, nn.GELU, nn.Dropout, nn.LocalResponseNorm, Times)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Canvas:
    """Pictures or their maps, each from the top left corner on; beyond its end lies anything.

    Attributes:
        maps: of a common size.
        sizes: height and width of each, in cells.
    """

    maps: Real[Tensor, "n c h w"]
    sizes: Int64[np.ndarray, "n 2"]

    @property
    def shape(self) -> torch.Size:
        """Of all maps."""
        return self.maps.shape

    @property
    def device(self) -> torch.device:
        """Where the maps lie."""
        return self.maps.device

    def to(self, device: torch.device) -> "Canvas":
        """On a device."""
        return Canvas(self.maps.to(device), self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, some: slice) -> "Canvas":
        return Canvas(self.maps[some], self.sizes[some])

    def mean(self) -> Float32[Tensor, "n c"]:
        """Of each map over its own cells."""
        heights, widths = (torch.from_numpy(sides).to(self.device)[:, None] for sides in self.sizes.T)
        rows, columns = (torch.arange(side, device=self.device) for side in self.shape[-2:])
        own = (rows < heights)[:, None, :, None] & (columns < widths)[:, None, None]
        return torch.where(own, self.maps, 0).sum((2, 3), dtype=torch.float32) / (heights * widths)


def filled(maps: Real[Tensor, "n c h w"]) -> Canvas:
    """Maps that leave no room around them."""
    return Canvas(maps, np.tile(np.array(maps.shape[-2:], np.int64), (len(maps), 1)))


def lay(pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], step: int = 1, mirror: bool = False) -> Canvas:
    """Pictures on a canvas that they share, then, if wanted, their mirror images.

    Args:
        pictures: RGB, 0 to 255, for which `roomy` gives the same.
        step: of the canvas's sides; see `roomy`.
        mirror: whether mirror images follow.
    """
    sizes = np.array([picture.shape[:2] for picture in pictures])
    height, width = roomy(int(sizes[0, 0]), int(sizes[0, 1]), step)
    maps = torch.zeros(len(pictures), height, width, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    for drawn, picture in zip(maps.permute(0, 2, 3, 1).numpy(), pictures, strict=True):
        drawn[: picture.shape[0], : picture.shape[1]] = picture
    if not mirror:
        return Canvas(maps, sizes)
    mirrored = torch.zeros_like(maps)
    for there, drawn, (height, width) in zip(mirrored, maps, sizes.tolist(), strict=True):
        there[:, :height, :width] = drawn[:, :height, :width].flip(-1)
    return Canvas(torch.cat([maps, mirrored]), np.concatenate([sizes, sizes]))


def roomy(height: int, width: int, step: int) -> tuple[int, int]:
    """A canvas for pictures about as large: the longer side is the shorter one and as many steps as it takes, px."""
    short = min(height, width)
    return short + -(-(height - short) // step) * step, short + -(-(width - short) // step) * step


def sees_canvas(layers: Iterable[nn.Module]) -> bool:
    """Whether it is known of all layers how far beyond a cell they look."""
    return all(
        isinstance(layer, BY_CELL)
        or (isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str) and layer.padding_mode == "zeros")
        or (isinstance(layer, POOLS) and not layer.ceil_mode and not np.any(layer.padding))
        for layer in layers
    )


def run_on_canvas(layers: Iterable[nn.Module], canvas: Canvas) -> Canvas:
    """What layers that see a canvas make of it one after the other; it is written to where there is no picture."""
    maps, sizes = canvas.maps, canvas.sizes
    for layer in cheapest_order(layers):
        if isinstance(layer, nn.Conv2d):
            clear(Canvas(maps, sizes), layer.padding)
        maps = layer(maps)
        if isinstance(layer, (nn.Conv2d, *POOLS)):
            window = np.multiply(getattr(layer, "dilation", 1), np.subtract(layer.kernel_size, 1)) + 1
            sizes = (sizes + 2 * np.array(layer.padding) - window) // np.array(layer.stride) + 1
    return Canvas(maps, sizes)


def clear(canvas: Canvas, reach: Sequence[int | str]) -> None:
    """Make zero what lies as near as this below and to the right of each map, in cells."""
    for axis, (sides, cells) in enumerate(zip(canvas.sizes.T, reach, strict=True), start=2):
        lines = canvas.maps.movedim(axis, 1)
        for beyond in range(int(cells)):
            some = np.flatnonzero(sides + beyond < lines.shape[1])
            if len(some):
                lines[torch.from_numpy(some), torch.from_numpy(sides[some] + beyond)] = 0
