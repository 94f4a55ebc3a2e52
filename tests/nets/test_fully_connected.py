import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from verydeep.nets.fully_connected import FullyConnected


@settings(deadline=None)
@given(
    n=st.integers(0, 3), inputs=st.integers(1, 4), outputs=st.integers(1, 4), kernel=st.integers(1, 4),
    extra=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    layouts=st.tuples(*[st.sampled_from([torch.contiguous_format, torch.channels_last])] * 2),
)  # fmt: skip
def test_it_is_the_convolution_in_every_layout(n, inputs, outputs, kernel, extra, layouts):
    torch.manual_seed(0)
    layer = FullyConnected(inputs, outputs, kernel).double().to(memory_format=layouts[0])
    shape = (n, inputs, kernel + extra[0], kernel + extra[1])
    maps = torch.randn(shape, dtype=torch.float64).to(memory_format=layouts[1]).requires_grad_()
    found, expected = layer(maps), F.conv2d(maps, layer.weight, layer.bias)
    torch.testing.assert_close(found, expected)
    wanted = (maps, layer.weight, layer.bias)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((scores * weights).sum(), wanted) for scores in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_its_weights_are_channel_major_rows_of_a_matrix():
    torch.manual_seed(0)
    layer = FullyConnected(5, 4, 3)
    maps = torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(
        layer(maps).flatten(1), F.linear(maps.flatten(1), layer.weight.reshape(4, 45), layer.bias)
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_its_weights_are_not_copied(layout):
    layer = FullyConnected(64, 256, 7).to(memory_format=layout)
    with torch.profiler.profile(profile_memory=True) as profile:
        layer(torch.zeros(1, 64, 7, 7))
    taken = sum(max(0, event.self_cpu_memory_usage) for event in profile.events())
    assert taken < layer.weight.nbytes / 8
