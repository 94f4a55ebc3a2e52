"""The start of a deep net from a shallow one: layers of the same name take its weights."""

from dataclasses import dataclass

import torch
from torch import nn

from verydeep.errors import NetError
from verydeep.nets.vgg import VGG

GRAFTED = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")  # of A; all fit B, C, D and E


@dataclass(frozen=True)
class Graft:
    """Which layers took the shallow net's weights, and which stayed random."""

    taken: tuple[str, ...]
    random: tuple[str, ...]

    def __str__(self) -> str:
        return f"from the shallow net: {', '.join(self.taken)}; random: {', '.join(self.random) or 'none'}"


def graft(net: VGG, shallow: VGG, layers: tuple[str, ...] | None = None) -> Graft:
    """Copy the shallow net's layers into those of the same name of a deeper net, in place.

    Args:
        net: the deeper net; it takes the shallow one's mean and deviation too.
        shallow: a trained net.
        layers: names; by default the first four convolutions of A (by name, since by place they would not fit) and the
            fully connected layers; of the 5 × 5 control the latter alone.

    Raises:
        NetError: a layer is not in both nets, or has another shape.

    Source: section 3.1; docs/decisions/004-start-of-the-weights.md.
    """
    if layers is None:
        layers = GRAFTED[4:] if "5x5" in net.name else GRAFTED
    ours, theirs = dict(net.named_children()), dict(shallow.named_children())
    for layer in layers:
        for name, modules in ((net.name, ours), (shallow.name, theirs)):
            if layer not in modules:
                raise NetError(f"graft: {name} has no layer {layer}; name layers that both nets have")
        if ours[layer].weight.shape != theirs[layer].weight.shape:
            shapes = [" × ".join(map(str, modules[layer].weight.shape)) for modules in (ours, theirs)]
            raise NetError(f"graft: {layer} is {shapes[0]} in {net.name} and {shapes[1]} in {shallow.name}; "
                           "use the same width, crop and classes")  # fmt: skip
    if net.classes != shallow.classes and "fc8" in layers:
        raise NetError(f"graft: {net.name} and {shallow.name} have other classes, or in another order; leave out fc8")
    with torch.no_grad():
        net.mean.copy_(shallow.mean)
        net.std.copy_(shallow.std)
        for layer in layers:
            twins = [layer, layer.replace("conv", "norm")]  # a convolution goes with its normalisation
            for twin in dict.fromkeys(twins):
                if twin in ours and twin in theirs:
                    ours[twin].load_state_dict(theirs[twin].state_dict())
    random = [name for name, layer in ours.items() if isinstance(layer, nn.Conv2d) and name not in layers]
    return Graft(tuple(layers), tuple(random))
