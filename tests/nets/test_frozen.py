import pytest
import torch

from verydeep.nets.frozen import frozen
from verydeep.nets.normalisation import Normalisation
from verydeep.nets.registry import NETS
from verydeep.nets.stack import Stack, run

STACKS = [
    name for name, net in NETS.items()
    if any(layer.kind == "norm" for layer in net.plan) and not any(layer.after for layer in net.plan)
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("name", STACKS)
def test_every_layer_of_a_net_that_is_frozen_gives_the_same_map_to_rounding(name, narrow):
    net = narrow(name, crop=NETS[name].crop).double()
    assert isinstance(net, Stack)
    pixels = torch.randint(0, 256, (2, 3, net.crop, net.crop), dtype=torch.uint8)
    layers, shown = [*net.children()], net.prepared(pixels)
    for end in range(1, len(layers) + 1):
        due = run(layers[:end], shown)
        found = run(frozen(layers[:end], torch.float64), shown)
        torch.testing.assert_close(found, due, rtol=1e-9, atol=1e-9)


def test_the_net_itself_stays_what_it_was(narrow):
    net = narrow("vgg-a-bn")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    layers = [*net.children()]
    once = frozen(layers, torch.bfloat16)
    assert [*net.children()] == layers
    assert all(net.state_dict()[name].equal(value) for name, value in before.items())
    assert sum(isinstance(layer, Normalisation) for layer in once) == 0
    assert {layer.weight.dtype for layer in once if hasattr(layer, "weight")} == {torch.bfloat16}
    assert all(parameter.requires_grad for parameter in net.parameters())


@torch.no_grad()
def test_in_half_precision_maps_are_near_those_in_single(narrow):
    net = narrow("vgg-a-bn")
    layers = [*net.children()][:-1]
    shown = net.prepared(torch.randint(0, 256, (8, 3, 70, 64), dtype=torch.uint8))
    due = run(layers, shown).flatten(1)
    found = run(frozen(layers, torch.bfloat16), shown.bfloat16()).float().flatten(1)
    assert torch.cosine_similarity(found, due).min() > 0.999
    assert not found.equal(due)
