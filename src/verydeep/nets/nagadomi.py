"""The net of nagadomi, fifth of Kaggle's contest on CIFAR-10 in 2014: as VGG, on crops of 24 pixels.

Source: nagadomi, "kaggle-cifar10-torch7", 2014.
"""

from collections.abc import Iterator

import torch
from torch import Generator

from verydeep.nets.description import NetDescription
from verydeep.nets.layers import Layer
from verydeep.nets.net import Net
from verydeep.nets.trunk import head, scaled

BLOCKS = ((64, 2), (128, 2), (256, 4))  # channels and 3 × 3 convolutions of each
HIDDEN = 1024
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


NETS = (
    NetDescription(
        "nagadomi", layers, 24, "nagadomi 2014, kaggle-cifar10-torch7", {"36 views": (0.0668, None)},
        num_classes=10, tested="CIFAR-10, test", draw=draw,
    ),
)  # fmt: skip
