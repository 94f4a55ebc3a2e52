"""A constant that everything is multiplied by: it makes a last layer's scores smaller at the start."""

from jaxtyping import Float
from torch import Tensor, nn


class Times(nn.Module):
    """The maps times a constant factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps, smaller or larger."""
        return maps * self.factor

    def extra_repr(self) -> str:
        """The factor."""
        return f"{self.factor:g}"
