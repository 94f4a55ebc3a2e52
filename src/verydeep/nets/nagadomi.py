"""The net of nagadomi, fifth of Kaggle's contest on CIFAR-10 in 2014: as VGG, on crops of 24 pixels.

Source: nagadomi, "kaggle-cifar10-torch7", 2014.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Float64, Real, UInt8
from torch import Generator, Tensor, nn

from verydeep.errors import NetError
from verydeep.nets.description import NetDescription
from verydeep.nets.layers import Layer
from verydeep.nets.net import Net
from verydeep.nets.stack import Stack
from verydeep.nets.trunk import head, scaled

BLOCKS = ((64, 2), (128, 2), (256, 4))  # channels and 3 × 3 convolutions of each
HIDDEN = 1024
SMALLEST = 0.01  # added to the variances along the axes of crops
CROPS = 1_800_000  # that these are measured on: 36 views of each of CIFAR-10's pictures
SHARE = 0.5  # of the dropout behind each pool: 0.25 where it is 0.5 behind hidden layers


def layers(num_classes: int = 10, width: float = 1.0, crop: int = 24, hidden: int | None = None) -> Iterator[Layer]:
    """The layers of the net.

    Args:
        num_classes: outputs.
        width: factor on all channels and units.
        crop: side of the picture whose score map is one cell, in pixels.
        hidden: units of the hidden fully connected layers instead of 1024 × width.
    """
    found: list[Layer] = []
    inputs = 3
    for block, (channels, count) in enumerate(BLOCKS, start=1):
        for index in range(1, count + 1):
            outputs = scaled(channels, width)
            found.append(Layer(f"conv{block}_{index}", "conv", inputs, outputs, kernel=3, padding=1))
            found.append(Layer(f"relu{block}_{index}", "relu", outputs, outputs))
            inputs = outputs
        found.append(Layer(f"pool{block}", "pool", inputs, inputs, kernel=2, stride=2))
        found.append(Layer(f"dropout{block}", "dropout", inputs, inputs, share=SHARE))
    yield from found
    yield from head(found, [hidden or scaled(HIDDEN, width)] * 2, num_classes, crop, first=len(BLOCKS) + 1)


@torch.no_grad()
def draw(net: Net, generator: Generator) -> None:
    """Weights and biases uniform, with bound 1 / √(fan in): Torch's default."""
    for layer in net.plan:
        if layer.has_weights:
            bound = (layer.kernel**2 * layer.inputs) ** -0.5
            for kind in ("weight", "bias"):
                net.get_parameter(f"{layer.name}.{kind}").uniform_(-bound, bound, generator=generator)


class Whitened(Stack):
    """A stack for crops whose numbers, all at once, are made uncorrelated: ZCA, as its author prepared them.

    Every number of a crop is first brought to mean 0 and deviation 1 over the training views; what is kept of a crop is
    then as near to it as can be. There is no score map, since a picture's windows would each be whitened differently.
    """

    whitens = CROPS
    no_score_map = "a crop is whitened as a whole"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        values = 3 * self.crop**2
        self.values_mean = nn.Buffer(torch.zeros(values))
        self.values_std = nn.Buffer(torch.ones(values))
        self.zca = nn.Buffer(torch.eye(values))

    def prepared(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """What the first layer takes: whitened crops.

        Raises:
            NetError: they are not crops.
        """
        if pixels.shape[-2:] != (self.crop, self.crop):
            height, width = pixels.shape[-2:]
            raise NetError(f"{self.name}: {width} × {height} px is not its crop, {self.crop} px: {self.no_score_map}")
        values = (super().prepared(pixels).flatten(1) - self.values_mean) / self.values_std
        return (values @ self.zca).view(len(values), 3, self.crop, self.crop)

    @torch.no_grad()
    def whiten(self, crops: Iterable[UInt8[Tensor, "_ 3 c c"]]) -> None:
        """Measure means, deviations and axes on crops of the training pictures."""
        size, count = len(self.zca), 0
        total, products = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
        for pixels in crops:
            values = (
                super().prepared(pixels.to(self.mean.device)).flatten(1) - 0.5
            )  # so that sums of squares stay small
            total += values.sum(dim=0, dtype=torch.float64).cpu()
            products += (values.T @ values).double().cpu()
            count += len(values)
        mean = total / count
        covariance = (products - count * torch.outer(mean, mean)) / max(count - 1, 1)
        deviations = covariance.diagonal().clamp(min=1e-12).sqrt()
        self.values_mean.copy_(mean + 0.5)
        self.values_std.copy_(deviations)
        self.zca.copy_(zca(covariance / torch.outer(deviations, deviations)))


def zca(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    """V diag(1 / √(λ + 0.01)) Vᵀ of a covariance V diag(λ) Vᵀ."""
    variances, axes = torch.linalg.eigh(covariance)
    return axes / (variances.clamp(min=0) + SMALLEST).sqrt() @ axes.T


NETS = (
    NetDescription(
        "nagadomi", layers, 24, "nagadomi 2014, kaggle-cifar10-torch7", num_classes=10, tested="CIFAR-10, test",
        draw=draw,
    ),
    NetDescription(
        "nagadomi-zca", layers, 24, "the same, with its author's whitening of crops",
        {"nagadomi-36@32": (0.0668, None)}, num_classes=10, tested="CIFAR-10, test", draw=draw, std=255.0,
        make=Whitened,
    ),
)  # fmt: skip
