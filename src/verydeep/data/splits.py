"""Random splits of a data set that has none of its own: so many pictures of a class to train on, others to test."""

import numpy as np

from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.data.paths import printable
from verydeep.errors import DatasetError


def split_classes(data: Dataset, train: int, test: int | None = 50, seed: int = 0) -> tuple[Dataset, Dataset]:
    """So many pictures of every class to train on, and of the others at most so many of a class to test.

    Caltech-101 is used with 30 and 50, Caltech-256 with 60 and all the others, three seeds each. Source: appendix B.

    Args:
        data: with a label for every picture.
        train: pictures of a class, 15, 30 or 60 by custom.
        test: pictures of a class at most; None: all that are not trained on.
        seed: others draw other pictures; what is drawn of a class does not depend on the other classes.

    Raises:
        DatasetError: a class has too few pictures, or a picture no label.
    """
    if train < 1 or (test is not None and test < 1):
        raise DatasetError(f"{data.root}: {train} pictures of a class to train on, {test} to test; use 1 or more")
    if (data.labels == UNLABELLED).any():
        raise DatasetError(f"{data.root}: has pictures without a label; label them or remove them")
    trained, tested = [], []
    for label, key in enumerate(data.classes):
        places = np.flatnonzero(data.labels == label)
        if len(places) <= train:
            raise DatasetError(
                f"{data.root}: class {printable(key)} has {len(places)} pictures, and {train} to train on with one to "
                "test are wanted; train on fewer, or add pictures"
            )
        drawn = np.random.default_rng((seed, *key.encode(errors="surrogateescape"))).permutation(places)
        trained.append(drawn[:train])
        tested.append(drawn[train : None if test is None else train + test])
    return data.subset(np.sort(np.concatenate(trained))), data.subset(np.sort(np.concatenate(tested)))
