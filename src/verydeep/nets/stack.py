"""Nets whose layers follow each other, one by one: all of the paper's, and most of those before it."""

from collections.abc import Iterable, Sequence
from itertools import product

from jaxtyping import Float, Real
from torch import Tensor, nn

from verydeep.nets.layers import Layer
from verydeep.nets.net import Net
from verydeep.nets.order import cheapest_order


class Stack(Net):
    """A net that is a plain sequence of layers. Source: table 1."""

    def scores(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k u v"]:
        """Class scores at every position, whatever the pictures' size, in the order that is cheapest."""
        return run(self.children(), self.prepared(pixels))

    def fine_score_map(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k u v"]:
        """Class scores with the last pool laid at every offset, put between each other.

        Cells are `stride` / s pixels apart, s being the pool's stride: cell (s i, s j) is cell (i, j) of the score map.

        Raises:
            NetError: the net has no pool, or the pictures are smaller than the crop.

        Source: Sermanet et al. 2014, "OverFeat: integrated recognition, localization and detection using convolutional
        networks", section 3.3 and figure 3.
        """
        self.check_side(pixels)
        layers = list(self.children())
        last = max((place for place, layer in enumerate(self.plan) if layer.kind == "pool"), default=None)
        if last is None:
            return super().fine_score_map(pixels)
        before, behind, stride = layers[:last], layers[last:], self.plan[last].stride
        maps = run(before, self.prepared(pixels))
        rows, columns = (positions(self.plan[last:], side, stride) for side in maps.shape[-2:])
        fine = maps.new_empty(len(maps), len(self.classes), sum(rows), sum(columns))
        for top, left in product(range(stride), repeat=2):
            if rows[top] and columns[left]:
                fine[:, :, top::stride, left::stride] = run(behind, maps[:, :, top:, left:])
        return fine


def run(layers: Iterable[nn.Module], maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k u v"]:
    """What layers make of maps one after the other, in the order that is cheapest."""
    for layer in cheapest_order(layers):
        maps = layer(maps)
    return maps


def positions(layers: Sequence[Layer], side: int, offsets: int) -> list[int]:
    """How many cells layers leave of a map of this side without its first 0, 1, 2 … cells, for so many offsets."""
    counts = []
    for offset in range(offsets):
        left = side - offset
        for layer in layers:
            left = layer.side(left) if left > 0 else 0
        counts.append(max(left, 0))
    return counts
