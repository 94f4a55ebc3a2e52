"""Runs and evaluations → tables → a page to look at."""
