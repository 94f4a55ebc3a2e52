"""A net in training by one process or by several, whose gradients are those of one.

Source: section 3.3; torch's DistributedDataParallel. Decision: docs/decisions/078-one-batch-many-processes.md.
"""

from contextlib import AbstractContextManager, nullcontext

from jaxtyping import Float, Real
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from verydeep.nets.net import Net
from verydeep.processes import ALONE, Processes


class Parallel:
    """What a step needs of a net, and of the other processes that take the same step with other pictures of the batch.

    Args:
        net: with its first weights, or those of a checkpoint: all processes take the first one's.
        processes: that train it.
    """

    def __init__(self, net: Net, processes: Processes = ALONE) -> None:
        self.processes = processes
        self.together: DistributedDataParallel | None = None
        if processes.count > 1:
            self.together = DistributedDataParallel(_Training(net), gradient_as_bucket_view=True)
        self.module = _Training(net) if self.together is None else self.together

    def scores(self, pixels: Real[Tensor, "n 3 crop crop"]) -> list[Float[Tensor, "n k"]]:
        """Class scores of this process's pictures, the net's own first."""
        scores: list[Tensor] = self.module(pixels)
        return scores

    def part(self, *, last: bool) -> AbstractContextManager[None]:
        """What a part of the batch goes forth and back in: with the last one all processes average their gradients."""
        return nullcontext() if self.together is None or last else self.together.no_sync()


class _Training(nn.Module):
    """The forward pass of training as a module's, for torch to watch."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Class scores, the net's own first."""
        return self.net.training_scores(pixels)
