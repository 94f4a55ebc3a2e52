"""The paper's nets A to E: five blocks of convolutions, then three fully connected layers, which are convolutions too.

One net serves crops and whole pictures: a score map is the same forward pass on a larger picture.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from verydeep.errors import NetError
from verydeep.nets.convolution import Convolution
from verydeep.nets.fully_connected import FullyConnected
from verydeep.nets.layers import Layer
from verydeep.nets.order import cheapest_order

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
STRIDE = 32  # pixels between two cells of a score map: five pools of 2


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
    inputs = 3
    for block, (channels, kernels) in enumerate(zip(CHANNELS, KERNELS[configuration], strict=True), start=1):
        outputs = max(1, round(channels * width))
        for index, kernel in enumerate(kernels, start=1):
            yield Layer(f"conv{block}_{index}", "conv", inputs, outputs, kernel, padding=kernel // 2)
            if batch_norm:
                yield Layer(f"norm{block}_{index}", "norm", outputs, outputs)
            yield Layer(f"relu{block}_{index}", "relu", outputs, outputs)
            inputs = outputs
        if lrn and block == 1:
            yield Layer("lrn1", "lrn", inputs, inputs)
        yield Layer(f"pool{block}", "pool", inputs, inputs, kernel=2, stride=2)
    units = hidden or max(1, round(HIDDEN * width))
    for number, kernel in ((6, crop // STRIDE), (7, 1)):
        yield Layer(f"fc{number}", "fc", inputs, units, kernel)
        yield Layer(f"relu{number}", "relu", units, units)
        yield Layer(f"dropout{number}", "dropout", units, units)
        inputs = units
    yield Layer("fc8", "fc", inputs, num_classes)


def module(layer: Layer, dropout: float) -> nn.Module:
    """The module of a layer; none works in place, so that named layers stay what they were."""
    match layer.kind:
        case "conv":
            return Convolution(layer.inputs, layer.outputs, layer.kernel)
        case "norm":
            return nn.BatchNorm2d(layer.outputs)
        case "relu":
            return nn.ReLU()
        case "lrn":  # torch divides alpha by the size; the paper (by Krizhevsky et al. 2012, section 3.3) does not
            return nn.LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2.0)
        case "pool":
            return nn.MaxPool2d(layer.kernel, layer.stride)
        case "fc":
            return FullyConnected(layer.inputs, layer.outputs, layer.kernel)
        case "dropout":
            return nn.Dropout(dropout)


class VGG(nn.Module):
    """A net of table 1, from pixels (RGB, 0 to 255) to class scores.

    It subtracts its own mean and divides by its own deviation (1 in the paper), which are kept with the weights.

    Attributes:
        name: in the registry.
        classes: name of each output: wnids or class names.
        crop: side of its window, in pixels.
        width: factor on the paper's channels.
        hidden: units of fc6 and of fc7.
        dropout: fraction dropped after fc6 and fc7.
        plan: its layers, as data.
        mean: RGB, 0 to 255, of the training pixels. Source: section 2.1.
        std: what the difference to the mean is divided by, RGB, in levels of 255; 1 in the paper.

    Source: table 1, sections 2.1 and 3.2.
    """

    def __init__(
        self,
        name: str,
        layers: Sequence[Layer],
        classes: Sequence[str],
        crop: int = 224,
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        for layer in layers:
            self.add_module(layer.name, module(layer, dropout))
        self.name, self.classes, self.crop, self.width, self.dropout = name, tuple(classes), crop, width, dropout
        self.plan = tuple(layers)
        self.hidden = next(layer.outputs for layer in layers if layer.name == "fc6")
        self.mean = nn.Buffer(torch.zeros(3, 1, 1))
        self.std = nn.Buffer(torch.ones(3, 1, 1))

    def score_map(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k u v"]:
        """Class scores at every position of pictures of any size of at least the crop.

        Cell (i, j) is the window of the crop's side whose first row is 32 i and whose first column is 32 j, in pixels,
        with its real surroundings. Rows and columns at the end that fill no window have no cell.

        Raises:
            NetError: the pictures are smaller than the crop.
        """
        if min(pixels.shape[-2:]) < self.crop:
            height, width = pixels.shape[-2:]
            raise NetError(
                f"{self.name}: {width} × {height} px is less than its crop, {self.crop} px; rescale the picture"
            )
        maps = ((pixels - self.mean) / self.std).to(self.mean.dtype)
        for layer in cheapest_order(self.children()):
            maps = layer(maps)
        return maps

    def forward(self, pixels: Real[Tensor, "n 3 crop crop"]) -> Float[Tensor, "n k"]:
        """Class scores of pictures of the crop's size: the one cell of their score map.

        Raises:
            NetError: the pictures have another size.
        """
        if pixels.shape[-2:] != (self.crop, self.crop):
            height, width = pixels.shape[-2:]
            raise NetError(
                f"{self.name}: {width} × {height} px is not its crop, {self.crop} × {self.crop} px; see score_map"
            )
        return self.score_map(pixels).flatten(1)
