import pytest
import torch

from verydeep.errors import NetError
from verydeep.nets.fold import fold
from verydeep.nets.registry import NETS


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in NETS if name.startswith("vgg") and name.endswith("-bn")])
def test_a_folded_net_gives_the_same_scores_to_rounding(name, narrow, pixels):
    net = narrow(name).double()
    plain = fold(net)
    assert plain.name == name.removesuffix("-bn")
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


def test_a_net_without_normalisation_is_refused_in_one_line(narrow):
    with pytest.raises(NetError, match=r"vgg-d: has no batch normalisation that can be folded; .* vgg-a-bn, vgg-b-bn"):
        fold(narrow("vgg-d"))
