"""Posteriors and what came true → how far the one can be believed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

BINS = 15  # of equal width. Source: Guo et al. 2017, section 4.1


@dataclass(frozen=True)
class Bin:
    """The pictures of whose class a net was about equally sure.

    Attributes:
        images: how many.
        confidence: mean posterior of the class named for each.
        accuracy: the fraction of them of which it was the right one.
    """

    images: int
    confidence: float
    accuracy: float


def calibration_error(confidence: Float32[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = BINS) -> float:
    """The expected calibration error: how far apart confidence and accuracy are, on average over pictures.

    0 where of all pictures named with 80 % certainty 80 % are named rightly, and so on.

    Args:
        confidence: the largest posterior of each picture.
        right: whether its class was the true one.
        bins: of equal width that pictures are sorted into.

    Source: Guo et al. 2017, "On calibration of modern neural networks", equation 3.
    """
    apart = (each.images * abs(each.accuracy - each.confidence) for each in reliability(confidence, right, bins))
    return sum(apart) / len(confidence)


def reliability(confidence: Float32[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = BINS) -> list[Bin]:
    """The bins that hold pictures, the least confident first; a bin's upper end belongs to it."""
    places = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    sure = np.bincount(places, weights=confidence, minlength=bins)
    hits = np.bincount(places, weights=right, minlength=bins)
    return [
        Bin(int(counts[place]), float(sure[place] / counts[place]), float(hits[place] / counts[place]))
        for place in np.flatnonzero(counts)
    ]
