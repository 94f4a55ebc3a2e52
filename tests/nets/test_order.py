import pytest
import torch
from torch import nn
from torch.nn import functional as F

from verydeep.nets.order import cheapest_order, rectify


def gradients(net, pixels, data_type):
    torch.manual_seed(0)
    net.zero_grad()
    with torch.autocast("cpu", data_type, enabled=data_type != torch.float32):
        scores = net(pixels)
    F.cross_entropy(scores.float(), torch.arange(len(pixels))).backward()
    return [scores.detach(), *(parameter.grad for parameter in net.parameters())]


@pytest.mark.parametrize("data_type", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["vgg-a", "vgg-a-lrn", "vgg-c", "vgg-d-bn"])
def test_scores_and_gradients_are_those_of_the_papers_order_to_the_bit(name, data_type, narrow, pixels):
    net = narrow(name, dropout=0.5).train()
    batch = pixels(4, 64)
    ours = gradients(net, batch, data_type)
    net.pool1.register_forward_hook(lambda *_: None)  # whoever watches a layer gets the paper's order
    theirs = gradients(net, batch, data_type)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_pool_goes_before_its_relu_and_fresh_maps_are_rectified_in_place():
    convolution, relu, pool, other = nn.Conv2d(1, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Identity()
    assert cheapest_order([convolution, relu, convolution]) == [convolution, rectify, convolution]
    assert cheapest_order([convolution, relu, pool]) == [convolution, pool, rectify]
    assert cheapest_order([convolution, relu, other, pool]) == [convolution, rectify, other, pool]
    assert cheapest_order([convolution, other, relu]) == [convolution, other, relu]


HOOKS = ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"]


@pytest.mark.parametrize("hook", HOOKS)
def test_layers_that_are_watched_are_called_in_their_order(hook):
    layers = [nn.Conv2d(1, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
    getattr(layers[1], f"register_{hook}")(lambda *_: None)
    assert cheapest_order(layers) == layers


def test_pixels_stay_what_they_were(narrow, pixels):
    batch = pixels(2, 64).float()
    before = batch.clone()
    narrow("vgg-a")(batch)
    assert torch.equal(batch, before)
