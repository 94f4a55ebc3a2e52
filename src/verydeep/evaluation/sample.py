"""A part of labelled pictures that stands for all."""

import numpy as np
from jaxtyping import Int64


def stratified(labels: Int64[np.ndarray, " n"], images: int, seed: int = 0) -> Int64[np.ndarray, " m"]:
    """Indices of so many pictures, in order: of every class its share, to less than one picture; which, by the seed.

    Args:
        labels: of the pictures.
        images: how many to take; all, where there are no more.
        seed: others give other pictures.
    """
    if images >= len(labels):
        return np.arange(len(labels))
    generator = np.random.default_rng(seed)
    places, counts = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    whole, rest = np.divmod(images * counts, len(labels))
    # What is left over goes to the classes that lost most by rounding; of equals the seed chooses.
    unlucky = np.lexsort((generator.permutation(len(counts)), -rest))
    whole[unlucky[: images - whole.sum()]] += 1
    chosen = [
        generator.permutation(np.flatnonzero(places == place))[:count] for place, count in enumerate(whole.tolist())
    ]
    return np.sort(np.concatenate(chosen))
