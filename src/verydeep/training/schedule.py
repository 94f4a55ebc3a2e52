"""The learning rate: constant until validation stops improving, as in the paper, or by a plan made beforehand."""

import math
from dataclasses import dataclass

from verydeep.training.recipe import Schedule

ROUNDING = 1e-9  # two errors a threshold apart, as fractions of pictures, count as so far apart


@dataclass
class Plateau:
    """Watches the validation error and says when the rate drops; a schedule of another kind has no plateaus.

    Attributes:
        schedule: `kind`, `patience`, `threshold` and `drops`.
        best: the least validation top-1 error so far, as a fraction.
        since: the epoch that it was reached in, or that the rate dropped after, whichever is later.
        drops: how often the rate has dropped.
        ended: whether there was a plateau after the last drop.

    Source: section 3.1. Decision: docs/decisions/050-when-the-rate-drops.md.
    """

    schedule: Schedule
    best: float = math.inf
    since: int = 0
    drops: int = 0
    ended: bool = False

    def step(self, top1_error: float, epochs: int) -> None:
        """Take the validation error after so many epochs."""
        if self.schedule.kind != "plateau":
            return
        if top1_error <= self.best - self.schedule.threshold + ROUNDING:
            self.best, self.since = top1_error, epochs
        elif epochs - self.since >= self.schedule.patience:
            self.since = epochs
            self.ended = self.drops == self.schedule.drops
            self.drops += not self.ended


def rate_factor(schedule: Schedule, epochs: float, drops: int) -> float:
    """What the learning rate is multiplied by.

    Args:
        schedule: its kind and figures.
        epochs: trained so far, with the fraction of the current one.
        drops: that the plateau has seen.
    """
    if epochs < schedule.warm_up:
        return epochs / schedule.warm_up
    progress = (epochs - schedule.warm_up) / (schedule.epochs - schedule.warm_up)  # from 0 to 1
    match schedule.kind:
        case "plateau":
            return schedule.factor**-drops
        case "milestones":
            return schedule.factor ** -sum(epochs >= milestone for milestone in schedule.milestones)
        case "cosine":
            return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * progress)) / 2
        case "polynomial":  # Source: Caffe's quick_solver of bvlc_googlenet
            return (1 - progress) ** schedule.power
        case "exponential" | "inverse" if epochs >= schedule.epochs - schedule.tail:
            return schedule.final
        case "exponential":
            return math.exp(-schedule.decay * epochs)
        case "inverse":  # Source: Torch's optim.sgd, learningRateDecay
            return 1 / (1 + schedule.decay * epochs)
        case "one-cycle":  # up and down in straight lines. Source: Smith & Topin 2017, without their change of momentum
            return 1 - (1 - schedule.final) * progress
