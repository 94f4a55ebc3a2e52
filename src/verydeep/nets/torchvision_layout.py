"""A net's weights as torchvision names them and prepares pictures for them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from verydeep.errors import NetError
from verydeep.nets.net import Net
from verydeep.nets.vgg import NETS
from verydeep.weights.found import IMAGENET_STD, Colours
from verydeep.weights.torchvision_googlenet import HALF, LAYERS


@dataclass(frozen=True)
class Theirs:
    """The net of torchvision that has the same layers.

    Attributes:
        name: in torchvision.models.
        options: that it is to be made with.
        cells: of a row of the last map, which it makes of any picture; 0 where it takes the mean of all.
        classifier: places of its fully connected layers.
        std: that its preset divides by, in levels of 255.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    cells: int = 7
    classifier: tuple[int, ...] = (0, 3, 6)
    std: Colours = IMAGENET_STD


THEIRS = {net.name: Theirs(net.aliases[0]) for net in NETS if net.aliases} | {
    "alexnet-torchvision": Theirs("alexnet", cells=6, classifier=(1, 4, 6)),  # dropout comes before
    "googlenet-torchvision": Theirs("googlenet", {"aux_logits": False, "transform_input": False}, cells=0, std=HALF),
}


def torchvision_state(net: Net) -> dict[str, Tensor]:
    """The state dict of torchvision's net of the same layers, for pixels from 0 to 1.

    What is left to do before it is to subtract our mean and to divide by torchvision's deviation, as its preset does:
    the ratio of the deviations goes into the first convolution. The mean cannot go there, since a border of zeros is a
    border of the mean's colour: see `torchvision_normalisation`.

    Raises:
        NetError: torchvision has no such net.
    """
    theirs = torchvisions(net)
    last = next(layer for layer in net.plan if layer.kind == "fc")
    if theirs.cells and last.kernel != theirs.cells:
        raise NetError(
            f"{net.name}: torchvision's {theirs.name} squeezes its last map to {theirs.cells} × {theirs.cells} cells, "
            f"of crop {net.crop} it is {last.kernel} × {last.kernel}; export it to onnx or torch-export"
        )
    kinds = {layer.name: layer.kind for layer in net.plan}
    state = {
        f"{place}.{word}": tensor.flatten(1) if kinds[layer] == "fc" and word == "weight" else tensor
        for layer, place in _places(net, theirs)
        for word, tensor in net.get_submodule(layer).state_dict().items()
    }
    first = next(iter(state))
    scale = torch.tensor(theirs.std)[:, None, None].to(net.std) / net.std
    return state | {first: state[first] * scale}


def torchvisions(net: Net) -> Theirs:
    """The net of torchvision that has the same layers.

    Raises:
        NetError: it has none.
    """
    if net.name not in THEIRS:
        raise NetError(f"{net.name}: torchvision has no such net; it has {', '.join(THEIRS)}")
    return THEIRS[net.name]


def _places(net: Net, theirs: Theirs) -> Iterator[tuple[str, str]]:
    """Our name and torchvision's of each layer that has weights or statistics, in the order of the data."""
    if theirs.name == "googlenet":
        yield from ((ours, place) for place, ours in LAYERS.items())
        return
    classifier = iter(theirs.classifier)
    for number, layer in enumerate(net.plan):
        if layer.kind in ("conv", "norm"):
            yield layer.name, f"features.{number}"
        if layer.kind == "fc":
            yield layer.name, f"classifier.{next(classifier)}"


def torchvision_normalisation(net: Net) -> tuple[list[float], list[float]]:
    """Mean and deviation that torchvision's `Normalize` is to take for these weights, RGB, of values from 0 to 1."""
    return (net.mean.flatten() / 255).tolist(), [value / 255 for value in torchvisions(net).std]
