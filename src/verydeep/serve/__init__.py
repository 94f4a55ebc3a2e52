"""A local page on the chosen nets: a photograph goes in, what they take it for comes out, and nothing is kept.

The names below are loaded when they are first used, as those of `verydeep` itself.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
