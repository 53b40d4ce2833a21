"""What a reader finds in a document: lines of text, in the order in which the file has them.

Nothing here knows a file format. A reader that knows where characters lie gives boxes, in points from the upper left
corner of the page; one that reads plain text gives none.
"""

# ruff: noqa: RUF001 - typographic characters are what this is about
from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count, repeat
from typing import NamedTuple

#: A place: page, x0, y0, x1, y1; in points, from the upper left corner of the page as it is seen.
Rect = tuple[int, float, float, float, float]


class Run(NamedTuple):
    """Characters of one style."""

    text: str
    size: float = 0.0
    bold: bool = False
    raised: bool = False


class Line(NamedTuple):
    """Characters on one baseline that the file has together.

    Attributes:
        page: counted from 1.
        block: lines of one block belong together, such as a paragraph; blocks are numbered through the document.
        runs: its characters; a run may end within a word.
        box: x0, y0, x1, y1; None in a plain text.
        words: x0 and x1 of each of its words, as spaces divide them.
        upright: whether it reads from left to right.
    """

    page: int
    block: int
    runs: tuple[Run, ...]
    box: tuple[float, float, float, float] | None = None
    words: tuple[tuple[float, float], ...] = ()
    upright: bool = True

    @property
    def text(self) -> str:
        return "".join(run.text for run in self.runs)

    @property
    def size(self) -> float:
        """The size that most of its characters have."""
        return max(self.runs, key=lambda run: len(run.text)).size

    @property
    def bold(self) -> bool:
        return all(run.bold for run in self.runs if run.text.strip())


class Outline(NamedTuple):
    """An entry of the file's own table of contents.

    Attributes:
        level: 1 for a section, 2 for a subsection ...
        line: the index of the line that it stands in, where the reader knows it.
        top: how far down the page it points, where the reader knows that.
    """

    level: int
    title: str
    page: int
    line: int | None = None
    top: float | None = None


class Word(NamedTuple):
    """What stands between two spaces.

    Attributes:
        text: its characters, with ``^`` before an exponent.
        bare: the same without raised marks of footnotes and citations.
        order: its place in the document.
        line: the index of its line.
        left: x0, in a plain text 0.
        right: x1.
    """

    text: str
    bare: str
    order: int
    line: int
    left: float = 0.0
    right: float = 0.0


def words_of(line: Line, index: int, order: int, marks: frozenset[str]) -> list[Word]:
    """The words of a line; ``marks`` are those that footnotes of its page begin with."""
    plain = line.text
    texts = bares = plain.split()
    if any(run.raised for run in line.runs):
        texts, bares = _with_marks(line.runs, marks)
    if len(line.words) == len(texts):
        places: Sequence[tuple[float, float]] = line.words
    elif line.box:  # a reader that counts words in another way: by their share of the line's characters
        places = _shares(plain, line.box[0], line.box[2])
    else:
        places = [(0.0, 0.0)] * len(texts)
    lefts, rights = zip(*places, strict=True) if places else ((), ())
    return list(map(Word, texts, bares, count(order), repeat(index), lefts, rights))


def letters(text: str) -> str:
    """The letters and digits of a text, in lower case."""
    return "".join(char for char in text.lower() if char.isalnum())


def _with_marks(runs: Sequence[Run], marks: frozenset[str]) -> tuple[list[str], list[str]]:
    """The words with raised marks, ``^`` before exponents; and without marks."""
    texts, bares = [""], [""]
    for run in runs:
        for nth, piece in enumerate(re.split(r"\s+", run.text)):  # a word may go on from one run to the next
            if nth:
                texts.append("")
                bares.append("")
            if piece:
                exponent = run.raised and texts[-1][-1:].isdigit() and piece[0] in "0123456789-−–"
                written = "^" + piece if exponent else piece
                if not (run.raised and _is_mark(piece, bares[-1], marks)):
                    bares[-1] += written
                texts[-1] += written
    kept = [nth for nth, text in enumerate(texts) if text]
    return [texts[nth] for nth in kept], [bares[nth] for nth in kept]


def _is_mark(piece: str, before: str, marks: frozenset[str]) -> bool:
    """Whether a raised piece refers to a footnote or a citation, and is no exponent, index or ordinal's ending."""
    if piece in marks:
        return True
    if piece.isalpha() and (len(piece) > 1 or before[-1:].isdigit()):
        return False
    word = before.rstrip("*†‡§¶,")
    # "m2" and "x2" have exponents; after a longer word, a full stop or a space it is a mark.
    return not word or not word[-1].isalnum() or (len(word) > 2 and word[-3:].isalpha())


def _shares(text: str, left: float, right: float) -> list[tuple[float, float]]:
    wide = (right - left) / max(len(text), 1)
    places, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        places.append((left + at * wide, left + (at + len(word)) * wide))
        at += len(word)
    return places
