"""Markdown, plain text and CSV files, with page marks if they have any.

A page ends at a form feed, or begins at a line that is ``<!-- page 3 -->``, ``[page 3]`` or ``--- page 3 ---``; without
marks all is page 1. Headings of Markdown are sections; in a CSV file a line of one field is, such as the name of the table
below it. Links and images keep their words and lose their addresses, for no
reader of the page sees them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component
from lpk.core.errors import UsageError
from lpk.core.evidence.documents.fulltext import FullText
from lpk.core.evidence.documents.lines import Line, Outline, Run
from lpk.core.evidence.retrieval.local import LocalOptions, LocalSource

RECIPE: Final = "lines 1"
_MEDIA: Final = {".md": "text/markdown", ".txt": "text/plain", ".csv": "text/csv"}
_PAGE = re.compile(
    r"\s*(?:<!--\s*page\s+(\d{1,6})\s*-->|\[page\s+(\d{1,6})\]|-{3,}\s*page\s+(\d{1,6})\s*-{3,})\s*", re.I
)
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.+?)\s*#*\s*")
_UNSEEN = (
    (re.compile(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)"), r"\1"),
    (re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>"), " "),
)


class TextOptions(LocalOptions):
    megabytes: int = Field(32, ge=1, description="the largest file that is read")


class TextSource(LocalSource[TextOptions]):
    reads = (".md", ".txt", ".csv")

    def title(self, file: Path) -> str:
        """The first heading, else the file's name."""
        beginning = file.read_text(encoding="utf-8", errors="replace")[:20_000]
        headings = filter(None, map(_HEADING.fullmatch, beginning.splitlines()))
        return next((heading[2] for heading in headings), super().title(file))

    def read(self, file: Path) -> FullText:
        data = self._bytes(file)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{file}: not UTF-8: byte {error.start} is 0x{data[error.start]:02x}; convert it first"
            ) from None
        if "\0" in text:
            raise UsageError(f"{file}: no text: it has a byte that is zero")
        if not text.strip():
            raise UsageError(f"{file}: the file is empty")
        ending = file.suffix.lower()
        lines, outline, pages = _rows(text) if ending == ".csv" else _parsed(text, ending == ".md")
        return FullText(
            sha256=hashlib.sha256(data).hexdigest(),
            media=_MEDIA[ending],
            reader=f"text ({RECIPE})",
            pages=pages,
            lines=tuple(lines),
            outline=tuple(outline),
        )

    def _bytes(self, file: Path) -> bytes:
        try:
            size = file.stat().st_size
            if size > self.options.megabytes << 20:
                raise UsageError(
                    f"{file}: {size >> 20} MB; the limit is {self.options.megabytes} MB (option megabytes)"
                )
            return file.read_bytes()
        except OSError as error:
            raise UsageError(f"{file}: {(error.strerror or str(error)).lower()}") from error


def _rows(text: str) -> tuple[list[Line], list[Outline], int]:
    """Lines and headings of a CSV file; a row is a block of its own."""
    lines: list[Line] = []
    outline: list[Outline] = []
    for row in filter(str.strip, text.splitlines()):
        if "," not in row:
            outline.append(Outline(1, row, 1, len(lines)))
        lines.append(Line(1, len(lines), (Run(row),)))
    return lines, outline, 1


def _parsed(text: str, markdown: bool) -> tuple[list[Line], list[Outline], int]:
    """Lines, headings and the number of pages. Blocks are parted by empty lines."""
    lines: list[Line] = []
    outline: list[Outline] = []
    page, last, block, fenced = 1, 1, 0, False
    for nth, sheet in enumerate(text.split("\f")):
        page += nth > 0
        for raw in sheet.splitlines():
            if mark := _PAGE.fullmatch(raw):
                page = int(next(filter(None, mark.groups())))
                block += 1
                continue
            last, block = max(last, page), block + (not raw.strip())
            if not raw.strip():
                continue
            fenced ^= markdown and raw.lstrip().startswith("```")
            heading = _HEADING.fullmatch(raw) if markdown and not fenced else None
            seen = heading[2] if heading else raw
            for pattern, with_ in _UNSEEN if markdown and not fenced else ():
                seen = pattern.sub(with_, seen)
            if heading:
                block += 1
                outline.append(Outline(len(heading[1]), seen, page, len(lines)))
            if seen.strip():
                lines.append(Line(page, block, (Run(seen),)))
            block += bool(heading)
    return lines, outline, last


@hookimpl
def lpk_sources() -> Iterable[Component]:
    yield Component(
        "text",
        "Markdown and plain text files, with page marks",
        f"{__name__}:TextSource",
        options=TextOptions,
    )
