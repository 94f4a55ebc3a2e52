"""Very deep ConvNets: the nets, the training and every test protocol of the VGG paper (arXiv 1409.1556).

The names below are loaded when they are first used, so that `import verydeep` does not wait for torch.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
