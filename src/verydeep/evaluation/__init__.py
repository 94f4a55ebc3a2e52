"""A net, a data set, a protocol → posteriors → errors."""
