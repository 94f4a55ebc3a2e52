import pytest
import torch

from verydeep.errors import NetError
from verydeep.nets.features import features
from verydeep.nets.fold import fold
from verydeep.nets.registry import NETS


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "due"),
    [(name, name.removesuffix("-bn")) for name in NETS if name.startswith("vgg") and name.endswith("-bn")]
    + [("googlenet-torchvision", "googlenet-3x3"), ("cifar-vgg-d-bn", "cifar-vgg-d")],
)
def test_a_folded_net_gives_the_same_scores_to_rounding(name, due, narrow, pixels):
    net = narrow(name).double()
    plain = fold(net)
    assert plain.name == due
    assert not any("norm" in key for key in plain.state_dict())
    for pictures in (pixels(2, 64), pixels(1, 97, 130)):
        torch.testing.assert_close(plain.score_map(pictures), net.score_map(pictures), rtol=1e-10, atol=1e-10)


def test_a_folded_net_keeps_all_else_and_is_a_net_of_its_own(narrow, pixels):
    net = narrow("vgg-a-bn", classes=("cat", "dog"), hidden=17, dropout=0.3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plain = fold(net)
    kept = ("crop", "width", "hidden", "dropout", "classes", "training")
    assert all(getattr(plain, key) == getattr(net, key) for key in kept)
    assert plain.mean.equal(net.mean)
    assert plain.std.equal(net.std)
    assert all(parameter.requires_grad for parameter in plain.parameters())
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    assert all(net.state_dict()[name].equal(value) for name, value in before.items())


@torch.no_grad()
def test_a_folded_net_with_branches_has_the_layers_of_the_net_before(narrow, pixels):
    net = narrow("googlenet-torchvision").double()
    layers = ["conv1/relu_7x7", "inception_3a/relu_5x5", "inception_4e/output", "pool5/7x7_s1"]
    ours, due = (features(each, pixels(1, 96, 70), layers) for each in (fold(net), net))
    for layer in layers:
        torch.testing.assert_close(ours[layer], due[layer], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["vgg-d", "googlenet", "cifar-fast"])  # the last pools before it normalises
def test_a_net_without_normalisation_that_can_be_folded_is_refused_in_one_line(name, narrow):
    line = rf"{name}: has no batch normalisation that can be folded; .* vgg-a-bn, vgg-b-bn, .*googlenet-torchvision"
    with pytest.raises(NetError, match=line) as error:
        fold(narrow(name, crop=32) if name == "cifar-fast" else narrow(name))
    assert "\n" not in str(error.value)
