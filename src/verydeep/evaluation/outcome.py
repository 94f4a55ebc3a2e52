"""Posteriors → what became of each picture: all that errors are counted from, in a few bytes a picture.

Posteriors of 50,000 pictures and 1,000 classes take 200 MB, their outcome 1.4: so many protocols can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from verydeep.data.dataset import UNLABELLED
from verydeep.errors import DatasetError
from verydeep.evaluation.calibration import calibration_error
from verydeep.evaluation.posteriors import MANIFEST, Posteriors

ROWS = 4096  # of posteriors at a time, so that comparing them takes little memory

Values = Float32[np.ndarray, "n k"]
Labels = Int64[np.ndarray, " n"]
Seen = tuple[Int64[np.ndarray, "_"], Int64[np.ndarray, "_"], Float32[np.ndarray, "_"]]  # of some pictures


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What became of each picture of a labelled data set under a protocol.

    Attributes:
        labels: the true class, a place in `classes`.
        ranks: how many classes were put before it; 0 is right.
        predicted: the class with the largest posterior.
        confidence: that posterior.
        classes: of the net: wnids or class names.
        net: its registry name.
        weights: what the net's weights are called.
        data: name of the data set.
        split: of the data set.
        protocol: such as `dense@256,384,512`.
        seconds: that it took, decoding included.
    """

    labels: Labels
    ranks: Int64[np.ndarray, " n"]
    predicted: Int64[np.ndarray, " n"]
    confidence: Float32[np.ndarray, " n"]
    classes: tuple[str, ...]
    net: str
    weights: str
    data: str
    split: str
    protocol: str
    seconds: float

    def __len__(self) -> int:
        return len(self.labels)

    def wrong(self, k: int) -> Bool[np.ndarray, " n"]:
        """Whether the true class is not among the k best of each picture."""
        return self.ranks >= k

    def error(self, k: int) -> float:
        """The top-k error, a fraction. Source: section 4, "Evaluation"."""
        return float(np.mean(self.wrong(k)))

    def calibration_error(self) -> float:
        """The expected calibration error."""
        return calibration_error(self.confidence, self.ranks == 0)


def outcome(posteriors: Posteriors) -> Outcome:
    """What became of each picture.

    Raises:
        DatasetError: pictures have no label.
    """
    labels = require_labels(posteriors)
    about = {key: getattr(posteriors, key) for key in MANIFEST}
    return gather(about, labels, [look_at(posteriors.values, labels)])


def look_at(values: Values, labels: Labels) -> Seen:
    """What became of some pictures: the rank of the true class, the class named, its posterior."""
    return ranks(values, labels), values.argmax(axis=1), values.max(axis=1)


def gather(about: Mapping[str, Any], labels: Labels, seen: Sequence[Seen]) -> Outcome:
    """The outcome of all pictures from those of some at a time; `about` is the manifest of their posteriors."""
    found, predicted, confidence = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    kept = {key: about[key] for key in ("classes", "net", "weights", "data", "split", "protocol", "seconds")}
    return Outcome(labels=labels, ranks=found, predicted=predicted, confidence=confidence, **kept)


def ranks(values: Values, labels: Labels) -> Int64[np.ndarray, " n"]:
    """How many classes stand before the true one: those with a larger posterior, and equal ones of a lower index."""
    found = np.empty(len(values), np.int64)
    places = np.arange(values.shape[1])
    for start in range(0, len(values), ROWS):
        some, truths = values[start : start + ROWS], labels[start : start + ROWS, None]
        true_values = np.take_along_axis(some, truths, axis=1)
        before = (some > true_values) | ((some == true_values) & (places < truths))
        found[start : start + ROWS] = before.sum(axis=1)
    return found


def require_labels(posteriors: Posteriors) -> Labels:
    """The labels.

    Raises:
        DatasetError: pictures have none.
    """
    if posteriors.labels is None or (posteriors.labels == UNLABELLED).any():
        raise DatasetError(
            f"{posteriors.data}: pictures of split {posteriors.split} have no label; use a split that has them all"
        )
    return posteriors.labels
