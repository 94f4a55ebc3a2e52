"""A stack of 3 × 3 convolutions for CIFAR-10 that learns in few epochs: a whitening layer, three groups, one last pool.

Source: Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import cast

import torch
from jaxtyping import Float64, UInt8
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from verydeep.nets.description import NetDescription
from verydeep.nets.layers import Layer
from verydeep.nets.net import Net
from verydeep.nets.stack import Stack
from verydeep.nets.trunk import head, scaled

WHITENING = 2  # side of the patches that the first layer whitens
EPSILON = 5e-4  # added to the variances along the patches' axes
CROPS = 5000  # that the axes are measured on
HEAD = 1 / 9  # what the scores are multiplied by
FLAT = 1e-12  # that a normalisation adds to the variance
MEMORY = 0.4  # share of a batch in the running mean and variance: of few steps the last ones count


class Whitened(Stack):
    """A stack whose first layer makes patches of pixels uncorrelated, and is measured, not learned."""

    whitens = CROPS

    @torch.no_grad()
    def whiten(self, crops: Iterable[UInt8[Tensor, "_ 3 c c"]]) -> None:
        """Let the first layer project patches on their principal axes, both ways, each of variance 1 (section 3.2)."""
        first = cast(nn.Conv2d, next(self.children()))
        values = 3 * WHITENING**2
        products, patches = torch.zeros(values, values, dtype=torch.float64), 0
        for pixels in crops:
            columns = F.unfold(self.prepared(pixels.to(self.mean.device)), WHITENING).double().cpu()  # n values places
            products += torch.einsum("nip,njp->ij", columns, columns)
            patches += columns.shape[0] * columns.shape[2]
        axes = whitening(products / patches).reshape(values, 3, WHITENING, WHITENING)
        first.weight.copy_(torch.cat([axes, -axes]))


def whitening(products: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    """Principal axes as rows, the longest first, each divided by the deviation along it; the mean is not subtracted."""
    variances, axes = torch.linalg.eigh(products)
    return (axes / (variances + EPSILON).sqrt()).T.flip(0)


def layers(
    channels: Sequence[int],
    depth: int,
    num_classes: int = 10,
    width: float = 1.0,
    crop: int = 32,
    hidden: None = None,
) -> Iterator[Layer]:
    """The layers: conv0 whitens; of each group the first convolution is pooled.

    Args:
        channels: of the three groups.
        depth: convolutions of each.
        num_classes: outputs.
        width: factor on all channels but those of the whitening layer.
        crop: side of the picture whose score map is one cell, in pixels.
        hidden: there are no hidden fully connected layers.
    """
    inputs = 2 * 3 * WHITENING**2
    found = [
        Layer("conv0", "conv", 3, inputs, WHITENING, fixed=True),
        Layer("gelu0", "gelu", inputs, inputs),
    ]
    for group, outputs in enumerate((scaled(each, width) for each in channels), start=1):
        for index in range(1, depth + 1):
            here = f"{group}_{index}"
            found.append(Layer(f"conv{here}", "conv", inputs, outputs, 3, padding=1, bias=False))
            if index == 1:
                found.append(Layer(f"pool{group}", "pool", outputs, outputs, 2, 2))
            found.append(
                Layer(f"norm{here}", "norm", outputs, outputs, epsilon=FLAT, momentum=MEMORY, learns_scale=False)
            )
            found.append(Layer(f"gelu{here}", "gelu", outputs, outputs))
            inputs = outputs
    yield from found
    (cells,) = {
        layer.kernel for layer in head(found, (), num_classes, crop, first=4)
    }  # a side of what is left of a crop
    yield Layer("pool4", "pool", inputs, inputs, cells)
    yield Layer("fc5", "fc", inputs, num_classes, bias=False)
    yield Layer("times5", "times", num_classes, num_classes, factor=HEAD)


@torch.no_grad()
def draw(net: Net, generator: Generator) -> None:
    """Torch's default, but that the first filters of each 3 × 3 convolution hand its inputs on (section 3.3)."""
    for layer in net.plan:
        if layer.has_weights:
            weight = cast(Tensor, net.get_submodule(layer.name).weight)
            bound = (layer.kernel**2 * layer.inputs) ** -0.5
            weight.uniform_(-bound, bound, generator=generator)
            if layer.bias:
                cast(Tensor, net.get_submodule(layer.name).bias).uniform_(-bound, bound, generator=generator)
            if layer.kernel == 3:
                nn.init.dirac_(weight[: layer.inputs])


def _net(name: str, channels: Sequence[int], depth: int) -> NetDescription:
    return NetDescription(
        name, partial(layers, channels, depth), 32, "Jordan 2024, section 3, without shortcuts",
        num_classes=10, tested="CIFAR-10, test", make=Whitened, draw=draw,
    )  # fmt: skip


NETS = (
    _net("cifar-fast", (64, 256, 256), 2),
    _net("cifar-fast-wide", (128, 384, 384), 2),
    _net("cifar-fast-deep", (128, 384, 512), 3),
)
