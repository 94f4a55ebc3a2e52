"""Pixels → class scores, or a map of class scores."""
