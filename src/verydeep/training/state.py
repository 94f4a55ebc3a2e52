"""All that changes while a net is trained, which is all that a checkpoint has to keep."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from verydeep.data.feed import Batch
from verydeep.nets.net import Net
from verydeep.training.average import WeightAverage
from verydeep.training.parallel import Parallel
from verydeep.training.schedule import Plateau

RECENT = 100  # steps that the recent loss looks back on


@dataclass
class Progress:
    """Where a run stands.

    Of several processes all have the same.

    Attributes:
        micro_batch: pictures that go through the net at a time; halved where memory runs out.
        epoch: that is going on, from 0.
        step_in_epoch: steps of it that are done.
        step: steps done in all.
        learning_rate: of the last step.
        seen: pictures of this epoch so far.
        skipped: pictures of this epoch that could not be decoded.
        sums: loss and wrong first guesses over the pictures of this epoch; on the net's device, so that it never waits.
        recent: mean loss over about the last hundred steps; there too.
    """

    micro_batch: int
    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    learning_rate: float = 0.0
    seen: int = 0
    skipped: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    recent: Tensor = field(default_factory=lambda: torch.zeros(()))

    def count(self, batch: Batch, loss: Tensor, wrong: Tensor) -> None:
        """Take in one more step."""
        self.step, self.step_in_epoch = self.step + 1, self.step_in_epoch + 1
        self.seen, self.skipped = self.seen + batch.whole, self.skipped + len(batch.skipped)
        self.sums = self.sums + torch.stack([loss * batch.whole, wrong])
        self.recent = self.recent + (loss - self.recent) / min(self.step, RECENT)

    def next_epoch(self) -> None:
        """Begin to count anew."""
        self.epoch, self.step_in_epoch, self.seen, self.skipped = self.epoch + 1, 0, 0, 0
        self.sums = torch.zeros_like(self.sums)

    def to(self, device: torch.device) -> "Progress":
        """The same with its sums on the net's device, in single precision where there is no double."""
        self.sums = self.sums.to(device, torch.float32 if device.type == "mps" else torch.float64)
        self.recent = self.recent.to(device)
        return self


@dataclass
class State:
    """A net in training, with whatever its next step depends on besides the recipe and the pictures."""

    net: Net
    optimizer: Optimizer
    plateau: Plateau
    average: WeightAverage
    progress: Progress
    class_weights: Tensor | None = None  # of the loss; None where every picture counts alike
    parallel: Parallel = field(init=False)

    def __post_init__(self) -> None:
        self.parallel = Parallel(self.net)
