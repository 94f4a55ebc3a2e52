"""Fully connected layers that slide: convolutions in meaning, matrix products in fact."""

import torch
from jaxtyping import Float
from torch import Tensor, channels_last, nn
from torch.nn import functional as F


class FullyConnected(nn.Conv2d):
    """A convolution without padding whose kernel is the whole map of a crop, computed as a matrix product.

    On CPUs a convolution with a 7 × 7 kernel is several times as slow as the product of the unfolded windows, most of
    all where there is only one: docs/decisions/005-fully-connected-layers.md.

    Its weights are channel-major [outputs, inputs, kernel, kernel]. Source: section 3.2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, bias=bias)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k u v"]:
        """The outputs at every position of the window; what is exported gets the plain operation."""
        if torch.compiler.is_exporting():
            return super().forward(maps)
        side = self.kernel_size[0]
        windows = maps.unfold(2, side, 1).unfold(3, side, 1)  # n c u v side side
        n, _, u, v = windows.shape[:4]
        if self.weight.is_contiguous(memory_format=channels_last):  # flattened without a copy of the weights
            weight, windows = self.weight.permute(0, 2, 3, 1).flatten(1), windows.permute(0, 2, 3, 4, 5, 1)
        else:
            weight, windows = self.weight.flatten(1), windows.permute(0, 2, 3, 1, 4, 5)
        outputs = F.linear(windows.reshape(n * u * v, weight.shape[1]), weight, self.bias)
        return outputs.unflatten(0, (n, u, v)).permute(0, 3, 1, 2)
