"""Batch normalisation folded into the convolutions before it: the same scores from plain convolutions."""

import torch
from torch import Tensor, nn

from verydeep.errors import NetError
from verydeep.nets.net import Net
from verydeep.nets.registry import NETS, create_net


@torch.no_grad()
def fold(net: Net) -> Net:
    """A net such as vgg-d-bn as the net without `-bn`: of the same scores in eval mode, up to rounding.

    A normalisation scales and shifts each channel; in eval mode by fixed numbers, which the weights before it can hold.

    Raises:
        NetError: it has no normalisation, or the registry has no such net without.
    """
    plain_name = net.name.removesuffix("-bn")
    if plain_name == net.name or plain_name not in NETS:
        known = ", ".join(name for name in NETS if name.endswith("-bn") and name.removesuffix("-bn") in NETS)
        raise NetError(f"{net.name}: has no batch normalisation that can be folded; those that have are {known}")
    with torch.device("meta"):
        plain = create_net(
            plain_name, crop=net.crop, width=net.width, hidden=net.hidden, dropout=net.dropout, classes=net.classes
        )
    modules = dict(net.named_children())
    state = {name: value for name, value in net.state_dict().items() if name in plain.state_dict()}
    before = ""
    for layer in net.plan:
        if layer.kind == "norm":
            conv = layer.after[0] if layer.after else before
            weight, bias = folded(modules[conv], modules[layer.name])
            state |= {f"{conv}.weight": weight, f"{conv}.bias": bias}
        before = layer.name
    plain.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    return plain.requires_grad_()


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
