"""The nets by name: what each is, and how to get one, new or with weights."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from verydeep.device import available_memory
from verydeep.errors import DeviceError, NetError, WeightsError
from verydeep.nets.initialise import Law, initialise
from verydeep.nets.layers import Layer, count_macs, count_parameters, count_weight_layers, fits
from verydeep.nets.net import Net
from verydeep.nets.onnx_file import onnx_net
from verydeep.nets.stack import Stack
from verydeep.nets.vgg import vgg_layers
from verydeep.nets.wrap import Wrapped
from verydeep.nets.zoo import timm_net, torchvision_net
from verydeep.weights.files import check_fit, load, put, save

LIMITS = {  # least and most of each size; what a person may want, and what memory may be asked for
    "num_classes": (1, 10**6),
    "width": (1e-3, 64),
    "hidden": (1, 10**6),
    "dropout": (0, 1),
}
LARGEST_CROP = 2**16  # px; the least is each net's own


@dataclass(frozen=True)
class NetDescription:
    """What a net is, at its full width, for 1000 classes and its own crop.

    Attributes:
        name: in the registry.
        build: its layers; takes num_classes, width, crop and hidden.
        crop: side of its window as published, in pixels.
        source: where it is defined.
        errors: published: protocol → (top-1, top-5) error on ILSVRC-2012's validation images, as fractions.
        make: the module of a name, layers, classes, crop, width and dropout.
    """

    name: str
    build: Callable[..., Iterable[Layer]] = field(repr=False)
    crop: int
    source: str
    errors: Mapping[str, tuple[float, float]]
    make: Callable[..., Net] = field(default=Stack, repr=False)

    @cached_property
    def plan(self) -> Sequence[Layer]:
        """Its layers, in the order of the data."""
        return tuple(self.build())

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


PUBLISHED = {  # dense, at a single scale and at several. Source: tables 3 and 4
    "vgg-a": {"dense@256": (0.296, 0.104)},
    "vgg-a-lrn": {"dense@256": (0.297, 0.105)},
    "vgg-b": {"dense@256": (0.287, 0.099), "dense@224,256,288": (0.282, 0.096)},
    "vgg-c": {"dense@384": (0.273, 0.088), "dense@256,384,512": (0.263, 0.082)},
    "vgg-d": {"dense@384": (0.256, 0.081), "dense@256,384,512": (0.248, 0.075)},
    "vgg-e": {"dense@384": (0.255, 0.080), "dense@256,384,512": (0.248, 0.075)},
}


BATCH_NORM = "table 1, with Ioffe & Szegedy's (2015) batch normalisation after each convolution"


def _vgg(name: str, configuration: str, source: str = "table 1", **variant: bool) -> NetDescription:
    """One of the paper's nets, or of those made from them."""
    source = f"Simonyan & Zisserman 2014, {source}"
    return NetDescription(name, partial(vgg_layers, configuration, **variant), 224, source, PUBLISHED.get(name, {}))


