"""What a page has beside its text, and interrupts it with: footnotes; figures and tables, with their captions."""

# ruff: noqa: RUF001 - typographic characters are what this is about
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from lpk.core.evidence.documents.headings import CAPTION, names_section
from lpk.core.evidence.documents.placed import Placed, Role, grouped, in_columns, middle

_LABEL = re.compile(r"(Fig(ure|\.)?|Table|Tab\.|Algorithm|Listing)\s*[A-Z]?\d+([.\-]\d+)*$", re.I)
_LABELLED = re.compile(r"(Figure|Fig\.|Table)\s*[A-Z]?\d+\s")
_MARK = re.compile(r"[0-9]{1,3}|[*†‡§¶∗]+|[a-z]")
_MARKED = re.compile(r"[*†‡§¶∗]+|\d{1,3}(?=\s+[A-Z(\[\"“h])")


def mark_notes(page: Iterable[Placed], body: float) -> frozenset[str]:
    """Mark the footnotes of a page, and give the marks that they begin with."""
    marks: set[str] = set()
    for column in in_columns([placed for placed in page if placed.role is Role.PROSE]):
        small: list[tuple[Placed, str]] = []
        for placed in sorted(column, key=middle, reverse=True):
            if placed.size > body - 0.6:
                break
            small.append((placed, _mark(placed)))
        begun = [placed.middle for placed, mark in small if mark]
        for placed, mark in small:
            marks |= {mark} - {""}
            if begun and placed.middle >= min(begun) and not CAPTION.match(placed.text):
                placed.role = Role.NOTE
    return frozenset(marks)


def _mark(placed: Placed) -> str:
    """What a footnote begins with: a smaller or raised figure or letter, or a sign."""
    first = placed.line.runs[0]
    text = first.text.strip()
    if (first.raised or first.size < 0.85 * placed.size) and _MARK.fullmatch(text):
        return text
    found = _MARKED.match(placed.text)
    return found.group() if found else ""


def mark_floats(lines: Iterable[Placed], body: float) -> None:
    """Mark captions, and with each the blocks before and after it in the file that are not prose."""
    free = [placed for placed in lines if placed.role is Role.PROSE]
    blocks = list(grouped(free, lambda placed: placed.line.block).values())
    margins = _margins(free, body)
    captions = {place for place, block in enumerate(blocks) if _is_caption(block[0], body)}
    for place in captions:
        _float(blocks[place])
        page = blocks[place][0].line.page
        for step in (-1, 1):
            beside = place + step
            while 0 <= beside < len(blocks) and beside not in captions and blocks[beside][0].line.page == page:
                if _is_prose(blocks[beside], body, margins) or any(names_section(p.text) for p in blocks[beside]):
                    break
                _float(blocks[beside])
                beside += step


def _float(block: Iterable[Placed]) -> None:
    for placed in block:
        placed.role = Role.FLOAT


def _is_caption(first: Placed, body: float) -> bool:
    if CAPTION.match(first.text):
        return True
    apart = first.line.runs[0].bold or first.size < body - 0.4
    return bool(apart and (_LABEL.match(first.text.split("  ")[0]) or _LABELLED.match(first.text)))


def _margins(free: Iterable[Placed], body: float) -> set[int]:
    """The left edges of long lines, to 2 points."""
    long = Counter(_edge(placed) for placed in free if _is_long(placed, body))
    enough = 0.02 * sum(long.values())
    return {edge + near for edge, count in long.items() if count > enough for near in (-1, 0, 1)}


def _is_prose(block: Sequence[Placed], body: float, margins: set[int]) -> bool:
    if not any(_is_body(placed, body) for placed in block):
        return False
    if any(_is_long(placed, body) for placed in block):
        rows = {round(placed.middle / 3) for placed in block}
        return len(rows) * 2.5 > len(block) or len(block) < 4
    return all(_edge(placed) in margins for placed in block)


def _is_body(placed: Placed, body: float) -> bool:
    return abs(placed.size - body) < 0.6


def _is_long(placed: Placed, body: float) -> bool:
    return len(placed.line.words) >= 6 and _is_body(placed, body)


def _edge(placed: Placed) -> int:
    return round(placed.left / 2)
