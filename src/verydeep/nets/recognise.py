"""Weights from anywhere, under our names, with the net and the sizes that they are of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from verydeep.data.ilsvrc_classes import ilsvrc_names
from verydeep.errors import WeightsError
from verydeep.nets.layers import Layer, place
from verydeep.nets.module import RESPONSES
from verydeep.nets.net import Net
from verydeep.weights.download import Progress
from verydeep.weights.files import load
from verydeep.weights.find import find_weights
from verydeep.weights.found import Found, Step
from verydeep.weights.read import is_own, read_weights
from verydeep.weights.timm import configured

if TYPE_CHECKING:
    from verydeep.nets.description import NetDescription


def open_weights(
    where: str | Path, nets: Mapping[str, "NetDescription"], name: str | None = None, progress: Progress | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by our names and their card, from a file of ours or of another library, wherever it is.

    Args:
        where: as in `find_weights`.
        nets: the registry.
        name: of the net, if it is known.
        progress: is told the bytes of a download.

    Raises:
        WeightsError: they cannot be had or read, or are of no net of the registry.
    """
    path, published = find_weights(where, name, progress)
    if is_own(path):
        return load(path)
    found = read_weights(path)
    if found.library == "timm":
        found = configured(found, path)
    if published:
        found = found.normalised_by(published.mean, published.std, published.top)
    card = {"weights": str(where), "library": found.library, **recognise(found, nets, str(where), name)}
    return found.with_normalisation(), card | (published.provenance() if published else {})


def with_head(tensors: Mapping[str, Tensor], net: Net) -> dict[str, Tensor]:
    """The tensors, and those of the net's fully connected layers where they lack."""
    fc = {layer.name for layer in net.plan if layer.kind == "fc"}
    return {name: value for name, value in net.state_dict().items() if name.rpartition(".")[0] in fc} | dict(tensors)


def recognise(
    found: Found, nets: Mapping[str, "NetDescription"], where: str, name: str | None = None
) -> dict[str, Any]:
    """The sizes of a net, as its card has them; no classes where the file has no last layer.

    Args:
        found: what a reader has read.
        nets: the registry.
        where: the file, for errors.
        name: of the net, if it is known; where its layers are others, the sizes are of the net that has them.

    Raises:
        WeightsError: no net has these layers.
    """
    fitting = [net for net in nets.values() if net.name == (found.net or net.name) and _fits(net.plan, found)]
    named = [net for net in fitting if net.name == name]
    if not fitting and not name:
        first, *_, last = (f"{layer} {'×'.join(map(str, tensor.shape))}" for layer, tensor in found.tensors.items())
        raise WeightsError(f"{where}: no net here has its layers ({first} to {last}); name a net to see what differs")
    sized = [(net, _sizes(net, found.tensors)) for net in named or fitting or [nets[str(name)]]]
    exact = [(net, sizes) for net, sizes in sized if _has_shapes(net, sizes, found.tensors)]
    if len(exact) > 1 and found.library == "caffe" and not found.steps:
        names = " or ".join(net.name for net, _ in exact)
        raise WeightsError(f"{where}: may be {names}, since it states no strides and pools; name one of them")
    net, sizes = (exact or sized)[0]
    if len(set(found.classes)) == len(found.classes) == len(sizes["classes"]):
        sizes["classes"] = list(found.classes)
    return {"net": net.name, "dropout": 0.5, **sizes}


def _fits(plan: Sequence[Layer], found: Found) -> bool:
    """Whether a plan has the file's layers, of the same kernels and steps; fully connected ones may lack."""
    ours = {layer.name: layer for layer in plan if layer.has_weights or layer.kind == "norm"}
    theirs = {name.rpartition(".")[0] for name in found.tensors}
    if theirs - ours.keys() or any(ours[name].kind != "fc" for name in ours.keys() - theirs):
        return False
    side_by_side = any(layer.after for layer in plan)
    if found.steps and not side_by_side and list(found.steps) != [_step(layer) for layer in plan if _is_step(layer)]:
        return False
    for layer in plan:
        if layer.kind == "conv" and layer.name in theirs:
            shape = found.tensors[f"{layer.name}.weight"].shape
            if len(shape) != 4 or shape[-1] != layer.kernel:
                return False
    return True


def _is_step(layer: Layer) -> bool:
    return layer.kind in ("conv", "pool", "mean", "lrn")


def _step(layer: Layer) -> Step:
    """A layer as a reader states it."""
    if layer.kind == "lrn":
        return "lrn", *RESPONSES.get(layer.reading, ())
    groups = (layer.groups,) if layer.kind == "conv" else ()
    return layer.kind, layer.kernel, layer.stride, layer.padding, *groups


def _sizes(net: "NetDescription", tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Width, crop, hidden units and classes, by the shapes that the file has."""
    outputs = {layer.name: tensors[f"{layer.name}.weight"].shape[0] for layer in net.plan if _has(tensors, layer)}
    convolution, *_, head = (layer for layer in net.plan if layer.has_weights)
    hidden = {outputs.get(layer.name) for layer in net.plan if layer.kind == "fc" and layer is not head}
    crop = net.crop
    for placed in place(net.plan, net.crop):
        if placed.layer.kind == "fc" and placed.layer.kernel > 1 and _has(tensors, placed.layer):
            side = tensors[f"{placed.layer.name}.weight"].shape[-1]
            crop += (side - placed.layer.kernel) * placed.stride
    count = outputs.get(head.name, 0)
    wnids = list(ilsvrc_names())
    return {
        "width": outputs.get(convolution.name, convolution.outputs) / convolution.outputs,
        "crop": crop,
        "hidden": hidden.pop() if len(hidden) == 1 else None,
        "classes": wnids if count == len(wnids) else [str(place) for place in range(count)],
    }


def _has_shapes(net: "NetDescription", sizes: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether a net of these sizes has weights of the tensors' shapes."""
    width, crop, hidden, count = sizes["width"], sizes["crop"], sizes["hidden"], len(sizes["classes"])
    plan = net.build(num_classes=count or net.num_classes, width=width, crop=crop, hidden=hidden)
    return all(
        tensors[f"{layer.name}.weight"].shape
        == (layer.outputs, layer.inputs // layer.groups, layer.kernel, layer.kernel)
        for layer in plan
        if _has(tensors, layer)
    )


def _has(tensors: Mapping[str, Tensor], layer: Layer) -> bool:
    weight = tensors.get(f"{layer.name}.weight")
    return layer.has_weights and weight is not None and weight.dim() > 1
