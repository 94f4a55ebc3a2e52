"""GoogLeNet against its tables, against itself written by hand, and against torchvision's."""

import pytest
import torch
import torchvision
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from verydeep.nets.googlenet import googlenet_layers
from verydeep.nets.layers import count_macs, count_parameters, place
from verydeep.nets.registry import NETS, create_net

TABLE_1 = {  # name: side, C in, 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, projection, C out, parameters, multiply-adds
    "3a": (28, 192, 64, 96, 128, 16, 32, 32, 256, 163_696, 128_049_152),
    "3b": (28, 256, 128, 128, 192, 32, 96, 64, 480, 388_736, 304_267_264),
    "4a": (14, 480, 192, 96, 208, 16, 48, 64, 512, 376_176, 73_608_192),
    "4b": (14, 512, 160, 112, 224, 24, 64, 64, 512, 449_160, 87_908_352),
    "4c": (14, 512, 128, 128, 256, 24, 64, 64, 512, 510_104, 99_850_240),
    "4d": (14, 512, 112, 144, 288, 32, 64, 64, 528, 605_376, 118_515_712),
    "4e": (14, 528, 256, 160, 320, 32, 128, 128, 832, 868_352, 169_996_288),
    "5a": (7, 832, 256, 160, 320, 32, 128, 128, 832, 1_043_456, 51_079_168),
    "5b": (7, 832, 384, 192, 384, 48, 128, 128, 1024, 1_444_080, 70_697_984),
}
EXACT = {"rtol": 1e-4, "atol": 1e-4}  # single precision, sums in another order


def test_counts_are_those_of_the_table():
    assert (NETS["googlenet"].parameters, NETS["googlenet"].macs) == (6_998_552, 1_582_671_872)
    assert (NETS["googlenet"].layers, NETS["googlenet-naive"].layers) == (22, 13)  # on the longest way, as in section 5
    with_heads = tuple(googlenet_layers(side_heads=True))
    assert (count_parameters(with_heads), count_macs(with_heads, 224)) == (13_378_280, 1_591_044_096)
    placed = list(place(with_heads, 224))
    for name, (side, c_in, n1, r3, n3, r5, n5, proj, c_out, parameters, macs) in TABLE_1.items():
        module = [each for each in placed if each.layer.name.startswith(f"inception_{name}/")]
        convolutions = [each.layer for each in module if each.layer.kind == "conv"]
        assert [(layer.inputs, layer.outputs, layer.kernel) for layer in convolutions] == [
            (c_in, n1, 1), (c_in, r3, 1), (r3, n3, 3), (c_in, r5, 1), (r5, n5, 5), (c_in, proj, 1)
        ]  # fmt: skip
        assert {each.side for each in module} == {side}
        assert module[-1].layer.outputs == c_out == n1 + n3 + n5 + proj
        assert sum(layer.parameters for layer in convolutions) == parameters
        assert sum(each.macs for each in module) == macs
    heads = {
        f"loss{n}": sum(each.layer.parameters for each in placed if f"loss{n}/" in each.layer.name) for n in (1, 2)
    }
    assert heads == {"loss1": 3_188_840, "loss2": 3_190_888}


def test_reductions_save_what_the_naive_net_would_cost():
    """By arithmetic: each module's outputs are as many as its pool passes on unreduced, and its own."""
    channels, side_of, parameters, macs = 192, {"3": 28, "4": 14, "5": 7}, 0, 0
    for name, (_, _, n1, _, n3, _, n5, *_) in TABLE_1.items():
        weights = channels * (n1 + 9 * n3 + 25 * n5)
        parameters, macs = parameters + weights + n1 + n3 + n5, macs + weights * side_of[name[0]] ** 2
        channels += n1 + n3 + n5
    assert (channels, parameters, macs) == (4944, 92_456_592, 12_085_441_536)
    naive = NETS["googlenet-naive"]
    modules = [each for each in place(naive.plan, 224) if each.layer.name.startswith("inception")]
    assert sum(each.layer.parameters for each in modules) == parameters
    assert sum(each.macs for each in modules) == macs
    assert (naive.parameters, naive.macs) == (97_526_008, 12_568_061_056)


