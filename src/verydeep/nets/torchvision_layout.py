"""A net's weights as torchvision names them and prepares pictures for them."""

import torch
from torch import Tensor

from verydeep.errors import NetError
from verydeep.nets.net import Net
from verydeep.nets.vgg import NETS
from verydeep.weights.found import IMAGENET_STD

THEIRS = {net.name: net.aliases[0] for net in NETS if net.aliases}  # torchvision's name of each of ours
CELLS = 7  # of a row of the last map, which torchvision's VGG makes of any picture


def torchvision_state(net: Net) -> dict[str, Tensor]:
    """The state dict of torchvision's net of the same configuration, for pixels from 0 to 1.

    What is left to do before it is to subtract our mean and to divide by torchvision's deviation, as its preset does:
    the ratio of the deviations goes into the first convolution. The mean cannot go there, since a border of zeros is a
    border of the mean's colour: see `torchvision_normalisation`.

    Raises:
        NetError: torchvision has no such net.
    """
    if net.name not in THEIRS:
        raise NetError(f"{net.name}: torchvision has no such net; it has {', '.join(THEIRS)}")
    last = next(layer for layer in net.plan if layer.kind == "fc")
    if last.kernel != CELLS:
        raise NetError(
            f"{net.name}: torchvision's {THEIRS[net.name]} squeezes its last map to {CELLS} × {CELLS} cells, of crop "
            f"{net.crop} it is {last.kernel} × {last.kernel}; export it to onnx or torch-export"
        )
    state: dict[str, Tensor] = {}
    part, place = "features", 0
    for layer in net.plan:
        if layer is last:
            part, place = "classifier", 0
        for word, tensor in net.get_submodule(layer.name).state_dict().items():
            matrix = layer.kind == "fc" and word == "weight"
            state[f"{part}.{place}.{word}"] = tensor.flatten(1) if matrix else tensor
        place += 1
    scale = torch.tensor(IMAGENET_STD)[:, None, None].to(net.std) / net.std
    return state | {"features.0.weight": state["features.0.weight"] * scale}


def torchvision_normalisation(net: Net) -> tuple[list[float], list[float]]:
    """Mean and deviation that torchvision's `Normalize` is to take for these weights, RGB, of values from 0 to 1."""
    return (net.mean.flatten() / 255).tolist(), [value / 255 for value in IMAGENET_STD]
