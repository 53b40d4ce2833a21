"""Is a full text the paper that it is said to be? Its first page says: by its title, arXiv's stamp, its DOI.

The title is there when some lines, one after the other, are it and nothing more: "A comment on ..." is another paper. Case,
spaces, hyphens, ligatures, accents and punctuation do not matter, nor do marks of footnotes and numbers in the margin.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from lpk.core.evidence.documents.fulltext import FullText
from lpk.core.evidence.english.prose import squeezed
from lpk.core.evidence.records import FirstPage, PaperVersion

#: Lines that a title may be set in.
LINES: Final = 8
#: Characters of a page that a message shows.
SHOWN: Final = 80

#: What arXiv prints into the margin: "arXiv:2403.17887v2 [cs.CL] 3 Mar 2025". In running text an id may be anybody's.
_STAMP: Final = re.compile(
    r"arXiv:\s*((?:\d{4}\.\d{4,5}|[a-z-]+(?:\.[A-Z]{2})?/\d{7})(?:v\d+)?)\s*\[[a-z-]+(?:\.[A-Za-z-]+)?\]\s*\d{1,2} [A-Z][a-z]{2} \d{4}"
)
_DOI: Final = re.compile(r"\b10\.\d{4,9}/[^\s{}<>\"]+[^\s{}<>\".,;:)\]]")
#: A fount that does not say what its ligatures are has these; a word ends there.
_NO_SIGN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\ufffd]")
_LOST: Final = "(?:ff[il]?|f[il])?"


def first_page(text: FullText, version: PaperVersion) -> FirstPage:
    """What the first page with words shows of a version of a paper."""
    page = min((line.page for line in text.lines if line.text.strip()), default=1)
    written = " ".join(text.page_text(page).split())
    stamp = _STAMP.search(written)
    found = [doi.lower() for doi in _DOI.findall(written)]
    own = doi_of(version)
    return FirstPage(
        title=_has_title(text, page, version.title),
        arxiv=stamp[1] if stamp else "",
        doi=own if own in found else "",
        begins=_shown(written),
    )


def doi_of(version: PaperVersion) -> str:
    """The DOI that a paper's record or id gives."""
    return (version.doi or version.paper.partition("doi:")[2]).lower()


def stranger(shown: FirstPage, version: PaperVersion) -> str:
    """Why a file with this first page is not that version of the paper; empty where it is."""
    scheme, _, name = version.paper.partition(":")
    stamped, number = re.fullmatch(r"(.*?)(v\d+)?", shown.arxiv).groups()  # type: ignore[union-attr]
    if stamped and scheme == "arxiv":
        if stamped != name:
            return f"it bears the stamp arXiv:{shown.arxiv}"
        return f"it bears the stamp of {number}" if number and version.version not in ("", number) else ""
    if shown.title or shown.doi:
        return ""
    return f"its first page has neither the title {version.title!r} nor an id of it; it begins {shown.begins!r}"


def is_its_file(version: PaperVersion) -> bool:
    """Whether a paper is nothing but its file: a note, a study's tables. Its title is then what the file was called."""
    return version.paper.startswith(("local:", "study:")) and not version.authors


def _has_title(text: FullText, page: int, title: str) -> bool:
    layout, wanted = text.layout, squeezed(title)
    lines = [
        _pattern(line.text, [word.bare for word in layout.unnumbered[nth]])
        for nth, line in enumerate(text.lines)
        if line.page == page
    ]
    lines = [line for line in lines if line]
    return bool(wanted) and any(
        re.fullmatch(pattern.removeprefix("title"), wanted) or re.fullmatch(pattern, wanted)
        for first in range(len(lines))
        for pattern in accumulate(lines[first : first + LINES])
    )


def _pattern(written: str, words: Sequence[str]) -> str:
    """What matches the squeezed words of a line, whatever ligatures were lost."""
    pieces = [re.escape(piece) for piece in map(squeezed, words) if piece]
    return _LOST.join(["", *pieces, ""] if pieces else []) if _NO_SIGN.search(written) else "".join(pieces)


def _shown(written: str) -> str:
    plain = "".join(" " if unicodedata.category(char) == "Cc" else char for char in written)
    return plain if len(plain) <= SHOWN else f"{plain[: SHOWN - 3].rstrip()}..."
