"""3 × 3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4 × 4, 3 × 3).

Maps are cut into tiles of 6 × 6 cells that overlap by 2, each good for 4 × 4 cells of the output. Tiles and weights are
transformed to 36 numbers a channel; of those a convolution is 36 products of matrices, [tiles × inputs] by
[inputs × outputs]: 36 multiplications where the direct way takes 144.

Source: Lavin & Gray 2015, "Fast algorithms for convolutional neural networks", sections 4.1 to 4.3.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

TILE, STEP = 6, 4  # cells of a tile's side; from one tile to the next
TRANSFORMED = TILE**2
CHUNK = 32e6  # bytes of transformed tiles at a time: they stay in the last cache, and the products are large enough


INPUT = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]  # Bᵀ
WEIGHT = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]  # 24 G
OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]  # Aᵀ
# What transforms the columns and the rows of a tile at once, its cells numbered row by row.
OF_MAPS, OF_WEIGHTS, OF_OUTPUTS = np.kron(INPUT, INPUT), np.kron(WEIGHT, WEIGHT) / 24**2, np.kron(OUTPUT, OUTPUT)


class Winograd(torch.autograd.Function):
    """A 3 × 3 convolution of stride 1 and padding 1, there and back: `Winograd.apply(maps, weight, bias)`.

    The result is that of the direct way up to rounding, of some 1e-4 of its deviation in single precision.
    """

    @staticmethod
    def forward(
        maps: Float[Tensor, "n c h w"], weight: Float[Tensor, "k c 3 3"], bias: Float[Tensor, " k"] | None
    ) -> Float[Tensor, "n k h w"]:
        """The outputs, channels last in memory."""
        return convolve(maps, transform_weight(weight).transpose(1, 2), bias)

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
        if torch.is_grad_enabled():  # someone will differentiate these again
            of_maps = conv2d_input(maps.shape, weight, gradient, padding=1) if for_maps else None
            of_weight = conv2d_weight(maps, weight.shape, gradient, padding=1) if for_weight else None
        else:
            of_maps = convolve(gradient, transform_weight(weight.flip(2, 3))) if for_maps else None
            of_weight = weight_gradient(maps, gradient) if for_weight else None
        return of_maps, of_weight, gradient.sum((0, 2, 3)) if for_bias else None


def pays(maps: Float[Tensor, "n c h w"], weight: Float[Tensor, "k c 3 3"]) -> bool:
    """Whether this way is the faster one on a CPU, by the count of what is multiplied and what is moved.

    The factors, in multiplications of the direct way, are measured: docs/decisions/041-winograd.md.
    """
    inputs, outputs = weight.shape[1], weight.shape[0]
    direct = 9 * inputs * outputs * maps.shape[0] * maps.shape[2] * maps.shape[3]
    products = 1.25 * TRANSFORMED * inputs * outputs * count_tiles(maps)
    moves = 330 * STEP**2 * (inputs + outputs) * count_tiles(maps) + 3500 * inputs * outputs
    return products + moves < direct


def convolve(
    maps: Float[Tensor, "n c h w"], weights: Float[Tensor, "36 c k"], bias: Float[Tensor, " k"] | None = None
) -> Float[Tensor, "n k h w"]:
    """A 3 × 3 convolution of stride 1 and padding 1 by transformed weights, its outputs channels last in memory."""
    n, _, height, width = maps.shape
    channels = weights.shape[2]
    outputs = torch.empty(
        n, channels, height, width, dtype=maps.dtype, device=maps.device, memory_format=torch.channels_last
    )
    tiles = cut(maps, TILE)
    for pictures, rows in chunks(tiles, max(weights.shape[1:])):
        products = torch.bmm(transform(OF_MAPS, gather(tiles[pictures, rows])), weights)  # 36 tiles k
        place(transform(OF_OUTPUTS, products), outputs[pictures, :, STEP * rows.start : STEP * rows.stop])
    return outputs if bias is None else outputs.add_(bias[:, None, None])


def weight_gradient(maps: Float[Tensor, "n c h w"], gradient: Float[Tensor, "n k h w"]) -> Float[Tensor, "k c 3 3"]:
    """The gradient of the weights, by the transposes of the same steps."""
    outputs, inputs = gradient.shape[1], maps.shape[1]
    sums = maps.new_zeros(TRANSFORMED, outputs, inputs)
    tiles, steps = cut(maps, TILE), cut(gradient, STEP)
    for part in chunks(tiles, max(inputs, outputs)):
        products = transform(OF_OUTPUTS.T, gather(steps[part]))  # 36 tiles k
        sums.baddbmm_(products.transpose(1, 2), transform(OF_MAPS, gather(tiles[part])))
    return transform(OF_WEIGHTS.T, sums).view(3, 3, outputs, inputs).permute(2, 3, 0, 1)


def transform_weight(weight: Float[Tensor, "k c 3 3"]) -> Float[Tensor, "36 k c"]:
    """The weights as they are multiplied with tiles."""
    return transform(OF_WEIGHTS, weight.permute(2, 3, 0, 1).flatten(0, 1))


def transform(matrix: Real[np.ndarray, "to from"], cells: Float[Tensor, "from a b"]) -> Float[Tensor, "to a b"]:
    """A matrix applied to tiles whose cells come first."""
    return (torch.from_numpy(matrix).to(cells) @ cells.flatten(1)).unflatten(1, cells.shape[1:])


def cut(maps: Float[Tensor, "n c h w"], side: int) -> Float[Tensor, "n rows columns c side side"]:
    """Tiles of a side of `TILE`, reaching over the border by 1 all round, or of `STEP`; zeros where no map is."""
    border = (side - STEP) // 2
    right, bottom = (border + -extent % STEP for extent in (maps.shape[3], maps.shape[2]))
    if right or bottom:
        maps = F.pad(maps, (border, right, border, bottom))
    return maps.permute(0, 2, 3, 1).unfold(1, side, STEP).unfold(2, side, STEP)


def gather(tiles: Float[Tensor, "n rows columns c side side"]) -> Float[Tensor, "cells tiles c"]:
    """Tiles one after another, their cells first."""
    channels, side = tiles.shape[3:5]
    return tiles.permute(4, 5, 0, 1, 2, 3).reshape(side**2, -1, channels)


def place(cells: Float[Tensor, "16 tiles k"], outputs: Float[Tensor, "n k h w"]) -> None:
    """Write tiles of a side of `STEP` into the outputs, what reaches over their border left out."""
    n, channels, height, width = outputs.shape
    tiles = cells.view(STEP, STEP, n, -(-height // STEP), -(-width // STEP), channels).permute(0, 1, 2, 5, 3, 4)
    for row in range(STEP):  # one cell of all tiles at a time, so that channels stay together in memory
        for column in range(STEP):
            written = outputs[:, :, row::STEP, column::STEP]
            written.copy_(tiles[row, column, :, :, : written.shape[2], : written.shape[3]])


def chunks(tiles: Float[Tensor, "n rows columns c side side"], channels: int) -> Iterator[tuple[slice, slice]]:
    """Pictures and rows of tiles that are computed at a time: some pictures whole, or of a large one some rows."""
    pictures, rows, columns = tiles.shape[:3]
    fitting = max(1, int(CHUNK / (TRANSFORMED * channels * columns * tiles.element_size())))  # rows
    together, rows_together = max(1, fitting // rows), min(fitting, rows)
    for picture in range(0, pictures, together):
        for row in range(0, rows, rows_together):
            yield slice(picture, picture + together), slice(row, row + rows_together)


def count_tiles(maps: Float[Tensor, "n c h w"]) -> int:
    """Tiles of all maps."""
    return maps.shape[0] * -(-maps.shape[2] // STEP) * -(-maps.shape[3] // STEP)
