"""What stands on a page and is no part of its text: numbers of lines, running heads, page numbers."""

# ruff: noqa: RUF001 - typographic characters are what this is about
from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from lpk.core.evidence.documents.lines import letters
from lpk.core.evidence.documents.placed import Placed, Role, middle

#: Of a column of counting numbers, unless it goes on from the page before.
FEWEST_NUMBERS = 6

_PAGE_NUMBER = re.compile(r"([-–—\s]*(page\s*)?(\d{1,4}|[ivxl]{1,6})(\s*(of|/)\s*\d{1,4})?[-–—\s]*)", re.I)


def line_numbers(pages: Iterable[Sequence[Placed]]) -> list[tuple[Placed, int]]:
    """(line, 0 or -1): its first or last word numbers it; one that says nothing else is furniture.

    Numbers that count on, one below the other, by ones or by fives: so many that it is no chance, or going on from
    those of the page before.
    """
    found: list[tuple[Placed, int]] = []
    last: dict[tuple[int, int], int] = {}  # side and distance from the left -> where the numbers of a page ended
    for page in pages:
        columns = _numbers(page)
        for (side, edge), numbers in sorted(columns.items()):
            column = sorted(numbers + columns.get((side, edge + 1), []))
            steps = Counter(below[2] - above[2] for above, below in pairwise(column))
            (step, often), *_ = steps.most_common(1) or [(1, 0)]
            before = next((last[side, near] for near in (edge, edge - 1, edge + 1) if (side, near) in last), None)
            enough = len(column) >= FEWEST_NUMBERS or column[0][2] - step == before
            if enough and step in (1, 5) and often >= 0.8 * (len(column) - 1):
                found += [(placed, side) for *_, placed in column]
                last[side, edge] = column[-1][2]
    for placed, _ in found:
        if len(placed.text.split()) == 1:
            placed.role = Role.FURNITURE
    return found


def _numbers(page: Iterable[Placed]) -> dict[tuple[int, int], list[tuple[float, int, int, Placed]]]:
    """Side and distance from the left, to 4 points -> (top, index, number, line) of the numbers there."""
    columns: dict[tuple[int, int], list[tuple[float, int, int, Placed]]] = defaultdict(list)
    for placed in page:
        line, words = placed.line, placed.text.split()
        for side in (0, -1):
            if words and words[side].isdecimal() and len(words[side]) < 5 and line.box and line.words:
                edge = round(line.words[side][1] / 4)
                columns[side, edge].append((line.box[1], placed.nth, int(words[side]), placed))
    return columns


def mark_heads_and_feet(pages: Sequence[Sequence[Placed]], body: float) -> None:
    """Mark what stands at the top or the bottom apart from the rest: at a height where no page has text, or again."""
    for upwards in (False, True):
        apart: dict[int, list[list[Placed]]] = defaultdict(list)
        heights: Counter[int] = Counter()  # of text
        said: Counter[str] = Counter()
        for page in pages:
            inwards = sorted((p for p in page if p.role is not Role.FURNITURE), key=middle, reverse=upwards)
            for level, below in pairwise(_levels(inwards, body)):
                said[_said(level)] += 1
                if abs(below[0].middle - level[0].middle) < 1.55 * body:
                    heights[_height(level)] += 1
                    break
                apart[_height(level)].append(level)
        for level in _furniture(apart, heights, said):
            for placed in level:
                placed.role = Role.FURNITURE


def _furniture(
    apart: Mapping[int, list[list[Placed]]], heights: Counter[int], said: Counter[str]
) -> Iterator[list[Placed]]:
    for height, levels in apart.items():
        free = len(levels) > 1 and not any(heights[near] for near in (height - 1, height, height + 1))
        for level in levels:
            words = " ".join(placed.text for placed in level)
            if free or said[_said(level)] > 1 or _PAGE_NUMBER.fullmatch(words):
                yield level


def _levels(inwards: Sequence[Placed], body: float) -> list[list[Placed]]:
    """The three outermost rows of lines that stand side by side."""
    levels: list[list[Placed]] = []
    for placed in inwards:
        if levels and abs(placed.middle - levels[-1][0].middle) < 0.4 * body:
            levels[-1].append(placed)
        elif len(levels) == 3:
            break
        else:
            levels.append([placed])
    return levels


def _height(level: Sequence[Placed]) -> int:
    """To 3 points."""
    return round(level[0].middle / 3)


def _said(level: Sequence[Placed]) -> str:
    """What some lines say, whatever their numbers are."""
    return re.sub(r"\d+", "#", "".join(letters(placed.text) for placed in level))
