"""Batch normalisation, whose scale may be left at 1. Source: Ioffe & Szegedy 2015, section 3."""

import torch
from torch import nn


class Normalisation(nn.BatchNorm2d):
    """Each channel with mean 0 and variance 1 over batch and map, then a scale and a shift that are learned.

    Args:
        channels: of the maps.
        epsilon: added to the variance.
        momentum: share of a batch in the running mean and variance, which are used in testing.
        learns_scale: whether the scale is learned; else it is 1, kept as a buffer, so that files have the same names.
    """

    def __init__(
        self, channels: int, epsilon: float = 1e-5, momentum: float = 0.1, *, learns_scale: bool = True
    ) -> None:
        super().__init__(channels, eps=epsilon, momentum=momentum)
        if not learns_scale:
            del self.weight
            self.register_buffer("weight", torch.ones(channels))
