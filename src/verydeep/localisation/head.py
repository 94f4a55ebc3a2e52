"""The last layer of a localiser: a box in place of class scores, one for all classes (SCR) or one for each (PCR).

Any net of ours becomes a localiser by its outputs alone: four numbers a box, its centre and its sides, in fifths of the
crop's side, from the crop's upper left corner. So all that is done with nets is done with localisers, too.

Source: appendix A.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from verydeep.errors import LocalisationError
from verydeep.nets.net import Net
from verydeep.nets.wrap import Wrapped

Regression = Literal["scr", "pcr"]
BoxLoss = Literal["euclidean", "iou", "soft-error"]
NUMBERS = ("centre x", "centre y", "width", "height")
UNIT = 0.2  # crops that an output of 1 stands for: about the deviation of boxes, so that losses are those of classes
RIGHT = 0.5  # IoU from which on a box is right
SOFTNESS = 0.1  # IoU over which "soft-error" turns. Decision: docs/decisions/138-how-boxes-are-learned.md
TINY = 1e-12  # square crops, in place of no area at all
DEVIATION = 0.01  # of the first weights. Decision: docs/decisions/104-localisers.md


def outputs_of(classes: Sequence[str], regression: Regression) -> tuple[str, ...]:
    """The names of a localiser's outputs; of PCR those of a class stand together."""
    return NUMBERS if regression == "scr" else tuple(f"{key} {number}" for key in classes for number in NUMBERS)


def gives_boxes(net: Net | Wrapped) -> bool:
    """Whether a net is a localiser."""
    return net.classes in (NUMBERS, outputs_of(_classes_of(net), "pcr"))


def refuse_localiser(net: Net | Wrapped) -> None:
    """Refuse a net that gives boxes where class scores are due.

    Raises:
        LocalisationError: it does.
    """
    if gives_boxes(net):
        raise LocalisationError(f"{net.name}: gives boxes, and names no classes; give it as a localiser")


def regression_of(net: Net) -> tuple[Regression, tuple[str, ...]]:
    """Which kind of localiser a net is, and its classes; none where it has one box for all.

    Raises:
        LocalisationError: its outputs are no boxes.
    """
    if not gives_boxes(net):
        raise LocalisationError(f"{net.name}: gives class scores, not boxes; give a net that was trained with [boxes]")
    return ("scr", ()) if net.classes == NUMBERS else ("pcr", _classes_of(net))


def _classes_of(net: Net | Wrapped) -> tuple[str, ...]:
    return tuple(name.removesuffix(f" {NUMBERS[0]}") for name in net.classes[:: len(NUMBERS)])


def numbers_of(outputs: Float[Tensor, "n k *map"], labels: Int64[Tensor, " n"]) -> Float[Tensor, "n 4 *map"]:
    """The four numbers of each picture's box, in crops: of the only one, or of the one of its class."""
    if outputs.shape[1] == len(NUMBERS):
        return UNIT * outputs
    return UNIT * outputs.unflatten(1, (-1, len(NUMBERS)))[torch.arange(len(labels), device=labels.device), labels]


def box_losses(
    found: Float[Tensor, "n 4"], targets: Float[Tensor, "n 4"], loss: BoxLoss = "euclidean"
) -> Float[Tensor, " n"]:
    """What boxes cost: how far they are from their targets, or how badly they overlap, or how surely they are wrong.

    Args:
        found: boxes, by centre and sides in crops.
        targets: those that they should be.
        loss: half of the squared Euclidean distance in units of the outputs (appendix A); 1 - generalised IoU; or the
            error that is tested by made smooth, sigmoid((0.5 - IoU) / 0.1), with half of the second, which draws boxes
            nearer that share nothing yet.

    Source of the second: Rezatofighi et al. 2019, "Generalized intersection over union".
    """
    if loss == "euclidean":
        return ((found - targets) / UNIT).square().sum(dim=1) / 2
    a, b = corners(found), corners(targets)
    both, either = shared_and_covered(a, b)
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1).clamp(min=TINY)
    shared = both / either.clamp(min=TINY)
    lacking = 1 - shared + (around - either) / around
    return lacking if loss == "iou" else lacking / 2 + torch.sigmoid((RIGHT - shared) / SOFTNESS)


def corners(numbers: Float[Tensor, "n 4 *map"]) -> Float[Tensor, "n 4 *map"]:
    """Centre and sides → x0, y0, x1, y1. A side below zero is none."""
    centres, halves = numbers[:, :2], numbers[:, 2:].clamp(min=0) / 2
    return torch.cat([centres - halves, centres + halves], dim=1)


def overlaps(found: Float[Tensor, "n 4"], targets: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """The IoU of each pair of boxes, given by centre and sides; 0 for a box without an area."""
    both, either = shared_and_covered(corners(found), corners(targets))
    return both / either.clamp(min=TINY)


def shared_and_covered(
    a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """The areas of intersection and of union of each pair of boxes."""
    both = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(dim=1) for box in (a, b))
    return both, area_a + area_b - both


@torch.no_grad()
def start_head(net: Net, mean: Float[Tensor, " 4"], generator: torch.Generator) -> None:
    """Give the last layer small weights, and the mean box as its bias: where training begins.

    Args:
        net: a localiser.
        mean: of the targets, in crops.
        generator: what to draw weights from.
    """
    layer = net.get_submodule(net.heads[0])
    assert isinstance(layer, torch.nn.Conv2d)
    assert layer.bias is not None
    layer.weight.normal_(0, DEVIATION, generator=generator)
    layer.bias.copy_((mean / UNIT).repeat(len(net.classes) // len(NUMBERS)))
