"""SPP-net: a pyramid of pools behind the last convolution, so that pictures of any size give one vector."""

from collections.abc import Iterator
from functools import cached_property, partial

from jaxtyping import Float, Real
from torch import Tensor

from verydeep.errors import NetError
from verydeep.nets.description import NetDescription
from verydeep.nets.layers import Layer, fits, place
from verydeep.nets.order import cheapest_order
from verydeep.nets.pyramid import Pyramid
from verydeep.nets.stack import Stack
from verydeep.nets.trunk import Conv, Lrn, Pool, head, scaled, trunk
from verydeep.nets.vgg import HIDDEN, vgg_layers

ZF_5 = (  # Source: He et al. 2014, table 1, and the released net for paddings
    Conv(96, kernel=7, stride=2, padding=1),
    Lrn("within"),
    Pool(3, 2, ceil=True),
    Conv(256, kernel=5, stride=2),
    Lrn("within"),
    Pool(3, 2, ceil=True),
    Conv(384, kernel=3, padding=1),
    Conv(384, kernel=3, padding=1),
    Conv(256, kernel=3, padding=1),
)
PYRAMIDS = {
    50: (1, 2, 3, 6),
    30: (1, 2, 3, 4),
}  # bins in all: of each level along a side, in the released vector's order


def spp_layers(
    num_classes: int = 1000,
    width: float = 1.0,
    crop: int = 224,
    hidden: int | None = None,
    *,
    configuration: str = "",
    bins: int = 50,
) -> Iterator[Layer]:
    """The layers in the order of the data.

    Args:
        num_classes: outputs of fc8.
        width: factor on all channels and on the units of fc6 and fc7.
        crop: side of the picture whose score map is one cell, in pixels.
        hidden: units of fc6 and fc7 instead of 4096 × width.
        configuration: of table 1 of Simonyan & Zisserman, whose five blocks but for the last pool are taken in place of
            ZF-5; ours, not the paper's.
        bins: of the pyramid, a key of `PYRAMIDS`.

    Source: He et al. 2014, "Spatial pyramid pooling in deep convolutional networks", sections 2.2 and 3.1.
    """
    layers = list(_five_blocks(configuration, width) if configuration else trunk(ZF_5, width))
    *_, last = place(layers, crop)
    channels = last.layer.outputs
    pyramid = Layer("spp", "pyramid", channels, channels * bins, max(0, last.side), levels=PYRAMIDS[bins])
    units = hidden or scaled(HIDDEN, width)
    yield from (*layers, pyramid, *head([*layers, pyramid], (units, units), num_classes, crop, first=6))


def _five_blocks(configuration: str, width: float) -> Iterator[Layer]:
    """A VGG net's convolutions, without the last pool."""
    for layer in vgg_layers(configuration, width=width):
        if layer.name == "pool5":
            return
        yield layer


class SPPNet(Stack):
    """A net that is called with pictures of any size, each of which it sees as one.

    `score_map` and `maps` see larger pictures at every position of the crop, as those of all nets do: windows of the
    last convolution's map go through the pyramid each. Decision: docs/decisions/086-pyramids-of-any-size.md.
    """

    takes_any_size = True

    @cached_property
    def least_side(self) -> int:
        """The smallest side of a picture that it can be called with, px: what leaves one cell for the pyramid."""
        before = self.plan[: next(place for place, layer in enumerate(self.plan) if layer.kind == "pyramid")]
        return next(side for side in range(1, self.crop + 1) if fits(before, side))

    def forward(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k"]:
        """Class scores of pictures of any size, each as a whole.

        Raises:
            NetError: the pictures are too small.
        """
        height, width = pixels.shape[-2:]
        if min(height, width) < self.least_side:
            raise NetError(
                f"{self.name}: {width} × {height} px is less than {self.least_side} px, the least that it takes; "
                "rescale the picture"
            )
        maps = self.prepared(pixels)
        for layer in cheapest_order(self.children()):
            maps = layer.of_whole(maps) if isinstance(layer, Pyramid) else layer(maps)
        return maps.flatten(1)


SOURCE = "He et al. 2014"
PUBLISHED = {50: (0.3498, 0.1414), 30: (0.3506, 0.1404)}  # trained at one size. Source: He et al. 2014, table 2


def _net(configuration: str, bins: int) -> NetDescription:
    """A trunk with a pyramid."""
    trunk = f"-vgg-{configuration}" if configuration else ""
    return NetDescription(
        f"spp-net{trunk}{'' if bins == 50 else f'-{bins}'}",
        partial(spp_layers, configuration=configuration, bins=bins),
        crop=224,
        source=f"{SOURCE}, with the convolutions of vgg-{configuration}"
        if configuration
        else f"{SOURCE}, tables 1 and 2",
        errors={} if configuration else {"ten-crop@256": PUBLISHED[bins]},
        make=SPPNet,
    )


NETS = tuple(_net(configuration, bins) for configuration in ("", "a", "d", "e") for bins in PYRAMIDS)
