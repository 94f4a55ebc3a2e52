"""The order in which layers are computed: the same scores and gradients to the bit, with less to move."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

FRESH = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)  # what they give out is nobody else's: their gradient needs it not


def cheapest_order(layers: Iterable[nn.Module]) -> list[Callable[[Tensor], Tensor]]:
    """What to apply in turn for the same result as all layers in turn.

    A pool goes before its ReLU, which then has a quarter of the cells to do: the largest of four cells, rectified, is
    the largest of the four rectified, and the same cell gets the same gradient. A ReLU of what is nobody else's works
    in place. Where a layer is watched by a hook, all stay as they are.
    """
    order = list(layers)
    if any(is_watched(layer) for layer in order):
        return list(order)
    for place, (layer, following) in enumerate(pairwise(order)):
        if isinstance(layer, nn.ReLU) and isinstance(following, nn.MaxPool2d):
            order[place : place + 2] = following, layer
    return [
        rectify if isinstance(layer, nn.ReLU) and isinstance(before, FRESH) else layer
        for before, layer in zip([None, *order], order, strict=False)
    ]


def is_watched(layer: nn.Module) -> bool:
    """Whether someone has put a hook on a layer, and so expects it to be called, with its own inputs and outputs."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


def rectify(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """The ReLU of maps that are nobody else's, in place in single precision.

    In half precision a new tensor is the faster one: docs/decisions/043-relu-and-pool.md.
    """
    return maps.relu_() if maps.dtype == torch.float32 else maps.relu()
