"""What a training step needs of memory, counted from the layers before anything is computed."""

from dataclasses import dataclass

import torch

from verydeep.errors import DeviceError
from verydeep.nets.layers import place
from verydeep.nets.net import Net

SHARE = 0.7  # of the free memory that a step may plan with; the rest is for workspaces and the feed
FLOAT, PLACE = 4, 8  # bytes of a number in single precision, and of the place that a pool took its maximum from


@dataclass(frozen=True)
class Need:
    """Bytes that training takes.

    Attributes:
        fixed: weights, gradients, velocities and what else does not depend on the batch.
        kept: maps that are kept for the way back, of one picture.
        passing: maps that come and go, of one picture: the largest one and its gradient.
    """

    fixed: int
    kept: int
    passing: int

    @property
    def per_picture(self) -> int:
        """All that a picture takes."""
        return self.kept + self.passing

    def micro_batch(self, batch: int, available: int) -> int:
        """The most pictures at a time that fit, at most the batch, such that all parts are alike.

        Raises:
            DeviceError: not even one fits.
        """
        fits = (available - self.fixed) // self.per_picture
        if fits < 1:
            raise DeviceError(
                f"memory: this net needs {amount(self.fixed + self.per_picture)} for one picture, "
                f"{amount(available)} may be taken; use a smaller width or crop"
            )
        parts = -(-batch // min(fits, batch))
        return -(-batch // parts)


def training_need(net: Net, data_type: torch.dtype, *, averaged: bool = False) -> Need:
    """What a step of training takes for this net: a convolution keeps its input, a ReLU its output, a pool its places.

    Args:
        net: whose trained layers are known; layers before the first of them keep nothing.
        data_type: of its maps.
        averaged: whether a running mean of the weights is kept too.
    """
    size = torch.finfo(data_type).bits // 8
    layers = dict(net.named_children())
    trains, largest = False, 0
    kept, inputs = 0, 3 * net.crop**2  # the cells that come into a layer
    for placed in place(net.plan, net.crop):
        layer, cells = placed.layer, placed.layer.outputs * placed.side**2
        if not trains and any(parameter.requires_grad for parameter in layers[layer.name].parameters()):
            trains = True
            kept += inputs * size
        if trains:
            match layer.kind:
                case "relu" | "gelu" | "norm" | "drop-channels" | "mean" | "join" | "times":
                    kept += cells * size
                case "pool" | "pyramid":
                    kept += cells * (size + PLACE)
                case "dropout":
                    kept += 2 * cells * size  # its outputs, and what it multiplied by
                case "lrn":  # its outputs, the sums and what they make of an input, and within a channel the squares
                    kept += (3 + 2 * (layer.reading == "within")) * cells * size
        largest, inputs = max(largest, cells), cells
    weights = sum(parameter.numel() for parameter in net.parameters()) * FLOAT
    trained = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad) * FLOAT
    narrow = weights * size // FLOAT if size < FLOAT else 0  # a copy of the weights in the maps' data type
    return Need(weights * (1 + averaged) + 2 * trained + narrow, kept, 2 * largest * size)


def amount(size: int) -> str:
    """Bytes for a person."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
