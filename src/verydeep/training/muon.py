"""Muon: momentum, but filter banks move by the nearest orthogonal matrix, every direction by the same amount.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

STEPS = 3  # of Newton and Schulz: with these factors singular values come to lie between about 0.7 and 1.2 in five
FACTORS = (3.4445, -4.7750, 2.0315)


class Muon(Optimizer):
    """Gradient descent with Nesterov's momentum; parameters of groups marked `orthogonal` go Muon's way.

    A filter bank (outputs, and all else as one axis) is rescaled to the norm √outputs before each of its steps, so that
    the rate means the same for every layer and time.

    Args:
        groups: of parameters, with `weight_decay` (of those that are not orthogonal) and `orthogonal`.
        lr: learning rate.
        momentum: share of the velocity that is kept.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move all parameters by their gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad
                if not group["orthogonal"]:
                    gradient = gradient.add(parameter, alpha=group["weight_decay"])
                kept = self.state[parameter]
                velocity = kept.setdefault("momentum_buffer", torch.zeros_like(parameter))
                velocity.mul_(group["momentum"]).add_(gradient)
                move = gradient.add(velocity, alpha=group["momentum"])
                if group["orthogonal"]:
                    parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
                    move = orthogonal(move.flatten(1)).view_as(parameter)
                parameter.add_(move, alpha=-group["lr"])


def orthogonal(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """About U Vᵀ of the matrix U S Vᵀ: all singular values brought near 1 by a polynomial of the fifth degree."""
    a, b, c = FACTORS
    found = matrix / (matrix.norm() + 1e-7)
    tall = len(found) > found.shape[1]
    found = found.T if tall else found
    for _ in range(STEPS):
        products = found @ found.T
        found = a * found + (b * products + c * products @ products) @ found
    return found.T if tall else found
