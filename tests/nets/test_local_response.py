"""Local response normalisation: torch's numbers, and the right gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

from verydeep.nets.local_response import LocalResponseNorm


@settings(deadline=None)
@given(
    channels=some.integers(1, 12),
    size=some.integers(1, 7),
    beta=some.sampled_from([0.75, 0.5, 1.2]),
    k=some.sampled_from([1.0, 2.0]),
    alpha=some.floats(1e-4, 1.0),
)
def test_is_torchs_with_its_gradient(channels: int, size: int, beta: float, k: float, alpha: float) -> None:
    torch.manual_seed(0)
    ours, theirs = LocalResponseNorm(size, alpha, beta, k), nn.LocalResponseNorm(size, alpha, beta, k)
    first = torch.randn(2, channels, 3, 5, dtype=torch.float64, requires_grad=True)
    second = first.detach().clone().requires_grad_()
    weights = torch.randn_like(first)
    for norm, maps in ((ours, first), (theirs, second)):
        (norm(maps) * weights).sum().backward()
    torch.testing.assert_close(ours(first), theirs(second))
    torch.testing.assert_close(ours(first.detach()), theirs(second))
    torch.testing.assert_close(first.grad, second.grad)


def test_its_gradient_is_that_of_small_differences() -> None:
    torch.manual_seed(0)
    maps = torch.randn(1, 6, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LocalResponseNorm(5, 0.5, 0.75, 2.0), maps)


@pytest.mark.parametrize("data_type", [torch.bfloat16, torch.float16])
def test_half_precision_stays_what_it_is(data_type: torch.dtype) -> None:
    maps = torch.randn(2, 8, 4, 4, dtype=data_type, requires_grad=True)
    normalised = LocalResponseNorm(5, 5e-4, 0.75, 2.0)(maps)
    normalised.sum().backward()
    assert normalised.dtype == data_type
    torch.testing.assert_close(
        normalised.float(), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)(maps.float()), rtol=0.02, atol=0.01
    )
