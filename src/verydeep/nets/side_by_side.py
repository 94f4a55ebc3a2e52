"""3 × 3 convolutions of small maps, whose weights' gradient is computed on many maps laid side by side.

oneDNN computes the gradient of weights row by row, and in half precision by blocks of 32 cells: on rows of 3 or 7 cells
most of a block is empty. Laid side by side, with a column of zeros between, the maps make long rows, and the sums are
the same: docs/decisions/042-small-maps-side-by-side.md.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

LARGEST = 8  # cells of a small map's row
ROW = 48  # cells of the row that is made of them, about


class SideBySide(torch.autograd.Function):
    """A 3 × 3 convolution of stride 1 and padding 1, there and back: `SideBySide.apply(maps, weight, bias)`."""

    @staticmethod
    def forward(
        maps: Float[Tensor, "n c h w"], weight: Float[Tensor, "k c 3 3"], bias: Float[Tensor, " k"] | None
    ) -> Float[Tensor, "n k h w"]:
        """The outputs, in the direct way."""
        return F.conv2d(maps, weight, bias, padding=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        """Keep what the way back needs."""
        maps, weight, _ = inputs
        ctx.save_for_backward(maps, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "n k h w"]) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of maps, weight and bias."""
        maps, weight = ctx.saved_tensors
        for_maps, for_weight, for_bias = ctx.needs_input_grad
        return (
            conv2d_input(maps.shape, weight, gradient, padding=1) if for_maps else None,
            conv2d_weight(lay(maps), weight.shape, lay(gradient), padding=1) if for_weight else None,
            gradient.sum((0, 2, 3)) if for_bias else None,
        )


def pays(maps: Float[Tensor, "n c h w"], weight: Float[Tensor, "k c 3 3"]) -> bool:
    """Whether the gradient is computed faster so, if there will be one."""
    return weight.requires_grad and torch.is_grad_enabled() and maps.shape[-1] <= LARGEST


def lay(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "rows c h row"]:
    """Maps side by side, each with a column of zeros to its right, the last row filled up with empty maps."""
    pictures, channels, height, width = maps.shape
    together = min(pictures, max(1, ROW // (width + 1)))
    padded = F.pad(maps, (0, 1, 0, 0, 0, 0, 0, -pictures % together))
    rows = padded.unflatten(0, (-1, together)).permute(0, 3, 1, 4, 2)  # rows h together w+1 c
    return rows.reshape(-1, height, together * (width + 1), channels).permute(0, 3, 1, 2)
