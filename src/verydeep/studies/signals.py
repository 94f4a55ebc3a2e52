"""How strong the signals of every layer are: activations on the way up, gradients on the way down.

What tells a start from which a deep net learns from one at which it stalls. Source: section 3.1; Glorot & Bengio 2010,
sections 4.2.1 and 4.2.2.
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from verydeep.data.dataset import Dataset
from verydeep.data.uses import Made, Use, Views
from verydeep.nets.net import Net

PICTURES = 64  # that signals are measured on, spread over the data set


def signals(net: Net, pictures: Dataset, views: Views) -> list[dict[str, Any]]:
    """For every layer with weights: the RMS of its outputs, and of the loss's gradient in them.

    The gradient is that of a picture's own loss, averaged in the square over all cells and pictures. Dropout is off.

    Args:
        net: in eval mode; it is left as it was.
        pictures: labelled.
        views: what they become.

    Raises:
        PictureError: one of them cannot be decoded.
    """
    chosen = np.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).astype(int)
    made = Made(
        np.empty((len(chosen), views.crop, views.crop, 3), np.uint8),
        np.empty((len(chosen), 3), np.float32),
        np.empty((len(chosen), views.numbers), np.float32),
    )
    for _, error in views.fill(pictures, chosen, Use(0, 0), made):
        raise error
    pixels = torch.from_numpy(made.views).permute(0, 3, 1, 2) + torch.from_numpy(made.shifts)[:, :, None, None]
    weighty, kept = {layer.name for layer in net.plan if layer.has_weights}, {}
    for name, maps in net.maps(pixels):
        if name in weighty:
            maps.retain_grad()
            kept[name] = maps
    F.cross_entropy(maps.flatten(1), torch.from_numpy(pictures.labels[chosen]), reduction="sum").backward()
    net.zero_grad(set_to_none=True)
    return [
        {"layer": name, "activation": rms(outputs.detach()), "gradient": rms(outputs.grad)}
        for name, outputs in kept.items()
    ]


def rms(values: torch.Tensor | None) -> float:
    """The root of the mean square."""
    return 0.0 if values is None else values.double().square().mean().sqrt().item()
