"""GoogLeNet: nine modules of four branches side by side, and two heads beside the net, in training only.

Layers are named as in Caffe's bvlc_googlenet: `inception_3a/5x5_reduce` before, `inception_3a/relu_5x5_reduce` after
its ReLU; `inception_3a/output` is the module's.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Real
from torch import Generator, Tensor, nn

from verydeep.nets.branches import Branches
from verydeep.nets.description import NetDescription
from verydeep.nets.layers import Layer, place
from verydeep.nets.module import module
from verydeep.nets.net import Net
from verydeep.nets.trunk import scaled

# Channels of: 1x1; 3x3 reduction, 3x3; 5x5 reduction, 5x5; projection behind the pool.
MODULES = {  # Source: Szegedy et al. 2015, table 1
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# Whose outputs each side head takes. Source: Szegedy et al. 2015, section 5
SIDE_HEADS = {"loss1": "inception_4a/output", "loss2": "inception_4d/output"}
SIDE_CHANNELS, SIDE_UNITS, SIDE_CELLS = 128, 1024, 4  # of its convolution, its hidden layer, its pool's map
Variant = Literal["paper", "naive", "torchvision", "3x3"]
THREES = ("torchvision", "3x3")  # those with 3 × 3 in place of 5 × 5 kernels, and without local response normalisation


def googlenet_layers(
    num_classes: int = 1000,
    width: float = 1.0,
    crop: int = 224,
    hidden: int | None = None,
    *,
    variant: Variant = "paper",
    side_heads: bool = False,
) -> Iterator[Layer]:
    """The layers in the order of the data, those side by side one after another.

    Args:
        num_classes: outputs of the classifier.
        width: factor on all channels.
        crop: side of the picture whose score map is one cell, in pixels.
        hidden: None, since there are no hidden fully connected layers.
        variant: `naive`: modules without reductions, whose pools are joined as they are (figure 2a); `3x3`: 3 × 3 in
            place of 5 × 5 kernels, and no normalisation; `torchvision`: the same with batch normalisation in place of
            biases.
        side_heads: whether with those that exist in training only.

    Source: Szegedy et al. 2015, "Going deeper with convolutions", table 1 and section 5.
    """
    layers: list[Layer] = []
    for layer in _trunk(width, variant):
        layers.append(layer)
        yield layer
        head = next((head for head, taken in SIDE_HEADS.items() if side_heads and layer.name == taken), None)
        if head:
            *_, last = place(layers, crop)
            yield from _side_head(head, layer, last.side, num_classes, width)
    *_, last = place(layers, crop)
    channels = layers[-1].outputs
    yield Layer("pool5/7x7_s1", "mean", channels, channels, last.side, after=(layers[-1].name,))  # of all of a crop
    yield Layer("pool5/drop_7x7_s1", "dropout", channels, channels)
    yield Layer("loss3/classifier", "fc", channels, num_classes)


def _trunk(width: float, variant: Variant) -> Iterator[Layer]:
    """The stem and the nine modules."""
    convolve = partial(_convolve, norm=variant == "torchvision")
    first, reduced, second = (scaled(channels, width) for channels in (64, 64, 192))
    yield from convolve("conv1/7x7_s2", 3, first, 7, stride=2)
    yield Layer("pool1/3x3_s2", "pool", first, first, 3, 2, ceil=True)
    if variant not in THREES:
        yield Layer("pool1/norm1", "lrn", first, first, reading="caffe")
    yield from convolve("conv2/3x3_reduce", first, reduced, 1)
    yield from convolve("conv2/3x3", reduced, second, 3)
    if variant not in THREES:
        yield Layer("conv2/norm2", "lrn", second, second, reading="caffe")
    yield Layer("pool2/3x3_s2", "pool", second, second, 3, 2, ceil=True)
    source, channels = "pool2/3x3_s2", second
    for name, published in MODULES.items():
        widths = [scaled(number, width) for number in published]
        layers = list(_naive(name, source, channels, widths) if variant == "naive" else
                      _inception(name, source, channels, widths, variant))  # fmt: skip
        yield from layers
        source, channels = layers[-1].name, layers[-1].outputs
        if name in ("3b", "4e"):
            pool = 2 if variant in THREES and name == "4e" else 3
            source = f"pool{name[0]}/3x3_s2"
            yield Layer(source, "pool", channels, channels, pool, 2, ceil=True)


def _inception(name: str, source: str, inputs: int, widths: Sequence[int], variant: Variant) -> Iterator[Layer]:
    """A module with its reductions. Source: Szegedy et al. 2015, figure 2b."""
    ones, reduced_3, threes, reduced_5, fives, projected = widths
    block = f"inception_{name}"
    convolve = partial(_convolve, norm=variant == "torchvision")
    yield from convolve(f"{block}/1x1", inputs, ones, 1, after=(source,))
    yield from convolve(f"{block}/3x3_reduce", inputs, reduced_3, 1, after=(source,))
    yield from convolve(f"{block}/3x3", reduced_3, threes, 3)
    yield from convolve(f"{block}/5x5_reduce", inputs, reduced_5, 1, after=(source,))
    yield from convolve(f"{block}/5x5", reduced_5, fives, 3 if variant in THREES else 5)
    yield Layer(f"{block}/pool", "pool", inputs, inputs, 3, padding=1, after=(source,))
    yield from convolve(f"{block}/pool_proj", inputs, projected, 1)
    yield _join(block, ("relu_1x1", "relu_3x3", "relu_5x5", "relu_pool_proj"), ones + threes + fives + projected)


def _naive(name: str, source: str, inputs: int, widths: Sequence[int]) -> Iterator[Layer]:
    """A module without reductions, each one wider than the one before. Source: Szegedy et al. 2015, figure 2a."""
    ones, _, threes, _, fives, _ = widths
    block = f"inception_{name}"
    yield from _convolve(f"{block}/1x1", inputs, ones, 1, after=(source,))
    yield from _convolve(f"{block}/3x3", inputs, threes, 3, after=(source,))
    yield from _convolve(f"{block}/5x5", inputs, fives, 5, after=(source,))
    yield Layer(f"{block}/pool", "pool", inputs, inputs, 3, padding=1, after=(source,))
    yield _join(block, ("relu_1x1", "relu_3x3", "relu_5x5", "pool"), ones + threes + fives + inputs)


def _side_head(head: str, source: Layer, side: int, num_classes: int, width: float) -> Iterator[Layer]:
    """A head beside the net. Its pool, of 5 × 5 cells in steps of 3 in the paper, leaves 4 × 4 of them at any crop."""
    cells = max(1, min(SIDE_CELLS, side))
    stride = max(1, side // cells)
    channels, units, inputs = scaled(SIDE_CHANNELS, width), scaled(SIDE_UNITS, width), source.outputs
    yield Layer(f"{head}/ave_pool", "mean", inputs, inputs, side - (cells - 1) * stride, stride, after=(source.name,))
    yield from _convolve(f"{head}/conv", inputs, channels, 1)
    yield Layer(f"{head}/fc", "fc", channels, units, cells)
    yield Layer(f"{head}/relu_fc", "relu", units, units)
    yield Layer(f"{head}/drop_fc", "dropout", units, units)
    yield Layer(f"{head}/classifier", "fc", units, num_classes)


def _convolve(
    name: str,
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    after: tuple[str, ...] = (),
    norm: bool = False,
) -> Iterator[Layer]:
    """A convolution that keeps the side of a map but for its stride, with its ReLU and what comes between."""
    block, _, own = name.removesuffix("_s2").rpartition("/")
    yield Layer(name, "conv", inputs, outputs, kernel, stride, kernel // 2, bias=not norm, after=after)
    if norm:
        yield Layer(f"{block}/norm_{own}", "norm", outputs, outputs, epsilon=1e-3)
    yield Layer(f"{block}/relu_{own}", "relu", outputs, outputs)


def _join(block: str, ends: Sequence[str], outputs: int) -> Layer:
    """The channels of all branches of a module, in the paper's order."""
    return Layer(f"{block}/output", "join", outputs, outputs, after=tuple(f"{block}/{end}" for end in ends))


