"""How fast a run is, what it waits for, and how long it will take."""

import time
from dataclasses import dataclass

from verydeep.training.loop import Epoch, Step

SECONDS = 30.0  # that the speed looks back on


@dataclass(frozen=True)
class Moment:
    """Where a run stands, for whoever shows it.

    Attributes:
        measured: the step or epoch that has just ended.
        epochs: in all.
        images_per_second: over the last seconds.
        waiting: share of that time that the net waited for the feed.
        seconds_left: of training and validation, by that speed.
    """

    measured: Step | Epoch
    epochs: int
    images_per_second: float
    waiting: float
    seconds_left: float


class Speed:
    """Watches a run.

    Args:
        pictures: an epoch.
        steps: an epoch.
        epochs: in all.
        every: epochs from one validation to the next.
    """

    def __init__(self, pictures: int, steps: int, epochs: int, every: int) -> None:
        self.pictures, self.steps, self.epochs, self.every = pictures, steps, epochs, every
        self.times: list[tuple[float, int, float]] = [(time.perf_counter(), 0, 0.0)]  # when, pictures, seconds waited
        self.images_per_second = self.waiting = self.validation = 0.0

    def take(self, measured: Step | Epoch) -> Moment:
        """Count a step, or begin anew after an epoch's validation."""
        now = time.perf_counter()
        if isinstance(measured, Epoch):
            if measured.validation:
                self.validation = now - self.times[-1][0]
            self.times = [(now, 0, 0.0)]
        else:
            self.times.append((now, measured.pictures, measured.waited))
            while len(self.times) > 2 and now - self.times[1][0] > SECONDS:
                self.times.pop(0)
            seconds = max(now - self.times[0][0], 1e-9)
            self.images_per_second = sum(pictures for _, pictures, _ in self.times[1:]) / seconds
            self.waiting = sum(waited for _, _, waited in self.times[1:]) / seconds
        epochs_left = self.epochs - measured.step / self.steps
        left = self.pictures * epochs_left / max(self.images_per_second, 1e-9)
        return Moment(measured, self.epochs, self.images_per_second, self.waiting,
                      left + self.validation * epochs_left / self.every)  # fmt: skip
