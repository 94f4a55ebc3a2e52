"""How often pictures of a class are named rightly, each class counting alike: the score of Caltech-101 and 256."""

import numpy as np
from jaxtyping import Float64, Int

from verydeep.errors import TransferError


def mean_class_recall(labels: Int[np.ndarray, " _"], predicted: Int[np.ndarray, " _"]) -> float:
    """The mean over classes of the share of their pictures that are named rightly, in [0, 1].

    Classes without a picture are left out; without any picture it is not a number. Source: appendix B.
    """
    recalls = class_recalls(labels, predicted)
    return float(recalls.mean()) if len(recalls) else float("nan")


def class_recalls(labels: Int[np.ndarray, " _"], predicted: Int[np.ndarray, " _"]) -> Float64[np.ndarray, " c"]:
    """The share of pictures named rightly, of each class that has pictures, in the order of the labels.

    Raises:
        TransferError: there are not as many of both, or a label is less than 0.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape:
        raise TransferError(f"labels are {labels.shape}, predictions {predicted.shape}; give one of each for a picture")
    if len(labels) and labels.min() < 0:
        raise TransferError(f"labels: that of picture {int(labels.argmin())} is {labels.min()}; use 0 or more")
    images = np.bincount(labels)
    right = np.bincount(labels, weights=labels == predicted)
    recalls: Float64[np.ndarray, " c"] = right[images > 0] / images[images > 0]
    return recalls
