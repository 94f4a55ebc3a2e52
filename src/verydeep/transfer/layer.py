"""Which layer of a net describes a picture, and its map: of our nets by name, of others what their last layer takes."""

from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from verydeep.errors import NetError
from verydeep.nets.canvas import Canvas, filled, run_on_canvas, sees_canvas
from verydeep.nets.features import layer_maps
from verydeep.nets.frozen import frozen
from verydeep.nets.net import Net
from verydeep.nets.onnx_file import OnnxFile
from verydeep.nets.order import is_watched
from verydeep.nets.score_map import Slide, one_line
from verydeep.nets.stack import Stack, run
from verydeep.nets.wrap import Wrapped


def describing_layer(net: Net | Wrapped, layer: str | None = None) -> str:
    """The name of the layer whose map describes pictures: the penultimate one after its ReLU, or the one that is named.

    Of a wrapped module it is what the last layer takes, `before NAME`. Source: appendix B; of net D it is `relu7`.

    Raises:
        NetError: there is no such layer, or the module's last layer cannot be found.
    """
    if layer is not None:
        return layer
    if isinstance(net, Wrapped):
        return f"{BEFORE}{last_layer(net)}"
    last = max(place for place, each in enumerate(net.plan) if each.has_weights)
    sources = net.plan[last].after or (net.plan[last - 1].name,)
    by_name = {each.name: place for place, each in enumerate(net.plan)}
    place = by_name[sources[0]]
    while net.plan[place].kind == "dropout":  # which does nothing in a test
        before = net.plan[place].after
        place = by_name[before[0]] if before else place - 1
    return net.plan[place].name


BEFORE = "before "  # a layer of a wrapped module: what it takes, instead of what it gives


def describing_maps(net: Net | Wrapped, pixels: Real[Tensor, "n 3 h w"], layer: str) -> Float[Tensor, "n c u v"]:
    """The map of a layer that `describing_layer` has named."""
    if isinstance(net, Wrapped) and layer.startswith(BEFORE):
        return _taken(net, pixels, layer.removeprefix(BEFORE))
    if takes_half(net, layer):
        return run(layers_up_to(net, layer), net.prepared(pixels))
    ((_, maps),) = layer_maps(net, pixels, [layer])
    return maps


def describer(net: Net | Wrapped, layer: str, data_type: torch.dtype = torch.float32) -> Callable[[Canvas], Canvas]:
    """What gives the maps of `describing_maps`, up to rounding, made ready once for many pictures.

    Convolutions do the work of the normalisations behind them, where layers follow each other.

    Args:
        net: in eval mode, on its device.
        layer: whose map it is.
        data_type: of maps and of convolutions' weights, for a net that `takes_half`.
    """
    if not takes_half(net, layer) or any(is_watched(each) for each in net.children()):
        return lambda shown: filled(describing_maps(net, shown.maps, layer))
    layers = frozen(layers_up_to(net, layer), data_type)
    if not sees_canvas(layers):
        return lambda shown: filled(run(layers, net.prepared(shown.maps).to(data_type)))
    return lambda shown: run_on_canvas(layers, Canvas(net.prepared(shown.maps).to(data_type), shown.sizes))


def canvas_step(net: Net | Wrapped, layer: str) -> int:
    """The step of canvases for pictures that are described at once, px; 1: they have to be of one size."""
    shares = takes_half(net, layer) and not any(is_watched(each) for each in net.children())
    return net.stride if isinstance(net, Net) and shares and sees_canvas(layers_up_to(net, layer)) else 1


def layers_up_to(net: Net | Wrapped, layer: str) -> list[nn.Module]:
    """The modules of a net whose layers follow each other, as far as a layer."""
    modules = dict(net.named_children())
    return [modules[each] for each in [*modules][: [*modules].index(layer) + 1]]


def takes_half(net: Net | Wrapped, layer: str) -> bool:
    """Whether the map of a layer can be computed in half precision: in nets of ours whose layers follow each other."""
    return isinstance(net, Stack) and layer in dict(net.named_children())


class _Found(Exception):
    """Raised in the midst of a module's work, once what is wanted of it is there."""


def last_layer(net: Wrapped) -> str:
    """The name of the linear layer or convolution that gives a module's scores.

    Raises:
        NetError: none of the module's layers has as many outputs as the net has classes.
    """
    if isinstance(net.module, OnnxFile):
        raise NetError(f"{net.name}: an ONNX file shows no layers; give the net that it was exported from")
    ran: list[str] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, module in net.module.named_modules():
            if outputs(module) == len(net.classes):
                hooks.callback(module.register_forward_hook(lambda *_, name=name: ran.append(name)).remove)
        net.scores(torch.zeros(1, 3, net.crop, net.crop, dtype=torch.uint8, device=net.shift.device))
    if not ran:
        raise NetError(
            f"{net.name}: no linear layer was seen to give its scores; name the layer that describes pictures"
        )
    return ran[-1]


def outputs(module: nn.Module) -> int | None:
    """How many numbers a linear layer or a convolution gives; None of others."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else None


def _taken(net: Wrapped, pixels: Tensor, layer: str) -> Tensor:
    """What a layer takes, as a map: on pictures larger than the crop a cell for each window, as in a score map."""
    found: list[Any] = []

    def keep(module: nn.Module, inputs: Any) -> None:
        found.append(inputs[0])
        raise _Found

    height, width = pixels.shape[-2:]
    slide = Slide(net.cut, len(pixels)) if net.cut and min(height, width) >= net.crop else None
    if slide:
        height, width = (side - (side - net.crop) % net.multiple for side in (height, width))
    hook = net.module.get_submodule(layer).register_forward_pre_hook(keep)
    try:
        with slide or nullcontext(), suppress(_Found):
            net.scores(pixels[:, :, :height, :width])
    except RuntimeError as error:  # of torch, whatever layer says it
        raise NetError(f"{net.name}: fails on {width} × {height} px ({one_line(error)})") from error
    finally:
        hook.remove()
    maps = found[0] if found else None
    if isinstance(maps, Tensor) and maps.dim() == 2:
        maps = maps[:, :, None, None]
    if not isinstance(maps, Tensor) or maps.dim() != 4:
        raise NetError(f"{net.name}: what {layer} takes is no map [n, c, h, w]; name the layer that describes pictures")
    if len(maps) == len(pixels):
        return maps
    positions = slide.positions if slide else (1, 1)
    return maps.mean((2, 3)).unflatten(0, (len(pixels), *positions)).permute(0, 3, 1, 2)
