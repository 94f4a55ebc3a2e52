"""Files of tensors ↔ tensors under our layers' names."""
