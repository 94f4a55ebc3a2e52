import numpy as np
import pytest
import torch

from verydeep.data.statistics import Statistics
from verydeep.errors import WeightsError
from verydeep.nets.registry import create_net, save_net
from verydeep.training.average import WeightAverage
from verydeep.training.loop import set_learning_rate
from verydeep.training.recipe import parse_recipe
from verydeep.training.schedule import Plateau
from verydeep.training.start import choose_trained, class_weights, make_optimizer, set_colours, start_net
from verydeep.training.state import Progress, State

SIZES = {"net": "vgg-a-bn", "width": 0.03, "crop": 32, "hidden": 8}
CLASSES = ("a", "b", "c")


def recipe(**tables):
    return parse_recipe(SIZES | tables)


def started(recipe, classes=CLASSES):
    return start_net(recipe, classes, lambda line: None)


def test_the_start_depends_on_the_seed_and_on_nothing_else():
    torch.manual_seed(1)
    first = started(recipe(seed=5))
    torch.manual_seed(2)
    second, third = started(recipe(seed=5)), started(recipe(seed=6))
    assert torch.equal(first.fc7.weight, second.fc7.weight)
    assert not torch.equal(first.fc7.weight, third.fc7.weight)


def test_the_papers_law_is_a_normal_one_of_deviation_0_01_with_biases_of_zero():
    net = started(parse_recipe({"net": "vgg-a", "crop": 32, "width": 0.1}))
    assert net.fc7.weight.std().item() == pytest.approx(0.01, rel=0.02)  # of 168,100 weights
    assert not any(layer.bias.any() for layer in (net.conv1_1, net.conv5_2, net.fc6, net.fc8))


def test_colours_are_those_of_the_pictures_and_undivided_as_in_the_paper():
    statistics = Statistics(np.array([120.0, 110.0, 100.0]), np.diag([900.0, 400.0, 0.0]), 3, 300)
    net = started(recipe())
    set_colours(net, recipe(), statistics)
    assert (net.mean.flatten().tolist(), net.std.flatten().tolist()) == ([120, 110, 100], [1, 1, 1])
    set_colours(net, recipe(start={"standardise": True}), statistics)
    assert net.std.flatten().tolist() == [30, 20, 1]  # one colour alone is not divided by nothing


def test_a_net_that_starts_from_another_keeps_its_colours(tmp_path):
    source = create_net("vgg-a-bn", width=0.03, crop=32, hidden=8, classes=CLASSES)
    source.mean.fill_(77)
    save_net(tmp_path / "net.safetensors", source)
    chained = recipe(start={"weights": str(tmp_path / "net.safetensors")})
    net = started(chained)
    set_colours(net, chained, Statistics(np.zeros(3), np.eye(3), 3, 300))
    assert net.mean.flatten().tolist() == [77, 77, 77]
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in source.state_dict().items())


def test_convolutions_alone_may_be_taken_from_a_net_with_other_hidden_layers(tmp_path):
    source = create_net("vgg-a-bn", width=0.03, crop=32, hidden=20, classes=CLASSES)
    save_net(tmp_path / "net.safetensors", source)
    said = []
    chosen = recipe(start={"weights": str(tmp_path / "net.safetensors"), "layers": "convolutional"})
    net = start_net(chosen, CLASSES, said.append)
    alike = {name for name, value in source.state_dict().items() if torch.equal(value, net.state_dict()[name])
             if value.shape == net.state_dict()[name].shape}  # fmt: skip
    assert {name for name in net.state_dict() if name.startswith(("conv", "norm"))} <= alike
    assert not any(name.startswith("fc") and name.endswith("weight") for name in alike)
    assert said[0].endswith("but for fc6, fc7, fc8: random, since only convolutions are taken")


def test_weights_of_another_net_are_refused_with_the_layer(tmp_path):
    save_net(tmp_path / "b.safetensors", create_net("vgg-b-bn", width=0.03, crop=32, hidden=8, classes=CLASSES))
    with pytest.raises(WeightsError, match=r"b\.safetensors: conv1_2\.weight is not in this net"):
        started(recipe(start={"weights": str(tmp_path / "b.safetensors")}))


def test_l2_is_on_the_weights_alone_unless_the_recipe_says_otherwise():
    net = started(recipe())
    for decay_biases in (False, True):
        optimizer = make_optimizer(net, recipe(optimizer={"weight_decay": 0.01, "decay_biases": decay_biases}))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                assert group["weight_decay"] == (0.01 if decay_biases or parameter.dim() == 4 else 0)
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))


def test_shifts_have_a_rate_of_their_own_and_decay_at_the_nets():
    net = started(recipe())
    settings = {"learning_rate": 0.5, "shifts": 64.0, "last_layer": 0.1, "weight_decay": 0.01, "decay_biases": True}
    optimizer = make_optimizer(net, recipe(optimizer=settings))
    found = {id(each): group for group in optimizer.param_groups for each in group["params"]}
    decays = {}
    for name, parameter in net.named_parameters():
        group = found[id(parameter)]
        is_shift = name.startswith("norm") and name.endswith("bias")
        assert group["times"] == (64 if is_shift else 0.1 if name.startswith("fc8") else 1)
        decays[name] = group["times"] * group["weight_decay"]
    assert {decay for name, decay in decays.items() if not name.startswith("fc8")} == {0.01}


def test_muon_moves_all_filter_banks_but_the_last_in_its_own_way():
    net = started(recipe())
    optimizer = make_optimizer(net, recipe(optimizer={"kind": "muon"}))
    orthogonal = {id(each) for group in optimizer.param_groups if group["orthogonal"] for each in group["params"]}
    names = {name for name, parameter in net.named_parameters() if id(parameter) in orthogonal}
    assert names == {name for name, parameter in net.named_parameters() if parameter.dim() > 1} - {"fc8.weight"}


def test_the_fully_connected_layers_alone_are_given_to_the_optimiser():
    net = started(recipe())
    choose_trained(net, recipe(start={"train": "fully-connected"}))
    optimizer = make_optimizer(net, recipe())
    trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    assert trained == {id(weight) for layer in (net.fc6, net.fc7, net.fc8) for weight in layer.parameters()}


def test_the_last_layer_alone_can_be_trained():
    net = started(recipe())
    choose_trained(net, recipe(start={"train": "last"}))
    assert {name for name, weight in net.named_parameters() if weight.requires_grad} == {"fc8.weight", "fc8.bias"}


def test_the_last_layer_can_have_a_rate_of_its_own():
    net = started(recipe())
    optimizer = make_optimizer(net, recipe(optimizer={"last_layer": 10.0}))
    times = {id(weight): group["times"] for group in optimizer.param_groups for weight in group["params"]}
    assert {name for name, weight in net.named_parameters() if times[id(weight)] == 10} == {"fc8.weight", "fc8.bias"}
    assert {*times.values()} == {1.0, 10.0}
    state = State(net, optimizer, Plateau(recipe().schedule), WeightAverage(net, 0.0), Progress(1))
    set_learning_rate(state, 10, recipe(optimizer={"learning_rate": 0.02}))
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.02, 0.2]


def test_classes_that_count_alike_have_equal_sums_of_weights_and_pictures_1_on_average():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = class_weights(labels, 3, recipe(regularisation={"balanced": True})).numpy()
    np.testing.assert_allclose(weights * np.bincount(labels), [10 / 3] * 3, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)
    assert class_weights(labels, 3, recipe()) is None
