"""Mask searchers."""
