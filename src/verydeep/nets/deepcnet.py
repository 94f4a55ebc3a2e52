"""DeepCNet(l, k): small pictures in the middle of a large grid, which small kernels and many pools shrink to a cell.

The sparse programs of their author compute only what the picture touches; ours computes all of the grid.

Source: Graham 2014, "Spatially-sparse convolutional neural networks".
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Generator, nn

from verydeep.errors import NetError
from verydeep.nets.description import NetDescription
from verydeep.nets.layers import Layer
from verydeep.nets.net import Net
from verydeep.nets.trunk import head, scaled

SLOPE = 1 / 3  # of the ReLU below 0. Source: Graham 2014, section 4: "very leaky"
GREY = 128.0  # the background, and half the range of colours
Level = tuple[Sequence[int], Sequence[int]]  # kernels of the convolutions before and after the level's pool


def cnet(levels: int) -> list[Level]:
    """DeepCNet: a convolution a level, the first of 3 × 3, the others of 2 × 2. Source: Graham 2014, section 2.2."""
    return [((3 if level == 0 else 2,), ()) for level in range(levels + 1)]


def cnin(levels: int) -> list[Level]:
    """DeepCNiN: after each pool, and at the end, a 1 × 1 convolution too. Source: Graham 2014, section 2.3."""
    return [(before, (1,)) for before, _ in cnet(levels)]


def c2c2(levels: int) -> list[Level]:
    """DeepC2C2: two convolutions of 2 × 2 a level; the last of 1 × 1. Source: the winner of Kaggle's CIFAR-10, 2014."""
    return [*[((2, 2), ())] * levels, ((2, 1), ())]


def layers(
    levels: Sequence[Level],
    filters: int,
    grid: int,
    num_classes: int = 10,
    width: float = 1.0,
    crop: int = 32,
    hidden: None = None,
) -> Iterator[Layer]:
    """The layers: a level of k, 2k, 3k … channels after the other, with a pool between two.

    Args:
        levels: kernels of the convolutions of each.
        filters: k.
        grid: side that shrinks to one cell, in pixels.
        num_classes: outputs.
        width: factor on k.
        crop: side of the picture in the middle of the grid, in pixels.
        hidden: there are no hidden fully connected layers.

    Raises:
        NetError: the picture does not fit into the grid.
    """
    if crop > grid:
        raise NetError(f"deepcnet: crop is {crop}, and its grid {grid} px; use a crop that fits into it")
    found: list[Layer] = []
    inputs, last = 3, len(levels) - 1
    for level, (before, after) in enumerate(levels):
        outputs = (level + 1) * scaled(filters, width)
        for index, kernel in enumerate((*before, *after), start=1):
            here = f"{level + 1}_{index}"
            frame = (grid - crop + 1) // 2 if not found else 0  # zeros are grey
            found.append(Layer(f"conv{here}", "conv", inputs, outputs, kernel, padding=frame))
            found.append(Layer(f"relu{here}", "relu", outputs, outputs, slope=SLOPE))
            inputs = outputs
            if index == len(before) and level < last:
                found.append(Layer(f"pool{level + 1}", "pool", outputs, outputs, kernel=2, stride=2))
        if level:  # the deeper, the more is dropped. Source: Graham 2014, section 4
            found.append(Layer(f"dropout{level + 1}", "drop-channels", outputs, outputs, share=level / last))
    yield from found
    yield from head(found, (), num_classes, crop, first=len(levels) + 1)


@torch.no_grad()
def draw(net: Net, generator: Generator) -> None:
    """Uniform with bound √(6 / (fan in + α · outputs)), α = (kernel / side of the pool behind)²; biases 0.

    Source: the author's program; docs/decisions/081-what-authors-start-from.md.
    """
    shrinks = 1
    for layer in reversed(net.plan):
        if layer.kind == "pool":
            shrinks = layer.stride
        if layer.has_weights:
            share = (layer.kernel / shrinks) ** 2
            bound = (6 / (layer.kernel**2 * layer.inputs + share * layer.outputs)) ** 0.5
            net.get_parameter(f"{layer.name}.weight").uniform_(-bound, bound, generator=generator)
            nn.init.zeros_(net.get_parameter(f"{layer.name}.bias"))
            shrinks = 1


def _net(
    name: str, levels: Sequence[Level], filters: int, grid: int, error: float | None = None, *aliases: str
) -> NetDescription:
    paper = grid == 96
    way = "its author's test" if paper else "Kaggle's contest"  # neither says how many looks at a picture there were
    errors = {} if error is None else {way: (error, None)}
    source = "Graham 2014" if paper else "Kaggle's contest on CIFAR-10, 2014, its winner"
    return NetDescription(
        name, partial(layers, levels, filters, grid), 32, source, errors, num_classes=10, tested="CIFAR-10, test",
        aliases=aliases, draw=draw, mean=GREY, std=GREY,
    )  # fmt: skip


NETS = (
    _net("deepcnet-5-32", cnet(5), 32, 96),
    _net("deepcnet-5-100", cnet(5), 100, 96, None, "deepcnet"),
    _net("deepcnet-5-300", cnet(5), 300, 96),
    _net("deepcnin-5-300", cnin(5), 300, 96, 0.0628),
    _net("deepc2c2-32", c2c2(5), 32, 126),
    _net("deepc2c2-96", c2c2(5), 96, 126),
    _net("deepc2c2-320", c2c2(5), 320, 126, 0.0447, "deepc2c2"),
)
