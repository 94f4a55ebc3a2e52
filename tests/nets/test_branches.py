import torch

from verydeep.nets.branches import Branches, chains
from verydeep.nets.layers import Layer

DIAMOND = (  # two branches, one of which also leaves the net by itself
    Layer("conv1", "conv", 3, 4, 3, padding=1),
    Layer("relu1", "relu", 4, 4),
    Layer("left", "conv", 4, 2, 1, after=("relu1",)),
    Layer("relu_left", "relu", 2, 2),
    Layer("aside", "fc", 2, 5, 4),
    Layer("right", "conv", 4, 3, 3, padding=1, after=("relu1",)),
    Layer("join", "join", 5, 5, after=("right", "relu_left")),
    Layer("pool", "pool", 5, 5, 4, 4),
    Layer("last", "fc", 5, 5),
)


def made():
    torch.manual_seed(3)
    net = Branches("diamond", DIAMOND, "abcde", crop=4)
    net.mean.fill_(100)
    return net


def test_chains_break_where_more_than_one_layer_takes_an_output():
    assert [chain.layers for chain in chains(DIAMOND, ("last",))] == [
        ("conv1", "relu1"), ("left", "relu_left"), ("right",), ("join", "pool", "last")
    ]  # fmt: skip
    both = list(chains(DIAMOND, ("last", "aside")))
    assert [chain.layers for chain in both] == [
        ("conv1", "relu1"), ("left", "relu_left"), ("aside",), ("right",), ("join", "pool", "last")
    ]  # fmt: skip
    assert [chain.takes for chain in both] == [("",), ("relu1",), ("relu_left",), ("relu1",), ("right", "relu_left")]


def test_scores_are_those_of_the_layers_one_by_one(pixels):
    net, shown = made(), pixels(2, 11, 8)
    weights = net.state_dict()

    def conv(name, maps, padding=0):
        return torch.conv2d(maps, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    stem = conv("conv1", shown - 100.0, padding=1).relu()
    left = conv("left", stem).relu()
    joined = torch.cat([conv("right", stem, padding=1), left], dim=1)
    by_hand = conv("last", torch.max_pool2d(joined, 4))
    scores, aside = net.outputs(shown, ("last", "aside"))
    torch.testing.assert_close(scores, by_hand)
    torch.testing.assert_close(aside, conv("aside", left))
    assert torch.equal(net.score_map(shown), scores)
    maps = {name: found.clone() for name, found in net.maps(shown)}
    assert list(maps) == [layer.name for layer in DIAMOND]
    torch.testing.assert_close(maps["join"], joined)
    torch.testing.assert_close(maps["last"], by_hand)


def test_a_layer_that_nobody_needs_is_not_computed(pixels):
    net = made()
    net.aside.forward = None  # would fail
    assert net(pixels(1, 4)).shape == (1, 5)


def test_a_watched_layer_sees_what_it_took_and_gave(pixels):
    net, seen = made(), []
    net.relu1.register_forward_hook(lambda layer, inputs, output: seen.append((inputs[0].clone(), output.clone())))
    net(pixels(1, 4))
    ((taken, given),) = seen
    assert taken.min() < 0
    assert torch.equal(given, taken.relu())
