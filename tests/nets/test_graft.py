import pytest
import torch

from verydeep.errors import NetError
from verydeep.nets.graft import graft
from verydeep.nets.registry import NETS, create_net

LEFT = {  # what stays random. Source: section 3.1, as decision 004 reads it
    "vgg-b": "1_2 2_2 4_1 4_2 5_1 5_2",
    "vgg-c": "1_2 2_2 3_3 4_1 4_2 4_3 5_1 5_2 5_3",
    "vgg-d": "1_2 2_2 3_3 4_1 4_2 4_3 5_1 5_2 5_3",
    "vgg-e": "1_2 2_2 3_3 3_4 4_1 4_2 4_3 4_4 5_1 5_2 5_3 5_4",
}
CONVOLUTIONS = ("conv1_1", "conv2_1", "conv3_1", "conv3_2")
GRAFTED = (*CONVOLUTIONS, "fc6", "fc7", "fc8")


def changed(before, net):
    """The layers with a tensor that is another one now."""
    return {name.rpartition(".")[0] or name for name, tensor in net.state_dict().items()
            if not torch.equal(tensor, before[name])}  # fmt: skip


def copy_of(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("name", LEFT)
def test_exactly_seven_layers_are_taken_by_name_and_the_rest_is_said(name, narrow):
    net, shallow = create_net(name, num_classes=5, width=1 / 32, crop=64, seed=3), narrow("vgg-a")
    before = copy_of(net)
    done = graft(net, shallow)
    assert done.taken == GRAFTED
    assert done.random == tuple(f"conv{place}" for place in LEFT[name].split())
    assert changed(before, net) == {*done.taken, "mean", "std"}
    theirs = shallow.state_dict()
    for layer in done.taken:
        for part in ("weight", "bias"):
            assert torch.equal(net.state_dict()[f"{layer}.{part}"], theirs[f"{layer}.{part}"])
    assert torch.equal(net.mean, shallow.mean)
    assert torch.equal(net.std, shallow.std)


@pytest.mark.parametrize("name", LEFT)
def test_all_seven_fit_at_full_width(name):
    with torch.device("meta"):
        net, shallow = create_net(name), create_net("vgg-a")
    assert graft(net, shallow).taken == GRAFTED


@pytest.mark.parametrize("name", ["cifar-vgg-b", "cifar-vgg-d", "cifar-vgg-e", "cifar-vgg-d-bn"])
def test_nets_with_one_fully_connected_layer_take_that_one(name):
    shallow = "cifar-vgg-a-bn" if name.endswith("-bn") else "cifar-vgg-a"
    net = create_net(name, width=1 / 32, seed=3)
    assert graft(net, create_net(shallow, width=1 / 32)).taken == (*CONVOLUTIONS, "fc6")
    others = create_net(shallow, width=1 / 32, classes=list("bacdefghij"))
    with pytest.raises(NetError, match="other classes, or in another order; leave out fc6"):
        graft(net, others)


def test_what_is_taken_and_what_is_not_reads_as_a_sentence(narrow):
    said = str(graft(narrow("vgg-b"), narrow("vgg-a")))
    assert said == (
        "from the shallow net: conv1_1, conv2_1, conv3_1, conv3_2, fc6, fc7, fc8; "
        "random: conv1_2, conv2_2, conv4_1, conv4_2, conv5_1, conv5_2"
    )


def test_the_control_takes_the_fully_connected_layers_alone(narrow):
    net = create_net("vgg-b-5x5", num_classes=5, width=1 / 32, crop=64, seed=3)
    before = copy_of(net)
    done = graft(net, narrow("vgg-a"))
    assert done.taken == ("fc6", "fc7", "fc8")
    assert changed(before, net) == {*done.taken, "mean", "std"}


def test_convolutions_bring_their_normalisation(narrow):
    net = create_net("vgg-d-bn", num_classes=5, width=1 / 32, crop=64, seed=3)
    shallow = narrow("vgg-a-bn")
    shallow.norm3_2.num_batches_tracked.fill_(17)
    before = copy_of(net)
    done = graft(net, shallow)
    norms = {layer.replace("conv", "norm") for layer in CONVOLUTIONS}
    assert changed(before, net) == {*done.taken, *norms, "mean", "std"}
    for norm in norms:
        ours, theirs = net.get_submodule(norm).state_dict(), shallow.get_submodule(norm).state_dict()
        assert all(torch.equal(ours[part], theirs[part]) for part in theirs)
        assert len(theirs) == 5


def test_the_shallow_net_stays_as_it_was_and_shares_nothing(narrow):
    net, shallow = narrow("vgg-b"), narrow("vgg-a")
    before = copy_of(shallow)
    graft(net, shallow)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.add_(1)
    assert changed(before, shallow) == set()


def test_layers_can_be_chosen(narrow):
    done = graft(narrow("vgg-e"), narrow("vgg-d"), layers=("conv4_3", "conv1_2"))
    assert done.taken == ("conv4_3", "conv1_2")
    assert len(done.random) == NETS["vgg-e"].layers - 2


def test_a_net_of_other_classes_can_give_all_but_its_last_layer(narrow):
    net, shallow = narrow("vgg-b", num_classes=7), narrow("vgg-a")
    assert "fc8" in graft(net, shallow, layers=GRAFTED[:-1]).random


@pytest.mark.parametrize(
    ("deep", "shallow", "layers", "line"),
    [
        (("vgg-b", {"width": 1 / 16}), ("vgg-a", {}), None,
         "graft: conv1_1 is 4×3×3×3 in vgg-b and 2×3×3×3 in vgg-a; use the same width, crop, hidden units and classes"),
        (("vgg-b", {"crop": 96}), ("vgg-a", {}), None,
         "graft: fc6 is 128×16×3×3 in vgg-b and 128×16×2×2 in vgg-a; use the same"),
        (("vgg-b", {"hidden": 9}), ("vgg-a", {}), None, "graft: fc6 is 9×16×2×2 in vgg-b and 128×16×2×2 in vgg-a;"),
        (("vgg-b", {"num_classes": 7}), ("vgg-a", {}), None, "graft: fc8 is 7×128×1×1 in vgg-b and 5×128×1×1 in vgg-a"),
        (("vgg-b", {"classes": list("abcde")}), ("vgg-a", {"classes": list("abced")}), None,
         "graft: vgg-b and vgg-a have other classes, or in another order; leave out fc8"),
        (("vgg-d", {}), ("vgg-a", {}), ("conv1_2",), "graft: vgg-a has no layer conv1_2 with weights; name layers"),
        (("vgg-d", {}), ("vgg-a", {}), ("conv9",), "graft: vgg-d has no layer conv9 with weights; name layers"),
        (("vgg-d", {}), ("vgg-a", {}), ("fc6", "relu1_1"), "graft: vgg-d has no layer relu1_1 with weights;"),
        (("vgg-c", {}), ("vgg-d", {}), ("conv3_3",), "graft: conv3_3 is 8×8×1×1 in vgg-c and 8×8×3×3 in vgg-d;"),
        (("vgg-b-5x5", {}), ("vgg-a", {}), ("conv2_1",), "graft: conv2_1 is 4×2×5×5 in vgg-b-5x5 and 4×2×3×3 in vgg-a"),
        (("vgg-d-bn", {}), ("vgg-a", {}), None, "graft: conv1_1 is normalised in vgg-d-bn, not in vgg-a; use nets"),
        (("vgg-d", {}), ("vgg-a-bn", {}), None, "graft: conv1_1 is normalised in vgg-a-bn, not in vgg-d; use nets"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_changed(deep, shallow, layers, line, narrow):
    net = narrow(deep[0], **deep[1])
    before = copy_of(net)
    with pytest.raises(NetError) as error:
        graft(net, narrow(shallow[0], **shallow[1]), layers)
    assert str(error.value).startswith(line)
    assert changed(before, net) == set()
