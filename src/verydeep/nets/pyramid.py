"""Spatial pyramid pooling: maxima over the bins of several grids, as many for a map of any size."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Pyramid(nn.Module):
    """The maxima of each bin of grids of 1 × 1, 2 × 2, … bins over a window of a map.

    Bin i of n along a side of a cells reaches from cell ⌊i a / n⌋ to before cell ⌈(i + 1) a / n⌉, so that bins cover
    all cells whatever a is: docs/decisions/086-pyramids-of-any-size.md.

    Args:
        levels: bins along a side of each grid, in the order of the vector.
        window: side of the map of a crop, in cells.

    Source: He et al. 2014, "Spatial pyramid pooling in deep convolutional networks", section 2.2 and the appendix.
    """

    def __init__(self, levels: Sequence[int], window: int) -> None:
        super().__init__()
        self.levels, self.window = tuple(levels), window

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d u v"]:
        """The vectors of all windows of a map, d being c × the bins, channel by channel within each level.

        A bin of a window lies at the same place in every window, so it is a pool that slides: no window is cut out.
        """
        rows, columns = (side - self.window + 1 for side in maps.shape[-2:])
        levels = []
        for level in self.levels:
            edges = list(bins(self.window, level))
            pooled = [
                F.max_pool2d(maps[:, :, top : bottom + rows - 1, left : right + columns - 1],
                             (bottom - top, right - left), stride=1)
                for top, bottom in edges for left, right in edges
            ]  # fmt: skip
            levels.append(torch.stack(pooled, dim=2).flatten(1, 2))
        return torch.cat(levels, dim=1)

    def of_whole(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d 1 1"]:
        """The vector of a map of any size as one window."""
        pooled = [F.adaptive_max_pool2d(maps, level).flatten(1) for level in self.levels]
        return torch.cat(pooled, dim=1)[:, :, None, None]


def bins(side: int, count: int) -> Iterator[tuple[int, int]]:
    """First cell of each bin along a side of so many cells, and the first one behind it."""
    for place in range(count):
        yield place * side // count, -(-(place + 1) * side // count)
