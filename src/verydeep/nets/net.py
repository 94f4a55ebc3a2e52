"""What all our nets are: from pixels to class scores, or to a map of them, through layers that have names.

One net serves crops and whole pictures: a score map is the same forward pass on a larger picture.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Real, UInt8
from torch import Tensor, nn

from verydeep.errors import NetError
from verydeep.nets.hub import OnHub
from verydeep.nets.layers import Layer, needed, place
from verydeep.nets.module import module


class Net(nn.Module, OnHub):
    """A net from pixels (RGB, 0 to 255) to class scores.

    It subtracts its own mean and divides by its own deviation (1 in the paper), which are kept with the weights.

    Attributes:
        name: in the registry.
        classes: name of each output: wnids or class names.
        crop: side of its window, in pixels.
        width: factor on the published channels.
        dropout: fraction dropped after hidden fully connected layers, and a share of it elsewhere in some nets.
        plan: its layers, as data, in the order of the data; each module has its layer's name.
        mean: RGB, 0 to 255, of the training pixels. Source: section 2.1.
        std: what the difference to the mean is divided by, RGB, in levels of 255; 1 in the paper.
        takes_any_size: whether it can be called with pictures of any size, each of which it sees as one.
        whitens: how many crops, made as in training, it is to be shown by `whiten` before it is trained; 0: none.

    Source: sections 2.1 and 3.2.
    """

    takes_any_size = False
    whitens = 0

    @property
    def least_side(self) -> int:
        """The smallest side of a picture that it can be called with, px."""
        return self.crop

    def __init__(
        self,
        name: str,
        plan: Sequence[Layer],
        classes: Sequence[str],
        crop: int = 224,
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.name, self.classes, self.crop, self.width, self.dropout = name, tuple(classes), crop, width, dropout
        self.plan = tuple(plan)
        self.mean = nn.Buffer(torch.zeros(3, 1, 1))
        self.std = nn.Buffer(torch.ones(3, 1, 1))
        for layer in plan:
            self.add_module(layer.name, module(layer, dropout))

    @property
    def stride(self) -> int:
        """Pixels between two cells of a score map."""
        *_, last = place(self.plan, self.crop)
        return last.stride

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the layers that give class scores."""
        return (next(layer.name for layer in reversed(self.plan) if layer.has_weights),)

    @property
    def hidden(self) -> int | None:
        """Units of each hidden fully connected layer; None where there is none, or where they differ."""
        units = {layer.outputs for layer in self.plan if layer.kind == "fc" and layer.name not in self.heads}
        return units.pop() if len(units) == 1 else None

    def prepared(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """What the first layer takes, in the data type of the weights."""
        return ((pixels - self.mean) / self.std).to(self.mean.dtype)

    def maps(
        self, pixels: Real[Tensor, "n 3 h w"], ends: Sequence[str] | None = None
    ) -> Iterator[tuple[str, Float[Tensor, "n c u v"]]]:
        """Name and output of each layer in the order of the data, each computed only when it is asked for.

        Pictures may be smaller than the crop, as far as the layers asked for can use them; no layer works in place.

        Args:
            pixels: RGB, 0 to 255.
            ends: names of layers: of the others only those that they need come; by default all.

        Raises:
            NetError: the pictures are too small for the layer that is asked for.
        """
        modules = dict(self.named_children())
        plan = self.plan if ends is None else needed(self.plan, ends)
        wanted = [name for layer in plan for name in layer.after]  # once for each layer that takes it
        kept: dict[str, Tensor] = {}
        maps = self.prepared(pixels)
        for layer in plan:
            if layer.after:
                maps = torch.cat([kept[name] for name in layer.after], dim=1)
                for name in layer.after:
                    wanted.remove(name)
                kept = {name: output for name, output in kept.items() if name in wanted}
            if layer.side(min(maps.shape[-2:])) < 1:
                height, width = pixels.shape[-2:]
                raise NetError(f"{self.name}: {width} × {height} px is too small for {layer.name}; rescale the picture")
            if layer.kind != "join":
                maps = modules[layer.name](maps)
            if layer.name in wanted:
                kept[layer.name] = maps
            yield layer.name, maps

    def scores(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k u v"]:
        """Class scores at every position, whatever the pictures' size."""
        *_, (_, maps) = self.maps(pixels)
        return maps

    def score_map(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k u v"]:
        """Class scores at every position of pictures of any size of at least the crop.

        Cell (i, j) is the window of the crop's side whose first row is `stride` × i and whose first column is
        `stride` × j, in pixels, with its real surroundings. Rows and columns at the end that fill no window have no
        cell, unless a pool of the net rounds up.

        Raises:
            NetError: the pictures are smaller than the crop.
        """
        self.check_side(pixels)
        return self.scores(pixels)

    def fine_score_map(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k u v"]:
        """Class scores at positions between those of the score map, too, where the last pool can be laid at offsets.

        Raises:
            NetError: the net cannot, or the pictures are smaller than the crop.
        """
        raise NetError(f"{self.name}: has no last pool before its last layers to lay at every offset; use dense")

    def check_side(self, pixels: Real[Tensor, "n 3 h w"]) -> None:
        """Refuse pictures that hold no crop, and what is no batch of pictures."""
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            shape = " × ".join(map(str, pixels.shape))
            raise NetError(f"{self.name}: pixels are {shape}; give n × 3 × height × width, RGB")
        if min(pixels.shape[-2:]) < self.crop:
            height, width = pixels.shape[-2:]
            raise NetError(
                f"{self.name}: {width} × {height} px is less than its crop, {self.crop} px; rescale the picture"
            )

    def forward(self, pixels: Real[Tensor, "n 3 crop crop"]) -> Float[Tensor, "n k"]:
        """Class scores of pictures of the crop's size: the one cell of their score map.

        Raises:
            NetError: the pictures have another size.
        """
        if pixels.shape[-2:] != (self.crop, self.crop):
            height, width = pixels.shape[-2:]
            raise NetError(
                f"{self.name}: {width} × {height} px is not its crop, {self.crop} × {self.crop} px; see score_map"
            )
        return self.score_map(pixels).flatten(1)

    def training_scores(self, pixels: Real[Tensor, "n 3 side side"]) -> list[Float[Tensor, "n k"]]:
        """Class scores of all that is trained: the net's, then those of its side heads, if it has been given any."""
        return [self(pixels)]

    def whiten(self, crops: Iterable[UInt8[Tensor, "_ 3 c c"]]) -> None:
        """Measure what of the net is not learned on crops of the training pictures; most nets have nothing of it."""

    def add_side_heads(self) -> None:
        """Give the net the side heads that it was published with, for training.

        Raises:
            NetError: there are none.
        """
        raise NetError(f"{self.name}: has no side heads; leave out regularisation.side_heads")

    def tested(self) -> dict[str, Tensor]:
        """All weights that testing needs: those of side heads are left out."""
        return self.state_dict()
