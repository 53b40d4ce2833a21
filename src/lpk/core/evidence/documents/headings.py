"""Where a document's sections begin: where its table of contents says, else where lines look like headings."""

# ruff: noqa: RUF001 - typographic characters are what this is about
from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from lpk.core.evidence.documents.lines import Outline, Word, letters
from lpk.core.evidence.documents.placed import Placed, Role, grouped

#: Of a heading, in one line.
MOST_WORDS = 16
#: Letters that a known title may have, and a line's number beside it.
MOST_LETTERS = 32

#: What a figure or a table is called by. It looks like a heading, and is none.
CAPTION = re.compile(
    r"(Fig(ure|\.)?|Table|Tab\.|Algorithm|Listing|Scheme|Box|Plate|Chart)\s*[A-Z]?\d+([.\-]\d+)*\s*[.:|—–]", re.I
)
_TITLES = (
    "abstract|introduction|background|related works?|preliminaries|methods?|methodology|approach|experiments?|experimental setup|"
    "setup|results?|evaluation|analysis|ablations?|ablation study|discussion|limitations?|conclusions?|summary|future work|"
    "acknowledge?ments?|references|bibliography|appendix|appendices|supplementary materials?|ethics statement|"
    "broader impacts?|reproducibility statement|impact statement|results and discussion|discussion and conclusions?|materials and methods"
)
_END_MATTER = re.compile("references|bibliography|appendi|acknowledg|limitations|ethics|broader|conclusion", re.I)
_KNOWN = re.compile(rf"({_TITLES})[.:—]?", re.I)
_SPACED = re.compile(r"\b(\w) (?=\w\b)")
_RUN_IN = re.compile(r"(abstract|keywords|index terms)\s*[.:—–-]+\s*\S", re.I)
_NUMBERED = re.compile(
    r"((?:appendix|section|chapter)\s+)?(\d{1,2}(?:\.\d{1,2}){0,4}|[A-Z](?:\.\d{1,2}){0,4}|[IVX]{1,5})(\.|:|\)|—)?\s+(\S.*)",
    re.I,
)


class Heading(NamedTuple):
    """Where a section begins."""

    line: int
    number: str
    title: str

    @property
    def name(self) -> str:
        """Its number; of one without, its title."""
        return self.number or self.title


