"""Nets of torchvision and timm by name, with the preset, the classes and, where they can be had, the weights of theirs.

Weights come from the caches of those libraries, or else are fetched into them. Where there is no network, or
HF_HUB_OFFLINE says that there shall be none, weights are random, and the card says so.
"""

import difflib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch

from verydeep.data.ilsvrc_classes import ilsvrc_names
from verydeep.errors import NetError, WeightsError
from verydeep.nets.score_map import one_line
from verydeep.nets.wrap import Wrapped, wrap
from verydeep.pictures.preset import PillowPreset
from verydeep.weights.checkpoint import read_plain
from verydeep.weights.hub import check_blob, hub_file

PATIENCE = 5  # seconds that a server may take to answer
RANDOM = "random: no trained ones could be had"


def torchvision_net(name: str) -> tuple[Wrapped, dict[str, Any]]:
    """A net of torchvision's in its own preset, and its card.

    Args:
        name: such as `vgg16`, or with the name of its weights, `resnet50.IMAGENET1K_V1`; by default its best.

    Raises:
        NetError: torchvision is not installed, or has no such net or weights.
    """
    full = f"torchvision:{name}"
    try:
        from torchvision import models
    except ImportError:
        raise NetError(f"{full}: torchvision is missing; pip install 'verydeep[zoo]'") from None
    name, _, tag = name.partition(".")
    _check_name(full, name, models.list_models(module=models))
    choices = {weights.name: weights for weights in models.get_model_weights(name) if weights.meta.get("categories")}
    if tag:
        _check_name(full, tag, list(choices), "weights")
    weights = choices[tag] if tag else models.get_model_weights(name).DEFAULT
    path, problem = _find_torchvision(weights.url)
    given = {"weights": None, **_without_slow_start(name)} if problem else {"weights": Safe(weights, path)}
    module = _make(full, lambda: models.get_model(name, **given))
    recipe = weights.transforms()
    net = wrap(
        module,
        classes=weights.meta["categories"],
        mean=recipe.mean,
        std=recipe.std,
        value_range=1,
        crop=recipe.crop_size[0],
        name=full,
        preset=PillowPreset("torchvision", recipe.resize_size[0], interpolation=recipe.interpolation.value),
    )
    return net, _card(net, f"{full}.{weights.name}" if not tag else full, problem)


def timm_net(name: str) -> tuple[Wrapped, dict[str, Any]]:
    """A net of timm's in its own data configuration, and its card.

    Args:
        name: such as `resnet18`, or with the tag of its weights, `vgg16.tv_in1k`.

    Raises:
        NetError: timm is not installed, has no such net or weights, or they classify nothing.
    """
    full = f"timm:{name}"
    try:
        import timm
        from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_model_data_config
    except ImportError:
        raise NetError(f"{full}: timm is missing; pip install 'verydeep[zoo]'") from None
    plain, _, tag = name.partition(".")
    _check_name(full, plain, timm.list_models())
    if tag:
        _check_name(full, name, timm.list_models(f"{plain}.*", pretrained=True), "weights")
    path, problem = _find_timm(timm.get_pretrained_cfg(name))
    given = {"pretrained": True, "pretrained_cfg_overlay": {"file": path}} if path else {}
    module = _make(full, lambda: timm.create_model(name, **given))
    if not module.num_classes:
        raise NetError(f"{full}: has no classes, only features; name a net that classifies")
    config = resolve_model_data_config(module)
    height, width = config["input_size"][1:]
    if config["input_size"][0] != 3 or height != width or config["crop_mode"] == "border":
        raise NetError(f"{full}: looks at pictures of {config['input_size']} in mode {config['crop_mode']}; wrap it")
    subset = infer_imagenet_subset(module)
    classes = module.pretrained_cfg.get("label_names") or (ImageNetInfo(subset).label_names() if subset else ())
    net = wrap(
        module,
        classes=classes or [str(place) for place in range(module.num_classes)],
        mean=config["mean"],
        std=config["std"],
        value_range=1,
        crop=height,
        name=full,
        preset=PillowPreset(
            "timm",
            int(height / config["crop_pct"]),
            interpolation=config["interpolation"],
            squash=config["crop_mode"] == "squash",
        ),
    )
    return net, _card(net, full, problem)


