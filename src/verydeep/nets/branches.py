"""Nets with layers side by side, whose outputs are joined again."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Real
from torch import Tensor

from verydeep.nets.layers import Layer, needed, sources
from verydeep.nets.net import Net
from verydeep.nets.order import cheapest_order


class Branches(Net):
    """A net whose layers may take the outputs of any layers before them: `after` of each says whose."""

    def scores(self, pixels: Real[Tensor, "n 3 h w"]) -> Float[Tensor, "n k u v"]:
        """Class scores at every position, whatever the pictures' size, in the order that is cheapest."""
        return self.outputs(pixels, self.heads[:1])[0]

    def outputs(self, pixels: Real[Tensor, "n 3 h w"], layers: Sequence[str]) -> list[Float[Tensor, "n _ _ _"]]:
        """What some layers make of pictures; of the others only those are computed that they need."""
        modules = dict(self.named_children())
        todo = list(chains(self.plan, layers))
        uses = Counter(name for chain in todo for name in chain.takes) + Counter(layers)
        kept = {"": self.prepared(pixels)}
        for chain in todo:
            maps = [kept[name] for name in chain.takes]
            output = torch.cat(maps, dim=1) if len(maps) > 1 else maps[0]
            uses.subtract(chain.takes)
            kept = {name: maps for name, maps in kept.items() if uses[name] > 0}
            for step in cheapest_order(modules[name] for name in chain.layers):
                output = step(output)
            kept[chain.layers[-1]] = output
        return [kept[name] for name in layers]


@dataclass(frozen=True)
class Chain:
    """Layers that follow each other, of which nobody else wants more than the last one's output.

    Attributes:
        takes: names of the layers whose outputs it begins with, joined; "" for the pixels.
        layers: names of its layers.
    """

    takes: tuple[str, ...]
    layers: tuple[str, ...]


def chains(plan: Sequence[Layer], ends: Sequence[str]) -> Iterator[Chain]:
    """The layers that some layers need, themselves included, as chains in the order of the data."""
    takes = sources(needed(plan, ends))
    uses = Counter(source for names in takes.values() for source in names) + Counter(ends)
    chain: list[str] = []
    for name in takes:
        if chain and (takes[name] != (chain[-1],) or uses[chain[-1]] > 1):
            yield Chain(takes[chain[0]], tuple(chain))
            chain = []
        chain.append(name)
    yield Chain(takes[chain[0]], tuple(chain))
