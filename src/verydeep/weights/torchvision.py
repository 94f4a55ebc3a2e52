"""torchvision's layout: layers by their place in `features` and `classifier`; pixels of mean 0, deviation about 1."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.weights.found import FC, IMAGENET_MEAN, IMAGENET_STD, Found, as_windows

PLACE = re.compile(r"features\.(\d+)\.(\w+)")


def from_torchvision(tensors: Mapping[str, Tensor], where: str) -> Found | None:
    """The weights of a VGG net, batch normalisation or not, or of its AlexNet; None if the names are not torchvision's.

    Raises:
        WeightsError: the names are torchvision's, but of neither.
    """
    if "features.0.weight" not in tensors or not any(name.startswith("classifier.") for name in tensors):
        return None
    net = "alexnet-torchvision" if tensors["features.0.weight"].shape[-1:] == (11,) else ""
    found = trunk(tensors, where, blocks=not net)
    places = sorted({int(name.split(".")[1]) for name in tensors if re.fullmatch(r"classifier\.\d+\.weight", name)})
    if len(places) != len(FC):
        raise WeightsError(f"{where}: its classifier has {len(places)} layers, where a VGG net has {len(FC)}")
    channels = found[last_convolution(found)].shape[0]
    for layer, place in zip(FC, places, strict=True):
        weight = tensors[f"classifier.{place}.weight"]
        if weight.dim() == 2:
            weight = as_windows(weight, channels, f"{where}: classifier.{place}")
        found[f"{layer}.weight"], found[f"{layer}.bias"] = weight, bias(tensors, f"classifier.{place}", where)
        channels = weight.shape[0]
    return Found("torchvision", found, IMAGENET_MEAN, IMAGENET_STD, net=net)


def trunk(tensors: Mapping[str, Tensor], where: str, *, blocks: bool = True) -> dict[str, Tensor]:
    """The convolutions and normalisations of `features.N`, by our names, which count blocks in VGG nets only.

    A convolution comes two places after the one before it (three, where both are normalised), or one more if a pool
    stands between: so the places tell the blocks.

    Raises:
        WeightsError: the places are not those of a VGG net.
    """
    places = sorted({int(match[1]) for name in tensors if (match := PLACE.match(name))})
    kernels = [place for place in places if _tensor(tensors, place, "weight", where).dim() == 4]
    normalised = len(kernels) < len(places)
    step = 3 if normalised else 2
    found: dict[str, Tensor] = {}
    block, index, before = 1, 0, -step
    for number, place in enumerate(kernels, 1):
        if place - before not in (step, step + 1):
            raise WeightsError(f"{where}: features.{place} is not where a VGG net has a convolution; name its own net")
        block, index = (block, index + 1) if place - before == step else (block + 1, 1)
        before = place
        parts: dict[str, tuple[int, tuple[str, ...]]] = {"conv": (place, ("weight", "bias"))}
        if normalised:
            parts["norm"] = (place + 1, ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"))
        label = f"{block}_{index}" if blocks else f"{number}"
        for kind, (at, words) in parts.items():
            found |= {f"{kind}{label}.{word}": _tensor(tensors, at, word, where) for word in words}
    return found


def last_convolution(found: Mapping[str, Tensor]) -> str:
    """The name of the last convolution's weights."""
    return [name for name, tensor in found.items() if tensor.dim() == 4][-1]


def bias(tensors: Mapping[str, Tensor], layer: str, where: str) -> Tensor:
    """A layer's biases.

    Raises:
        WeightsError: there are none.
    """
    if f"{layer}.bias" not in tensors:
        raise WeightsError(f"{where}: {layer}.bias is missing; copy the file again")
    return tensors[f"{layer}.bias"]


def _tensor(tensors: Mapping[str, Tensor], place: int, word: str, where: str) -> Tensor:
    name = f"features.{place}.{word}"
    if word == "num_batches_tracked" and name not in tensors:
        return torch.tensor(0)  # files of 2017 have none
    if name not in tensors:
        raise WeightsError(f"{where}: {name} is missing; copy the file again, or name its own net")
    return tensors[name]
