"""What a reader makes of another library's file: tensors under our layers' names, for RGB pixels from 0 to 255."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor

from verydeep.errors import WeightsError

Colours = tuple[float, float, float]
Step = tuple[str | int | float, ...]  # ("conv", kernel, stride, padding, groups), ("pool", kernel, stride, padding) or
# ("lrn", size, alpha, beta, k)

IMAGENET_MEAN: Colours = (
    0.485 * 255,
    0.456 * 255,
    0.406 * 255,
)  # of torchvision's and timm's presets, in levels of 255
IMAGENET_STD: Colours = (0.229 * 255, 0.224 * 255, 0.225 * 255)
VGG_MEAN: Colours = (123.68, 116.779, 103.939)  # of Caffe's and Keras' VGG nets, RGB. Source: section 2.1's mean pixel
NO_STD: Colours = (1.0, 1.0, 1.0)
FC = ("fc6", "fc7", "fc8")  # our names of the fully connected layers


@dataclass(frozen=True)
class Found:
    """Weights as another library keeps them, made ours.

    Attributes:
        library: whose layout it was.
        tensors: by our layers' names; the fully connected layers may be missing, from the last or all.
        mean: RGB, 0 to 255, that the library takes off before the net.
        std: what it divides by, in levels of 255.
        steps: its convolutions, pools and response normalisations in the order of the data, if the file states them.
        net: where the layout is that of one net alone, its name here.
        classes: names of the outputs, where they lie with the weights.
    """

    library: str
    tensors: Mapping[str, Tensor]
    mean: Colours
    std: Colours
    steps: Sequence[Step] = ()
    net: str = ""
    classes: tuple[str, ...] = ()

    def normalised_by(self, mean: Colours, std: Colours, top: bool = True) -> "Found":
        """The same weights with other numbers before the net, and without the fully connected layers unless `top`."""
        tensors = {name: tensor for name, tensor in self.tensors.items() if top or not name.startswith("fc")}
        return replace(self, tensors=tensors, mean=mean, std=std)

    def with_normalisation(self) -> dict[str, Tensor]:
        """The tensors with the buffers `mean` and `std` of our nets."""
        colours = {"mean": self.mean, "std": self.std}
        return {**self.tensors, **{name: torch.tensor(values)[:, None, None] for name, values in colours.items()}}


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse names of tensors or layers that no error could show on one line.

    Raises:
        WeightsError: one is not printable.
    """
    if not all(name.isprintable() for name in names):
        raise WeightsError(f"{where}: has a name that is not printable; copy it again")


def reason(error: Exception) -> str:
    """What another library says of a damaged file, on part of a line."""
    text = " ".join(str(error).split())[:80] or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in text)


def as_windows(
    weight: Float[Tensor, "k inputs"], channels: int, where: str, *, channels_last: bool = False
) -> Float[Tensor, "k c h w"]:
    """A fully connected layer's matrix as a convolution over a square map.

    Args:
        weight: a row for each output.
        channels: of the map that the layer sees.
        where: file and layer, for errors.
        channels_last: whether the map was flattened with its channels innermost, as Keras does.

    Raises:
        WeightsError: no square map of so many channels has so many cells.
    """
    inputs = weight.shape[1]
    side = isqrt(inputs // channels) if channels else 0
    if not side or side**2 * channels != inputs:
        raise WeightsError(
            f"{where} has {inputs} inputs, which no square map of {channels} channels has; copy it again"
        )
    if channels_last:
        return weight.unflatten(1, (side, side, channels)).permute(0, 3, 1, 2)
    return weight.unflatten(1, (channels, side, side))
