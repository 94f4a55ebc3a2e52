"""Batch normalisation folded into the convolutions before it: the same scores from plain convolutions."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from verydeep.errors import NetError
from verydeep.nets.layers import Layer, sources
from verydeep.nets.net import Net
from verydeep.nets.registry import NETS, create_net


@torch.no_grad()
def fold(net: Net) -> Net:
    """A net such as vgg-d-bn as the net without `-bn`: of the same scores in eval mode, up to rounding.

    A normalisation scales and shifts each channel; in eval mode by fixed numbers, which the weights before it can hold.
    The net without is that of the registry whose layers are the ones that are left, of googlenet-torchvision
    googlenet-3x3: docs/decisions/134-a-folded-net-is-one-of-the-registry.md.

    Raises:
        NetError: it has no normalisation, or the registry has no such net without.
    """
    plain_name = without_normalisation(net.name)
    if plain_name is None:
        known = ", ".join(name for name in NETS if without_normalisation(name))
        raise NetError(f"{net.name}: has no batch normalisation that can be folded; those that have are {known}")
    with torch.device("meta"):
        plain = create_net(
            plain_name, crop=net.crop, width=net.width, hidden=net.hidden, dropout=net.dropout, classes=net.classes
        )
    modules, takes = dict(net.named_children()), sources(net.plan)
    state = {name: value for name, value in net.state_dict().items() if name in plain.state_dict()}
    for layer in net.plan:
        if layer.kind == "norm":
            (conv,) = takes[layer.name]
            weight, bias = folded(modules[conv], modules[layer.name])
            state |= {f"{conv}.weight": weight, f"{conv}.bias": bias}
    plain.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    return plain.requires_grad_()


def without_normalisation(name: str) -> str | None:
    """The net of the registry that has the layers of this one but for its normalisations, if there is one."""
    if name not in NETS or all(layer.kind != "norm" for layer in NETS[name].plan):
        return None
    left = unnormalised(NETS[name].plan)
    return next((other for other, net in NETS.items() if net.plan == left), None)


def unnormalised(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers but for normalisations, before each of which a convolution adds the biases."""
    takes = sources(layers)
    biased = {takes[layer.name][0] for layer in layers if layer.kind == "norm"}
    return tuple(replace(layer, bias=layer.bias or layer.name in biased) for layer in layers if layer.kind != "norm")


def folded(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weights and biases of a convolution that does a normalisation's work, too.

    Source: Ioffe & Szegedy 2015, section 3.1.
    """
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = torch.zeros_like(scale) if conv.bias is None else conv.bias.double()
    weight = conv.weight.double() * scale[:, None, None, None]
    shifted = (bias - norm.running_mean.double()) * scale + norm.bias.double()
    return weight.to(conv.weight.dtype), shifted.to(conv.weight.dtype)
