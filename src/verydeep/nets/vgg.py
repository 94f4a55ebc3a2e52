"""The paper's nets A to E: five blocks of convolutions, then three fully connected layers."""

from collections.abc import Iterator
from functools import partial

from verydeep.nets.description import NetDescription
from verydeep.nets.layers import Layer
from verydeep.nets.trunk import head, scaled

CHANNELS = (64, 128, 256, 512, 512)  # of the five blocks of every configuration
HIDDEN = 4096  # units of fc6 and of fc7
KERNELS = {  # kernel sizes of each block's convolutions. Source: table 1; 5x5: section 4.1
    "a": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "b": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "b-5x5": ((5,), (5,), (5,), (5,), (5,)),
    "c": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "d": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "e": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


def vgg_layers(
    configuration: str,
    num_classes: int = 1000,
    width: float = 1.0,
    crop: int = 224,
    hidden: int | None = None,
    *,
    batch_norm: bool = False,
    lrn: bool = False,
) -> Iterator[Layer]:
    """The layers of a configuration of table 1, in the order of the data.

    Args:
        configuration: a key of `KERNELS`.
        num_classes: outputs of fc8.
        width: factor on all channels and on the units of fc6 and fc7.
        crop: side of the picture whose score map is one cell, in pixels, at least 32.
        hidden: units of fc6 and fc7 instead of 4096 × width.
        batch_norm: a batch normalisation after every convolution (not in the paper).
        lrn: local response normalisation after conv1_1's ReLU: A-LRN.

    Source: table 1 and section 2.1.
    """
    yield from (layers := list(blocks(configuration, width, batch_norm=batch_norm, lrn=lrn)))
    units = hidden or scaled(HIDDEN, width)
    yield from head(layers, (units, units), num_classes, crop, first=6)


def blocks(configuration: str, width: float, *, batch_norm: bool = False, lrn: bool = False) -> Iterator[Layer]:
    """The five blocks of convolutions: see `vgg_layers`."""
    inputs = 3
    for block, (channels, kernels) in enumerate(zip(CHANNELS, KERNELS[configuration], strict=True), start=1):
        outputs = scaled(channels, width)
        for index, kernel in enumerate(kernels, start=1):
            yield Layer(f"conv{block}_{index}", "conv", inputs, outputs, kernel, padding=kernel // 2)
            if batch_norm:
                yield Layer(f"norm{block}_{index}", "norm", outputs, outputs)
            yield Layer(f"relu{block}_{index}", "relu", outputs, outputs)
            inputs = outputs
        if lrn and block == 1:
            yield Layer("lrn1", "lrn", inputs, inputs)
        yield Layer(f"pool{block}", "pool", inputs, inputs, kernel=2, stride=2)


PUBLISHED = {  # dense, at a single scale and at several. Source: tables 3 and 4
    "vgg-a": {"dense@256": (0.296, 0.104)},
    "vgg-a-lrn": {"dense@256": (0.297, 0.105)},
    "vgg-b": {"dense@256": (0.287, 0.099), "dense@224,256,288": (0.282, 0.096)},
    "vgg-c": {"dense@384": (0.273, 0.088), "dense@256,384,512": (0.263, 0.082)},
    "vgg-d": {"dense@384": (0.256, 0.081), "dense@256,384,512": (0.248, 0.075)},
    "vgg-e": {"dense@384": (0.255, 0.080), "dense@256,384,512": (0.248, 0.075)},
}
BATCH_NORM = "table 1, with Ioffe & Szegedy's (2015) batch normalisation after each convolution"
TORCHVISION = {"a": "vgg11", "b": "vgg13", "d": "vgg16", "e": "vgg19"}


def _net(configuration: str, suffix: str = "", source: str = "table 1", **variant: bool) -> NetDescription:
    """One of the paper's nets, or of those made from them."""
    alias = {"": TORCHVISION.get(configuration), "-bn": f"{TORCHVISION.get(configuration)}_bn"}.get(suffix)
    name = f"vgg-{configuration}{suffix}"
    return NetDescription(
        name,
        partial(vgg_layers, configuration, **variant),
        crop=224,
        source=f"Simonyan & Zisserman 2014, {source}",
        errors=PUBLISHED.get(name, {}),
        aliases=(alias,) if alias else (),
    )


NETS = (
    _net("a"),
    _net("a", "-lrn", lrn=True),
    _net("b"),
    _net("b-5x5", source="section 4.1"),
    _net("c"),
    _net("d"),
    _net("e"),
    *(_net(letter, "-bn", BATCH_NORM, batch_norm=True) for letter in "abde"),
)
