"""Very deep ConvNets: the nets, the training and every test protocol of the VGG paper (arXiv 1409.1556).

The names below are loaded when they are first used, so that `import verydeep` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from verydeep.errors import VerydeepError

if TYPE_CHECKING:
    from verydeep.data.dataset import Dataset
    from verydeep.data.open import open_dataset
    from verydeep.evaluation.error_table import ErrorTable
    from verydeep.evaluation.evaluate import evaluate
    from verydeep.evaluation.fuse import fuse
    from verydeep.evaluation.posteriors import Posteriors, posteriors
    from verydeep.localisation.localise import localise
    from verydeep.nets.export import export_net
    from verydeep.nets.features import features
    from verydeep.nets.fold import fold
    from verydeep.nets.net import Net
    from verydeep.nets.perceptual import gram, perceptual_loss
    from verydeep.nets.registry import NETS, create_net, load_net, save_net
    from verydeep.nets.wrap import wrap
    from verydeep.studies.reproduce import reproduce
    from verydeep.training.recipe import Recipe
    from verydeep.training.run import train
    from verydeep.transfer.fit import fit_transfer

__version__ = "0.1.0"
__all__ = [
    "NETS",
    "Dataset",
    "ErrorTable",
    "Net",
    "Posteriors",
    "Recipe",
    "VerydeepError",
    "create_net",
    "evaluate",
    "export_net",
    "features",
    "fit_transfer",
    "fold",
    "fuse",
    "gram",
    "load_net",
    "localise",
    "open_dataset",
    "perceptual_loss",
    "posteriors",
    "reproduce",
    "save_net",
    "train",
    "wrap",
]

HOMES = {  # where each name lives; the same as for the type checker above
    "NETS": "verydeep.nets.registry",
    "Dataset": "verydeep.data.dataset",
    "ErrorTable": "verydeep.evaluation.error_table",
    "Net": "verydeep.nets.net",
    "Posteriors": "verydeep.evaluation.posteriors",
    "Recipe": "verydeep.training.recipe",
    "create_net": "verydeep.nets.registry",
    "evaluate": "verydeep.evaluation.evaluate",
    "export_net": "verydeep.nets.export",
    "features": "verydeep.nets.features",
    "fit_transfer": "verydeep.transfer.fit",
    "fold": "verydeep.nets.fold",
    "fuse": "verydeep.evaluation.fuse",
    "gram": "verydeep.nets.perceptual",
    "load_net": "verydeep.nets.registry",
    "localise": "verydeep.localisation.localise",
    "open_dataset": "verydeep.data.open",
    "perceptual_loss": "verydeep.nets.perceptual",
    "posteriors": "verydeep.evaluation.posteriors",
    "reproduce": "verydeep.studies.reproduce",
    "save_net": "verydeep.nets.registry",
    "train": "verydeep.training.run",
    "wrap": "verydeep.nets.wrap",
}


ROOMS = ("localisation", "transfer")  # that can be used as `verydeep.transfer.…` without importing them


def __getattr__(name: str) -> Any:
    if name in ROOMS:
        return import_module(f"verydeep.{name}")
    if name not in HOMES:
        raise AttributeError(f"module 'verydeep' has no attribute {name!r}")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value  # so that the next use comes here no more
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