_DESCRIPTIONS = (
    _vgg("vgg-a", "a"),
    _vgg("vgg-a-lrn", "a", lrn=True),
    _vgg("vgg-b", "b"),
    _vgg("vgg-b-5x5", "b-5x5", "section 4.1"),
    _vgg("vgg-c", "c"),
    _vgg("vgg-d", "d"),
    _vgg("vgg-e", "e"),
    _vgg("vgg-a-bn", "a", BATCH_NORM, batch_norm=True),
    _vgg("vgg-b-bn", "b", BATCH_NORM, batch_norm=True),
    _vgg("vgg-d-bn", "d", BATCH_NORM, batch_norm=True),
    _vgg("vgg-e-bn", "e", BATCH_NORM, batch_norm=True),
)
NETS: Mapping[str, NetDescription] = {description.name: description for description in _DESCRIPTIONS}
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
) -> Net:
    """A net of the registry in eval mode, with random weights or those of a file.

    Args:
        name: such as `vgg-d`; `vgg16` is the same.
        num_classes: outputs; by default as many as `classes`, or 1000.
        width: factor on all channels.
        crop: side of its window in pixels; by default as published.
        hidden: units of each hidden fully connected layer instead of the published ones × width.
        dropout: fraction that is dropped after each of these in training. Source: section 3.1.
        classes: names of the outputs; by default those of `weights`, or their numbers.
        weights: a file of weights of the same net, of the same sizes.
        start: how random weights are drawn: `paper`, `glorot` or `he`. Source: section 3.1.
        seed: of the random weights.

    Raises:
        NetError: the name is unknown, or a size is impossible.
        WeightsError: the file does not fit.
        DeviceError: there is no room for the weights.
    """
    name = ALIASES.get(name, name)
    if name not in NETS:
        near = difflib.get_close_matches(name, [*NETS, *ALIASES, *bundled()], n=1, cutoff=0)[0]
        raise NetError(f"{name} is not a net; did you mean {near}? `verydeep nets` lists them")
    crop = NETS[name].crop if crop is None else crop
    if weights is not None:
        tensors, card = load(Path(weights))
        saved = _saved_sizes(card, weights)
        if classes is None and num_classes in (None, len(saved.classes)):
            classes = saved.classes
    if num_classes is None:
        num_classes = 1000 if classes is None else len(classes)
    _check_sizes(name, num_classes=num_classes, width=width, hidden=hidden, dropout=dropout)
    classes = [str(i) for i in range(num_classes)] if classes is None else classes
    if len(classes) != num_classes or len(set(classes)) != num_classes:
        raise NetError(f"{name}: {len(set(classes))} different names for {num_classes} classes; give one for each")
    layers = _layers(name, num_classes=num_classes, width=width, crop=crop, hidden=hidden)
    _check_memory(name, 4 * count_parameters(layers))
    with torch.random.fork_rng(devices=()):  # torch draws weights too, from the one generator that is everybody's
        net = NETS[name].make(name, layers, classes, crop, width, dropout).eval()
    initialise(net, start, torch.Generator().manual_seed(seed))
    if weights is not None:
        put(net, tensors, str(weights), saved_as=saved.net)
    return net


def _layers(name: str, *, crop: int, **sizes: int | float | None) -> Sequence[Layer]:
    """The layers of a net of these sizes; a crop that leaves nothing of the picture is refused with the least."""

    def at(crop: int) -> Sequence[Layer]:
        return tuple(NETS[name].build(crop=crop, **sizes))

    if crop > LARGEST_CROP or not fits(at(crop), crop):
        least = next(side for side in count(1) if fits(at(side), side))
        raise NetError(f"{name}: crop is {crop}; use {least} to {LARGEST_CROP}")
    return at(crop)


def _check_sizes(name: str, **sizes: int | float | None) -> None:
    """Refuse what no net can have, before any memory is taken."""
    for size, value in sizes.items():
        least, most = LIMITS[size]
        if value is not None and not least <= value <= most:
            raise NetError(f"{name}: {size} is {value}; use {least} to {most}")


def _check_memory(name: str, needed: int) -> None:
    """Refuse a net whose weights (bytes) the device of new tensors has no room for."""
    device = torch.get_default_device()
    if device.type != "meta" and needed > available_memory(device):
        raise DeviceError(
            f"{name}: its weights need {needed / 1e9:.1f} GB, {available_memory(device) / 1e9:.1f} GB are free on "
            f"{device}; use a smaller width, crop or hidden"
        )


