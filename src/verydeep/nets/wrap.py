"""Any `nn.Module` from pixels to scores, or to a map of scores, as a net that every protocol can test."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from verydeep.data.ilsvrc_classes import as_wnids
from verydeep.errors import NetError
from verydeep.nets.score_map import Cut, Unmappable, find_cut, one_line, slide
from verydeep.pictures.preset import OURS, Preset

Number = int | float
TRIALS = (  # px of which sides may exceed the crop's by a multiple, and by how many sevenths of it they do for a trial
    (1, (2, 3)),
    (1, (4, 6)),  # for a map of two or three cells, which two sevenths of the crop do not make more
    (1, (9, 11)),  # for a map of one cell
    (32, (2, 3)),  # some modules halve sides five times without remainder
)


def wrap(
    module: nn.Module,
    *,
    classes: Sequence[str],
    mean: Number | Sequence[Number],
    std: Number | Sequence[Number] = 1.0,
    channel_order: Literal["rgb", "bgr"] = "rgb",
    value_range: Number = 255,
    crop: int = 224,
    name: str | None = None,
    preset: Preset = OURS,
) -> "Wrapped":
    """Any module from pixels to scores [n, k], or to a score map [n, k, u, v], as a net in eval mode.

    Where the module pools or flattens a map of cells at its end, the net has a true score map, too: a cell is what the
    module makes of one crop's worth of its map's cells. Else `no_score_map` says why not.

    Args:
        module: takes pictures n 3 crop crop, from which `mean` was subtracted and which were divided by `std`; it is
            put in eval mode, and tried out on noise.
        classes: names of its outputs: wnids or class names. ILSVRC-2012's 1000 names in their order become its wnids.
        mean: RGB or one number, in the module's value range.
        std: the same of what the difference is divided by.
        channel_order: of what the module takes.
        value_range: what white is to the module: 255 or 1.
        crop: side of its window, px.
        name: that it goes by; by default that of its Python class.
        preset: how pictures are rescaled and cropped for it; by default the house's way.

    Raises:
        NetError: the module does not take crops, or does not give one score a class for each.
    """
    if not isinstance(module, nn.Module):
        raise NetError(f"wrap: a {type(module).__name__} is not an nn.Module; make it one")
    name = type(module).__name__ if name is None else name
    classes = as_wnids(classes)
    twice = next((key for place, key in enumerate(classes) if key in classes[:place]), None)
    if twice is not None or not classes:
        problem = "there are no classes" if twice is None else f"{twice!r} is the name of two classes"
        raise NetError(f"{name}: {problem}; give each output a name of its own, such as its wnid")
    if channel_order not in ("rgb", "bgr"):
        raise NetError(f"{name}: channel_order is {channel_order!r}; use 'rgb' or 'bgr'")
    if crop < 1 or value_range <= 0:
        raise NetError(f"{name}: crop {crop}, value_range {value_range}: use numbers of 1 or more")
    shift, scale = _of_colours(name, "mean", mean), _of_colours(name, "std", std)
    if not (scale > 0).all():
        raise NetError(f"{name}: std is {std}; what is divided by must be more than 0")
    parameter = next(module.parameters(), torch.empty(0))
    net = Wrapped(module, name, classes, crop, shift, scale, channel_order == "bgr", float(value_range), preset)
    return _try_out(net.to(parameter.device).eval())


class Wrapped(nn.Module):
    """A net made of somebody's module.

    Attributes:
        name: that it goes by.
        classes: name of each output.
        crop: side of its window, px.
        preset: how pictures are rescaled and cropped for it.
        no_score_map: why it has no score map, in one clause; empty where it has one.
        module: the module.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        classes: Sequence[str],
        crop: int,
        shift: Float[Tensor, "3 1 1"],
        scale: Float[Tensor, "3 1 1"],
        bgr: bool,
        value_range: float,
        preset: Preset,
    ) -> None:
        super().__init__()
        self.module, self.name, self.classes, self.crop, self.preset = module, name, tuple(classes), crop, preset
        self.shift, self.scale, self.white = nn.Buffer(shift), nn.Buffer(scale), nn.Buffer(torch.tensor(value_range))
        self.colours = nn.Buffer(torch.tensor([2, 1, 0] if bgr else [0, 1, 2]))
        self.no_score_map = "it was not looked for"
        self.cut: Cut | None = None
        self.multiple = 1  # px by which the sides of a picture may exceed the crop's

    @property
    def mean(self) -> Float[Tensor, "3 1 1"]:
        """RGB, 0 to 255, of the training pixels."""
        return self.shift * (255 / self.white)

    @property
    def std(self) -> Float[Tensor, "3 1 1"]:
        """What the difference to the mean is divided by, RGB, in levels of 255."""
        return self.scale * (255 / self.white)

    def score_map(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k u v"]:
        """Class scores at every position of pictures of any size of at least the crop.

        A cell is what the module makes of one crop's worth of the cells of its last map.

        Raises:
            NetError: the module has no score map, or the pictures are smaller than the crop.
        """
        height, width = pixels.shape[-2:]
        if self.cut is None:
            raise NetError(f"{self.name}: has no score map, since {self.no_score_map}; use a protocol of crops")
        if min(height, width) < self.crop:
            raise NetError(
                f"{self.name}: {width} × {height} px is less than its crop, {self.crop} px; rescale the picture"
            )
        height, width = (side - (side - self.crop) % self.multiple for side in (height, width))
        return slide(self.scores, pixels[:, :, :height, :width], self.cut)

    def forward(self, pixels: Real[Tensor, "n 3 crop crop"]) -> Float[Tensor, "n k"]:
        """Class scores of pictures of the crop's size.

        Raises:
            NetError: the pictures have another size.
        """
        if pixels.shape[-2:] != (self.crop, self.crop):
            height, width = pixels.shape[-2:]
            raise NetError(
                f"{self.name}: {width} × {height} px is not its crop, {self.crop} × {self.crop} px; see score_map"
            )
        return self.scores(pixels)

    def scores(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "rows k"]:
        """What the module gives, a map averaged over its positions: a row a picture, or a window where it is cut."""
        given = self.module(self.prepared(pixels))
        return given.mean((2, 3)) if given.dim() == 4 else given

    def prepared(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Pixels as the module takes them, to the bit as torchvision's presets prepare them."""
        values = pixels.float().div(255).mul(self.white).sub(self.shift).div(self.scale)[:, self.colours]
        dtypes = (parameter.dtype for parameter in self.module.parameters() if parameter.is_floating_point())
        return values.to(next(dtypes, torch.float32))


def _of_colours(name: str, what: str, value: Number | Sequence[Number]) -> Float[Tensor, "3 1 1"]:
    """A number for each colour."""
    try:
        return torch.as_tensor(value, dtype=torch.float32).flatten().expand(3)[:, None, None].clone()
    except (RuntimeError, TypeError, ValueError):
        raise NetError(f"{name}: {what} is {value!r}; give one number, or three, for red, green and blue") from None


@torch.no_grad()
def _try_out(net: Wrapped) -> Wrapped:
    """The same net, once it is known that it gives scores, and whether it gives them at every position.

    Raises:
        NetError: it gives none.
    """
    crop = _noise(net, net.crop, net.crop)
    try:
        given = net.module(net.prepared(crop))
    except Exception as error:  # whatever a module may raise
        side = f"{net.crop} × {net.crop} px"
        raise NetError(f"{net.name}: fails on a crop of {side} ({one_line(error)}); give its own crop") from error
    _check_scores(net, given)
    for multiple, (higher, wider) in TRIALS:
        # By two and three cells of seven; halved again and again, one side is odd if rounded down, the other if up.
        extra = (max(1, higher * net.crop // 7 - 1), wider * net.crop // 7 + 1)
        sides = (net.crop + -(-pixels // multiple) * multiple for pixels in extra)
        try:
            net.cut = find_cut(net.scores, crop, _noise(net, *sides))
        except Unmappable as reason:
            net.no_score_map = str(reason)
        else:
            net.multiple, net.no_score_map = multiple, ""
            break
    return net


def _noise(net: Wrapped, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=generator).to(net.shift.device)


def _check_scores(net: Wrapped, given: Any) -> None:
    """Refuse what is not one score for each class of one crop."""
    if isinstance(given, Mapping):
        kind = f"a dict of {', '.join(map(str, given))}"
    elif isinstance(given, (tuple, list)):
        kind = f"a {type(given).__name__} of {len(given)}"
    elif not isinstance(given, Tensor):
        kind = f"a {type(given).__name__}"
    else:
        shape, due = tuple(given.shape), (1, len(net.classes))
        if given.dim() not in (2, 4) or shape[:2] != due:
            raise NetError(
                f"{net.name}: gives scores of shape {shape} for one crop, where its {len(net.classes)} classes make it "
                f"{due}; give as many classes as it has outputs"
            )
        scores = given.float().flatten(2).mean(-1) if given.dim() == 4 else given.float()
        if not scores.isfinite().all():
            raise NetError(
                f"{net.name}: its scores of a crop of noise are no numbers ({scores[~scores.isfinite()][0]}); see to "
                "its weights, and to mean, std and value_range"
            )
        if len(net.classes) > 1 and (scores >= 0).all() and abs(scores.sum() - 1) < 1e-3:
            raise NetError(
                f"{net.name}: gives posteriors, none negative and their sum 1, where scores are due; leave out its "
                "soft-max"
            )
        return
    raise NetError(f"{net.name}: gives {kind}, where scores [n, k] are due; wrap a module that gives the scores alone")
