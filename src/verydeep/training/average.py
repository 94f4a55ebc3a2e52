"""A running mean of the weights, which is tested instead of them. Source: Polyak & Juditsky 1992, in its usual form."""

import copy

import torch
from torch import Tensor

from verydeep.nets.net import Net


class WeightAverage:
    """An exponential running mean of a net's weights, biases and normalisation statistics.

    Args:
        net: to follow.
        decay: share of the mean that each step keeps, less in the first steps; 0 follows nothing.
    """

    def __init__(self, net: Net, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.net = copy.deepcopy(net).requires_grad_(False) if decay else None

    def of(self, net: Net) -> Net:
        """The net to test: the mean, or where none is kept the net itself."""
        return net if self.net is None else self.net

    @torch.no_grad()
    def update(self, net: Net) -> None:
        """Take in the weights after one more step."""
        if self.net is None:
            return
        self.updates += 1
        keep = min(self.decay, self.updates / (self.updates + 9))  # the start is forgotten first
        torch._foreach_lerp_(floats(self.net), floats(net), 1 - keep)


def floats(net: Net) -> list[Tensor]:
    """All parameters and buffers that can be averaged."""
    return [tensor for tensor in net.state_dict().values() if tensor.is_floating_point()]
