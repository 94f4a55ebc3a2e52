"""What a training step needs of memory, counted from the layers before anything is computed."""

from dataclasses import dataclass

import torch

from verydeep.errors import DeviceError
from verydeep.nets.layers import place
from verydeep.nets.vgg import VGG

SHARE = 0.7  # of the free memory that a step may plan with; the rest is for workspaces and the feed
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Need:
    """Bytes that training takes.

    Attributes:
        fixed: weights, gradients, velocities and what else does not depend on the batch.
        per_picture: maps that are kept for the way back, of one picture.
    """

    fixed: int
    per_picture: int

    def micro_batch(self, batch: int, available: int) -> int:
        """The most pictures at a time that fit, at most the batch, such that all parts are alike.

        Raises:
            DeviceError: not even one fits.
        """
        fits = (available - self.fixed) // self.per_picture
        if fits < 1:
            raise DeviceError(
                f"memory: this net needs {(self.fixed + self.per_picture) / 1e9:.1f} GB for one picture, "
                f"{available / 1e9:.1f} GB may be taken; use a smaller width or crop"
            )
        parts = -(-batch // min(fits, batch))
        return -(-batch // parts)


def training_need(net: VGG, data_type: torch.dtype, *, averaged: bool = False) -> Need:
    """What a step of training takes for this net.

    A convolution keeps its input, a normalisation too, a ReLU its output, a pool its input's places; on the way back
    the largest map and its gradient come on top.
    """
    size = torch.finfo(data_type).bits // 8
    kept, largest = 3 * net.crop**2 * FLOAT, 0
    for placed in place(net.plan, net.crop):
        cells = placed.layer.outputs * placed.side**2
        largest = max(largest, cells * size)
        match placed.layer.kind:
            case "relu" | "norm" | "lrn":
                kept += cells * size
            case "pool":
                kept += cells * (size + 8)  # the places are 64-bit integers
            case "dropout":
                kept += cells * (size + 1)
    weights = sum(parameter.numel() for parameter in net.parameters()) * FLOAT
    return Need(weights * (3 + averaged), kept + 2 * largest)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch raised it because memory ran out, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
