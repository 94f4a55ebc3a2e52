"""Very deep ConvNets: the nets, the training and every test protocol of the VGG paper (arXiv 1409.1556)."""
