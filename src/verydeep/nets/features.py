"""Named layers of a net: what it makes of pictures on the way to their scores."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

from jaxtyping import Float, Real
from torch import Tensor, nn

from verydeep.errors import NetError
from verydeep.nets.net import Net
from verydeep.nets.onnx_file import OnnxFile
from verydeep.nets.score_map import Slide, one_line
from verydeep.nets.wrap import Wrapped


def features(
    net: Net | Wrapped, pixels: Real[Tensor, "n 3 h w"], layers: Sequence[str]
) -> dict[str, Float[Tensor, "n _ _ _"]]:
    """The maps [n, c, u, v] of named layers, in the order of the names.

    They are the caller's own: whatever is done to one changes no other and no gradient. They can be differentiated to
    the pixels. Nothing is computed that none of the layers needs.

    Fully connected layers give maps, too: one cell for pictures of the net's crop, a cell for each window of it in
    larger ones. `fc7` is before its ReLU, `relu7` after it: docs/decisions/095-what-fc7-is.md.

    Args:
        net: one of the registry, or one that `wrap` has made. It works in the mode that it is in, as all of torch does;
            nets come in eval mode.
        pixels: RGB, 0 to 255, of any size that the layers can use.
        layers: names such as `relu4_3`, `pool5` or `fc7`; of a wrapped net those of its modules, such as `layer3.0`. Of
            a module that runs several times it is the first time.

    Raises:
        NetError: a layer does not exist, gives no map, or the pictures are too small for it.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    found = {name: maps.clone() for name, maps in layer_maps(net, pixels, names)}
    return {name: found[name] for name in names}


def layer_maps(
    net: Net | Wrapped, pixels: Real[Tensor, "n 3 h w"], names: Sequence[str]
) -> Iterator[tuple[str, Float[Tensor, "n c u v"]]]:
    """The same as they come, in the order of the data, to be read only: others may share their memory."""
    check_layers(net, names)
    if isinstance(net, Wrapped):
        yield from _of_module(net, pixels, names)
        return
    for name, output in net.maps(pixels, ends=names):
        if name in names:
            yield name, output


def check_layers(net: Net | Wrapped, names: Sequence[str]) -> None:
    """Refuse names that are no layer's.

    Raises:
        NetError: with the nearest name that is.
    """
    if isinstance(net, Net):
        known, remedy = [layer.name for layer in net.plan], f"`verydeep nets {net.name}` lists them"
    elif isinstance(net.module, OnnxFile):
        raise NetError(f"{net.name}: an ONNX file shows no layers; give the net that it was exported from")
    else:
        known = [name for name, _ in net.module.named_modules() if name]
        remedy = "they are the names of its named_modules()"
    if not names:
        raise NetError(f"{net.name}: no layer is named; name one or more, such as {known[-1]}")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise NetError(f"{net.name}: has no layer {name!r}; did you mean {near}? {remedy}")


class _Found(Exception):
    """Raised in the midst of a module's work, once nothing more is wanted of it."""


def _of_module(net: Wrapped, pixels: Tensor, names: Sequence[str]) -> list[tuple[str, Tensor]]:
    """What somebody's module makes of pictures in its own modules.

    On pictures larger than the crop what comes behind the cut of the score map slides, as it does there.
    """
    modules = dict(net.module.named_modules())
    found: dict[str, Any] = {}

    def keeper(name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if name not in found:
                found[name] = output.clone() if isinstance(output, Tensor) else output  # before others work in place
            if len(found) == len(set(names)):
                raise _Found

        return keep

    height, width = pixels.shape[-2:]
    slide = Slide(net.cut, len(pixels)) if net.cut and min(height, width) >= net.crop else None
    if slide:
        height, width = (side - (side - net.crop) % net.multiple for side in (height, width))
    with ExitStack() as hooks:
        for name in names:
            hooks.callback(modules[name].register_forward_hook(keeper(name)).remove)
        try:
            with slide or nullcontext(), suppress(_Found):
                net.scores(pixels[:, :, :height, :width])
        except RuntimeError as error:  # of torch, whatever layer says it
            problem = f"fails on {width} × {height} px ({one_line(error)})"
            raise NetError(f"{net.name}: {problem}; give pictures of its crop, {net.crop} px") from error
    return [(name, _as_maps(net.name, name, found.get(name), len(pixels), slide)) for name in dict.fromkeys(names)]


def _as_maps(net: str, name: str, output: Any, pictures: int, slide: Slide | None) -> Float[Tensor, "n c u v"]:
    """What a module gave as a map: rows are maps of one cell, rows of many windows are a map of these."""
    windows = slide.positions if slide else (1, 1)
    if isinstance(output, Tensor) and output.dim() == 2:
        output = output[:, :, None, None]
    if not isinstance(output, Tensor) or output.dim() != 4:
        given = f"a tensor {list(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        what = "does not run" if output is None else f"gives {given}, no map [n, c, h, w]"
        raise NetError(f"{net}: {name} {what}; name another layer")
    if len(output) == pictures:
        return output
    if output.shape[2:] != (1, 1):
        raise NetError(f"{net}: {name} gives a map for each window of a larger picture; give pictures of its crop")
    return output[:, :, 0, 0].unflatten(0, (pictures, *windows)).permute(0, 3, 1, 2)
