"""Bytes → uint8 RGB pictures → a view of them."""
