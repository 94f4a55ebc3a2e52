# The public names and where they live: read by type checkers, and by lazy_loader when a name is first used.
from .app import Limits as Limits
from .app import create_app as create_app
from .server import serve as serve
from .sight import ServedNet as ServedNet
from .sight import open_served as open_served
