"""The nets by name: what each is, and how to get one, new or with weights."""

import difflib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from verydeep.device import available_memory
from verydeep.errors import DeviceError, NetError, WeightsError
from verydeep.nets import (
    alexnet,
    cifar_fast,
    cifar_vgg,
    cnn_fms,
    deepcnet,
    googlenet,
    nagadomi,
    overfeat,
    spp_net,
    vgg,
    zfnet,
)
from verydeep.nets.description import NetDescription
from verydeep.nets.initialise import Law, initialise
from verydeep.nets.layers import Layer, count_parameters, fits
from verydeep.nets.net import Net
from verydeep.nets.onnx_file import onnx_net
from verydeep.nets.recognise import open_weights, with_head
from verydeep.nets.wrap import Wrapped
from verydeep.nets.zoo import timm_net, torchvision_net
from verydeep.weights.download import Progress
from verydeep.weights.files import check_fit, put, save
from verydeep.weights.find import names_weights

LIMITS = {  # least and most of each size; what a person may want, and what memory may be asked for
    "num_classes": (1, 10**6),
    "width": (1e-3, 64),
    "hidden": (1, 10**6),
    "dropout": (0, 1),
}
LARGEST_CROP = 2**16  # px; the least is each net's own
BUNDLED_FOLDER = Path(str(files("verydeep.weights").joinpath("bundled")))  # nets that the package brings


FAMILIES = (
    vgg, alexnet, zfnet, cnn_fms, overfeat, spp_net, googlenet, deepcnet, nagadomi, cifar_vgg, cifar_fast,
)  # fmt: skip
NETS: Mapping[str, NetDescription] = {net.name: net for family in FAMILIES for net in family.NETS}
ALIASES: Mapping[str, str] = {alias: net.name for net in NETS.values() for alias in net.aliases}


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
        num_classes: outputs; by default as many as `classes`, or as published.
        width: factor on all channels.
        crop: side of its window in pixels; by default as published.
        hidden: units of each hidden fully connected layer instead of the published ones × width.
        dropout: fraction that is dropped after each of these in training. Source: section 3.1.
        classes: names of the outputs; by default those of `weights`, or their numbers.
        weights: of the same net, of the same sizes: a file, ours or of torchvision, timm, Keras or Caffe, a published
            name, an address or a repository of Hugging Face's hub, all as in `find_weights`. Where they lack the fully
            connected layers, these start at random, if `classes` or `num_classes` says what they are to tell apart.
        start: how random weights are drawn: `paper`, `glorot` or `he` (source: section 3.1), or `own`, as the net's
            authors did.
        seed: of the random weights.

    Raises:
        NetError: the name is unknown, or a size is impossible.
        WeightsError: the file does not fit.
        DeviceError: there is no room for the weights.
    """
    name = _known(name)
    crop = NETS[name].crop if crop is None else crop
    if weights is not None:
        tensors, card = open_weights(weights, NETS, name)
        saved = _saved_sizes(card, weights)
        if not saved.classes and classes is None and num_classes is None:
            raise _headless(weights)
        if saved.classes and classes is None and num_classes in (None, len(saved.classes)):
            classes = saved.classes
    if num_classes is None:
        num_classes = NETS[name].num_classes if classes is None else len(classes)
    _check_sizes(name, num_classes=num_classes, width=width, hidden=hidden, dropout=dropout)
    classes = [str(i) for i in range(num_classes)] if classes is None else classes
    if len(classes) != num_classes or len(set(classes)) != num_classes:
        raise NetError(f"{name}: {len(set(classes))} different names for {num_classes} classes; give one for each")
    layers = _layers(name, num_classes=num_classes, width=width, crop=crop, hidden=hidden)
    _check_memory(name, 4 * count_parameters(layers))
    with torch.random.fork_rng(devices=()):  # torch draws weights too, from the one generator that is everybody's
        net = NETS[name].make(name, layers, classes, crop, width, dropout).eval()
        net.mean.fill_(NETS[name].mean)
        net.std.fill_(NETS[name].std)
    initialise(net, start, torch.Generator().manual_seed(seed), own=NETS[name].draw)
    if weights is not None:
        put(net, tensors if saved.classes else with_head(tensors, net), str(weights), saved_as=saved.net)
    return net


def _known(name: str) -> str:
    """The name that the registry has for a net."""
    name = ALIASES.get(name, name)
    if name not in NETS:
        near = difflib.get_close_matches(name, [*NETS, *ALIASES, *bundled()], n=1, cutoff=0)[0]
        raise NetError(f"{name} is not a net; did you mean {near}? `verydeep nets` lists them")
    return name


def _headless(where: str | Path) -> WeightsError:
    return WeightsError(f"{where}: has no layer of class scores; give classes, and the layers it lacks start at random")


def _layers(name: str, *, crop: int, **sizes: int | float | None) -> Sequence[Layer]:
    """The layers of a net of these sizes; a crop that leaves nothing of the picture is refused with the least."""
    if sizes["hidden"] is not None and not NETS[name].has_hidden:
        raise NetError(f"{name}: has no hidden fully connected layers; leave out hidden")

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
    tensors = net.tested()
    if half:
        weights = {name: weight for name, weight in net.named_parameters() if name in tensors and weight.dim() > 1}
        tensors |= {name: weight.half() for name, weight in weights.items()}
    save(Path(path), tensors, {**(card or {}), **sizes.model_dump()})


def load_net(where: str | Path) -> tuple[Net | Wrapped, dict[str, Any]]:
    """A net and its card, wherever it comes from.

    Args:
        where: a bundled name, a run folder, weights as `create_net` takes them, or a registry name (random weights);
            `torchvision:NAME`, `timm:NAME`, or an ONNX file.

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
    if path.suffix or path.exists() or names_weights(where):
        return read_net(where)
    return create_net(name), {"weights": "random"}


def read_net(
    where: str | Path,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> tuple[Net, dict[str, Any]]:
    """The net of a file of weights, in eval mode and single precision, and its card.

    Args:
        where: weights as `create_net` takes them.
        name: of the net, where it is not to be recognised.
        classes: names of its outputs, where the file has none or others are wanted.
        progress: is told the bytes of a download.

    Raises:
        WeightsError: the file is missing, damaged, or not of a net.
    """
    name = _known(name) if name else None
    tensors, card = open_weights(where, NETS, name, progress)
    saved = _saved_sizes(card, where)
    if classes is None and not saved.classes:
        raise _headless(where)
    sizes = saved.model_dump(exclude={"net"}) | ({} if classes is None else {"classes": list(classes)})
    if not saved.classes:
        net = create_net(name or saved.net, **sizes)
        put(net, with_head(tensors, net), str(where), saved_as=saved.net)
        return net, card | {"classes": list(net.classes)}
    try:
        with torch.device("meta"):  # the file's sizes are believed only once its tensors have them
            net = create_net(name or saved.net, **sizes)
    except NetError as error:
        raise WeightsError(f"{where}: its card is of no net: {error}") from error
    check_fit(net, tensors, str(where), saved_as=saved.net)
    empty = {key: torch.empty(value.shape, dtype=value.dtype) for key, value in net.state_dict().items()}
    net.load_state_dict(empty, assign=True)  # as to_empty, which waits half a second for sympy
    put(net, tensors, str(where))
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
    return {path.stem: path for path in sorted(BUNDLED_FOLDER.glob("*.safetensors"))}
