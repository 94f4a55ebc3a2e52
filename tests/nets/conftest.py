import pytest
import torch

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
