"""Embedded defaults."""
