import pytest
import torch
from torch import nn
from torch.nn import functional as F

from verydeep.nets.convolution import Convolution


def by_torch(convolution, maps, data_type):
    with torch.autocast("cpu", data_type, enabled=data_type != torch.float32):
        return F.conv2d(maps, convolution.weight, convolution.bias, padding=1)


def ways(outputs):
    """Names of the functions that made a tensor."""
    pending, names = [outputs.grad_fn], set()
    while pending:
        function = pending.pop()
        if function is not None:
            names.add(function.name())
            pending += [following for following, _ in function.next_functions]
    return names


@pytest.mark.parametrize(
    ("shape", "data_type", "way"),
    [
        ((4, 128, 56, 56), torch.float32, "WinogradBackward"),
        ((4, 128, 6, 6), torch.float32, "ConvolutionBackward0"),
        ((9, 128, 6, 6), torch.bfloat16, "SideBySideBackward"),
        ((2, 128, 28, 28), torch.bfloat16, "ConvolutionBackward0"),
    ],
)
def test_each_size_and_data_type_has_its_way_with_the_same_result(shape, data_type, way):
    torch.manual_seed(0)
    convolution = Convolution(128, 144, 3, padding=1)
    maps = torch.randn(shape).to(data_type).contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", data_type, enabled=data_type != torch.float32):
        outputs = convolution(maps)
    assert way in ways(outputs)
    expected = by_torch(convolution, maps, data_type)
    assert outputs.dtype == expected.dtype == data_type
    upstream = torch.randn_like(expected)
    inputs = (maps, convolution.weight, convolution.bias)
    pairs = zip(
        [outputs, *torch.autograd.grad(outputs, inputs, upstream)],
        [expected, *torch.autograd.grad(expected, inputs, upstream)],
        strict=True,
    )
    for ours, theirs in pairs:
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).abs().max() <= 0.01 * theirs.std()  # rounding: 2⁻⁸ in half precision


@pytest.mark.parametrize("change", [{"padding": (0, 0)}, {"stride": (2, 2)}, {"dilation": (2, 2)}])
def test_one_that_was_changed_computes_what_it_says(change):
    convolution, plain = Convolution(128, 128, 3, padding=1), nn.Conv2d(128, 128, 3, padding=1)
    plain.load_state_dict(convolution.state_dict())
    for name, value in change.items():
        setattr(convolution, name, value)
        setattr(plain, name, value)
    maps = torch.randn(1, 128, 64, 64)
    assert torch.equal(convolution(maps), plain(maps))


def test_what_is_exported_has_the_plain_operation():
    exported = torch.export.export(Convolution(128, 128, 3, padding=1), (torch.randn(2, 128, 56, 56),))
    operations = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert operations == [torch.ops.aten.conv2d.default]


def test_it_has_a_shape_without_memory():
    with torch.device("meta"):
        assert Convolution(256, 512, 3, padding=1)(torch.empty(8, 256, 56, 56)).shape == (8, 512, 56, 56)
