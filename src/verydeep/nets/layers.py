"""Every net as data: a list of layers with their shapes, from which modules are made and counts are taken.

A layer knows its size in numbers alone, so that counting needs no torch and no memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["conv", "norm", "lrn", "relu", "pool", "fc", "dropout"]


@dataclass(frozen=True)
class Layer:
    """One layer: its kind, its channels and its window.

    Attributes:
        name: the paper's: `conv4_3` before, `relu4_3` after its ReLU; `fc7` before, `relu7` after.
        kind: what it does; a fully connected layer (`fc`) is a convolution without padding.
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: side of the window, in cells of the layer's input.
        stride: of the window, in cells of the layer's input.
        padding: zeros on each side, in cells of the layer's input.
    """

    name: str
    kind: Kind
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0

    @property
    def has_weights(self) -> bool:
        """Whether the paper counts it as a weight layer."""
        return self.kind in ("conv", "fc")

    @property
    def parameters(self) -> int:
        """Weights and biases; the scale and the shift of a batch normalisation."""
        if self.has_weights:
            return self.kernel**2 * self.inputs * self.outputs + self.outputs
        return 2 * self.outputs if self.kind == "norm" else 0

    def side(self, side: int) -> int:
        """The side of the map that it makes of a map of this side (rounded down)."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


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
    side, receptive_field, stride = crop, 1, 1
    for layer in layers:
        side = layer.side(side)
        receptive_field += (layer.kernel - 1) * stride
        stride *= layer.stride
        macs = side**2 * layer.kernel**2 * layer.inputs * layer.outputs if layer.has_weights else 0
        yield Placed(layer, side, macs, receptive_field, stride)


def count_parameters(layers: Sequence[Layer]) -> int:
    """Weights and biases of all layers."""
    return sum(layer.parameters for layer in layers)


def count_macs(layers: Sequence[Layer], crop: int) -> int:
    """Multiply-adds of convolutions and fully connected layers for one picture of side `crop`, biases left out."""
    return sum(placed.macs for placed in place(layers, crop))


def count_weight_layers(layers: Sequence[Layer]) -> int:
    """Layers with weights, as the paper counts depth."""
    return sum(layer.has_weights for layer in layers)
