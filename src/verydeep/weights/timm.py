"""timm's layout of VGG nets: torchvision's `features`, then convolutions `pre_logits.fc1` and `fc2`, then `head.fc`."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ValidationError
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.weights.found import FC, IMAGENET_MEAN, IMAGENET_STD, Colours, Found, reason
from verydeep.weights.torchvision import bias, trunk

CONFIG = "config.json"  # that timm writes beside weights for Hugging Face's hub
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


class _Preset(BaseModel):
    """What the pictures were prepared with, in levels of 1."""

    mean: Colours = (0.485, 0.456, 0.406)
    std: Colours = (0.229, 0.224, 0.225)


class _Config(BaseModel):
    """What is of use here in timm's config; other keys are free."""

    pretrained_cfg: _Preset = _Preset()
    label_names: tuple[str, ...] | dict[str, str] = ()


def configured(found: Found, path: Path) -> Found:
    """The weights with the mean, the deviation and the classes of the config that lies beside their file, if one does.

    Raises:
        WeightsError: the config is damaged.
    """
    try:
        config = _Config.model_validate(json.loads(path.with_name(CONFIG).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return found
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise WeightsError(
            f"{path.with_name(CONFIG)}: is no config of timm's ({reason(error)}); copy it again"
        ) from None
    preset, names = config.pretrained_cfg, config.label_names
    classes = tuple(names.values()) if isinstance(names, dict) else names
    return replace(found, mean=_levels(preset.mean), std=_levels(preset.std), classes=classes)


def _levels(values: Colours) -> Colours:
    red, green, blue = values
    return 255 * red, 255 * green, 255 * blue
