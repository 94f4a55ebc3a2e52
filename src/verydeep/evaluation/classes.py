"""The classes of a data set among those of a net: by key; ILSVRC-2012's by wnid or by name, whichever either has."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from verydeep.data.dataset import UNLABELLED, Dataset
from verydeep.data.ilsvrc_classes import ilsvrc_names, wnids_of
from verydeep.data.paths import printable
from verydeep.errors import DatasetError
from verydeep.evaluation.average import Net


def labels_of(net: Net, data: Dataset) -> Int64[np.ndarray, " n"]:
    """The labels of a data set as places among the net's classes, of which the data set may have only some.

    Raises:
        DatasetError: the data set has a class that the net does not know, or one that may be either of two.
    """
    places = {key: place for place, key in enumerate(net.classes)}
    found: dict[int, str] = {}
    for key in data.classes:
        place = place_of(key, data, places)
        if place is None:
            unknown = f"class {printable(key)} is not among the {len(places)} classes of {net.name}"
            advice = f"use another net, or name classes as it does ({net.classes[0]})"
            raise DatasetError(f"{data.root}: {unknown}; {advice}")
        if place in found:
            both = f"{printable(found[place])} and {printable(key)}"
            raise DatasetError(f"{data.root}: {both} are both {net.classes[place]} to {net.name}; put them together")
        found[place] = key
    moved = np.array([*found, UNLABELLED], np.int64)
    return moved[data.labels]  # UNLABELLED, -1, picks the last


def labels_if_known(net: Net, data: Dataset) -> Int64[np.ndarray, " n"] | None:
    """The same, or None where the net does not know a class."""
    try:
        return labels_of(net, data)
    except DatasetError:
        return None


def place_of(key: str, data: Dataset, places: Mapping[str, int]) -> int | None:
    """Where a class of a data set stands among a net's; None where the net has none such.

    Raises:
        DatasetError: it may be either of two.
    """
    if key in places:
        return places[key]
    names = ilsvrc_names()
    others = (names[key],) if key in names else wnids_of(key)
    for other in (*others, data.names.get(key, key)):
        if other in places:
            if other in others and len(wnids_of(names.get(key, key))) > 1:
                line = f"{data.root}: class {printable(key)} may be either of two classes that are called so"
                raise DatasetError(f"{line}; name classes by wnid")
            return places[other]
    return None
