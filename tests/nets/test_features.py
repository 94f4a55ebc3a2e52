import pytest
import torch
from torch import nn

from verydeep.errors import NetError
from verydeep.nets.features import features
from verydeep.nets.wrap import wrap

LAYERS = ["relu4_3", "conv5_3", "pool5", "fc7"]


def one_line(error):
    return "\n" not in str(error.value)


@torch.no_grad()
def by_hand(net, pixels):
    """The output of every layer of a plain stack, one after another."""
    maps = (pixels - net.mean) / net.std
    found = {}
    for name, module in net.named_children():
        found[name] = maps = module(maps)
    return found


def called(net):
    """The names of a net's modules as they run from now on."""
    names = []
    for name, module in net.named_children():
        module.register_forward_hook(lambda *_, name=name: names.append(name))
    return names


@torch.no_grad()
@pytest.mark.parametrize("name", ["vgg-a-lrn", "vgg-d", "vgg-d-bn", "spp-net"])
def test_every_named_layer_is_what_its_module_gives(name, narrow, pixels):
    net, pictures = narrow(name), pixels(2, 70, 101)
    due = by_hand(net, pictures)
    found = features(net, pictures, [layer.name for layer in net.plan])
    assert list(found) == list(due)
    for layer, maps in found.items():
        torch.testing.assert_close(maps, due[layer], rtol=0, atol=0)


def test_names_come_back_in_the_order_that_they_were_given_in(narrow, pixels):
    found = features(narrow("vgg-d"), pixels(1, 64), ["fc7", "relu1_1", "pool5", "relu1_1"])
    assert list(found) == ["fc7", "relu1_1", "pool5"]
    assert list(features(narrow("vgg-d"), pixels(1, 64), "fc7")) == ["fc7"]


@torch.no_grad()
def test_fully_connected_layers_are_maps_of_one_cell_on_a_crop_and_of_many_on_larger_pictures(narrow, pixels):
    net = narrow("vgg-d")
    found = features(net, pixels(2, 64), ["fc6", "fc7", "relu7", "fc8"])
    assert found["fc7"].shape == (2, net.hidden, 1, 1)
    assert found["fc7"].min() < 0
    torch.testing.assert_close(found["relu7"], found["fc7"].relu())
    torch.testing.assert_close(found["fc8"].flatten(1), net(pixels(2, 64)))
    torch.testing.assert_close(features(net, pixels(1, 96, 130), ["fc8"])["fc8"], net.score_map(pixels(1, 96, 130)))


def test_nothing_behind_the_last_named_layer_is_computed(narrow, pixels):
    net = narrow("vgg-d")
    names = called(net)
    features(net, pixels(1, 64), ["relu4_3", "relu1_1"])
    assert names == [layer.name for layer in net.plan][: len(names)]
    assert names[-1] == "relu4_3"


STEM = "conv1/7x7_s2 conv1/relu_7x7 pool1/3x3_s2 pool1/norm1 conv2/3x3_reduce conv2/relu_3x3_reduce conv2/3x3 "
STEM += "conv2/relu_3x3 conv2/norm2 pool2/3x3_s2 "
BLOCK = "1x1 relu_1x1 3x3_reduce relu_3x3_reduce 3x3 relu_3x3 5x5_reduce relu_5x5_reduce 5x5 relu_5x5 pool pool_proj "
BLOCK += "relu_pool_proj"


@pytest.mark.parametrize(
    ("name", "layers", "run"),
    [
        ("googlenet", "inception_3a/relu_5x5", "5x5_reduce relu_5x5_reduce 5x5 relu_5x5"),
        ("googlenet", "inception_3a/pool_proj inception_3a/1x1", "1x1 pool pool_proj"),
        ("googlenet", "inception_3a/output", BLOCK),  # of all branches, which nothing but their joining needs
        ("googlenet-naive", "inception_3a/5x5", "5x5"),
    ],
)
def test_of_branches_only_those_that_are_named_or_needed_are_computed(name, layers, run, narrow, pixels):
    net = narrow(name)
    names = called(net)
    features(net, pixels(1, 64), layers.split())
    assert names == [*STEM.split(), *(f"inception_3a/{layer}" for layer in run.split())]


def test_a_branch_behind_a_module_needs_the_whole_module(narrow, pixels):
    net = narrow("googlenet")
    names = called(net)
    features(net, pixels(1, 64), ["inception_3b/1x1", "inception_3a/1x1"])
    assert names == [*STEM.split(), *(f"inception_3a/{layer}" for layer in BLOCK.split()), "inception_3b/1x1"]


def test_the_pyramid_costs_no_fully_connected_layer(narrow, pixels):
    net = narrow("spp-net")
    names = called(net)
    assert features(net, pixels(1, 80), ["spp", "relu5"])["spp"].shape == (1, 8 * 50, 2, 2)  # 8 channels, 50 bins
    assert names == [layer.name for layer in net.plan][: len(names)]
    assert names[-1] == "spp"


@torch.no_grad()
def test_a_layer_by_itself_is_what_it_is_among_all(narrow, pixels):
    net, pictures = narrow("googlenet"), pixels(2, 70, 101)
    for name, maps in net.maps(pictures):
        assert torch.equal(features(net, pictures, [name])[name], maps), name


def test_a_picture_may_be_smaller_than_the_crop_as_long_as_the_layers_can_use_it(narrow, pixels):
    assert features(narrow("vgg-d", crop=224), pixels(1, 33, 47), ["relu4_3"])["relu4_3"].shape[2:] == (4, 5)


