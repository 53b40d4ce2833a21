"""Lines in their places on a page, and the part that each plays there: what a layout is told from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from operator import attrgetter
from typing import TypeVar

from lpk.core.evidence.documents.lines import Line


class Role(Enum):
    """What a line is."""

    PROSE = "prose"
    HEADING = "heading"
    FURNITURE = "furniture"
    NOTE = "note"
    FLOAT = "float"


class Placed:
    """A line, with what is asked of it again and again.

    Attributes:
        nth: its index in the document.
        line: as it was read.
        text: its characters, without space around them.
        size: the size that most of its characters have.
        left: its box, like ``right``; 0 in a plain text.
        middle: half-way between its top and its bottom.
        role: what it is; prose, until something else is found.
    """

    __slots__ = ("left", "line", "middle", "nth", "right", "role", "size", "text")

    def __init__(self, nth: int, line: Line) -> None:
        self.nth, self.line = nth, line
        self.text, self.size = line.text.strip(), line.size
        self.left, top, self.right, bottom = line.box or (0.0, 0.0, 0.0, 0.0)
        self.middle = (top + bottom) / 2
        self.role = Role.PROSE


#: For sorting lines down a page.
middle = attrgetter("middle")

Key = TypeVar("Key")


def grouped(lines: Iterable[Placed], key: Callable[[Placed], Key]) -> dict[Key, list[Placed]]:
    """Lines of one kind together."""
    groups: dict[Key, list[Placed]] = {}
    for placed in lines:
        groups.setdefault(key(placed), []).append(placed)
    return groups


def in_columns(page: Sequence[Placed]) -> list[list[Placed]]:
    """The lines of a page as columns that are read one after the other; a line across both ends what is above it."""
    if not page or not page[0].line.box:
        return [list(page)]
    left, right = min(placed.left for placed in page), max(placed.right for placed in page)
    centre, slack = (left + right) / 2, 0.02 * (right - left)

    def side(placed: Placed) -> int:
        return -1 if placed.right < centre + slack else 1 if placed.left > centre - slack else 0

    down = sorted(page, key=middle)
    sides = [side(placed) for placed in down]
    across = sum(not at and len(placed.line.words) > 3 for placed, at in zip(down, sides, strict=True))
    if across > 0.4 * len(page) or 1 not in sides:
        return [down]
    columns: list[list[Placed]] = [[], []]
    for placed, at in zip(down, sides, strict=True):
        if at:
            columns[-2 if at < 0 else -1].append(placed)
        else:
            columns += [[placed], [], []]
    return [column for column in columns if column]
