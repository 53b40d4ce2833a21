r"""Papers of a BibTeX or RIS file, such as a reference manager exports.

A bibliography is what a person chose: a search gives all of it. A paper's id is its arXiv id, else its DOI, wherever the
entry has them (``doi``, ``eprint``, ``url``, ``note``, ``journal = {arXiv preprint arXiv:2403.17887}``), else
``local:`` and its key in the file.

BibTeX is read by bibtexparser 2 and TeX by pylatexenc, which it brings along; RIS by rispy. All three are small, without
compiled parts, MIT, and kept (2.1.0 of October 2026, 2.11 of July 2026, 0.10.0 of May 2025). pybtex would do too, but
knows TeX's accents only: ``\textbf{Grad}`` and ``$4\times$`` would stay.
"""

from __future__ import annotations

import logging
import re
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options
from lpk.core.errors import UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.records import Direction, PaperVersion
from lpk.core.evidence.retrieval.bibliographic import (
    arxiv_id,
    doi_of,
    merged,
    needed,
    one_line,
    paper_id,
    split_id,
    untexed,
    withdrawn_by,
)

#: A bibliography of 20,000 entries with abstracts.
_LARGEST: Final = 50_000_000
_IN_TEXT: Final = (
    re.compile(
        r"arxiv(?:\.org/(?:abs|pdf)/|[.:]\s*|\s+)((?:\d{4}\.\d{4,5}|[a-z-]+(?:\.[A-Z]{2})?/\d{7})(?:v\d+)?)", re.I
    ),
    re.compile(r"doi\.org/(10\.\d{4,9}/[^\s{},]+)", re.I),
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class BibliographyOptions(Options):
    path: str = Field("", description="the file to read")


class Bibliography(Source[BibliographyOptions]):
    """The entries of a file."""

    def find(self, direction: Direction) -> Iterator[PaperVersion]:
        yield from self._papers()

    def versions(self, paper: str) -> Sequence[PaperVersion]:
        split_id(paper)
        return tuple(
            sorted((found for found in self._papers() if found.paper == paper), key=lambda found: found.number)
        )

    @abstractmethod
    def entries(self, text: str) -> Iterator[PaperVersion]:
        """What is in the text of a file.

        Raises:
            UsageError: it is damaged.
        """

    def _papers(self) -> list[PaperVersion]:
        if not self.options.path:
            raise UsageError(f"source {self.name} reads a file: say which with -O path=FILE")
        path = Path(self.options.path)
        try:
            if path.stat().st_size > _LARGEST:
                raise UsageError(f"{path} is larger than {_LARGEST:,} bytes")
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is no UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error
        papers = merged(self.entries(text.replace("\r\n", "\n").replace("\r", "\n")))
        if not papers:
            raise UsageError(f"{path} has no entry with a title")
        return papers

    def damaged(self, line: int, why: object) -> UsageError:
        """What to raise where the file cannot be understood."""
        return UsageError(f"{self.options.path}, line {line}: {one_line(str(why))[:200]}")


class BibTeX(Bibliography):
    def entries(self, text: str) -> Iterator[PaperVersion]:
        with needed():
            from bibtexparser.entrypoint import parse_string
            from bibtexparser.model import DuplicateBlockKeyBlock, Entry
        with _silent("bibtexparser"):
            library = parse_string(text)
        for block in library.blocks:
            # One key twice is two entries all the same: papers are told apart by their ids.
            entry = block.ignore_error_block if isinstance(block, DuplicateBlockKeyBlock) else block
            if isinstance(entry, Entry):
                fields = {key.lower(): str(field.value) for key, field in entry.fields_dict.items()}
                if version := self._version(entry.key, fields):
                    yield version
            elif block in library.failed_blocks:
                error = getattr(block, "error", None)
                why = getattr(error, "abort_reason", "") or str(error or "") or "it is no entry"
                raise self.damaged((block.start_line or 0) + 1, why.partition(" Note: ")[0])

    def _version(self, key: str, fields: Mapping[str, str]) -> PaperVersion | None:
        plain = {name: untexed(value) for name, value in fields.items()}
        title = plain.get("title", "")
        if not title:
            return None
        eprint = fields.get("eprint", "") if fields.get("archiveprefix", "arxiv").lower() == "arxiv" else ""
        authors = re.split(r"\s+and\s+", _outside_braces(fields.get("author", "")))
        return _version(
            self.name,
            key,
            ids=[eprint, fields.get("doi", ""), fields.get("url", "")],
            hints=[fields.get(name, "") for name in ("url", "note", "journal", "howpublished", "number")],
            title=title,
            authors=[_name(untexed(_inside_braces(author))) for author in authors],
            published=_published(plain.get("date", ""), plain.get("year", ""), plain.get("month", "")),
            abstract=plain.get("abstract", ""),
            venue=plain.get("booktitle") or plain.get("journal") or plain.get("journaltitle") or "",
            url=fields.get("url", ""),
            note=plain.get("note", ""),
        )


class Ris(Bibliography):
    def entries(self, text: str) -> Iterator[PaperVersion]:
        with needed():
            import rispy
        lines = text.split("\n")
        _check_ris(lines, self.damaged)
        for number, entry in enumerate(rispy.loads(text), 1):
            if version := self._version(number, entry):
                yield version

    def _version(self, number: int, entry: Mapping[str, Any]) -> PaperVersion | None:
        def first(*names: str) -> str:
            return next(filter(None, (one_line(entry.get(name)) for name in names)), "")

        title = untexed(first("title", "primary_title", "translated_title"))
        if not title:
            return None
        # rispy takes a semicolon in an address for the end of it.
        addresses = [one_line(each) for each in entry.get("urls", ())]
        doi = first("doi")
        return _version(
            self.name,
            first("id", "accession_number", "label") or f"entry-{number}",
            ids=[doi, *addresses],
            hints=[*addresses, first("notes_abstract"), first("journal_name", "alternate_title3", "note"), doi],
            title=title,
            authors=[
                _name(untexed(one_line(each)), junior=2)
                for each in (*entry.get("authors", ()), *entry.get("first_authors", ()))
            ],
            published=_published(
                first("date", "publication_year", "year").replace("/", "-").strip("-"), first("year"), ""
            ),
            abstract=untexed(first("abstract", "notes_abstract")),
            venue=untexed(first("journal_name", "alternate_title3", "secondary_title", "alternate_title2")),
            url=addresses[0] if addresses else "",
            note=untexed(first("note")),
        )


def _version(source: str, key: str, *, ids: Sequence[str], hints: Sequence[str], **fields: Any) -> PaperVersion:
    # Addresses in running text count after the entry's own fields.
    candidates = [*ids, *(found[1] for hint in hints for pattern in _IN_TEXT if (found := pattern.search(hint)))]
    local = re.sub(r"(?:[^A-Za-z0-9._]|\.\.)+", "-", key).strip("._-")[:100]
    paper = paper_id(*candidates, f"local:{local}")
    if not paper:
        raise UsageError(f"the entry {fields['title'][:60]!r} has neither DOI, arXiv id, nor a key that can be an id")
    known = next(filter(None, map(arxiv_id, candidates)), None)
    return PaperVersion(
        paper=paper,
        version=known[1] if known else "",
        doi=next(filter(None, map(doi_of, candidates)), ""),
        withdrawn=withdrawn_by(fields["title"], "title") or withdrawn_by(fields["note"], "comment"),
        source=source,
        **{**fields, "authors": tuple(filter(None, fields["authors"])), "url": one_line(fields["url"])},
    )


@contextmanager
def _silent(library: str) -> Iterator[None]:
    """Within this context a library does not log what we say ourselves, in one line."""
    log = logging.getLogger(library)
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _check_ris(lines: Sequence[str], damaged: Any) -> None:
    """Refuse a record that has no end: rispy would drop it, and what follows would be taken for its own.

    Raises:
        UsageError: there is one.
    """
    begun = 0
    for number, line in enumerate(lines, 1):
        if line.startswith("TY  -"):
            if begun:
                raise damaged(number, f"a record begins, but that of line {begun} has no end (ER  -)")
            begun = number
        elif line.startswith("ER  -"):
            begun = 0
        elif not begun and re.match(r"[A-Z][A-Z0-9]  - \S", line):
            raise damaged(number, "this is outside of any record; one begins with TY  -")
    if begun:
        raise damaged(begun, "the record that begins here has no end (ER  -)")


def _name(name: str, *, junior: int = 1) -> str:
    """``Ada Lovelace`` of ``Lovelace, Ada``. A "Jr." is the second part in BibTeX, the third in RIS."""
    last, *rest = (part.strip() for part in name.split(","))
    suffix = rest.pop(junior - 1) if len(rest) == 2 else ""
    whole = " ".join(filter(None, (*rest, last)))
    return f"{whole}, {suffix}" if suffix else whole


def _outside_braces(text: str) -> str:
    """The text with every space within braces protected: ``{Barnes and Noble}`` is one name."""
    depth, kept = 0, []
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        kept.append("\x00" if depth > 0 and letter.isspace() else " " if letter.isspace() else letter)
    return "".join(kept)


def _inside_braces(text: str) -> str:
    return text.replace("\x00", " ")


def _published(date: str, year: str, month: str) -> str:
    """As much of YYYY-MM-DD as is known."""
    if found := re.match(r"\d{4}(-\d{1,2}(-\d{1,2})?)?(?!\d)", date):
        return "-".join(part.zfill(2) for part in found[0].split("-"))
    if not re.fullmatch(r"\d{4}", year):
        return ""
    short = month.lower()[:3]
    number = (
        _MONTHS.index(short) + 1 if short in _MONTHS else int(month) if re.fullmatch(r"0?[1-9]|1[0-2]", month) else 0
    )
    return f"{year}-{number:02d}" if number else year


@hookimpl
def lpk_sources() -> Iterable[Component]:
    yield Component(
        "bibtex",
        "The entries of a BibTeX file: -O path=FILE",
        f"{__name__}:BibTeX",
        reference="https://www.bibtex.org/Format/",
        options=BibliographyOptions,
        extra="lpk[evidence]",
    )
    yield Component(
        "ris",
        "The entries of a RIS file, as reference managers export: -O path=FILE",
        f"{__name__}:Ris",
        reference="https://en.wikipedia.org/wiki/RIS_(file_format)",
        options=BibliographyOptions,
        extra="lpk[evidence]",
    )
