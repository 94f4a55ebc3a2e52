"""A net as its table has it: rows of convolutions, normalisations and pools, then fully connected layers.

Layers are numbered by the convolution that they follow: `conv2`, `relu2`, `lrn2`, `pool2`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from verydeep.nets.layers import Layer, place


@dataclass(frozen=True)
class Conv:
    """A convolution and its ReLU."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1


@dataclass(frozen=True)
class Pool:
    """Maxima."""

    kernel: int
    stride: int
    ceil: bool = False


@dataclass(frozen=True)
class Lrn:
    """Local response normalisation."""

    reading: Literal["paper", "caffe", "within"] = "paper"


Row = Conv | Pool | Lrn


def trunk(rows: Sequence[Row], width: float) -> Iterator[Layer]:
    """The layers of a table's rows; `width` is a factor on all channels, which stay divisible by the groups."""
    parts = max(row.groups for row in rows if isinstance(row, Conv))
    channels, number = 3, 0
    for row in rows:
        match row:
            case Conv():
                number, inputs, channels = number + 1, channels, scaled(row.channels, width, parts)
                yield Layer(f"conv{number}", "conv", inputs, channels, row.kernel, row.stride, row.padding, row.groups)
                yield Layer(f"relu{number}", "relu", channels, channels)
            case Pool():
                yield Layer(f"pool{number}", "pool", channels, channels, row.kernel, row.stride, ceil=row.ceil)
            case Lrn():
                yield Layer(f"lrn{number}", "lrn", channels, channels, reading=row.reading)


def head(layers: Sequence[Layer], units: Sequence[int], num_classes: int, crop: int, first: int) -> Iterator[Layer]:
    """Fully connected layers, hidden ones with ReLU and dropout, the first as large as the map of a crop.

    Args:
        layers: before them.
        units: of each hidden layer.
        num_classes: outputs of the last.
        crop: side of the picture whose score map is one cell, in pixels.
        first: number of the first.
    """
    *_, last = place(layers, crop)
    inputs, kernel, number = last.layer.outputs, last.side, first
    for number, outputs in enumerate(units, first):
        yield Layer(f"fc{number}", "fc", inputs, outputs, kernel)
        yield Layer(f"relu{number}", "relu", outputs, outputs)
        yield Layer(f"dropout{number}", "dropout", outputs, outputs)
        inputs, kernel = outputs, 1
    yield Layer(f"fc{number + 1}", "fc", inputs, num_classes, kernel)


def layers_of(
    rows: Sequence[Row], units: Sequence[int], *, num_classes: int, width: float, crop: int, hidden: int | None
) -> Iterator[Layer]:
    """All layers of a net that is a table of rows and hidden layers of so many units.

    Args:
        rows: of the convolutional part.
        units: of the hidden fully connected layers, at full width.
        num_classes: outputs of the last layer.
        width: factor on all channels and units.
        crop: side of the picture whose score map is one cell, in pixels.
        hidden: units of each hidden layer instead.
    """
    convolutional = list(trunk(rows, width))
    yield from convolutional
    found = [hidden or scaled(number, width) for number in units]
    yield from head(convolutional, found, num_classes, crop, first=1 + sum(isinstance(row, Conv) for row in rows))


def build(rows: Sequence[Row], units: Sequence[int] = (4096, 4096)) -> partial[Iterator[Layer]]:
    """What a `NetDescription` builds its layers with."""
    return partial(layers_of, rows, units)


def scaled(channels: int, width: float, parts: int = 1) -> int:
    """So many channels times the width, rounded to a multiple of `parts`, at least one of each."""
    return parts * max(1, round(channels * width / parts))
