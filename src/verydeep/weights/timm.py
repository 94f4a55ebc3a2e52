"""timm's layout of VGG nets: torchvision's `features`, then convolutions `pre_logits.fc1` and `fc2`, then `head.fc`."""

from collections.abc import Mapping

from torch import Tensor

from verydeep.weights.found import FC, IMAGENET_MEAN, IMAGENET_STD, Found
from verydeep.weights.torchvision import bias, trunk

HEAD = ("pre_logits.fc1", "pre_logits.fc2", "head.fc")


def from_timm(tensors: Mapping[str, Tensor], where: str) -> Found | None:
    """The weights of a VGG net; None if the names are not timm's. Without classes it has no fc8.

    Raises:
        WeightsError: the names are timm's, but of no VGG net.
    """
    if "features.0.weight" not in tensors or f"{HEAD[0]}.weight" not in tensors:
        return None
    found = trunk(tensors, where)
    for ours, theirs in zip(FC, HEAD, strict=True):
        if f"{theirs}.weight" in tensors:
            weight = tensors[f"{theirs}.weight"]
            found[f"{ours}.weight"] = weight[:, :, None, None] if weight.dim() == 2 else weight
            found[f"{ours}.bias"] = bias(tensors, theirs, where)
    return Found("timm", found, IMAGENET_MEAN, IMAGENET_STD)
