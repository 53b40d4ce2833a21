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

# ruff: noqa: RUF001 - typographic characters are what this is about
from __future__ import annotations

import re
import string
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from lpk.core.evidence.lines import Line, Outline, words_of

#: Of a heading, in one line.
MOST_WORDS = 16


class Role(Enum):
    """What a line is."""

    PROSE = "prose"
    HEADING = "heading"
    FURNITURE = "furniture"
    NOTE = "note"
    FLOAT = "float"


class Heading(NamedTuple):
    """Where a section begins."""

    line: int
    number: str
    title: str

    @property
    def name(self) -> str:
        """Its number; of one without, its title."""
        return self.number or self.title


_CAPTION = re.compile(
    r"(Fig(ure|\.)?|Table|Tab\.|Algorithm|Listing|Scheme|Box|Plate|Chart)\s*[A-Z]?\d+([.\-]\d+)*\s*[.:|—–]", re.I
)
_CAPTION_LABEL = re.compile(r"(Fig(ure|\.)?|Table|Tab\.|Algorithm|Listing)\s*[A-Z]?\d+([.\-]\d+)*$", re.I)
_MARK = re.compile(r"[0-9]{1,3}|[*†‡§¶∗]+|[a-z]")
_TITLES = (
    "abstract|introduction|background|related works?|preliminaries|methods?|methodology|approach|experiments?|experimental setup|"
    "setup|results?|evaluation|analysis|ablations?|ablation study|discussion|limitations?|conclusions?|summary|future work|"
    "acknowledge?ments?|references|bibliography|appendix|appendices|supplementary materials?|ethics statement|"
    "broader impacts?|reproducibility statement|impact statement|results and discussion|discussion and conclusions?|materials and methods"
)
_END_MATTER = re.compile("references|bibliography|appendi|acknowledg|limitations|ethics|broader|conclusion", re.I)
_KNOWN = re.compile(rf"({_TITLES})[.:—]?", re.I)
_RUN_IN = re.compile(r"(abstract|keywords|index terms)\s*[.:—–-]+\s*\S", re.I)
_NUMBERED = re.compile(
    r"((?:appendix|section|chapter)\s+)?(\d{1,2}(?:\.\d{1,2}){0,4}|[A-Z](?:\.\d{1,2}){0,4}|[IVX]{1,5})(\.|:|\)|—)?\s+(\S.*)",
    re.I,
)
_PAGE_NUMBER = re.compile(r"([-–—\s]*(page\s*)?(\d{1,4}|[ivxl]{1,6})(\s*(of|/)\s*\d{1,4})?[-–—\s]*)", re.I)


