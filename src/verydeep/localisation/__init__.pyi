# The public names and where they live: read by type checkers, and by lazy_loader when a name is first used.
from .devkit import Score as Score
from .devkit import score as score
from .localise import Located as Located
from .locate import Localiser as Localiser
