"""Filters kept from growing: Zeiler and Fergus's remedy against a first layer that a few filters dominate."""

import torch

from verydeep.nets.net import Net


@torch.no_grad()
def clip_filters(net: Net, largest: float) -> None:
    """Scale each filter of a convolution whose root mean square is above `largest` down to it, in place; 0: none.

    Source: Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 3.1.
    """
    if not largest:
        return
    for name in (layer.name for layer in net.plan if layer.kind == "conv"):
        weight = net.get_parameter(f"{name}.weight")
        means = weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        weight.mul_((largest / means).clamp(max=1))