class Layout:
    """What each line of a document is.

    Attributes:
        lines: as they were read.
        roles: one for each.
        words: of each line, without numbers in the margin, where its page counts its lines.
        headings: in their order.
    """

    def __init__(self, lines: Sequence[Line], outline: Sequence[Outline] = ()) -> None:
        self.lines = lines
        self.roles = [Role.PROSE] * len(lines)
        self._set = [nth for nth, line in enumerate(lines) if line.box and line.upright]
        for nth, line in enumerate(lines):
            if not line.upright:
                self.roles[nth] = Role.FURNITURE
        sizes = Counter[float]()
        for nth in self._set:
            sizes[round(lines[nth].size, 1)] += len(lines[nth].text)
        self.body = sizes.most_common(1)[0][0] if sizes else 0.0
        pages = _grouped(self._set, lambda nth: lines[nth].page)
        last: dict[tuple[int, int], int] = {}
        numbers = [self._line_numbers(page, last) for page in pages.values()]
        self._heads_and_feet(pages)
        marks = {number: self._notes(page) for number, page in pages.items()}
        self._floats()
        self.words, order = [], 0
        for nth, line in enumerate(lines):
            words = words_of(line, nth, order, marks.get(line.page, frozenset()))
            order += len(words)
            self.words.append(words)
        #: Orders of the words that number lines.
        self.numbers = {self.words[nth][place].order for page in numbers for nth, place in page if self.words[nth]}
        self.headings = self._outlined(outline) or list(self._found_headings())
        for heading in self.headings:
            if self.roles[heading.line] is Role.PROSE:
                self.roles[heading.line] = Role.HEADING
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

    # What is no part of the text -------------------------------------------------------------------------------------

    def _line_numbers(self, page: Sequence[int], last: dict[tuple[int, int], int]) -> list[tuple[int, int]]:
        """(line, 0 or -1): its first or last word numbers it.

        At least six that count on, one below the other; or fewer that go on from ``last``, where those of the page before
        ended: by side and distance from the left.
        """
        found: list[tuple[int, int]] = []
        for side in (0, -1):
            columns: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
            for nth in page:
                line, words = self.lines[nth], self.lines[nth].text.split()
                if words and line.box and words[side].isdecimal() and len(words[side]) < 5 and line.words:
                    columns[round(line.words[side][1] / 4)].append((line.box[1], nth, int(words[side])))
            for edge, numbers in sorted(columns.items()):
                column = sorted(numbers + columns.get(edge + 1, []))
                steps = Counter(below[2] - above[2] for above, below in pairwise(column))
                (step, often), *_ = steps.most_common(1) or [(1, 0)]
                before = next((last[side, near] for near in (edge, edge - 1, edge + 1) if (side, near) in last), None)
                enough = len(column) >= 6 or column[0][2] - step == before
                if enough and step in (1, 5) and often >= 0.8 * (len(column) - 1):
                    found += [(nth, side) for _, nth, _ in column]
                    last[side, edge] = column[-1][2]
        for nth, _ in found:
            if len(self.lines[nth].text.split()) == 1:
                self.roles[nth] = Role.FURNITURE
        return found

    def _heads_and_feet(self, pages: Mapping[int, Sequence[int]]) -> None:
        """Mark what stands at the top or the bottom apart from the rest: at a height where no page has text, or again."""
        for sign in (1, -1):
            apart: dict[int, list[list[int]]] = defaultdict(list)
            heights: Counter[int] = Counter()  # of text
            said: Counter[str] = Counter()
            for page in pages.values():
                levels = self._levels([nth for nth in page if self.roles[nth] is not Role.FURNITURE], sign)
                for (height, level), (below, _) in pairwise(levels):
                    said[self._said(level)] += 1
                    if abs(below - height) < 1.55 * self.body:
                        heights[round(height / 3)] += 1
                        break
                    apart[round(height / 3)].append(level)
            for height, found in apart.items():
                free = len(found) > 1 and not any(heights[near] for near in (height - 1, height, height + 1))
                for level in found:
                    words = " ".join(self.lines[nth].text for nth in level).strip()
                    if free or said[self._said(level)] > 1 or _PAGE_NUMBER.fullmatch(words):
                        for nth in level:
                            self.roles[nth] = Role.FURNITURE

    def _said(self, level: Sequence[int]) -> str:
        """What some lines say, whatever their numbers are."""
        return re.sub(r"\d+", "#", "".join(_letters(self.lines[nth].text) for nth in level))

    def _levels(self, page: Sequence[int], sign: int) -> list[tuple[float, list[int]]]:
        """(height, lines), from the top (1) or the bottom (-1) of a page inwards."""
        levels: list[tuple[float, list[int]]] = []
        for nth in sorted(page, key=lambda nth: sign * self._middle(nth)):
            if levels and abs(self._middle(nth) - levels[-1][0]) < 0.4 * self.body:
                levels[-1][1].append(nth)
            elif len(levels) == 3:
                break
            else:
                levels.append((self._middle(nth), [nth]))
        return levels

    def _middle(self, nth: int) -> float:
        box = self.lines[nth].box
        return (box[1] + box[3]) / 2 if box else 0.0

    # What stands outside the flow ------------------------------------------------------------------------------------

    def _notes(self, page: Sequence[int]) -> frozenset[str]:
        """Mark the footnotes of a page, and give the marks that they begin with."""
        marks: set[str] = set()
        left = [nth for nth in page if self.roles[nth] is Role.PROSE]
        for column in self.columns(left):
            small: list[int] = []
            for nth in sorted(column, key=self._middle, reverse=True):
                if self.lines[nth].size > self.body - 0.6:
                    break
                small.append(nth)
            found = [(nth, mark) for nth in small if (mark := self._mark(self.lines[nth]))]
            if found:
                first = min(self._middle(nth) for nth, _ in found)
                marks |= {mark for _, mark in found}
                for nth in small:
                    if self._middle(nth) >= first and not _CAPTION.match(self.lines[nth].text.lstrip()):
                        self.roles[nth] = Role.NOTE
        return frozenset(marks)

    @staticmethod
    def _mark(line: Line) -> str:
        """What a footnote begins with: a smaller or raised figure or letter, or a sign."""
        first = line.runs[0]
        text = first.text.strip()
        if (first.raised or first.size < 0.85 * line.size) and _MARK.fullmatch(text):
            return text
        found = re.match(r"[*†‡§¶∗]+|\d{1,3}(?=\s+[A-Z(\[\"“h])", line.text.strip())
        return found.group() if found else ""

    def _floats(self) -> None:
        """Mark captions, and with each the blocks before and after it in the file that are not prose."""
        free = [nth for nth in self._set if self.roles[nth] is Role.PROSE]
        blocks = list(_grouped(free, lambda nth: self.lines[nth].block).values())
        margins = self._margins(free)
        prose = [self._is_prose(block, margins) for block in blocks]
        captions = [place for place, block in enumerate(blocks) if self._is_caption(block)]
        for place in captions:
            self._mark_float(self._caption_lines(blocks[place]))
            for step in (-1, 1):
                beside = place + step
                while 0 <= beside < len(blocks) and not prose[beside] and beside not in captions:
                    if self.lines[blocks[beside][0]].page != self.lines[blocks[place][0]].page:
                        break
                    if any(_names_section(self.lines[nth].text) for nth in blocks[beside]):
                        break
                    self._mark_float(blocks[beside])
                    beside += step

    def _mark_float(self, block: Iterable[int]) -> None:
        for nth in block:
            self.roles[nth] = Role.FLOAT

    def _caption_lines(self, block: Sequence[int]) -> Sequence[int]:
        """A caption's block from its first line on; what comes before it there is prose."""
        first = next(
            place for place, nth in enumerate(block) if _CAPTION.match(self.lines[nth].text.lstrip()) or place == 0
        )
        return block[first:]

    def _is_caption(self, block: Sequence[int]) -> bool:
        line = self.lines[block[0]]
        text = line.text.strip()
        label = text.split("  ")[0]
        if _CAPTION.match(text):
            return True
        apart = line.runs[0].bold or line.size < self.body - 0.4
        return bool(apart and (_CAPTION_LABEL.match(label) or re.match(r"(Figure|Fig\.|Table)\s*[A-Z]?\d+\s", text)))

    def _margins(self, free: Sequence[int]) -> set[int]:
        """The left edges of long lines, to 2 points."""
        long = Counter(
            round(self.lines[nth].box[0] / 2)  # type: ignore[index]
            for nth in free
            if len(self.lines[nth].words) >= 6 and abs(self.lines[nth].size - self.body) < 0.6
        )
        enough = 0.02 * sum(long.values())
        return {edge + near for edge, count in long.items() if count > enough for near in (-1, 0, 1)}

    def _is_prose(self, block: Sequence[int], margins: set[int]) -> bool:
        lines = [self.lines[nth] for nth in block]
        if not any(abs(line.size - self.body) < 0.6 for line in lines):
            return False
        if any(len(line.words) >= 6 and abs(line.size - self.body) < 0.6 for line in lines):
            rows = _grouped(block, lambda nth: round(self._middle(nth) / 3))
            return len(rows) * 2.5 > len(block) or len(block) < 4
        return all(round(line.box[0] / 2) in margins for line in lines if line.box)

    # Order -----------------------------------------------------------------------------------------------------------

    def columns(self, page: Sequence[int]) -> list[list[int]]:
        """The lines of a page as columns that are read one after the other; a line across both ends what is above it."""
        boxes = {nth: box for nth in page if (box := self.lines[nth].box)}
        if not boxes:
            return [list(page)]
        left, right = min(box[0] for box in boxes.values()), max(box[2] for box in boxes.values())
        middle, slack = (left + right) / 2, 0.02 * (right - left)
        sides = {
            nth: -1 if box[2] < middle + slack else 1 if box[0] > middle - slack else 0 for nth, box in boxes.items()
        }
        across = sum(side == 0 and len(self.lines[nth].words) > 3 for nth, side in sides.items())
        if across > 0.4 * len(sides) or not any(side > 0 for side in sides.values()):
            return [sorted(page, key=self._middle)]
        bands: list[list[int]] = []
        current: dict[int, list[int]] = {-1: [], 1: []}
        for nth in sorted(page, key=self._middle):
            if sides[nth]:
                current[sides[nth]].append(nth)
                continue
            bands += [current[-1], current[1], [nth]]
            current = {-1: [], 1: []}
        return [band for band in [*bands, current[-1], current[1]] if band]

    # Sections --------------------------------------------------------------------------------------------------------

    def _outlined(self, outline: Sequence[Outline]) -> list[Heading]:
        """The headings that the file's own table of contents names, where most of their lines are found."""
        pages = _grouped(
            (nth for nth in range(len(self.lines)) if self.roles[nth] is not Role.FURNITURE),
            lambda nth: self.lines[nth].page,
        )
        rows = {
            page: {nth: _letters(self._row(nth)[0]) for nth in pages.get(page, ())}
            for page in {entry.page for entry in outline if entry.line is None}
        }
        found: list[Heading] = []
        for entry in outline:
            line = entry.line if entry.line is not None else self._line_of(entry, rows[entry.page])
            if line is None or (found and line <= found[-1].line):
                continue
            title = " ".join(entry.title.split())
            numbered = _numbered(title, string.ascii_uppercase) or (
                _numbered(self._row(line)[0]) if entry.line is None else None
            )
            found.append(Heading(line, *numbered) if numbered else Heading(line, "", title))
        return found if len(found) > 0.5 * len(outline) else []

    def _line_of(self, entry: Outline, page: Mapping[int, str]) -> int | None:
        """The line of a page that has the words of a table of contents' entry, the nearest to where it points."""
        wanted = _letters(entry.title)
        having = [
            nth
            for nth, here in page.items()
            if (here and here.endswith(wanted)) or (len(here) > 8 and wanted.startswith(here))
        ]
        top = entry.top or 0.0  # where it does not say, the first will do
        # A heading is these words after at most a number; a line of prose may end with them too.
        return min(
            having, key=lambda nth: (len(page[nth]) > len(wanted) + 4, abs(self._middle(nth) - top)), default=None
        )

    def _found_headings(self) -> Iterator[Heading]:
        """Headings by their looks. Before the first of them are title and authors, which look like headings too."""
        seen, ending, letter, done = False, False, "", -1
        for nth in self._set:
            line = self.lines[nth]
            if (
                nth <= done
                or self.roles[nth] is not Role.PROSE
                or (len(line.words) > MOST_WORDS and not _RUN_IN.match(line.text))
            ):
                continue
            text, last = self._row(nth)
            # An appendix is "A Proofs"; "A Closer Look" is none. A letter counts on, or comes after the end of the paper.
            next_letter = chr(ord(letter) + 1) if letter else "A" if ending else ""
            numbered, known = _numbered(text, next_letter), _known(text)
            if run_in := _RUN_IN.match(text):
                heading = Heading(nth, "", run_in[1].capitalize())
            elif numbered and (seen or numbered[0][0].isdigit() or numbered[0] == "I"):
                heading = Heading(nth, *numbered)
            else:
                heading = Heading(nth, "", text.rstrip(".:—"))
            if run_in or self._looks_like_heading(line, text, bool(heading.number), known, seen):
                done = last
                seen = seen or bool(heading.number) or known
                ending = ending or bool(_END_MATTER.match(text))
                letter = heading.number if len(heading.number) == 1 and heading.number.isalpha() else letter
                yield heading

    def _looks_like_heading(self, line: Line, text: str, numbered: bool, known: bool, seen: bool) -> bool:
        strong = line.size > self.body + 0.8 or line.bold
        if not 2 < len(text) < 120:
            return False
        if numbered:
            return (strong and text[-1] not in ",;") or text.upper() == text
        if known:
            return strong or text.isupper() or (text[0].isupper() and len(text.split()) == len(line.words))
        if not seen or line.size < self.body + 1.4 or text[-1] in ".,;:-" or _CAPTION.match(text):
            return False
        return text[0].isupper() and sum(char.isalpha() for char in text) > 0.6 * len(text)

    def _row(self, nth: int) -> tuple[str, int]:
        """The text of a line with what stands beside it (a heading's number and title are often two lines), and its end."""
        line, row = self.lines[nth], [nth]
        for other in range(nth + 1, min(nth + 4, len(self.lines))):
            beside = self.lines[other]
            if not (line.box and beside.box and line.page == beside.page) or self.roles[other] is Role.FURNITURE:
                break
            near = beside.block == line.block or 0 < beside.box[0] - line.box[2] < 4 * self.body
            if not near or abs(self._middle(other) - self._middle(nth)) > 2:
                break
            row.append(other)
        words = [word.text for other in row for word in self.words[other] if word.order not in self.numbers]
        return " ".join(words), row[-1]


def _known(text: str) -> bool:
    """Whether this is a title that sections often have, perhaps with its letters spaced."""
    return bool(_KNOWN.fullmatch(re.sub(r"\b(\w) (?=\w\b)", r"\1", text)))


def _names_section(text: str) -> bool:
    text = " ".join(text.split())
    return _known(text) or bool(_numbered(text))


def _numbered(text: str, letters: str = "") -> tuple[str, str] | None:
    """The number and the title of a heading that has both. Of letters that stand alone, only these are numbers."""
    found = _NUMBERED.fullmatch(text)
    if not found:
        return None
    before, number, stop, title = found.groups()
    if number[0].isalpha() and not (number in letters or before or (number.isupper() and (stop or len(number) > 1))):
        return None
    shown = sum(char.isalpha() for char in title)
    return (number.upper(), title.strip()) if title[0].isupper() and shown > 0.6 * len(title) - 1 else None


def _grouped(lines: Iterable[int], key: Callable[[int], int]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for nth in lines:
        groups.setdefault(key(nth), []).append(nth)
    return groups


def _letters(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())
