"""How a net's weights start: the paper's Gaussian, Glorot's, He's, or as its own authors drew them."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from verydeep.errors import NetError
from verydeep.nets.net import Net

Law = Literal["paper", "glorot", "he", "own"]
Draw = Callable[[Net, Generator], None]


def gaussian(net: Net, generator: Generator) -> None:
    """The paper's law, which most nets of its time share. Source: section 3.1."""
    initialise(net, "paper", generator)


def initialise(net: Net, law: Law, generator: Generator, deviation: float = 0.01, own: Draw = gaussian) -> None:
    """Draw all weights of convolutions and fully connected layers anew, in place; biases become 0.

    Normalisations become the identity, of mean 0 and variance 1.

    Args:
        net: on the CPU; on the meta device nothing is drawn.
        law: `paper`: normal with a fixed deviation, whatever the layer; `glorot`: uniform with bound
            √(6 / (fan in + fan out)); `he`: normal with variance 2 / fan in, 1 / fan in for layers of class
            scores, which no ReLU follows; `own`: as the net's authors did.
        generator: where the numbers come from.
        deviation: of the law `paper`. The text's "variance 10⁻²" is read as a deviation of 0.01:
            docs/decisions/004-start-of-the-weights.md.
        own: what the law `own` is.

    Source: section 3.1; Glorot & Bengio 2010, equation 16; He et al. 2015, section 2.2.
    """
    if law not in get_args(Law):
        raise NetError(f"initialise: {law!r} is not a law; use one of {', '.join(get_args(Law))}")
    if law == "own":
        if not net.mean.is_meta:
            own(net, generator)
        return
    for name, layer in net.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if not layer.weight.is_meta:
            gain = 1 if name in net.heads else 2
            _draw(layer.weight, law, generator, deviation, gain)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


@torch.no_grad()
def _draw(weight: Float[Tensor, "k c h w"], law: Law, generator: Generator, deviation: float, gain: int) -> None:
    """Draw one layer's weights; `gain` is what He's law makes up for: 2 before a ReLU, which halves the variance."""
    fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
    if law == "paper":
        weight.normal_(0, deviation, generator=generator)
    elif law == "glorot":
        bound = (6 / (fan_in + fan_out)) ** 0.5
        weight.uniform_(-bound, bound, generator=generator)
    else:
        weight.normal_(0, (gain / fan_in) ** 0.5, generator=generator)
