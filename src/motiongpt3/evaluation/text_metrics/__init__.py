"""Captions against references: words in common, and likeness of meaning."""
