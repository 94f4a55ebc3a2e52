# The public names and where they live: read by type checkers, and by lazy_loader when a name is first used.
from . import localisation as localisation
from . import transfer as transfer
from .data.dataset import Dataset as Dataset
from .data.open import open_dataset as open_dataset
from .errors import VerydeepError as VerydeepError
from .evaluation.error_table import ErrorTable as ErrorTable
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.fuse import fuse as fuse
from .evaluation.posteriors import Posteriors as Posteriors
from .evaluation.posteriors import posteriors as posteriors
from .localisation.localise import localise as localise
from .nets.export import export_net as export_net
from .nets.features import features as features
from .nets.fold import fold as fold
from .nets.net import Net as Net
from .nets.perceptual import gram as gram
from .nets.perceptual import perceptual_loss as perceptual_loss
from .nets.registry import NETS as NETS
from .nets.registry import create_net as create_net
from .nets.registry import load_net as load_net
from .nets.registry import save_net as save_net
from .nets.wrap import wrap as wrap
from .studies.reproduce import reproduce as reproduce
from .training.recipe import Recipe as Recipe
from .training.run import train as train
from .transfer.fit import fit_transfer as fit_transfer

__version__: str
