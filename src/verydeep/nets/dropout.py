"""Dropout whose masks depend on seed, step, layer and the picture's row in its batch alone.

So what is dropped is the same however many pictures go through the net at a time, and on however many machines.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

BLOCK = 16  # values that one count of the generator gives: four numbers of 64 bits, four values each
LEVELS = 1 << 16  # of a value: the dropped fraction is met to 1 / 65,536

Key = tuple[int, int, int]  # seed, step and place of the layer in its net


class Dropout(nn.Dropout):
    """Dropout that draws by a key once `draw_masks` has given it one; until then torch's own.

    Source: section 3.1, by Srivastava et al. 2014; docs/decisions/077-masks-by-row.md.
    """

    key: Key | None = None
    first = 0  # row of the first picture that it will see, in the batch that the step has as a whole

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps with some values dropped and the others raised, in training; else as they are."""
        return self.drop(maps, self.first)

    def drop(self, maps: Float[Tensor, "n c h w"], first: int) -> Float[Tensor, "n c h w"]:
        """The same for a picture that is row `first` and those after it."""
        if not self.training or self.key is None or self.p == 0:
            return super().forward(maps)
        kept = kept_values(self.key, first, len(maps), maps[0].numel(), self.p)
        mask = torch.from_numpy(kept).to(maps.device).view(maps.shape)
        return maps * mask * (1 / (1 - self.p) if self.p < 1 else 0)


class ChannelDropout(Dropout):
    """A dropout of channels, the same ones in all pictures of a batch. Source: Graham 2014, section 4."""

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps, of which in training some channels are 0 and the others larger for it."""
        return maps * self.drop(maps.new_ones(1, maps.shape[1], 1, 1), first=0)


def draw_masks(net: nn.Module, seed: int, step: int, first: int) -> None:
    """Let all dropout of a net draw for a step, of whose batch the next picture that the net sees is row `first`."""
    layers = (layer for layer in net.modules() if isinstance(layer, Dropout))
    for place, layer in enumerate(layers):
        layer.key, layer.first = (seed, step, place), first


def kept_values(key: Key, first: int, rows: int, values: int, fraction: float) -> Bool[np.ndarray, "rows values"]:
    """Which values of some rows of a batch are kept, from a generator that counts: any row can be had by itself."""
    blocks = -(-values // BLOCK)  # a row
    generator = np.random.Philox(key=np.random.SeedSequence(key).generate_state(2, np.uint64))
    drawn = generator.advance(first * blocks).random_raw(rows * blocks * 4).view(np.uint16)
    return drawn.reshape(rows, blocks * BLOCK)[:, :values] >= round(fraction * LEVELS)
