"""Local response normalisation across channels, with the sum over neighbours as a 1 × 1 convolution."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class LocalResponseNorm(nn.LocalResponseNorm):
    """x / (k + α / size · Σ x²)^β, the sum over `size` neighbouring channels, cut off at the first and the last.

    The same numbers as torch's, whose α is divided by the size too, but several times as fast on CPUs, which average
    over channels slowly and multiply matrices quickly: docs/decisions/076-neighbours-as-a-convolution.md.

    Source: Krizhevsky et al. 2012, section 3.3, where α is not divided.
    """

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The normalised maps."""
        neighbours = band(maps, self.size) * (self.alpha / self.size)
        if torch.is_grad_enabled() and maps.requires_grad:
            return _Normalise.apply(maps, neighbours, self.beta, self.k)
        with in_full_precision(maps.device):
            return maps * _power(sums_of_squares(maps, neighbours, self.k), self.beta)


class NormaliseWithin(nn.Module):
    """x · (1 + α m)^-β, m the mean of x² over 3 × 3 cells of the channel, zeros beyond the borders counted.

    Source: Krizhevsky's cuda-convnet and Caffe call it normalisation within a channel; constants of the net ZF-5 that
    He et al. 2014, "Spatial pyramid pooling in deep convolutional networks", released.
    """

    def __init__(self, size: int = 3, alpha: float = 5e-5, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The normalised maps."""
        means = F.avg_pool2d(maps * maps, self.size, stride=1, padding=self.size // 2)
        return maps * _power(1 + self.alpha * means, self.beta)


def in_full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Autocasting off, where there is any: a device without memory has none."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


def band(maps: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "c c 1 1"]:
    """Which channels are neighbours of which: ones about the diagonal, as torch has them where the size is even."""
    channel = torch.arange(maps.shape[1], device=maps.device)
    distance = channel[None, :] - channel[:, None]
    return ((distance >= -(size // 2)) & (distance <= (size - 1) // 2)).to(maps.dtype)[:, :, None, None]


def sums_of_squares(
    maps: Float[Tensor, "n c h w"], neighbours: Float[Tensor, "c c 1 1"], k: float
) -> Float[Tensor, "n c h w"]:
    """The weighted squares of the neighbours, and k."""
    return F.conv2d(maps * maps, neighbours) + k


def _power(sums: Tensor, beta: float) -> Tensor:
    """sums^-β; for β = 3/4 by square roots, which are faster than logarithms."""
    if beta != 0.75:
        return sums.pow(-beta)
    root = sums.rsqrt()
    return root * root.sqrt()


class _Normalise(torch.autograd.Function):
    """The same with a gradient by hand, which keeps one factor a value in place of every step between."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, neighbours: Tensor, beta: float, k: float) -> Tensor:
        with in_full_precision(maps.device):
            sums = sums_of_squares(maps, neighbours, k)
            factors = _power(sums, beta)
            ctx.save_for_backward(maps, neighbours, sums, factors)
            ctx.beta = beta
            return maps * factors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        maps, neighbours, sums, factors = ctx.saved_tensors
        # y_i = x_i s_i^-β and ∂s_i/∂x_j = 2 w_ij x_j, so ∂y_i/∂x_j = s_i^-β [i = j] - 2 β x_i s_i^(-β-1) w_ij x_j.
        with in_full_precision(maps.device):
            through_sums = F.conv_transpose2d(gradient * maps * factors / sums, neighbours)
            return gradient * factors - 2 * ctx.beta * maps * through_sums, None, None, None
