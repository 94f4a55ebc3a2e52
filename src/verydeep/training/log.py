"""What a run measures: the lines of `metrics.jsonl`, and those for a person."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from verydeep.errors import TrainingError
from verydeep.training.loop import Epoch, Step
from verydeep.training.speed import Moment

try:
    import fcntl
except ImportError:  # Windows: two processes in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]

Say = Callable[[str], None]


class Log:
    """A file of JSON lines that only grows, and that one process at a time writes to.

    Args:
        path: of the file; made if need be.
        length: bytes of it that hold; what a run logged after its checkpoint is cut off, since it will come again.

    Raises:
        TrainingError: it cannot be written, or another process trains in the same folder.
    """

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        try:
            self.file = path.open("ab", buffering=0)
            if fcntl:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.file.truncate(length)
        except BlockingIOError:
            self.file.close()
            raise TrainingError(f"{path.parent}: another process trains here; wait, or give another folder") from None
        except OSError as error:
            raise self._refused(error) from error

    def add(self, values: dict[str, Any]) -> None:
        """Add a line."""
        line = json.dumps(values).encode() + b"\n"
        try:
            while line:  # a disk that becomes full takes a part of it first
                line = line[self.file.write(line) :]
        except OSError as error:
            raise self._refused(error) from error

    def sync(self) -> int:
        """Make sure that it is all on the disk; its length in bytes."""
        try:
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self._refused(error) from error
        return self.file.seek(0, os.SEEK_END)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.file.close()

    def _refused(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"{self.path}: cannot be written ({error.strerror}); make room, and the same command goes on"
        )


class NoLog(Log):
    """That of a process which is not the first, and keeps none."""

    def __init__(self) -> None:
        pass

    def add(self, values: dict[str, Any]) -> None:
        """Nothing."""

    def sync(self) -> int:
        """Nothing."""
        return 0

    def __exit__(self, *_: object) -> None:
        pass


def step_line(step: Step, moment: Moment) -> dict[str, Any]:
    """What is logged of a step."""
    return {
        "kind": "step",
        "step": step.step,
        "epoch": step.epoch + 1,
        "loss": step.loss.item(),
        "top1_error": step.wrong.item() / max(step.pictures, 1),
        "learning_rate": step.learning_rate,
        "images_per_second": round(moment.images_per_second, 1),
        "waiting": round(moment.waiting, 3),
    }


def epoch_line(epoch: Epoch, moment: Moment, seconds: float) -> dict[str, Any]:
    """What is logged of an epoch; `seconds` of the whole run so far."""
    return {
        "kind": "epoch",
        "step": epoch.step,
        "epoch": epoch.epoch + 1,
        "loss": epoch.loss,
        "top1_error": epoch.top1_error,
        **{f"validation_{key}": value for key, value in epoch.validation.items()},
        "learning_rate": epoch.learning_rate,
        "seconds": round(seconds, 1),
        "images_per_second": round(moment.images_per_second, 1),
        "waiting": round(moment.waiting, 3),
        "skipped": epoch.skipped,
    }


def epoch_text(epoch: Epoch) -> str:
    """An epoch in words."""
    tested = ", ".join(f"{key.replace('_', ' ')} {100 * value:.2f} %" for key, value in epoch.validation.items())
    return (
        f"epoch {epoch.epoch + 1}: loss {epoch.loss:.4f}, training error {100 * epoch.top1_error:.2f} %; "
        f"validation {tested or 'not due'}; rate {epoch.learning_rate:.2g}"
    )
