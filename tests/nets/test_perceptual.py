import pytest
import torch

from verydeep.errors import NetError
from verydeep.nets.features import features
from verydeep.nets.perceptual import gram, perceptual_loss


def test_the_loss_is_the_mean_of_squared_differences_summed_over_layers_with_their_weights(narrow, pixels):
    net = narrow("vgg-d")
    one, other = pixels(2, 64, 70), pixels(2, 70, 64).mT
    names = {"relu2_2": 3.0, "relu3_3": 0.5}
    ours, theirs = (features(net, pictures, [*names]) for pictures in (one, other))
    due = sum(weight * ((ours[name] - theirs[name]) ** 2).sum() / ours[name].numel() for name, weight in names.items())
    torch.testing.assert_close(perceptual_loss(net, one, other, names), due)
    due = (features(net, one, ["relu3_3"])["relu3_3"] - theirs["relu3_3"]).square().mean()
    torch.testing.assert_close(perceptual_loss(net, one, other), due)


def test_the_loss_of_a_picture_to_itself_is_0_and_its_gradient_goes_to_the_picture_alone(narrow, pixels):
    net = narrow("vgg-d").requires_grad_(False)
    one, other = pixels(1, 64).float().requires_grad_(), pixels(1, 64).flip(-1).float().requires_grad_()
    assert perceptual_loss(net, one, one) == 0
    perceptual_loss(net, one, other).backward()
    assert one.grad.abs().sum() > 0
    assert other.grad is None


def test_pictures_of_other_sizes_are_refused_in_one_line(narrow, pixels):
    with pytest.raises(NetError, match=r"pictures and targets are \[1, 3, 64, 64\] and \[1, 3, 70, 64\]; rescale"):
        perceptual_loss(narrow("vgg-d"), pixels(1, 64), pixels(1, 70, 64))


def test_gram_is_the_products_of_channels_over_all_cells():
    maps = torch.randn(2, 3, 4, 5)
    due = torch.zeros(2, 3, 3)
    for n in range(2):
        for a in range(3):
            for b in range(3):
                due[n, a, b] = sum(maps[n, a, y, x] * maps[n, b, y, x] for y in range(4) for x in range(5)) / 60
    torch.testing.assert_close(gram(maps), due)


def test_the_style_loss_of_gatys_is_a_quarter_of_the_squared_differences_of_gram_matrices():
    ours, theirs = torch.randn(2, 1, 6, 7, 5, dtype=torch.float64)
    channels, cells = 6, 35
    products = [maps.flatten(2) @ maps.flatten(2).mT for maps in (ours, theirs)]
    gatys = ((products[0] - products[1]) ** 2).sum() / (4 * channels**2 * cells**2)
    torch.testing.assert_close(((gram(ours) - gram(theirs)) ** 2).sum() / 4, gatys)
