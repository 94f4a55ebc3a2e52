# The public names and where they live: read by type checkers, and by lazy_loader when a name is first used.
from .descriptors import describe as describe
from .fit import Transfer as Transfer
from .fit import fit_transfer as fit_transfer
from .linear import LinearTransfer as LinearTransfer
from .model import Model as Model
from .model import load_model as load_model
from .precision import average_precision as average_precision
from .precision import mean_average_precision as mean_average_precision
from .recall import mean_class_recall as mean_class_recall
from .transformer import Descriptor as Descriptor
