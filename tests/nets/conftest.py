import pytest
import torch
from torch import nn

from verydeep.nets.registry import create_net

WIDTH = 1 / 32  # 2, 4, 8, 16 and 16 channels


@pytest.fixture
def narrow():
    """A function that makes a narrow net in which nothing is 0 or 1 by chance."""

    def make(name, **sizes):
        classes = {} if "classes" in sizes else {"num_classes": 5}
        net = create_net(name, **{"width": WIDTH, "crop": 64, "start": "he", **classes, **sizes})
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for tensor in (*net.parameters(), *net.buffers()):
                if tensor.dim() == 1:  # biases, normalisations
                    tensor.uniform_(0.5, 1.5, generator=generator)
            net.mean.copy_(torch.tensor([123.68, 116.779, 103.939])[:, None, None])
            net.std.copy_(torch.tensor([58.4, 57.1, 57.4])[:, None, None])
        return net

    return make


@pytest.fixture
def pixels():
    """A function that makes pixels, uint8, always the same of a size."""

    def make(n, height, width=None):
        generator = torch.Generator().manual_seed(height)
        return torch.randint(0, 256, (n, 3, height, width or height), dtype=torch.uint8, generator=generator)

    return make


@pytest.fixture
def small():
    """A function that makes a net of few channels in which no bias is 0."""

    def make(name, **sizes):
        net = create_net(name, **{"width": 0.03, "num_classes": 5, "start": "he", **sizes})
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.dim() == 1:
                    parameter.uniform_(0.1, 0.3, generator=generator)
            net.mean.fill_(120)
            net.std.fill_(60)
        return net

    return make


@pytest.fixture
def bare():
    """A function that takes from a net all padding and all windows that reach over the end."""

    def make(net):
        for layer in net.children():
            if isinstance(layer, nn.Conv2d):
                layer.padding = (0, 0)
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = False
        return net

    return make


@pytest.fixture
def windows():
    """A function that cuts a picture into windows, row by row, and counts them."""

    def make(pixels, side, stride):
        tops, lefts = (range(0, size - side + 1, stride) for size in pixels.shape[-2:])
        cut = [pixels[..., top : top + side, left : left + side] for top in tops for left in lefts]
        return torch.cat(cut), (len(tops), len(lefts))

    return make