class GoogLeNet(Branches):
    """GoogLeNet, whose side heads are made for training, and left out of what is saved of it."""

    side_heads: tuple[str, ...] = ()

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the layers that give class scores, the net's own first."""
        return ("loss3/classifier", *(f"{head}/classifier" for head in self.side_heads))

    @property
    def hidden(self) -> None:
        """None: what is hidden in side heads is no part of the net."""
        return

    def add_side_heads(self) -> None:
        """Give the net the heads that it is trained with. They drop 0.7, or less where the net drops less than 0.4."""
        self.side_heads = tuple(SIDE_HEADS)
        self.plan = tuple(googlenet_layers(len(self.classes), self.width, self.crop, side_heads=True))
        for layer in self.plan:
            if layer.name.partition("/")[0] in SIDE_HEADS:
                dropout = 0.7 / 0.4 * min(self.dropout, 0.4)
                self.add_module(layer.name, module(layer, dropout).train(self.training))

    def training_scores(self, pixels: Real[Tensor, "n 3 crop crop"]) -> list[Float[Tensor, "n k"]]:
        """The net's class scores, and those of its side heads."""
        return [scores.flatten(1) for scores in self.outputs(pixels, self.heads)]

    def tested(self) -> dict[str, Tensor]:
        """All weights but those of the side heads."""
        return {name: value for name, value in self.state_dict().items() if name.partition("/")[0] not in SIDE_HEADS}


@torch.no_grad()
def draw(net: Net, generator: Generator) -> None:
    """Uniform weights of variance 1 / fan in, biases of 0.2, of classifiers 0: Caffe's bvlc_googlenet.

    The paper gives neither.
    """
    for name, layer in net.named_children():
        if isinstance(layer, nn.Conv2d):
            bound = (3 / layer.weight[0].numel()) ** 0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            if layer.bias is not None:
                layer.bias.fill_(0.0 if name in net.heads else 0.2)


SOURCE = "Szegedy et al. 2015"
NETS = (
    NetDescription(
        "googlenet",
        googlenet_layers,
        crop=224,
        source=f"{SOURCE}, table 1",
        errors={"centre@256": (None, 0.1007), "ten-crop@256": (None, 0.0915), "googlenet-144": (None, 0.0789)},
        make=GoogLeNet,
        draw=draw,
    ),
    NetDescription(
        "googlenet-naive",
        partial(googlenet_layers, variant="naive"),
        crop=224,
        source=f"{SOURCE}, figure 2a: what its reductions save",
        make=Branches,
        draw=draw,
    ),
    NetDescription(
        "googlenet-torchvision",
        partial(googlenet_layers, variant="torchvision"),
        crop=224,
        source="torchvision's googlenet: 3 × 3 in place of 5 × 5, batch normalisation",
        make=Branches,
    ),
    NetDescription(
        "googlenet-3x3",
        partial(googlenet_layers, variant="3x3"),
        crop=224,
        source="torchvision's googlenet, with biases in place of batch normalisation",
        make=Branches,
        draw=draw,
    ),
)
