"""Layers of which nothing is learned any more: the same maps up to rounding, with less to compute.

A convolution does the work of the normalisation behind it, and has its weights in the data type of the maps, converted
once for many pictures.
"""

from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from verydeep.nets.fold import folded


@torch.no_grad()
def frozen(layers: Iterable[nn.Module], data_type: torch.dtype = torch.float32) -> list[nn.Module]:
    """Layers that follow each other, for eval mode.

    Those that are computed otherwise are copies, so that the net stays what it was; all else is shared with it.

    Args:
        layers: in the order of the data.
        data_type: of convolutions' weights; what normalises keeps single precision.
    """
    found: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and found and isinstance(found[-1], nn.Conv2d):
            found[-1] = with_weights(found[-1], *folded(found[-1], layer))
        else:
            found.append(layer)
    return [in_data_type(layer, data_type) for layer in found]


def in_data_type(layer: nn.Module, data_type: torch.dtype) -> nn.Module:
    """A convolution with its weights in a data type; any other layer as it is."""
    if not isinstance(layer, nn.Conv2d) or layer.weight.dtype == data_type:
        return layer
    weight = layer.weight.to(data_type, memory_format=torch.channels_last)  # else turned so for every batch
    return with_weights(layer, weight, None if layer.bias is None else layer.bias.to(data_type))


def with_weights(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A copy of a convolution with other weights, which nobody trains."""
    replaced = {id(value): value for value in (conv.weight, conv.bias) if value is not None}  # so not copied
    copy = deepcopy(conv, replaced)
    del copy.weight, copy.bias  # whether they were learned or fixed
    copy.weight = nn.Parameter(weight.detach(), requires_grad=False)
    copy.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
    return copy
