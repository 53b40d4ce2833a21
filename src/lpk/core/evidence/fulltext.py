"""The text of a document, as a reader found it: characters with their places, and what a quote is looked for in."""

from __future__ import annotations


class FullText:
    """The text of one file."""
