"""The nets by name: what each is, and how to get one, new or with weights."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from verydeep.errors import NetError, WeightsError
from verydeep.nets.initialise import Law, initialise
from verydeep.nets.layers import Layer, count_macs, count_parameters, count_weight_layers
from verydeep.nets.vgg import KERNELS, STRIDE, VGG, vgg_layers
from verydeep.weights.files import check_fit, load, put, save

MAX_CLASSES = 1_000_000
SIZES = ("crop", "width", "hidden", "dropout", "classes")  # of a net; with its name all that makes it again


@dataclass(frozen=True)
class NetDescription:
    """What a net is, at its full width, for 1000 classes and its own crop.

    Attributes:
        name: in the registry.
        build: its layers; takes num_classes, width, crop and hidden.
        crop: side of its window as published, in pixels.
        errors: published: protocol → (top-1, top-5) error on ILSVRC-2012's validation images, as fractions.
        source: where it is defined.
    """

    name: str
    build: Callable[..., Sequence[Layer]] = field(repr=False)
    crop: int
    source: str
    errors: Mapping[str, tuple[float, float]]

    @cached_property
    def plan(self) -> Sequence[Layer]:
        """Its layers."""
        return self.build()

    @property
    def layers(self) -> int:
        """Layers with weights, as the paper counts depth."""
        return count_weight_layers(self.plan)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return count_parameters(self.plan)

    @property
    def macs(self) -> int:
        """Multiply-adds for one crop."""
        return count_macs(self.plan, self.crop)


PUBLISHED = {  # single scale and several scales, dense. Source: tables 3 and 4; the control: section 4.1 gives no figure
    "vgg-a": {"dense@256": (0.296, 0.104)},
    "vgg-a-lrn": {"dense@256": (0.297, 0.105)},
    "vgg-b": {"dense@256": (0.287, 0.099), "dense@224,256,288": (0.282, 0.096)},
    "vgg-c": {"dense@384": (0.273, 0.088), "dense@256,384,512": (0.263, 0.082)},
    "vgg-d": {"dense@384": (0.256, 0.081), "dense@256,384,512": (0.248, 0.075)},
    "vgg-e": {"dense@384": (0.255, 0.080), "dense@256,384,512": (0.248, 0.075)},
}


def describe_vggs() -> Mapping[str, NetDescription]:
    """The paper's nets, the control of B, A with normalisation, and the batch-normalised ones of later days."""
    variants: dict[str, dict[str, Any]] = {}
    for letter in KERNELS:
        variants[f"vgg-{letter}"] = {"configuration": letter}
        if letter == "a":
            variants["vgg-a-lrn"] = {"configuration": letter, "lrn": True}
    for letter in "abde":
        variants[f"vgg-{letter}-bn"] = {"configuration": letter, "batch_norm": True}

    def builder(variant: dict[str, Any]) -> Callable[..., Sequence[Layer]]:
        return lambda **sizes: tuple(vgg_layers(**variant, **sizes))

    source = "Simonyan & Zisserman 2014, table 1"
    return {
        name: NetDescription(name, builder(variant), 224, source, PUBLISHED.get(name, {}))
        for name, variant in variants.items()
    }


NETS: Mapping[str, NetDescription] = describe_vggs()
ALIASES = {
    f"vgg{depth}{suffix}": f"vgg-{letter}{suffix.replace('_', '-')}"
    for depth, letter in ((11, "a"), (13, "b"), (16, "d"), (19, "e"))
    for suffix in ("", "_bn")
}