def save_net(path: str | Path, net: Net, card: Mapping[str, Any] | None = None, *, half: bool = False) -> None:
    """Write a net to one file, with all that is needed to load it.

    Args:
        path: of the safetensors file.
        net: any net of the registry.
        card: what else should be known of it: data, recipe, errors.
        half: weights in half precision: half the bytes, about three decimal digits. Biases, normalisations and the
            mean stay as they are, since they are few, and a variance may be too large for it.

    Raises:
        WeightsError: the file cannot be written.
    """
    sizes = SavedSizes(
        net=net.name, crop=net.crop, width=net.width, hidden=net.hidden, dropout=net.dropout, classes=list(net.classes)
    )
    tensors = net.state_dict()
    if half:
        tensors |= {name: weight.half() for name, weight in net.named_parameters() if weight.dim() > 1}
    save(Path(path), tensors, {**(card or {}), **sizes.model_dump()})


def load_net(where: str | Path) -> tuple[Net | Wrapped, dict[str, Any]]:
    """A net and its card, wherever it comes from.

    Args:
        where: a bundled name, a run folder, a file of weights, or a registry name (random weights); `torchvision:NAME`,
            `timm:NAME`, or an ONNX file.

    Raises:
        NetError: there is no such net.
        WeightsError: its file is damaged.
    """
    name = str(where)
    if name.startswith("torchvision:"):
        return torchvision_net(name.removeprefix("torchvision:"))
    if name.startswith("timm:"):
        return timm_net(name.removeprefix("timm:"))
    if name.endswith(".onnx"):
        return onnx_net(Path(where))
    return load_own_net(where)


def load_own_net(where: str | Path) -> tuple[Net, dict[str, Any]]:
    """One of our own nets, whose layers have names, and its card: all that `load_net` takes but other people's nets.

    Raises:
        NetError: there is no such net.
        WeightsError: its file is damaged.
    """
    path, name = Path(where), str(where)
    if name.startswith(("torchvision:", "timm:")) or path.suffix == ".onnx":
        raise NetError(f"{name}: can be tested, but its layers have no names here; `verydeep nets` lists those that do")
    if name in bundled():
        return read_net(bundled()[name])
    if path.is_dir():
        if not (path / "net.safetensors").is_file():
            raise NetError(f"{path}: has no net.safetensors; give a run that has ended an epoch, or a file of weights")
        return read_net(path / "net.safetensors")
    if path.suffix or path.exists():
        return read_net(path)
    return create_net(name), {"weights": "random"}


def read_net(path: Path) -> tuple[Net, dict[str, Any]]:
    """The net of a file that `save_net` wrote, in eval mode and single precision, and its card.

    Raises:
        WeightsError: the file is missing, damaged, or not of a net.
    """
    tensors, card = load(path)
    sizes = _saved_sizes(card, path)
    try:
        with torch.device("meta"):  # the file's sizes are believed only once its tensors have them
            net = create_net(sizes.net, **sizes.model_dump(exclude={"net"}))
    except NetError as error:
        raise WeightsError(f"{path}: its card is of no net: {error}") from error
    check_fit(net, tensors, str(path))
    net = net.to_empty(device="cpu")
    put(net, tensors, str(path))
    return net, card


class SavedSizes(BaseModel):
    """What a card says of its net; other keys are free."""

    model_config = ConfigDict(frozen=True, strict=True)
    net: str
    crop: int
    width: float
    hidden: int | None
    dropout: float
    classes: list[str]


def _saved_sizes(card: Mapping[str, Any], path: str | Path) -> SavedSizes:
    """The sizes of a card; `path` names the file in errors."""
    try:
        sizes = SavedSizes.model_validate(card)
    except ValidationError as error:
        problem = error.errors()[0]
        line = f"{problem['loc'][0]}: {problem['msg']}; give the net.safetensors of a run"
        raise WeightsError(f"{path}: its card is of no net: {line}") from None
    if sizes.net not in NETS:
        raise WeightsError(f"{path}: its card is of no net: {sizes.net!r} is not known here; update verydeep")
    return sizes


def bundled() -> Mapping[str, Path]:
    """The trained nets that the package brings, by name."""
    folder = Path(str(files("verydeep.weights").joinpath("bundled")))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
