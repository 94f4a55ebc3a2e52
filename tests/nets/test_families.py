"""The nets beside the paper's: their tables, their counts, and what they compute, as stacks like any other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from verydeep.errors import NetError
from verydeep.nets.cifar_fast import Whitened
from verydeep.nets.layers import place
from verydeep.nets.registry import ALIASES, NETS, create_net
from verydeep.nets.stack import Stack
from verydeep.nets.vgg import NETS as PAPERS

EXACT = {"rtol": 1e-4, "atol": 1e-4}  # single precision, sums in another order
STACKS = [name for name, net in NETS.items() if net.make in (Stack, Whitened) and net not in PAPERS]
TABLES = {  # every row of each table, typed anew: kind, kernel / stride p padding g groups, channels × side of the map
    "alexnet": "c11/4 96x55, p3/2 27, c5/1p2g2 256x27, p3/2 13, c3/1p1 384x13, c3/1p1g2 384x13, c3/1p1g2 256x13, "
    "p3/2 6, f4096, f4096, f1000",
    "zfnet": "c7/2p1 96x110, p3/2 55, c5/2 256x26, p3/2 13, c3/1p1 384x13, c3/1p1 384x13, c3/1p1 256x13, p3/2 6, "
    "f4096, f4096, f1000",
    "cnn-f": "c11/4 64x54, p3/2 27, c5/1p2 256x27, p3/2 13, c3/1p1 256x13, c3/1p1 256x13, c3/1p1 256x13, p3/2 6, "
    "f4096, f4096, f1000",
    "cnn-m": "c7/2 96x109, p3/2 54, c5/2p1 256x26, p3/2 13, c3/1p1 512x13, c3/1p1 512x13, c3/1p1 512x13, p3/2 6, "
    "f4096, f4096, f1000",
    "cnn-s": "c7/2 96x109, p3/3 37, c5/1 256x33, p2/2 17, c3/1p1 512x17, c3/1p1 512x17, c3/1p1 512x17, p3/3 6, "
    "f4096, f4096, f1000",
    "overfeat-fast": "c11/4 96x56, p2/2 28, c5/1 256x24, p2/2 12, c3/1p1 512x12, c3/1p1 1024x12, c3/1p1 1024x12, "
    "p2/2 6, f3072, f4096, f1000",
    "overfeat-accurate": "c7/2 96x108, p3/3 36, c7/1 256x30, p2/2 15, c3/1p1 512x15, c3/1p1 512x15, c3/1p1 1024x15, "
    "c3/1p1 1024x15, p3/3 5, f4096, f4096, f1000",
    "deepcnet-5-100": "c3/1p32 100x94, p2/2 47, c2/1 200x46, p2/2 23, c2/1 300x22, p2/2 11, c2/1 400x10, p2/2 5, "
    "c2/1 500x4, p2/2 2, c2/1 600x1, f10",
    "deepc2c2-320": "c2/1p47 320x125, c2/1 320x124, p2/2 62, c2/1 640x61, c2/1 640x60, p2/2 30, c2/1 960x29, "
    "c2/1 960x28, p2/2 14, c2/1 1280x13, c2/1 1280x12, p2/2 6, c2/1 1600x5, c2/1 1600x4, p2/2 2, c2/1 1920x1, "
    "c1/1 1920x1, f10",
    "nagadomi": "c3/1p1 64x24, c3/1p1 64x24, p2/2 12, c3/1p1 128x12, c3/1p1 128x12, p2/2 6, c3/1p1 256x6, "
    "c3/1p1 256x6, c3/1p1 256x6, c3/1p1 256x6, p2/2 3, f1024, f1024, f10",
}
PUBLISHED = {  # weight layers, parameters, multiply-adds of a crop; computed apart from ours
    "alexnet": (8, 60_965_224, 724_406_816),
    "alexnet-224": (8, 60_965_224, 724_406_816),
    "alexnet-ungrouped": (8, 62_378_344, 1_135_256_096),
    "alexnet-caffe": (8, 60_965_224, 724_406_816),
    "alexnet-torchvision": (8, 61_100_840, 714_188_480),
    "alexnet-small": (8, 27_383_144, 123_937_920),
    "zfnet": (8, 62_357_608, 1_168_032_896),
    "zfnet-wide": (8, 107_627_624, 2_476_704_896),
    "cnn-f": (8, 60_834_536, 724_005_632),
    "cnn-m": (8, 102_908_520, 1_676_172_320),
    "cnn-m-2048": (8, 92_469_864, 1_665_735_712),
    "cnn-m-1024": (8, 87_250_536, 1_660_517_408),
    "cnn-m-128": (8, 82_683_624, 1_655_951_392),
    "cnn-s": (8, 102_908_520, 2_637_708_320),
    "overfeat-fast": (8, 145_920_872, 2_801_403_904),
    "overfeat-accurate": (9, 144_656_488, 5_355_446_784),
    "deepcnet-5-32": (7, 290_186, 43_214_080),
    "deepcnet-5-100": (7, 2_810_810, 371_303_200),
    "deepcnet-5-300": (7, 25_232_410, 3_198_549_600),
    "deepcnin-5-300": (13, 33_428_710, 3_734_049_600),
    "deepc2c2-32": (13, 552_522, 229_606_656),
    "deepc2c2-96": (13, 4_950_730, 2_030_448_384),
    "deepc2c2-320": (13, 54_922_890, 22_420_492_800),
    "nagadomi": (11, 5_745_738, 131_815_424),
    "cifar-vgg-a": (9, 9_225_610, 152_769_536),
    "cifar-vgg-b": (11, 9_410_122, 228_267_008),
    "cifar-vgg-d": (14, 14_719_818, 313_201_664),
    "cifar-vgg-e": (17, 20_029_514, 398_136_320),
    "cifar-vgg-a-bn": (9, 9_225_610 + 2 * 2752, 152_769_536),
    "cifar-vgg-b-bn": (11, 9_410_122 + 2 * 2944, 228_267_008),
    "cifar-vgg-d-bn": (14, 14_719_818 + 2 * 4224, 313_201_664),
    "cifar-vgg-e-bn": (17, 20_029_514 + 2 * 5504, 398_136_320),
    "cifar-fast": (8, 1_971_352, 118_147_360),
    "cifar-fast-wide": (8, 4_604_440, 301_560_864),
    "cifar-fast-deep": (11, 9_915_416, 451_967_264),
}


def rows(table):
    """Kind, kernel, stride, padding, groups, channels and side of each row; 0 for what a row does not say."""
    for row in table.split(", "):
        window, _, size = row.partition(" ")
        kind, window = window[0], window[1:]
        if kind == "f":
            yield kind, 0, 0, 0, 0, int(window), 1
            continue
        window, _, groups = window.partition("g")
        window, _, padding = window.partition("p")
        kernel, stride = map(int, window.split("/"))
        *channels, side = map(int, size.split("x"))
        yield kind, kernel, stride, int(padding or 0), int(groups or 1), *(channels or [0]), side


@pytest.mark.parametrize("name", TABLES)
def test_layers_are_those_of_the_table_row_by_row(name):
    found = [each for each in place(NETS[name].plan, NETS[name].crop) if each.layer.kind in ("conv", "pool", "fc")]
    parameters = macs = 0
    inputs, before = 3, 1
    for (kind, kernel, stride, padding, groups, channels, side), each in zip(rows(TABLES[name]), found, strict=True):
        layer = each.layer
        assert layer.kind[0] == kind
        if kind == "f":
            kernel, stride, padding, groups = before, 1, 0, 1
        channels = channels or inputs
        got = (layer.kernel, layer.stride, layer.padding, layer.groups, layer.outputs, each.side)
        assert got == (kernel, stride, padding, groups, channels, side), layer.name
        if kind != "p":
            weights = kernel**2 * inputs // groups * channels
            parameters += weights + channels
            macs += weights * side**2
        inputs, before = channels, side
    assert (parameters, macs) == (NETS[name].parameters, NETS[name].macs) == PUBLISHED[name][1:]


@pytest.mark.parametrize("name", STACKS)
def test_depth_parameters_and_macs_are_the_published_ones(name):
    assert (NETS[name].layers, NETS[name].parameters, NETS[name].macs) == PUBLISHED[name]


@pytest.mark.parametrize("name", [*STACKS, *(name for name in NETS if name.startswith(("googlenet", "spp-net")))])
@pytest.mark.parametrize("sizes", [{}, {"num_classes": 7, "width": 0.3}])
def test_modules_have_the_parameters_sides_and_macs_that_are_counted(name, sizes):
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        net = create_net(name, **sizes)
        placed = {each.layer.name: each for each in place(net.plan, net.crop)}
        maps = net.maps(torch.zeros(1, 3, net.crop, net.crop))
        for at in placed.values():
            with FlopCounterMode(display=False) as counter:
                name, map = next(maps)
            assert (name, map.shape) == (at.layer.name, (1, at.layer.outputs, at.side, at.side))
            assert sum(tensor.numel() for tensor in net.get_submodule(name).parameters()) == at.layer.parameters
            if at.layer.has_weights:  # a normalisation is computed by a convolution too
                assert counter.get_total_flops() == 2 * at.macs


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("alexnet", "conv1 relu1 lrn1 pool1 conv2 relu2 lrn2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5"),
        ("zfnet", "conv1 relu1 pool1 lrn1 conv2 relu2 pool2 lrn2 conv3 relu3 conv4 relu4 conv5 relu5 pool5"),
        ("cnn-m", "conv1 relu1 lrn1 pool1 conv2 relu2 lrn2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5"),
        ("cnn-s", "conv1 relu1 lrn1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5"),
        ("overfeat-fast", "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5"),
    ],
)
def test_normalisation_and_pools_come_in_the_published_order(name, order):
    head = "fc6 relu6 dropout6 fc7 relu7 dropout7 fc8"
    assert " ".join(layer.name for layer in NETS[name].plan) == f"{order} {head}"


def test_two_groups_are_two_nets_that_meet_in_the_third_layer(small):
    net = small("alexnet", width=0.1, crop=99)
    maps = torch.rand(1, net.conv2.in_channels, 9, 9)
    one, other = net.conv2.weight.chunk(2)
    biases = net.conv2.bias.chunk(2)
    halves = [F.conv2d(maps.chunk(2, 1)[i], (one, other)[i], biases[i], padding=2) for i in (0, 1)]
    torch.testing.assert_close(net.conv2(maps), torch.cat(halves, 1), **EXACT)
    assert [layer.groups for layer in net.plan if layer.kind == "conv"] == [1, 2, 1, 2, 2]


@pytest.mark.parametrize(("name", "k", "alpha"), [("alexnet", 2, 1e-4), ("alexnet-caffe", 1, 1e-4 / 5)])
def test_constants_of_normalisation_are_the_papers_or_caffes(name, k, alpha, small):
    maps = 200 * torch.rand(1, 7, 2, 2)
    sums = torch.stack([maps[0, max(0, i - 2) : i + 3].square().sum(0) for i in range(7)])
    lrn = small(name, crop=99).lrn1
    torch.testing.assert_close(lrn(maps), maps / (k + alpha * sums)[None] ** 0.75)


STRIDES = {"alexnet-small": 16, "overfeat-accurate": 36, "cnn-s": 36, "nagadomi": 8} | dict.fromkeys(
    ["cifar-fast", "cifar-fast-wide", "cifar-fast-deep"], 8
)


@pytest.mark.parametrize("name", STACKS)
def test_a_score_map_is_every_window_in_turn_for_a_net_without_padding(name, small, bare, windows):
    net = bare(small(name))
    *_, last = place(net.plan, net.crop)
    seen, stride = last.receptive_field, STRIDES.get(name, 64 if name == "deepc2c2" else 32)
    assert net.stride == stride
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (1, 3, seen + stride + 3, seen + 2 * stride), generator=generator)
    crops, cells = windows(picture, seen, stride)
    together = net.scores(picture)
    assert cells == (2, 3)
    assert together.shape == (1, 5, *cells)
    one_by_one = net.scores(crops)
    assert one_by_one.shape == (6, 5, 1, 1)
    torch.testing.assert_close(together.flatten(2)[0].T, one_by_one[:, :, 0, 0], **EXACT)


@pytest.mark.parametrize("name", STACKS)
@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_any_crop_that_leaves_a_cell_has_scores(name, data):
    published = NETS[name].crop
    crop = data.draw(st.integers(published // 2, published if "deep" in name else 2 * published))
    pixels = torch.zeros(2, 3, crop, crop)
    try:
        with torch.device("meta"):
            net = create_net(name, width=0.02, crop=crop)
    except NetError as error:
        assert f"{name}: crop is {crop}; use " in str(error)  # noqa: PT017 - a crop drawn by chance may be too small
        least = int(str(error).split()[-3])
        with torch.device("meta"):
            net = create_net(name, width=0.02, crop=least)
        pixels = torch.zeros(2, 3, least, least)
    assert net(pixels.to("meta")).shape == (2, NETS[name].num_classes)
    assert net.width == 0.02


@pytest.mark.parametrize("name", [name for name in STACKS if not NETS[name].has_hidden])
def test_a_net_without_hidden_layers_refuses_their_number(name):
    assert create_net(name, width=0.01).hidden is None
    with pytest.raises(NetError, match=f"{name}: has no hidden fully connected layers; leave out hidden"):
        create_net(name, hidden=7)


def test_a_picture_that_its_grid_does_not_hold_is_refused_in_one_line():
    with pytest.raises(NetError, match="its grid 96 px"):
        create_net("deepcnet", crop=97)


def test_hidden_units_that_differ_come_back_with_a_saved_net(tmp_path, small):
    from verydeep.nets.registry import read_net, save_net

    for name in ("overfeat-fast", "cnn-m-128", "deepcnet-5-32", "nagadomi"):
        net = small(name)
        save_net(tmp_path / "net.safetensors", net)
        found, _ = read_net(tmp_path / "net.safetensors")
        assert found.plan == net.plan
        assert all(torch.equal(value, found.state_dict()[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", ["deepcnet-5-32", "deepc2c2-32"])
def test_the_picture_lies_in_the_middle_of_a_grey_grid(name, bare):
    net = create_net(name, width=0.2, num_classes=5)
    grid = {"deepcnet-5-32": 96, "deepc2c2-32": 126}[name]
    assert (net.mean.unique().item(), net.std.unique().item()) == (128, 128)
    picture = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    on_grid = F.pad(picture, [(grid - 32) // 2] * 4, value=128)
    bared = bare(create_net(name, width=0.2, num_classes=5))
    torch.testing.assert_close(bared.scores(on_grid)[:, :, 0, 0], net(picture), **EXACT)


def test_deepcnets_are_leaky_and_drop_more_the_deeper():
    net = create_net("deepcnet-5-32", width=0.2)
    assert {module.negative_slope for module in net.children() if isinstance(module, nn.LeakyReLU)} == {1 / 3}
    shares = [module.p for module in net.children() if isinstance(module, nn.Dropout)]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    torch.manual_seed(0)
    maps = net.dropout6.train()(torch.ones(4, 100, 2, 2))
    assert torch.equal(maps, maps[:1, :, :1, :1].expand_as(maps))  # whole channels, of all pictures alike
    assert set(maps.unique().tolist()) == {0, 2}


def test_nagadomis_pools_drop_half_as_much_as_its_hidden_layers():
    net = create_net("nagadomi", width=0.1)
    assert [module.p for module in net.children() if isinstance(module, nn.Dropout)] == [0.25] * 3 + [0.5] * 2


def test_each_net_starts_as_its_authors_had_it():
    alexnet = create_net("alexnet", width=0.1, start="own")
    assert alexnet.fc7.weight.std().item() == pytest.approx(0.01, rel=0.02)
    biases = {name.partition(".")[0]: value for name, value in alexnet.named_parameters() if name.endswith("bias")}
    raised = {name for name, value in biases.items() if (value == 0.1).all()}
    assert raised == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert not any(value.any() for name, value in biases.items() if name not in raised)
    nagadomi = create_net("nagadomi", width=0.1, start="own")
    assert nagadomi.fc5.weight.abs().max().item() == pytest.approx(102**-0.5, rel=0.01)
    assert nagadomi.fc5.bias.abs().max().item() == pytest.approx(102**-0.5, rel=0.1)
    deep = create_net("deepcnet-5-32", start="own")
    # conv2_1: 2 × 2 of 32 channels to 64, then a pool of 2; conv6_1: no pool behind.
    assert deep.conv2_1.weight.abs().max().item() == pytest.approx((6 / (4 * 32 + 64)) ** 0.5, rel=0.01)
    assert deep.conv6_1.weight.abs().max().item() == pytest.approx((6 / (4 * 160 + 4 * 192)) ** 0.5, rel=0.01)
    for net in (nagadomi, deep):
        with torch.device("meta"):
            assert create_net(net.name, start="own").mean.is_meta


def test_other_peoples_names_are_these_nets():
    for alias, name in {
        "zf": "zfnet",
        "vgg-f": "cnn-f",
        "deepcnet": "deepcnet-5-100",
        "deepc2c2": "deepc2c2-320",
    }.items():
        assert ALIASES[alias] == name


def test_maps_are_computed_no_further_than_asked_and_not_in_place(small):
    net = small("cnn-m")
    reached = []
    for layer in net.children():
        layer.register_forward_pre_hook(lambda module, inputs: reached.append(module))
    picture = torch.rand(1, 3, 60, 50)  # less than the crop, and enough for the first layers
    kept = []
    for name, maps in net.maps(picture):
        kept.append((maps, maps.clone()))
        if name == "conv3":
            break
    assert reached == list(net.children())[: len(reached)]
    assert reached[-1] is net.conv3
    assert all(torch.equal(maps, copy) for maps, copy in kept)
    with pytest.raises(NetError, match="cnn-m: 50 × 60 px is too small for fc6; rescale the picture"):
        list(net.maps(picture))


def test_maps_end_in_the_scores(small):
    net = small("alexnet-small")
    pixels = torch.randint(0, 256, (2, 3, 60, 80), generator=torch.Generator().manual_seed(1))
    *_, (name, maps) = net.maps(pixels)
    assert name == net.heads[0] == "fc8"
    torch.testing.assert_close(maps, net.score_map(pixels), **EXACT)


@pytest.mark.parametrize("name", STACKS)
def test_every_parameter_gets_a_gradient(name, small):
    net = small(name, dropout=0.2).train()
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (4, 3, net.crop, net.crop))
    F.cross_entropy(net(pixels), torch.arange(4)).backward()
    for parameter, tensor in net.named_parameters():
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all(), parameter
        assert tensor.grad.count_nonzero() > 0, parameter


@pytest.mark.parametrize("name", ["alexnet-small", "cnn-s", "zfnet", "nagadomi", "deepcnet-5-32"])
def test_the_cheapest_order_gives_the_scores_and_gradients_of_the_published_one(name, small):
    net = small(name, dropout=0.0).train()
    pixels = torch.randint(0, 256, (2, 3, net.crop, net.crop), generator=torch.Generator().manual_seed(0))

    def gradients(scores):
        net.zero_grad()
        F.cross_entropy(scores.flatten(1), torch.arange(2)).backward()
        return [scores.detach().flatten(1), *(parameter.grad for parameter in net.parameters())]

    *_, (_, published) = net.maps(pixels)
    for ours, theirs in zip(gradients(net(pixels)), gradients(published), strict=True):
        assert torch.equal(ours, theirs)
