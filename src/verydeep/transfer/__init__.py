"""Descriptors of a fixed net → a linear classifier: appendix B, for any pictures.

The names below are loaded when they are first used, as those of `verydeep` itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verydeep.transfer.descriptors import describe
    from verydeep.transfer.linear import LinearTransfer
    from verydeep.transfer.precision import average_precision, mean_average_precision
    from verydeep.transfer.recall import mean_class_recall
    from verydeep.transfer.transformer import Descriptor

__all__ = [
    "Descriptor",
    "LinearTransfer",
    "average_precision",
    "describe",
    "mean_average_precision",
    "mean_class_recall",
]

HOMES = {
    "Descriptor": "verydeep.transfer.transformer",
    "LinearTransfer": "verydeep.transfer.linear",
    "average_precision": "verydeep.transfer.precision",
    "describe": "verydeep.transfer.descriptors",
    "mean_average_precision": "verydeep.transfer.precision",
    "mean_class_recall": "verydeep.transfer.recall",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'verydeep.transfer' has no attribute {name!r}")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value  # so that the next use comes here no more
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
