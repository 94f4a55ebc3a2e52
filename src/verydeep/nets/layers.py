"""Every net as data: a list of layers with their shapes, from which modules are made and counts are taken.

A layer knows its size in numbers alone, so that counting needs no torch and no memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "conv", "norm", "lrn", "relu", "gelu", "pool", "mean", "pyramid", "join", "fc", "dropout", "drop-channels", "times"
]  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One layer: its kind, its channels and its window.

    Attributes:
        name: the paper's: `conv4_3` before, `relu4_3` after its ReLU; `fc7` before, `relu7` after.
        kind: what it does; a fully connected layer (`fc`) is a convolution without padding; `pool` takes maxima, `mean`
            means, `pyramid` maxima of the bins of several grids, each a channel of its own; `join` puts the channels
            of several layers behind each other; `times` multiplies by a constant.
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: side of the window, in cells of the layer's input.
        stride: of the window, in cells of the layer's input.
        padding: zeros on each side, in cells of the layer's input.
        groups: parts of the channels that do not see each other.
        ceil: whether a pool rounds its side up, so that the last window may reach over the end.
        slope: of a ReLU below 0.
        share: of the net's dropout that this layer drops.
        reading: of a local response normalisation: constants of the paper's page, or of Caffe's files; or `within`
            each channel, over neighbouring cells.
        bias: whether a convolution or fully connected layer adds a number to each channel.
        epsilon: that a batch normalisation adds to the variance.
        momentum: share of a batch in the normalisation's running mean and variance.
        learns_scale: whether a normalisation learns a scale beside the shift; else it is 1.
        fixed: whether a convolution's weights, but not its biases, stay what they were at the start: a buffer.
        factor: of `times`.
        levels: bins along a side of each grid of a pyramid.
        after: names of the layers whose outputs it takes, where that is not the one before it.
    """

    name: str
    kind: Kind
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    ceil: bool = False
    slope: float = 0.0
    share: float = 1.0
    reading: Literal["paper", "caffe", "within"] = "paper"
    bias: bool = True
    epsilon: float = 1e-5
    momentum: float = 0.1
    learns_scale: bool = True
    fixed: bool = False
    factor: float = 1.0
    levels: tuple[int, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def has_weights(self) -> bool:
        """Whether the paper counts it as a weight layer."""
        return self.kind in ("conv", "fc")

    @property
    def parameters(self) -> int:
        """Weights and biases that are learned; the scale and the shift of a batch normalisation."""
        if self.has_weights:
            return self.macs_per_cell * (not self.fixed) + self.outputs * self.bias
        return (1 + self.learns_scale) * self.outputs if self.kind == "norm" else 0

    @property
    def macs_per_cell(self) -> int:
        """Multiply-adds for one cell of its map, biases left out."""
        return self.kernel**2 * self.inputs * self.outputs // self.groups if self.has_weights else 0

    def side(self, side: int) -> int:
        """The side of the map that it makes of a map of this side; less than 1 where that is too small for it."""
        room = side + 2 * self.padding - self.kernel
        if not self.ceil:
            return room // self.stride + 1
        cells = -(-room // self.stride) + 1
        return cells - ((cells - 1) * self.stride >= side + self.padding)  # no window may start behind the end


@dataclass(frozen=True)
class Placed:
    """A layer at its place in a net.

    Attributes:
        layer: the layer.
        side: of its square map for a picture of the net's crop, in cells.
        macs: multiply-adds for such a picture, biases left out.
        receptive_field: side of what a cell sees, in pixels of the picture, not clipped at borders.
        stride: distance of two neighbouring cells, in pixels of the picture.
    """

    layer: Layer
    side: int
    macs: int
    receptive_field: int
    stride: int


def place(layers: Sequence[Layer], crop: int) -> Iterator[Placed]:
    """Follow a square picture of side `crop` (pixels) through the layers."""
    placed: dict[str, Placed] = {}
    before = Placed(Layer("", "join", 3, 3), side=crop, macs=0, receptive_field=1, stride=1)
    for layer in layers:
        sources = [placed[name] for name in layer.after] or [before]
        side, stride = layer.side(sources[0].side), sources[0].stride
        sees = max(source.receptive_field for source in sources) + (layer.kernel - 1) * stride
        before = Placed(layer, side, side**2 * layer.macs_per_cell, sees, stride * layer.stride)
        placed[layer.name] = before
        yield before


def sources(layers: Sequence[Layer]) -> dict[str, tuple[str, ...]]:
    """By each layer's name those of the layers whose outputs it takes; "" for the picture."""
    names = [layer.name for layer in layers]
    return {layer.name: layer.after or (before,) for before, layer in zip(["", *names], layers, strict=False)}


def needed(layers: Sequence[Layer], ends: Sequence[str]) -> list[Layer]:
    """The layers without which some layers, named by `ends`, cannot be computed, themselves included, in order."""
    takes, wanted = sources(layers), set(ends)
    for name in reversed(takes):
        wanted.update(takes[name] if name in wanted else ())
    return [layer for layer in layers if layer.name in wanted]


def count_parameters(layers: Sequence[Layer]) -> int:
    """Weights and biases of all layers."""
    return sum(layer.parameters for layer in layers)


def count_macs(layers: Sequence[Layer], crop: int) -> int:
    """Multiply-adds of convolutions and fully connected layers for one picture of side `crop`, biases left out."""
    return sum(placed.macs for placed in place(layers, crop))


def count_training_operations(layers: Sequence[Layer], crop: int) -> int:
    """Operations of a training step for one picture of side `crop`, two for each multiply-add, biases left out.

    Forward; the gradient of the weights, unless they are fixed; and of the inputs, unless these are pixels.
    """
    weighty = [placed for placed in place(layers, crop) if placed.layer.has_weights]
    return sum(2 * placed.macs * (1 + (not placed.layer.fixed) + (placed is not weighty[0])) for placed in weighty)


def count_weight_layers(layers: Sequence[Layer]) -> int:
    """Layers with weights, as papers count depth: those that follow each other on the longest way to the last one."""
    depth, before = {"": 0}, ""
    for layer in layers:
        depth[layer.name] = max(depth[name] for name in layer.after or (before,)) + layer.has_weights
        before = layer.name
    return depth[before]


def fits(layers: Sequence[Layer], crop: int) -> bool:
    """Whether a square picture of side `crop` (pixels) leaves a cell in every layer's map."""
    return all(placed.layer.kernel >= 1 and placed.side >= 1 for placed in place(layers, crop))
