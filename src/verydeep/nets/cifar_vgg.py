"""The paper's configurations on pictures of 32 px: their convolutions, then one fully connected layer.

Five pools leave one cell of 32 × 32 pixels, so that there is no map for hidden fully connected layers to read.
"""

from collections.abc import Iterator
from functools import partial

from verydeep.nets.description import NetDescription
from verydeep.nets.layers import Layer
from verydeep.nets.trunk import head
from verydeep.nets.vgg import blocks


def layers(
    configuration: str,
    num_classes: int = 10,
    width: float = 1.0,
    crop: int = 32,
    hidden: None = None,
    *,
    batch_norm: bool = False,
) -> Iterator[Layer]:
    """The layers of a configuration of table 1 without its hidden fully connected layers.

    Args:
        configuration: a key of `vgg.KERNELS`.
        num_classes: outputs.
        width: factor on all channels.
        crop: side of the picture whose score map is one cell, in pixels, at least 32.
        hidden: there are no hidden fully connected layers.
        batch_norm: a batch normalisation after every convolution (not in the paper).

    Source: table 1.
    """
    found = list(blocks(configuration, width, batch_norm=batch_norm))
    yield from found
    features = found[-1].outputs
    yield Layer("dropout5", "dropout", features, features)
    yield from head(found, (), num_classes, crop, first=5)


def _net(configuration: str, *, batch_norm: bool = False) -> NetDescription:
    suffix = "-bn" if batch_norm else ""
    name = f"cifar-vgg-{configuration}{suffix}"
    aliases = (f"cifar-vgg{suffix}",) if configuration == "d" else ()
    normalised = ", with batch normalisation (Ioffe & Szegedy 2015)" if suffix else ""
    source = f"Simonyan & Zisserman 2014, table 1, convolutions{normalised}"
    return NetDescription(
        name, partial(layers, configuration, batch_norm=batch_norm), 32, source,
        num_classes=10, tested="CIFAR-10, test", aliases=aliases,
    )  # fmt: skip


NETS = (
    *(_net(letter) for letter in "abde"),
    *(_net(letter, batch_norm=True) for letter in "abde"),
)
