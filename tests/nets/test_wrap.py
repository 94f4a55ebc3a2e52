import pytest
import torch
from torch import nn

import verydeep
from verydeep.data.ilsvrc_classes import ilsvrc_names
from verydeep.errors import NetError
from verydeep.evaluation.average import Net

ABC = ("a", "b", "c")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def small(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs)
    )


def noise(n, height, width):
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)


def normalised(pixels):
    """As torchvision's presets do it, colour by colour."""
    values = pixels.float().div(255)
    return torch.stack([(values[:, c] - MEAN[c]) / STD[c] for c in range(3)], dim=1)


def test_a_wrapped_module_is_a_net_in_eval_mode():
    net = verydeep.wrap(small(), classes=ABC, mean=MEAN, std=STD, value_range=1, crop=32)
    assert isinstance(net, Net)
    assert not any(part.training for part in net.modules())
    assert (net.name, net.classes, net.crop, net.no_score_map) == ("Sequential", ABC, 32, "")
    torch.testing.assert_close(net.mean.flatten(), 255 * torch.tensor(MEAN))
    torch.testing.assert_close(net.std.flatten(), 255 * torch.tensor(STD))


@torch.no_grad()
def test_the_module_gets_the_very_numbers_that_torchvisions_presets_make():
    module = small()
    net = verydeep.wrap(module, classes=ABC, mean=MEAN, std=STD, value_range=1, crop=32)
    pixels = noise(4, 32, 32)
    assert net(pixels).equal(module(normalised(pixels)))


@torch.no_grad()
def test_mean_and_std_are_rgb_whatever_order_the_module_takes():
    module, pixels = small(), noise(4, 32, 32)
    net = verydeep.wrap(module, classes=ABC, mean=MEAN, std=STD, value_range=1, channel_order="bgr", crop=32)
    torch.testing.assert_close(net(pixels), module(normalised(pixels).flip(1)))


@torch.no_grad()
def test_one_number_is_for_all_colours_and_255_is_white_by_default():
    module, pixels = small(), noise(4, 32, 32)
    net = verydeep.wrap(module, classes=ABC, mean=127.5, std=60, crop=32)
    torch.testing.assert_close(net(pixels), module((pixels - 127.5) / 60), rtol=1e-4, atol=1e-5)
    assert net.mean.flatten().tolist() == [127.5] * 3


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_module_of_another_precision_gets_numbers_of_it(dtype):
    net = verydeep.wrap(small().to(dtype), classes=ABC, mean=127.5, std=60, crop=32)
    assert net(noise(2, 32, 32)).dtype == dtype
    assert net.no_score_map == ""


def test_the_1000_names_of_ilsvrc_become_its_wnids():
    from torchvision.models import ResNet18_Weights

    net = verydeep.wrap(small(1000), classes=ResNet18_Weights.DEFAULT.meta["categories"], mean=0, crop=32)
    assert net.classes == tuple(ilsvrc_names())


def test_nothing_of_the_one_generator_that_is_everybodys_is_drawn():
    module = small()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    verydeep.wrap(module, classes=ABC, mean=0, crop=32)
    assert torch.rand(1).equal(expected)


class Giving(nn.Module):
    """Gives what it is told to."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def forward(self, pixels):
        return self.given(pixels)


def scores(pixels):
    return pixels.mean((2, 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda x: scores(x)[:, :2],
            r"Giving: gives scores of shape \(1, 2\) for one crop, where its 3 classes make it",
        ),
        (lambda x: scores(x)[0], r"gives scores of shape \(3,\) for one crop"),
        (lambda x: (scores(x), scores(x)), r"gives a tuple of 2, where scores \[n, k\] are due; wrap a module that"),
        (lambda x: {"logits": scores(x), "aux": 0}, r"gives a dict of logits, aux, where scores \[n, k\] are due"),
        (lambda x: "cat", "gives a str, where"),
        (lambda x: scores(x) * float("nan"), r"its scores of a crop of noise are no numbers \(nan\)"),
        (lambda x: scores(x) / 0, r"are no numbers \(-?inf\)"),
        (lambda x: scores(x).softmax(1), "gives posteriors, none negative and their sum 1, where scores are due"),
        (lambda x: x @ torch.zeros(7, 7), r"fails on a crop of 32 × 32 px \(.*\); give its own crop"),
    ],
)
def test_a_module_that_gives_something_else_than_scores_is_named(given, message):
    with pytest.raises(NetError, match=message) as refused:
        verydeep.wrap(Giving(given), classes=ABC, mean=100, crop=32)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": ("a", "b", "a")}, "'a' is the name of two classes; give each output a name of its own"),
        ({"classes": ()}, "there are no classes"),
        ({"mean": (1, 2)}, r"mean is \(1, 2\); give one number, or three"),
        ({"std": 0}, "std is 0; what is divided by must be more than 0"),
        ({"crop": 0}, "crop 0"),
        ({"value_range": 0}, "value_range 0"),
        ({"classes": ("a", "b")}, "where its 2 classes make it"),
    ],
)
def test_what_cannot_be_is_refused(changed, message):
    with pytest.raises(NetError, match=message):
        verydeep.wrap(small(), **{"classes": ABC, "mean": 0, "crop": 32, **changed})


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda net: net(noise(1, 40, 40)), "40 × 40 px is not its crop, 32 × 32 px; see score_map"),
        (lambda net: net.score_map(noise(1, 31, 40)), "40 × 31 px is less than its crop, 32 px"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(use, message):
    with pytest.raises(NetError, match=message):
        use(verydeep.wrap(small(), classes=ABC, mean=0, crop=32))
