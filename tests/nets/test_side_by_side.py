import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from verydeep.nets.side_by_side import ROW, SideBySide, lay


def numbers(n, inputs, outputs, height, width):
    generator = torch.Generator().manual_seed(n)
    shapes = (n, inputs, height, width), (outputs, inputs, 3, 3), (outputs,)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 3), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8))
def test_outputs_and_gradients_are_those_of_the_convolution(n, inputs, outputs, height, width):
    ours, theirs = numbers(n, inputs, outputs, height, width), numbers(n, inputs, outputs, height, width)
    outputs, expected = SideBySide.apply(*ours), F.conv2d(*theirs, padding=1)
    assert torch.equal(outputs, expected)
    upstream = torch.randn_like(expected)
    outputs.backward(upstream)
    expected.backward(upstream)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_its_gradients_can_be_differentiated_again():
    assert torch.autograd.gradgradcheck(SideBySide.apply, numbers(3, 2, 2, 2, 3))


def test_maps_lie_side_by_side_with_a_column_of_zeros_between():
    maps = torch.arange(1, 28).view(3, 1, 3, 3).float()
    assert lay(maps)[0, 0].tolist() == [
        [1, 2, 3, 0, 10, 11, 12, 0, 19, 20, 21, 0],
        [4, 5, 6, 0, 13, 14, 15, 0, 22, 23, 24, 0],
        [7, 8, 9, 0, 16, 17, 18, 0, 25, 26, 27, 0],
    ]


def test_rows_have_the_length_that_is_fast_and_the_last_is_filled_up():
    laid = lay(torch.ones(100, 2, 7, 7))
    assert laid.shape == (17, 2, 7, ROW)
    assert laid.is_contiguous(memory_format=torch.channels_last)
    assert laid.sum() == 100 * 2 * 7 * 7