def operations(net, side=224):
    """What torch counts that a net does with a picture."""
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, side, side))
    return counter.get_total_flops()


def test_torchvisions_variant_costs_what_torch_counts_of_torchvisions_net():
    with torch.device("meta"):
        theirs = torchvision.models.googlenet(init_weights=False, aux_logits=False).eval()
        found = operations(theirs)
    ours = NETS["googlenet-torchvision"]
    assert 2 * ours.macs == found == 2 * 1_498_376_192
    assert ours.parameters == sum(each.numel() for each in theirs.parameters())
    assert NETS["googlenet-3x3"].macs == ours.macs
    channels = sum(layer.outputs for layer in ours.plan if layer.kind == "norm")
    assert NETS["googlenet-3x3"].parameters == ours.parameters - channels  # a bias for a scale and a shift


def by_hand(net, pixels, ceil=True):
    """Scores at every window of the last map, from the paper's figure 3; weights by Caffe's names."""
    weights = net.state_dict()

    def conv(name, maps, stride=1):
        kernel = weights[f"{name}.weight"].shape[-1]
        outputs = F.conv2d(maps, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride, kernel // 2)
        return F.relu(outputs)

    def pool(maps):
        return F.max_pool2d(maps, 3, 2, ceil_mode=True)

    def norm(maps):
        return F.local_response_norm(maps, 5, alpha=1e-4, beta=0.75, k=1.0)

    maps = norm(pool(conv("conv1/7x7_s2", (pixels - net.mean) / net.std, stride=2)))
    maps = pool(norm(conv("conv2/3x3", conv("conv2/3x3_reduce", maps))))
    sides = {}
    for name in TABLE_1:
        block = f"inception_{name}"
        maps = torch.cat([
            conv(f"{block}/1x1", maps),
            conv(f"{block}/3x3", conv(f"{block}/3x3_reduce", maps)),
            conv(f"{block}/5x5", conv(f"{block}/5x5_reduce", maps)),
            conv(f"{block}/pool_proj", F.max_pool2d(maps, 3, 1, 1)),
        ], dim=1)  # fmt: skip
        sides[name] = maps
        maps = pool(maps) if name in ("3b", "4e") else maps
    cells = net.crop // 32
    rows = []
    for top in range(maps.shape[2] - cells + 1):
        for left in range(maps.shape[3] - cells + 1):
            window = maps[:, :, top : top + cells, left : left + cells].mean((2, 3))
            classifier = weights["loss3/classifier.weight"].flatten(1)
            rows.append(F.linear(window, classifier, weights["loss3/classifier.bias"]))
    shape = (maps.shape[2] - cells + 1, maps.shape[3] - cells + 1)
    return torch.stack(rows, dim=2).unflatten(2, shape), sides


@pytest.mark.parametrize(("crop", "height", "width"), [(64, 64, 64), (64, 128, 96), (96, 100, 160), (32, 65, 32)])
def test_scores_are_those_of_the_paper_by_hand_at_every_window(narrow, pixels, crop, height, width):
    net, shown = narrow("googlenet", crop=crop, width=1 / 16), pixels(2, height, width)
    found, _ = by_hand(net, shown)
    torch.testing.assert_close(net.score_map(shown), found, **EXACT)
    if height == width == crop:
        torch.testing.assert_close(net(shown), found.flatten(1), **EXACT)
    assert net.stride == 32


def test_a_score_map_has_a_cell_for_each_window_of_the_crop(narrow, pixels):
    net = narrow("googlenet", crop=224, width=1 / 32)
    assert net.score_map(pixels(1, 256, 384)).shape == (1, 5, 2, 6)
    assert dict(net.maps(pixels(1, 224)))["inception_5b/output"].shape[2:] == (7, 7)


def test_side_heads_give_scores_of_their_own_in_training_alone(narrow, pixels):
    net, shown = narrow("googlenet", width=1 / 16), pixels(2, 64)
    before, saved = net(shown), net.state_dict().keys()
    net.add_side_heads()
    assert torch.equal(net(shown), before)
    assert net.tested().keys() == saved
    assert net.hidden is None
    scores, first, second = net.training_scores(shown)
    assert torch.equal(scores, before)
    weights, (_, maps) = net.state_dict(), by_hand(net, shown)
    for head, module, found in (("loss1", "4a", first), ("loss2", "4d", second)):
        units = F.conv2d(maps[module], weights[f"{head}/conv.weight"], weights[f"{head}/conv.bias"]).relu()  # 4 × 4
        for layer in ("fc", "classifier"):
            units = F.linear(units.flatten(1), weights[f"{head}/{layer}.weight"].flatten(1),
                             weights[f"{head}/{layer}.bias"])  # fmt: skip
            units = units.relu() if layer == "fc" else units
        torch.testing.assert_close(found, units, **EXACT)


@pytest.mark.parametrize("crop", [32, 48, 64, 128, 224, 320])
def test_side_heads_see_four_by_four_cells_where_there_are_so_many(crop):
    placed = {each.layer.name: each for each in place(tuple(googlenet_layers(crop=crop, side_heads=True)), crop)}
    for head, source in (("loss1", "inception_4a/output"), ("loss2", "inception_4d/output")):
        pool, side = placed[f"{head}/ave_pool"], placed[source].side
        assert pool.side == min(4, side)
        assert (pool.side - 1) * pool.layer.stride + pool.layer.kernel == side  # to the last cell
        assert placed[f"{head}/fc"].side == 1
    assert crop != 224 or (pool.layer.kernel, pool.layer.stride) == (5, 3)


@pytest.mark.parametrize("side", [224, 256])
@pytest.mark.slow
def test_torchvisions_variant_is_torchvisions_net(side):
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(init_weights=False, aux_logits=False, transform_input=False).eval()
    ours = create_net("googlenet-torchvision")
    assert sum(each.numel() for each in ours.parameters()) == 6_624_904
    pairs = [(value, name) for name, value in theirs.state_dict().items() if "num_batches" not in name]
    own = [name for name in ours.state_dict() if name not in ("mean", "std") and "num_batches" not in name]
    with torch.no_grad():
        for name, (value, _) in zip(own, pairs, strict=True):  # in the order of both
            value = value if value.dim() != 1 else value + 0.1 * torch.rand_like(value)
            ours.state_dict()[name].copy_(value.reshape(ours.state_dict()[name].shape))
            theirs.state_dict()[_].copy_(value)
    shown = torch.randn(1, 3, side, side)
    if side == 224:
        torch.testing.assert_close(ours(shown), theirs(shown), rtol=1e-4, atol=1e-4)
    else:  # it averages over all cells, which are as many windows of 7 × 7 as ours has
        cells = dict(ours.maps(shown))["inception_5b/output"]
        whole = F.linear(cells.mean((2, 3)), theirs.fc.weight, theirs.fc.bias)
        torch.testing.assert_close(whole, theirs(shown), rtol=1e-4, atol=1e-4)


def test_the_authors_start_has_their_spread(narrow):
    net = create_net("googlenet", width=0.25, crop=64, num_classes=9, start="own")
    weights = net.state_dict()
    for name in ("conv2/3x3", "inception_4c/3x3_reduce", "inception_5b/5x5"):
        weight = weights[f"{name}.weight"]
        assert weight.abs().max() <= (3 / weight[0].numel()) ** 0.5
        assert weight.std().item() == pytest.approx(weight[0].numel() ** -0.5, rel=0.1)
        assert (weights[f"{name}.bias"] == 0.2).all()
    assert (weights["loss3/classifier.bias"] == 0).all()
