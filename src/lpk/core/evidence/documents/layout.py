"""Which lines of a document are what: running heads, line numbers, notes, floats, headings, prose.

A page's lines come in the file's order. For a quote to be found where it is interrupted by a page's foot, a figure or a
footnote, what interrupts must be known. It is told by place and type size, the way a reader's eye does:

- *furniture*: what stands alone at the top or bottom of pages, at the same height; columns of counting numbers in the
  margin (review line numbers); rotated text (stamps);
- *notes*: smaller lines at the bottom of a column that begin with a mark;
- *floats*: a caption, and the blocks beside it in the file that are not prose (tables, words in figures);
- *headings*: a number or a known title in larger, bold or capital letters; or what the file's table of contents names.

None of this decides what a quote's words are; a mistake here can hide a quote that is interrupted, never make one up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from lpk.core.evidence.documents.asides import mark_floats, mark_notes
from lpk.core.evidence.documents.furniture import line_numbers, mark_heads_and_feet
from lpk.core.evidence.documents.headings import Heading, Headings
from lpk.core.evidence.documents.lines import Line, Outline, Word, words_of
from lpk.core.evidence.documents.placed import Placed, Role, grouped, in_columns, middle


class Layout:
    """What each line of a document is.

    Attributes:
        roles: one for each line, in the file's order.
        words: of each line.
        unnumbered: the same without those that number a page's lines.
        headings: in their order.
    """

    def __init__(self, lines: Sequence[Line], outline: Sequence[Outline] = ()) -> None:
        self._lines = [Placed(nth, line) for nth, line in enumerate(lines)]
        upright = [placed for placed in self._lines if placed.line.box and placed.line.upright]
        for placed in self._lines:
            if not placed.line.upright:
                placed.role = Role.FURNITURE
        body = _body(upright)
        pages = {number: sorted(page, key=middle) for number, page in grouped(upright, _page).items()}
        numbers = line_numbers(pages.values())
        mark_heads_and_feet(list(pages.values()), body)
        marks = {number: mark_notes(page, body) for number, page in pages.items()}
        mark_floats(upright, body)
        self.words = list(_words(lines, marks))
        self.unnumbered = _without(self.words, numbers)
        headings = Headings(self._lines, self.unnumbered, body)
        self.headings = headings.outlined(outline) or list(headings.seen())
        for heading in self.headings:
            if self._lines[heading.line].role is Role.PROSE:
                self._lines[heading.line].role = Role.HEADING
        self.roles = [placed.role for placed in self._lines]
        self._starts = [heading.line for heading in self.headings]

    def section(self, line: int) -> list[Heading]:
        """The headings that a line stands under, the nearest last; none before the first."""
        nth = bisect_right(self._starts, line) - 1
        if nth < 0:
            return []
        nearest = self.headings[nth]
        parents = [
            earlier
            for earlier in self.headings[:nth]
            if earlier.number and nearest.number.startswith(earlier.number + ".")
        ]
        return [*parents, nearest]

    def in_columns(self, lines: Iterable[int]) -> list[int]:
        """Some lines in the order in which the columns of their pages are read."""
        pages = groupby((self._lines[nth] for nth in lines), _page)
        return [placed.nth for _, page in pages for column in in_columns(list(page)) for placed in column]


def _page(placed: Placed) -> int:
    return placed.line.page


def _body(lines: Iterable[Placed]) -> float:
    """The size that most characters have."""
    sizes = Counter[float]()
    for placed in lines:
        sizes[round(placed.size, 1)] += len(placed.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _words(lines: Iterable[Line], marks: Mapping[int, frozenset[str]]) -> Iterator[list[Word]]:
    order = 0
    for nth, line in enumerate(lines):
        words = words_of(line, nth, order, marks.get(line.page, frozenset()))
        order += len(words)
        yield words


def _without(words: Sequence[list[Word]], numbers: Iterable[tuple[Placed, int]]) -> list[list[Word]]:
    """The words of each line without its first (0) or last (-1), where that numbers it."""
    left = list(words)
    gone = {words[placed.nth][side].order for placed, side in numbers if words[placed.nth]}
    for placed, _ in numbers:
        left[placed.nth] = [word for word in words[placed.nth] if word.order not in gone]
    return left
