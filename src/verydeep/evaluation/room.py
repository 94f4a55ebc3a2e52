"""How much goes through a net at once: what the device takes well, within a limit of memory."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from verydeep.errors import DeviceError
from verydeep.evaluation.average import Net, Room

PIXELS_AT_ONCE = {"cpu": 2**19, "cuda": 2**23}  # 2**21 elsewhere; more makes a full-width net no faster
BESIDES = 4  # times the inputs and outputs of its largest layer: what a net takes, workspaces included
UNWATCHED = 2000.0  # bytes a pixel of a net whose layers cannot be watched; what a full-width net takes


def make_room(net: Net, device: torch.device, batch: int | None = None, memory: float | None = None) -> Room:
    """Room for what the device takes well, or for as much as is given, whichever is less.

    Args:
        net: in eval mode, on the device.
        device: what computes.
        batch: so many crops, or as many larger views as have no more pixels, instead of what the device takes well.
        memory: gigabytes for views and maps, beside the weights. A single view is shown even if it takes more.

    Raises:
        DeviceError: the limit is no positive number.
    """
    pixels = batch * net.crop**2 if batch else PIXELS_AT_ONCE.get(device.type, 2**21)
    if memory is None:
        return Room(pixels)
    if not memory > 0:
        raise DeviceError(f"memory {memory}: is not a limit; give gigabytes, such as 2 or 0.5")
    return Room(max(1, min(pixels, int(memory * 1e9 / bytes_per_pixel(net, device)))))


@torch.inference_mode()
def bytes_per_pixel(net: Net, device: torch.device) -> float:
    """What a pixel of a view takes in memory on its way through a net, about, found with one crop."""
    largest = 0

    def watch(layer: nn.Module, inputs: Any, outputs: Any) -> None:
        nonlocal largest
        maps = [value for value in (*inputs, outputs) if isinstance(value, Tensor)]
        largest = max(largest, sum(value.nbytes for value in maps))

    with ExitStack() as hooks:
        for layer in net.modules():
            if not [*layer.children()]:
                hooks.callback(layer.register_forward_hook(watch).remove)
        net(torch.zeros(1, 3, net.crop, net.crop, dtype=torch.uint8, device=device))
    return BESIDES * largest / net.crop**2 or UNWATCHED
