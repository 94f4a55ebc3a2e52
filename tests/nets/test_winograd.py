import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from verydeep.nets import winograd
from verydeep.nets.winograd import Winograd, pays

SIZES = [(2, 3, 5, 7, 9), (1, 2, 2, 1, 1), (3, 4, 4, 8, 4), (5, 2, 3, 3, 3)]  # n, inputs, outputs, height, width


def numbers(n, inputs, outputs, height, width, data_type=torch.float64):
    generator = torch.Generator().manual_seed(n + height)
    shapes = (n, inputs, height, width), (outputs, inputs, 3, 3), (outputs,)
    return [torch.randn(shape, generator=generator, dtype=data_type).requires_grad_() for shape in shapes]


@settings(deadline=None, max_examples=30)
@given(*(st.integers(1, 5) for _ in range(3)), st.integers(1, 14), st.integers(1, 14), st.booleans(), st.booleans())
def test_it_is_the_convolution(n, inputs, outputs, height, width, with_bias, channels_last):
    maps, weight, bias = numbers(n, inputs, outputs, height, width)
    if channels_last:
        maps, weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (maps, weight))
    bias = bias if with_bias else None
    outputs = Winograd.apply(maps, weight, bias)
    torch.testing.assert_close(outputs, F.conv2d(maps, weight, bias, padding=1))
    assert outputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", SIZES)
def test_its_gradients_are_those_of_the_convolution(size):
    ours, theirs = numbers(*size), numbers(*size)
    outputs = Winograd.apply(*ours)
    upstream = torch.randn_like(outputs)
    outputs.backward(upstream)
    F.conv2d(*theirs, padding=1).backward(upstream)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_its_gradients_can_be_differentiated_again():
    assert torch.autograd.gradgradcheck(Winograd.apply, numbers(1, 2, 2, 3, 5))


def test_nothing_is_computed_for_what_needs_no_gradient():
    maps, weight, bias = numbers(*SIZES[0])
    Winograd.apply(maps.detach(), weight, bias.detach()).sum().backward()
    assert weight.grad is not None
    assert maps.grad is None
    assert bias.grad is None


def test_in_single_precision_it_is_within_a_few_ten_thousandths():
    maps, weight, _ = numbers(1, 256, 8, 28, 28, torch.float32)
    exact = F.conv2d(maps.double(), weight.double(), padding=1)
    error = (Winograd.apply(maps, weight, None) - exact).abs().max() / exact.std()
    assert error < 3e-4  # seen: 5e-5; the largest factors of the transforms, 5² and 8², cost two to three digits


@pytest.mark.parametrize(("tiles", "parts"), [(18, 3), (6, 7), (4, 14), (1, 21)])  # of a picture's 3 rows of 2
def test_a_batch_in_parts_is_the_batch_at_once(tiles, parts, monkeypatch):
    maps, weight, bias = numbers(7, 2, 3, 9, 6)
    upstream = torch.randn(7, 3, 9, 6, dtype=torch.float64)
    outputs, gradient = Winograd.apply(maps, weight, bias), winograd.weight_gradient(maps, upstream)
    monkeypatch.setattr(winograd, "CHUNK", tiles * winograd.TRANSFORMED * 3 * 8)  # three channels of eight bytes
    assert len(list(winograd.chunks(winograd.cut(maps, winograd.TILE), 3))) == parts
    torch.testing.assert_close(Winograd.apply(maps, weight, bias), outputs)
    torch.testing.assert_close(winograd.weight_gradient(maps, upstream), gradient)


def test_it_works_in_functional_transforms():
    maps, weight, bias = numbers(*SIZES[0])
    gradient = torch.func.grad(lambda w: Winograd.apply(maps, w, bias).square().sum())(weight)
    expected = torch.func.grad(lambda w: F.conv2d(maps, w, bias, padding=1).square().sum())(weight)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    ("pictures", "channels", "side", "expected"),
    [(16, 64, 224, False), (16, 128, 112, True), (16, 256, 56, True), (16, 512, 28, True), (16, 512, 14, True),
     (1, 512, 14, False), (128, 64, 14, False), (64, 128, 14, False)],
)  # fmt: skip
def test_it_is_chosen_where_it_was_measured_to_be_faster(pictures, channels, side, expected):
    with torch.device("meta"):
        assert pays(torch.empty(pictures, channels, side, side), torch.empty(channels, channels, 3, 3)) == expected
