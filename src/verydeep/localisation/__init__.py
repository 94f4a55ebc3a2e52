"""Boxes: targets, heads, merging, scoring: appendix A, for any pictures with boxes.

The names below are loaded when they are first used, as those of `verydeep` itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verydeep.localisation.devkit import Score, score
    from verydeep.localisation.localise import Located
    from verydeep.localisation.locate import Localiser

__all__ = ["Localiser", "Located", "Score", "score"]

HOMES = {
    "Localiser": "verydeep.localisation.locate",
    "Located": "verydeep.localisation.localise",
    "Score": "verydeep.localisation.devkit",
    "score": "verydeep.localisation.devkit",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'verydeep.localisation' has no attribute {name!r}")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value  # so that the next use comes here no more
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
