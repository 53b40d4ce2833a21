"""What a server answered, taken apart: it may be anything, and none of it is trusted."""

from __future__ import annotations

from typing import Any

from lpk.core.evidence.retrieval.bibliographic import needed


def xml(content: bytes) -> Any:
    """The root of an XML document; None if it is none, or has a document type.

    Entities are defined in a document type: without one there is no bomb, no file of this machine and no other address to
    read. None of what is fetched here ever has one.
    """
    with needed():
        from lxml import etree
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, dtd_validation=False
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.LxmlError:
        return None
    return None if root.getroottree().docinfo.doctype else root


def dig(value: Any, *path: str | int) -> Any:
    """What lies at a path of keys and indices in a JSON value; None if the answer has another shape."""
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def rows(value: Any) -> list[Any]:
    """A JSON list; empty if it is something else."""
    return value if isinstance(value, list) else []
