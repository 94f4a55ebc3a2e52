"""Labelled pictures, wherever they come from; the feed: pictures → batches."""