def _check_name(full: str, name: str, known: Sequence[str], what: str = "net") -> None:
    """Refuse a name that a library does not know.

    Raises:
        NetError: the nearest that it knows is named.
    """
    if name not in known:
        library = full.partition(":")[0]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0)
        advice = f"did you mean {near[0]}?" if near else "leave the weights' name out"
        raise NetError(f"{full}: {library} has no {what} {name}; {advice}")


def _card(net: Wrapped, weights: str, problem: str) -> dict[str, Any]:
    """What should be known of a net.

    Args:
        net: the net.
        weights: what its weights are called.
        problem: why they could not be had; empty where they were.
    """
    names = ilsvrc_names()
    card: dict[str, Any] = {"names": {key: names[key] for key in net.classes if key in names}}
    if problem:
        return card | {"weights": RANDOM, "remarks": [f"{net.name}: its weights are random, since {problem}"]}
    return card | {"weights": weights, "remarks": []}


def _make(full: str, make: Callable[[], torch.nn.Module]) -> Any:
    """A library's module, weights at random always the same.

    Raises:
        WeightsError: its weights are there but damaged.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        try:
            return make()
        except WeightsError:
            raise
        except Exception as error:  # damaged files end in errors of many kinds
            advice = "if the file of its weights is damaged, remove it, and it is fetched again"
            raise WeightsError(f"{full}: cannot be made ({one_line(error)}); {advice}") from error


def _without_slow_start(name: str) -> dict[str, Any]:
    """What two nets need in order not to draw their random weights by a law that takes a minute."""
    return {"init_weights": False} if name in ("googlenet", "inception_v3") else {}


class Safe:
    """Weights of torchvision's, read by our reader: torchvision's own runs whatever the pickle in their file says.

    What builds a net asks its weights for their tensors, and for what else such a net has, which is all theirs.
    Decision: docs/decisions/130-torchvisions-weights-read-here.md.
    """

    def __init__(self, weights: Any, path: Path) -> None:
        self.weights, self.path = weights, path

    @property  # type: ignore[misc]  # which object can also write
    def __class__(self) -> Any:
        """What `isinstance` shall find."""
        return type(self.weights)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.weights, name)

    def get_state_dict(self, **_: Any) -> Any:
        """The state dict as it was saved, with the versions of its layers, which MNASNet looks at."""
        try:
            return read_plain(self.path)
        except WeightsError as error:
            raise WeightsError(f"{error}, or remove it, and it is fetched again") from None


def _find_torchvision(url: str) -> tuple[Path, str]:
    """Where torch's cache has a file of weights, fetched if need be; why it has not, where it cannot be had."""
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    if path.is_file():
        return path, ""
    problem = unreachable(url)
    if not problem:
        begin = re.search(r"-([0-9a-f]{8,})\.", path.name)  # of the file's SHA-256
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), begin and begin[1])
        except (OSError, RuntimeError) as error:
            problem = one_line(error)
    return path, problem and f"{path} is not there, and {urlparse(url).hostname} does not give it ({problem})"


def _find_timm(known: Any) -> tuple[str | None, str]:
    """The file of weights that timm's configuration of a net names; or why it cannot be had.

    Raises:
        WeightsError: its checksum is another.
    """
    from huggingface_hub import try_to_load_from_cache

    where = known and known.hf_hub_id
    if not where:
        return None, "timm names none"
    files = [known.hf_hub_filename] if known.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    for file in files:
        path = try_to_load_from_cache(where, file)
        if isinstance(path, str):
            return str(check_blob(f"hf://{where}/{file}", Path(path))), ""
    problem = unreachable(f"https://huggingface.co/{where}")
    try:
        if not problem:
            return str(hub_file(where, files[0])), ""
    except (OSError, ValueError) as error:  # as all of that library's are
        problem = one_line(error)
    return None, f"{where} is not in the cache of huggingface_hub, and huggingface.co does not give it ({problem})"


def unreachable(url: str) -> str:
    """Why a server does not answer; empty where it does."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    try:
        urlopen(Request(url, method="HEAD"), timeout=PATIENCE).close()
    except OSError as error:  # URLError and timeouts are such, too
        return str(getattr(error, "reason", error))
    return ""
