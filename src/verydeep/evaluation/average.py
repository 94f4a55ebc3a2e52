"""What a net says of the views it is shown: the order of averaging, and what is done where memory runs out.

Scores are averaged over positions; then comes the soft-max, unless the protocol wants another order; posteriors are
averaged over the picture and its mirror image, and by the caller over scales. Source: section 3.2.
Decision: docs/decisions/020-where-to-average.md.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from verydeep.errors import DeviceError, NetError
from verydeep.evaluation.protocol import Positions
from verydeep.nets.canvas import Canvas
from verydeep.pictures.views import Seen

T = TypeVar("T")
Views = TypeVar("Views", Real[Tensor, "n 3 h w"], Canvas)


@runtime_checkable
class Net(Protocol):
    """All that a test knows of a net: an `nn.Module` with these.

    It may also have a `preset`, how pictures are rescaled for it, `no_score_map`, why it takes nothing but crops, and
    `takes_any_size`, whether it can be called with pictures of any size, each of which it sees as one, and
    `fine_score_map`, scores at positions between those of the score map.

    Attributes:
        name: in the registry.
        classes: names of its outputs: wnids or class names.
        crop: side of its window, px.
    """

    name: str
    classes: tuple[str, ...]
    crop: int

    def __call__(self, pixels: Real[Tensor, "n 3 crop crop"]) -> Float[Tensor, "n k"]:
        """Class scores of crops."""
        ...

    def score_map(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k u v"]:
        """Class scores at every position of larger pictures."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Itself and all its parts."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Its weights by name."""
        ...

    def to(self, device: torch.device) -> Any:
        """Itself, moved to a device."""
        ...


@dataclass
class Room:
    """How much goes through a net at once.

    Attributes:
        pixels: of all views together; halved where the device turns out to have too little memory.
    """

    pixels: int


@torch.inference_mode()
def view_posteriors(
    net: Net,
    pixels: Real[Tensor, "n 3 h w"],
    *,
    mirror: bool,
    room: Room,
    positions: Positions = "softmax-last",
    seen: Seen = "everywhere",
) -> Float[Tensor, "n k"]:
    """Posteriors of views of one shape: one for all positions, averaged, with `mirror`, over view and mirror image.

    For `hcp` it is the largest scores instead, of which the caller takes the largest over all views.

    Args:
        net: in eval mode.
        pixels: RGB, 0 to 255.
        mirror: whether the net is shown each view mirrored too.
        room: how much the net is given at once.
        positions: how the scores at all positions become one posterior: see `evaluation.protocol.Protocol`.
        seen: at which positions the net sees a view: see `pictures.views.View`.

    Source: section 3.2.
    """
    shown = torch.cat([pixels, pixels.flip(-1)]) if mirror else pixels
    found = torch.cat([posterior(scores, positions) for scores in score_maps(net, shown, room, seen)])
    both = found.unflatten(0, (-1, len(pixels)))
    return both.amax(dim=0) if positions == "hcp" else both.mean(dim=0)


def posterior(scores: Float[Tensor, "n k *map"], positions: Positions) -> Float[Tensor, "n k"]:
    """What scores at one position or all positions of a map make together; of `maximum` the sum may be more than 1.

    Of `hcp` it is the largest scores, before the soft-max.
    """
    if positions == "hcp":
        return scores.flatten(2).amax(dim=2) if scores.dim() == 4 else scores
    if scores.dim() == 2:
        return scores.softmax(dim=1)
    if positions == "softmax-last":
        return scores.mean(dim=(-2, -1)).softmax(dim=1)
    everywhere = scores.softmax(dim=1)
    return everywhere.mean(dim=(-2, -1)) if positions == "softmax-first" else everywhere.amax(dim=(-2, -1))


def score_maps(
    net: Net, pixels: Real[Tensor, "n 3 h w"], room: Room, seen: Seen = "everywhere"
) -> Iterator[Float[Tensor, "m k *map"]]:
    """Scores of views of one shape, as many views at a time as there is room for: of crops without a map.

    A net that takes any size gives scores without a map, too, of what is to be seen once.

    Raises:
        NetError: the net gives something else than one score a class.
        DeviceError: there is too little memory for even one view.
    """
    crops = tuple(pixels.shape[-2:]) == (net.crop, net.crop)
    if crops or (seen == "once" and getattr(net, "takes_any_size", False)):
        found = in_parts(net, pixels, room, net.name)
    elif seen == "fine":
        found = in_parts(fine_score_map(net), pixels, room, net.name)
    else:
        found = in_parts(net.score_map, pixels, room, net.name)
    for views, scores in found:
        if scores.shape[:2] != (len(views), len(net.classes)) or scores.dim() not in (2, 4):
            given, due = tuple(scores.shape), (len(views), len(net.classes))
            raise NetError(f"{net.name}: gives scores of shape {given} where its classes make it {due}")
        yield scores


def fine_score_map(net: Net) -> Callable[[Tensor], Tensor]:
    """What gives the net's scores with its last pool at every offset.

    Raises:
        NetError: the net cannot.
    """
    found: Callable[[Tensor], Tensor] | None = getattr(net, "fine_score_map", None)
    if found is None:
        raise NetError(f"{net.name}: has no last pool that is known here to lay at every offset; use dense")
    return found


def in_parts(function: Callable[[Views], T], pixels: Views, room: Room, name: str) -> Iterator[tuple[Views, T]]:
    """Views of one shape, or on one canvas, as many at a time as there is room for, and what a function makes of them.

    Args:
        function: of views.
        pixels: the views.
        room: how much the function is given at once; made smaller where memory runs out.
        name: of the net, for errors.

    Raises:
        DeviceError: there is too little memory for even one view.
    """
    height, width = pixels.shape[-2:]
    done = 0
    while done < len(pixels):
        views = pixels[done : done + max(1, room.pixels // (height * width))]
        try:
            found = function(views)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(views) == 1:
                raise DeviceError(
                    f"{name}: {pixels.device.type} has too little memory for a view of {width} × {height} px; "
                    "use smaller scales"
                ) from error
            room.pixels = len(views) // 2 * height * width
            continue
        done += len(views)
        yield views, found


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says that memory ran out; only for CUDA has it a class of error of its own."""
    words = ("not enough memory", "DefaultCPUAllocator", "out of memory", "could not create a")  # the last is oneDNN's
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


@contextmanager
def testing(net: Net) -> Iterator[None]:
    """All of a net in eval mode for a while; then each part in the mode that it had."""
    modes = {part: part.training for part in net.modules()}
    try:
        for part in modes:
            part.training = False
        yield
    finally:
        for part, training in modes.items():
            part.training = training
