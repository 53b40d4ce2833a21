"""The text of a document, as a reader found it: lines with their places, and the views that quotes are looked for in.

No one view of a typeset page has every true quote and no false one, so there are several, and a quote is there if one of
them has it: *raw*, the file's own order with all that is in it; *clean*, without page furniture; *flow*, with captions,
tables and footnotes moved behind the text that they interrupt; *columns*, the flow in the order in which a page's columns
are read, whatever order the file has; and each of these without the raised marks of footnotes and citations. On 541
sentences of five typeset papers, raw alone has 387, clean 541 less those with numeric citations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from lpk.core.errors import EnvironmentMissing, PluginError, UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.documents.layout import Layout
from lpk.core.evidence.documents.lines import Line, Outline, Rect, Run, Word
from lpk.core.evidence.documents.placed import Role
from lpk.core.evidence.documents.views import View

_OUT_OF_FLOW = (Role.FLOAT, Role.NOTE)


@dataclass(frozen=True, eq=False)
class FullText:
    """The text of one file.

    Attributes:
        sha256: of the file.
        media: application/pdf, text/markdown or text/plain.
        reader: what read it: names, versions, recipe.
        pages: how many.
        lines: in the file's order.
        outline: the file's own table of contents.
        unreadable: pages that show something but have no text: scans, or fonts that do not say what their letters are.
    """

    sha256: str
    media: str
    reader: str
    pages: int
    lines: tuple[Line, ...]
    outline: tuple[Outline, ...] = ()
    unreadable: frozenset[int] = frozenset()

    @classmethod
    def plain(cls, text: str) -> FullText:
        """A text that is no file, such as an abstract: one page."""
        lines = tuple(Line(1, 0, (Run(line),)) for line in text.splitlines() if line.strip())
        return cls(hashlib.sha256(text.encode()).hexdigest(), "text/plain", "plain", 1, lines)

    @property
    def text_layer(self) -> bool:
        """Whether any page has text that can be read."""
        return any(line.page not in self.unreadable and line.text.strip() for line in self.lines)

    @cached_property
    def text_sha256(self) -> str:
        """Of the text that was read, all pages."""
        pages = "\f".join(self.page_text(number) for number in range(1, self.pages + 1))
        return hashlib.sha256(pages.encode("utf-8", "surrogatepass")).hexdigest()

    def page_text(self, number: int) -> str:
        """The text of a page, counted from 1, line by line as the file has it."""
        return "\n".join(line.text.strip() for line in self._by_page.get(number, ()))

    @cached_property
    def _by_page(self) -> dict[int, list[Line]]:
        pages: dict[int, list[Line]] = {}
        for line in self.lines:
            pages.setdefault(line.page, []).append(line)
        return pages

    @cached_property
    def layout(self) -> Layout:
        """What each line is."""
        return Layout(self.lines, self.outline)

    @cached_property
    def views(self) -> tuple[View, ...]:
        """What a quote is looked for in; of two that say the same, one."""
        layout, lines = self.layout, range(len(self.lines))
        clean = [nth for nth in lines if layout.roles[nth] is not Role.FURNITURE]
        flow = [nth for nth in clean if layout.roles[nth] not in _OUT_OF_FLOW]
        aside = [nth for nth in clean if layout.roles[nth] in _OUT_OF_FLOW]
        orders: dict[str, list[Word | None]] = {
            "raw": [word for nth in lines for word in layout.words[nth]],
            "clean": self._unnumbered(clean),
            "flow": [*self._unnumbered(flow), *self._apart(aside)],
            "columns": [*self._unnumbered(layout.in_columns(flow)), *self._apart(aside)],
        }
        marked = any(word.text != word.bare for words in layout.words for word in words)
        views: list[View] = []
        for nth, (name, words) in enumerate(orders.items()):
            if words not in list(orders.values())[:nth]:
                views += [View(name, words)] + [View(f"{name}, without marks", words, bare=True)] * marked
        return tuple(views)

    def _unnumbered(self, lines: Iterable[int]) -> list[Word | None]:
        """The words of some lines, one after the other, without those that number a page's lines."""
        return [word for nth in lines for word in self.layout.unnumbered[nth]]

    def _apart(self, lines: Iterable[int]) -> Iterator[Word | None]:
        """The words of some lines, block by block, with nothing that leads from one block to the next."""
        for _, block in groupby(lines, key=lambda nth: (self.lines[nth].block, self.layout.roles[nth])):
            yield None
            yield from self._unnumbered(block)


class Installed(Protocol):
    """What is needed of the registry, which plugins may not import."""

    @property
    def entries(self) -> Sequence[Any]: ...


def reader_of(file: Path, registry: Installed) -> Source[Any]:
    """The source that reads files with this one's ending.

    Raises:
        UsageError: none does.
        PluginError: several do.
    """
    ending, sources = file.suffix.lower(), list(_sources(registry))
    found = [source for source in sources if ending in source.reads]
    if len(found) > 1:
        raise PluginError(f"{file.name}: {' and '.join(source.name for source in found)} both read {ending} files")
    if not found:
        known = ", ".join(sorted({known for source in sources for known in source.reads}))
        raise UsageError(f"{file}: no source reads {ending or 'files without an ending'}; known: {known}")
    return found[0]


def _sources(registry: Installed) -> Iterator[Source[Any]]:
    for entry in registry.entries:
        if entry.kind == "source":
            with suppress(EnvironmentMissing):  # what it needs is not installed; whoever asks for it by name is told
                source: Source[Any] = entry.create()
                yield source


def read(file: Path, registry: Installed) -> FullText:
    """The text of a file, by the source that reads files with its ending.

    Raises:
        UsageError: the file is not there, is damaged, or is of no kind that can be read.
        EnvironmentMissing: what reads it is not installed.
    """
    if file.is_dir():
        raise UsageError(f"{file}: a folder; say which file in it")
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    return reader_of(file, registry).read(file)


def picture(file: Path, registry: Installed, page: int, rects: Sequence[Rect], scale: float = 2.0) -> bytes:
    """A page as a PNG image, with these places on it highlighted; those on other pages are left out.

    Raises:
        UsageError: there is no such page, or the file's kind has no pages to draw.
    """
    return reader_of(file, registry).picture(file, page, rects, scale)