class Headings:
    """Looks for the headings of a document.

    Args:
        lines: with their roles; furniture, notes and floats are known.
        words: of each of them, without those that number lines.
        body: the size of the text.
    """

    def __init__(self, lines: Sequence[Placed], words: Sequence[Sequence[Word]], body: float) -> None:
        self.lines, self.words, self.body = lines, words, body

    # The table of contents -------------------------------------------------------------------------------------------

    def outlined(self, outline: Sequence[Outline]) -> list[Heading]:
        """The headings that the file's own table of contents names, where most of their lines are found."""
        pages = grouped((p for p in self.lines if p.role is not Role.FURNITURE), lambda placed: placed.line.page)
        rows = {
            page: {placed: letters(self._row(placed)[0]) for placed in pages.get(page, ())}
            for page in {entry.page for entry in outline if entry.line is None}
        }
        found: list[Heading] = []
        for entry in outline:
            line = entry.line if entry.line is not None else _line_of(entry, rows[entry.page])
            if line is None or (found and line <= found[-1].line):
                continue
            title = " ".join(entry.title.split())
            numbered = _numbered(title, string.ascii_uppercase) or (
                _numbered(self._row(self.lines[line])[0]) if entry.line is None else None
            )
            found.append(Heading(line, *numbered) if numbered else Heading(line, "", title))
        return found if len(found) > 0.5 * len(outline) else []

    # Looks -----------------------------------------------------------------------------------------------------------

    def seen(self) -> Iterator[Heading]:
        """Headings by their looks. Before the first of them are title and authors, which look like headings too."""
        begun, ending, letter, done = False, False, "", -1
        for placed in self.lines:
            if placed.nth <= done or placed.role is not Role.PROSE or not self._may_begin(placed):
                continue
            text, last = self._row(placed)
            # An appendix is "A Proofs"; "A Closer Look" is none. A letter counts on, or comes after the end of the paper.
            next_letter = chr(ord(letter) + 1) if letter else "A" if ending else ""
            numbered, known = _numbered(text, next_letter), _known(text)
            if run_in := _RUN_IN.match(text):
                heading = Heading(placed.nth, "", run_in[1].capitalize())
            elif numbered and (begun or numbered[0][0].isdigit() or numbered[0] == "I"):
                heading = Heading(placed.nth, *numbered)
            else:
                heading = Heading(placed.nth, "", text.rstrip(".:—"))
            if run_in or self._looks_like_heading(placed, text, bool(heading.number), known, begun):
                done = last
                begun = begun or bool(heading.number) or known
                ending = ending or bool(_END_MATTER.match(text))
                letter = heading.number if len(heading.number) == 1 and heading.number.isalpha() else letter
                yield heading

    def _may_begin(self, placed: Placed) -> bool:
        """Whether a line can be a heading at all: most lines are told apart by this alone."""
        text = placed.text
        if not placed.line.box or _RUN_IN.match(text):
            return bool(placed.line.box)
        if len(placed.line.words) > MOST_WORDS:
            return False
        # A long line in the text's type is none, but in capitals or after a number, which may be that of the line.
        plain = not self._strong(placed) and text[:1].isalpha() and text.upper() != text
        return not plain or len(text) - text.count(" ") <= MOST_LETTERS

    def _strong(self, placed: Placed) -> bool:
        return placed.size > self.body + 0.8 or placed.line.bold

    def _looks_like_heading(self, placed: Placed, text: str, numbered: bool, known: bool, begun: bool) -> bool:
        if not 2 < len(text) < 120:
            return False
        if numbered:
            return (self._strong(placed) and text[-1] not in ",;") or text.upper() == text
        if known:
            whole = text[0].isupper() and len(text.split()) == len(placed.line.words)
            return whole or text.isupper() or self._strong(placed)
        if not begun or placed.size < self.body + 1.4 or text[-1] in ".,;:-" or CAPTION.match(text):
            return False
        return text[0].isupper() and sum(char.isalpha() for char in text) > 0.6 * len(text)

    def _row(self, placed: Placed) -> tuple[str, int]:
        """The text of a line with what stands beside it (a heading's number and title are often two lines), and its end."""
        row = [placed.nth]
        for beside in self.lines[placed.nth + 1 : placed.nth + 4]:
            if not self._beside(placed, beside):
                break
            row.append(beside.nth)
        return " ".join(word.text for nth in row for word in self.words[nth]), row[-1]

    def _beside(self, placed: Placed, other: Placed) -> bool:
        line, beside = placed.line, other.line
        if not (line.box and beside.box and line.page == beside.page) or other.role is Role.FURNITURE:
            return False
        near = beside.block == line.block or 0 < other.left - placed.right < 4 * self.body
        return near and abs(other.middle - placed.middle) <= 2


def _line_of(entry: Outline, page: Mapping[Placed, str]) -> int | None:
    """The line of a page that has the words of a table of contents' entry, the nearest to where it points."""
    wanted = letters(entry.title)
    having = [
        placed
        for placed, here in page.items()
        if (here and here.endswith(wanted)) or (len(here) > 8 and wanted.startswith(here))
    ]
    top = entry.top or 0.0  # where it does not say, the first will do
    # A heading is these words after at most a number; a line of prose may end with them too.
    best = min(having, key=lambda each: (len(page[each]) > len(wanted) + 4, abs(each.middle - top)), default=None)
    return best.nth if best else None


def names_section(text: str) -> bool:
    """Whether a line says what a heading may say."""
    text = " ".join(text.split())
    return _known(text) or bool(_numbered(text))


def _known(text: str) -> bool:
    """Whether this is a title that sections often have, perhaps with its letters spaced."""
    return bool(_KNOWN.fullmatch(_SPACED.sub(r"\1", text)))


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
