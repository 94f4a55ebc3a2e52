"""The learning rate: constant until validation stops improving, as in the paper, or by a plan made beforehand."""

import math
from dataclasses import dataclass

from verydeep.training.recipe import Schedule


@dataclass
class Plateau:
    """Watches the validation error and says when the rate drops. Source: section 3.1.

    Attributes:
        schedule: `patience`, `threshold` and `drops`.
        best: the least validation top-1 error so far, as a fraction.
        waited: epochs since then.
        drops: how often the rate has dropped.
        ended: whether there was a plateau after the last drop.
    """

    schedule: Schedule
    best: float = math.inf
    waited: int = 0
    drops: int = 0
    ended: bool = False

    def step(self, top1_error: float) -> None:
        """Take the error of one more epoch."""
        if top1_error <= self.best - self.schedule.threshold:
            self.best, self.waited = top1_error, 0
            return
        self.waited += 1
        if self.waited >= self.schedule.patience:
            self.waited = 0
            self.ended = self.drops >= self.schedule.drops
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
    progress = (epochs - schedule.warm_up) / max(schedule.epochs - schedule.warm_up, 1e-9)
    match schedule.kind:
        case "plateau":
            return schedule.factor**-drops
        case "milestones":
            return schedule.factor ** -sum(epochs >= milestone for milestone in schedule.milestones)
        case "cosine":
            return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * min(progress, 1))) / 2
        case "one-cycle":  # up and down in straight lines. Source: Smith & Topin 2017, without their change of momentum
            return 1 - (1 - schedule.final) * min(progress, 1)
