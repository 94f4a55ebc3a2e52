"""The 1000 classes of ILSVRC-2012: wnid ↔ name. Two names, crane and maillot, stand for two classes each."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

ALSO = {"crane bird": "n02012849", "maillot tank suit": "n03710721"}  # torchvision's own words for one of each pair


@cache
def ilsvrc_names() -> Mapping[str, str]:
    """What people call each class, by wnid, in the order of the labels, which is that of the sorted wnids."""
    lines = files("verydeep.data").joinpath("ilsvrc_classes.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if not line.startswith("#"))


@cache
def _wnids_by_name() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {name: (wnid,) for name, wnid in ALSO.items()}
    for wnid, name in ilsvrc_names().items():
        found[name.lower()] = (*found.get(name.lower(), ()), wnid)
    return found


def wnids_of(name: str) -> tuple[str, ...]:
    """The classes that a name stands for: one, two, or none where ILSVRC-2012 has no such name."""
    return _wnids_by_name().get(name.replace("_", " ").strip().lower(), ())


def as_wnids(classes: Sequence[str]) -> tuple[str, ...]:
    """Classes by wnid where they are the names of ILSVRC-2012's 1000 in their order; or as they are."""
    wnids = tuple(ilsvrc_names())
    in_order = len(classes) == len(wnids) and all(
        wnid in wnids_of(name) for wnid, name in zip(wnids, classes, strict=True)
    )
    return wnids if in_order else tuple(classes)