@pytest.mark.parametrize(
    ("name", "layers", "side"),
    [
        ("vgg-a", ["conv2_1", "relu3_1"], 9),
        ("googlenet", ["inception_3a/relu_3x3", "inception_3a/relu_5x5"], 17),
        ("spp-net", ["relu5", "spp"], 65),
    ],
)
def test_the_gradient_to_the_pixels_is_that_of_finite_differences(name, layers, side, narrow):
    net = narrow(name, width=1 / 64).double()
    pictures = 255 * torch.rand(1, 3, side, side + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pictures.requires_grad_()
    for layer in layers:
        assert torch.autograd.gradcheck(lambda shown, layer=layer: features(net, shown, layers)[layer], pictures,
                                        fast_mode=True)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("vgg-d", "conv4_3 relu4_3 pool4 relu6 dropout6 fc7"),
        ("googlenet", "inception_3a/1x1 inception_3a/relu_1x1 inception_3a/relu_5x5 inception_3a/output "
                      "inception_3b/pool pool5/drop_7x7_s1 loss3/classifier"),
        ("spp-net", "lrn2 pool2 conv5 relu5 spp fc6 relu6 dropout6 fc8"),
    ],
)  # fmt: skip
def test_layers_can_be_changed_in_place_without_harm_to_others_or_to_gradients(name, layers, narrow, pixels):
    net, names = narrow(name), layers.split()

    def gradient(spoil):
        pictures = pixels(1, 64).float().requires_grad_()
        found = features(net, pictures, names)
        if spoil:
            for name in names[:-1]:
                before = {other: found[other].clone() for other in names}
                found[name].mul_(-3).add_(1)
                assert all(torch.equal(found[other], before[other]) for other in names if other != name)
        return torch.autograd.grad(found[names[-1]].sum(), pictures)[0]

    torch.testing.assert_close(gradient(spoil=True), gradient(spoil=False), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        (["relu43"], r"vgg-d: has no layer 'relu43'; did you mean relu4_3\? `verydeep nets vgg-d` lists them"),
        (["pool5", "fc9"], r"vgg-d: has no layer 'fc9'; did you mean fc\d"),
        ([], "vgg-d: no layer is named; name one or more, such as fc8"),
        (["fc6"], r"vgg-d: 40 × 63 px is too small for fc6; rescale the picture"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(layers, line, narrow, pixels):
    with pytest.raises(NetError, match=line) as error:
        features(narrow("vgg-d"), pixels(1, 63, 40), layers)
    assert one_line(error)


class Theirs(nn.Module):
    """A net as others write them: works in place, uses a module twice, and has one that does not run."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 5, stride=4), nn.Conv2d(6, 8, 3)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(6)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(288, 10), nn.ReLU(inplace=True), nn.Linear(10, 4))
        self.spare, self.pair = nn.Identity(), Pair()

    def forward(self, pixels):
        maps = self.relu(self.second(self.relu(self.first(pixels))))
        return self.head(self.pool(self.pair(maps)[0]))


class Pair(nn.Module):
    def forward(self, maps):
        return maps, maps


@pytest.fixture
def theirs():
    return wrap(Theirs().eval(), classes="abcd", mean=120, std=60, crop=33)  # whose last map is 6 × 6


@torch.no_grad()
def test_layers_of_a_wrapped_net_go_by_its_modules_names_and_are_safe_from_work_in_place(theirs, pixels):
    found = features(theirs, pixels(2, 33), ["head.1", "first", "second", "relu"])
    first = theirs.module.first((pixels(2, 33) - 120.0) / 60)
    torch.testing.assert_close(found["first"], first)
    torch.testing.assert_close(found["relu"], first.relu())  # of the two times that it runs the first
    second = theirs.module.second(first.relu())
    torch.testing.assert_close(found["second"], second)
    torch.testing.assert_close(found["head.1"][:, :, 0, 0], theirs.module.head[1](second.relu().flatten(1)))


def test_no_more_of_a_wrapped_net_runs_than_is_needed_and_gradients_reach_the_pixels(theirs, pixels):
    names = called(theirs.module)
    pictures = pixels(1, 23, 31).float().requires_grad_()
    features(theirs, pictures, ["second"])["second"].sum().backward()
    assert names == ["first", "relu", "second"]
    assert pictures.grad.abs().sum() > 0
    assert len(theirs.module.second._forward_hooks) == 1  # that of `called`


@torch.no_grad()
def test_the_head_of_a_wrapped_net_slides_over_larger_pictures(theirs, pixels):
    larger = pixels(2, 41, 45)
    found = features(theirs, larger, ["second", "head.1", "head.3"])
    assert found["second"].shape == (2, 8, 8, 9)
    torch.testing.assert_close(found["head.3"], theirs.score_map(larger))
    crop = larger[:, :, 4 : 4 + 33, 8 : 8 + 33]  # no padding: a cell is what the net makes of its window
    torch.testing.assert_close(found["head.1"][:, :, 1, 2], features(theirs, crop, ["head.1"])["head.1"][:, :, 0, 0])


@pytest.mark.parametrize(
    ("layer", "side", "line"),
    [
        ("head1", 33, r"Theirs: has no layer 'head1'; did you mean head(\.1)?\? they are the names of its named_modul"),
        ("spare", 33, "Theirs: spare does not run; name another layer"),
        ("pair", 33, r"Theirs: pair gives a tuple, no map \[n, c, h, w\]; name another layer"),
        ("pool", 49, "Theirs: pool gives a map for each window of a larger picture; give pictures of its crop"),
        ("second", 6, r"Theirs: fails on 6 × 6 px \(.*\); give pictures of its crop, 33 px"),
    ],
)
def test_what_a_wrapped_net_has_not_is_refused_in_one_line(layer, side, line, theirs, pixels):
    with pytest.raises(NetError, match=line) as error:
        features(theirs, pixels(1, side), [layer])
    assert one_line(error)
