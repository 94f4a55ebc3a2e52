"""A guard against the classic failure of deep plain nets: a loss that never leaves ln K."""

import math

import torch
from torch import Tensor

from verydeep.data.feed import Batch
from verydeep.device import Compute
from verydeep.errors import TrainingError
from verydeep.nets.net import Net
from verydeep.nets.registry import NETS

MARGIN = 0.005  # of ln K that the mean loss must have fallen by


def refuse_stall(net: Net, batch: Batch, step: int, loss: float, compute: Compute) -> None:
    """End a run whose net still guesses.

    Args:
        net: in training.
        batch: to measure activations on.
        step: done so far.
        loss: mean over the last steps.
        compute: where the net is.

    Raises:
        TrainingError: the loss is still at ln K.
    """
    chance = math.log(len(net.classes))
    if loss <= chance * (1 - MARGIN) or not len(batch):
        return
    scales = activation_scales(net, next(batch.parts(16, compute.device))[0])
    layers = ", ".join(f"{name} {scale:.2g}" for name, scale in scales.items())
    first, *others, _ = scales.values()  # fc8's scale says little
    fades = min(others) / first
    cause = (
        f"signals fade to {fades:.0e} of their scale on their way" if fades < 0.01
        else "signals do not fade, so the rate or the start is too large, or the labels are wrong"
    )  # fmt: skip
    normalised = f", or with {net.name}-bn" if f"{net.name}-bn" in NETS else ""
    raise TrainingError(
        f"step {step}: the loss is {loss:.4f}, still at ln {len(net.classes)} = {chance:.4f}; {cause}; start in a new "
        f'folder from a shallower net (start.graft), with start.law = "he" and start.standardise = true{normalised}; '
        f"RMS of each layer: {layers}"
    )


@torch.no_grad()
def activation_scales(net: Net, pixels: Tensor) -> dict[str, float]:
    """Root mean square of the outputs of all layers with weights, in the order of the data."""
    weighty = {layer.name for layer in net.plan if layer.has_weights}
    return {name: maps.square().mean().sqrt().item() for name, maps in net.maps(pixels) if name in weighty}
