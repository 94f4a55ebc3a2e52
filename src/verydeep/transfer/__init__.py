"""Descriptors of a fixed net → a linear classifier: appendix B, for any pictures.

The names below are loaded when they are first used, as those of `verydeep` itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verydeep.transfer.descriptors import describe
    from verydeep.transfer.fit import Transfer, fit_transfer
    from verydeep.transfer.linear import LinearTransfer
    from verydeep.transfer.model import Model, load_model
    from verydeep.transfer.precision import average_precision, mean_average_precision
    from verydeep.transfer.recall import mean_class_recall
    from verydeep.transfer.transformer import Descriptor

__all__ = [
    "Descriptor",
    "LinearTransfer",
    "Model",
    "Transfer",
    "average_precision",
    "describe",
    "fit_transfer",
    "load_model",
    "mean_average_precision",
    "mean_class_recall",
]

HOMES = {
    "Descriptor": "verydeep.transfer.transformer",
    "LinearTransfer": "verydeep.transfer.linear",
    "Model": "verydeep.transfer.model",
    "Transfer": "verydeep.transfer.fit",
    "average_precision": "verydeep.transfer.precision",
    "describe": "verydeep.transfer.descriptors",
    "fit_transfer": "verydeep.transfer.fit",
    "load_model": "verydeep.transfer.model",
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