def create_net(
    name: str,
    *,
    num_classes: int | None = None,
    width: float = 1.0,
    crop: int | None = None,
    hidden: int | None = None,
    dropout: float = 0.5,
    classes: Sequence[str] | None = None,
    weights: str | Path | None = None,
    start: Law = "glorot",
    seed: int = 0,
) -> VGG:
    """A net of the registry in eval mode, with random weights or those of a file.

    Args:
        name: such as `vgg-d`; `vgg16` is the same.
        num_classes: outputs; 1000 by default, or as many as `classes`.
        width: factor on all channels.
        crop: side of its window in pixels, at least 32; 224 by default.
        hidden: units of fc6 and of fc7 instead of 4096 × width.
        dropout: fraction that is dropped after fc6 and fc7 in training. Source: section 3.1.
        classes: names of the outputs; their numbers by default.
        weights: a file of weights of the same net.
        start: how random weights are drawn: `paper`, `glorot` or `he`. Source: section 3.1.
        seed: of the random weights.

    Raises:
        NetError: the name is unknown, or a size is impossible.
        WeightsError: the file does not fit.
    """
    name = ALIASES.get(name, name)
    if name not in NETS:
        near = difflib.get_close_matches(name, [*NETS, *ALIASES], n=1, cutoff=0)
        raise NetError(f"{name} is not a net; did you mean {near[0]}? `verydeep nets` lists them")
    description = NETS[name]
    crop = crop or description.crop
    num_classes = num_classes if num_classes is not None else len(classes) if classes is not None else 1000
    classes = classes if classes is not None else [str(i) for i in range(num_classes)]
    if crop < STRIDE:
        raise NetError(f"{name}: a crop of {crop} px leaves nothing after five pools; use {STRIDE} or more")
    for what, value, least, most in (("num_classes", num_classes, 1, MAX_CLASSES), ("width", width, 1e-3, 64),
                                     ("crop", crop, STRIDE, 65536), ("hidden", hidden or 1, 1, 10**6)):  # fmt: skip
        if not least <= value <= most:
            raise NetError(f"{name}: {what} is {value}; use {least} to {most}")
    if len(classes) != num_classes or len(set(classes)) != num_classes:
        raise NetError(f"{name}: {len(set(classes))} different class names for {num_classes} outputs; give one for each")
    layers = description.build(num_classes=num_classes, width=width, crop=crop, hidden=hidden)
    net = VGG(name, layers, classes, crop, width, dropout).eval()
    initialise(net, start, torch.Generator().manual_seed(seed))
    if weights is not None:
        tensors, _ = load(Path(weights))
        put(net, tensors, str(weights))
    return net


def save_net(path: Path, net: VGG, card: Mapping[str, Any] | None = None, *, half: bool = False) -> None:
    """Write a net to one file, with all that is needed to load it.

    Args:
        path: of the safetensors file.
        net: any net of the registry.
        card: what else should be known of it: data, recipe, errors.
        half: in half precision: half the bytes, about three decimal digits.
    """
    sizes = {"net": net.name, **{size: getattr(net, size) for size in SIZES}}
    tensors = net.state_dict()
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    save(path, tensors, {**(card or {}), **sizes})


def bundled() -> Mapping[str, Path]:
    """The trained nets that the package brings, by name."""
    folder = Path(str(files("verydeep.weights").joinpath("bundled")))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def read_net(path: Path) -> tuple[VGG, dict[str, Any]]:
    """The net of a file that `save_net` wrote, in eval mode and single precision, and its card.

    Raises:
        WeightsError: the file is missing, damaged, or not of a net.
    """
    tensors, card = load(path)
    try:
        sizes = {size: card[size] for size in SIZES}
        with torch.device("meta"):  # the file's sizes are believed only once its tensors have them
            net = create_net(card["net"], **sizes)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its card does not describe a net ({error}); save it with verydeep") from error
    check_fit(net, tensors, str(path))
    net = net.to_empty(device="cpu")
    put(net, tensors, str(path))
    return net, card


def load_net(where: str | Path) -> tuple[VGG, dict[str, Any]]:
    """A net and its card: a bundled name, a run folder, a file of weights, or a registry name (random weights).

    Raises:
        NetError: there is no such net.
        WeightsError: its file is damaged.
    """
    path, name = Path(where), str(where)
    if name in bundled():
        return read_net(bundled()[name])
    if path.is_dir():
        if not (path / "net.safetensors").is_file():
            raise NetError(f"{path}: has no net.safetensors; give a run that has ended an epoch, or a file of weights")
        return read_net(path / "net.safetensors")
    if path.suffix or path.exists():
        return read_net(path)
    return create_net(name), {"weights": "random"}
