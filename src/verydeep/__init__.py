"""Very deep ConvNets: the nets, the training and every test protocol of the VGG paper (arXiv 1409.1556)."""

__version__ = "0.1.0"
