import torch

from verydeep.nets.registry import create_net
from verydeep.training.average import WeightAverage


def small_net():
    return create_net("vgg-a-bn", width=0.03, crop=32, hidden=8, num_classes=3)


def test_the_mean_is_that_of_the_formula_written_out():
    torch.manual_seed(0)
    net, decay = small_net(), 0.6
    average = WeightAverage(net, decay)
    by_hand = net.fc7.weight.detach().clone()
    for update in range(1, 21):
        with torch.no_grad():
            net.fc7.weight.add_(torch.randn_like(net.fc7.weight))
        average.update(net)
        keep = min(decay, update / (update + 9))
        by_hand = keep * by_hand + (1 - keep) * net.fc7.weight.detach()
    torch.testing.assert_close(average.of(net).fc7.weight, by_hand)


def test_statistics_of_normalisations_are_averaged_too():
    net = small_net()
    average = WeightAverage(net, 0.999)
    net.norm1_1.running_mean.fill_(10)
    average.update(net)
    torch.testing.assert_close(average.of(net).norm1_1.running_mean, torch.full((2,), 9.0))  # keep is 0.1 at first


def test_the_mean_does_not_touch_the_net_and_needs_no_gradients():
    net = small_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    average = WeightAverage(net, 0.9)
    average.update(net)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert not any(weight.requires_grad for weight in average.of(net).parameters())
    assert all(weight.requires_grad for weight in net.parameters())


def test_without_averaging_the_net_itself_is_tested():
    net = small_net()
    average = WeightAverage(net, 0.0)
    average.update(net)
    assert average.of(net) is net
