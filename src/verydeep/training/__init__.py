"""A recipe → a trained net."""
