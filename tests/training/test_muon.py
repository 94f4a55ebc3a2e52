import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from verydeep.training.muon import Muon, orthogonal


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 1000))
def test_the_directions_of_a_matrix_stay_and_their_lengths_become_about_one(rows, columns, seed):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    left, lengths, right = torch.linalg.svd(matrix, full_matrices=False)
    along = left.T @ orthogonal(matrix) @ right.T  # diagonal where the directions are the same
    torch.testing.assert_close(along, torch.diag(along.diag()), atol=1e-8, rtol=0)
    long = lengths > lengths.norm() / 10
    assert ((along.diag() > 0.3) & (along.diag() < 1.3))[long].all()
    assert (along.diag() > 0).all()


def test_parameters_that_are_not_filter_banks_move_as_by_sgd():
    torch.manual_seed(0)
    start = torch.randn(5, 3)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    muon = Muon([{"params": [ours], "weight_decay": 0.1, "orthogonal": False}], lr=0.2, momentum=0.7)
    sgd = SGD([theirs], lr=0.2, momentum=0.7, nesterov=True, weight_decay=0.1)
    for _ in range(4):
        gradient = torch.randn(5, 3)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        sgd.step()
        torch.testing.assert_close(ours, theirs)


def test_a_filter_bank_is_rescaled_and_moves_by_the_rate_in_every_direction():
    torch.manual_seed(0)
    bank = nn.Parameter(torch.randn(6, 4, 3, 3))
    before = bank.detach() * 6**0.5 / bank.norm()
    bank.grad = torch.randn(6, 4, 3, 3)
    Muon([{"params": [bank], "orthogonal": True}], lr=0.3, momentum=0.6).step()
    lengths = torch.linalg.svdvals((before - bank).flatten(1).detach())
    assert lengths.min() > 0.3 * 0.3
    assert lengths.max() < 0.3 * 1.3
    assert lengths.mean().item() == pytest.approx(0.3, rel=0.3)
