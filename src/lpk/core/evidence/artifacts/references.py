"""The papers that a ledger cites, for reference managers: BibTeX, CSL-JSON and RIS.

What is cited are the versions that rows quote, and the latest version of every included paper that no row quotes. A
paper's id is its key in all three, so that a draft's ``[@arxiv:2604.24938v2]`` finds it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lpk.core.evidence.ledger import Paper, Snapshot
from lpk.core.evidence.records import PaperVersion


@dataclass(frozen=True)
class Name:
    """An author's name: ``Guido van Rossum`` has the particle ``van``; ``whole`` is one that has no parts."""

    family: str = ""
    given: str = ""
    particle: str = ""
    whole: str = ""

    @classmethod
    def of(cls, text: str) -> Name:
        """Take a name apart as BibTeX does: by its comma, or else by the last word and small words before it."""
        text = " ".join(text.split())
        if "," in text:
            family, _, given = text.partition(",")
            return cls(family.strip(), given.strip()) if given.strip() else cls(whole=family.strip())
        words = text.split()
        if len(words) < 2 or _BODY.search(text):
            return cls(whole=text)
        begin = len(words) - 1
        while begin > 1 and words[begin - 1][0].islower():
            begin -= 1
        return cls(words[-1], " ".join(words[:begin]), " ".join(words[begin:-1]))

    @property
    def inverted(self) -> str:
        """``van Rossum, Guido``."""
        return self.whole or f"{self.particle} {self.family}".strip() + f", {self.given}"


_BODY = re.compile(
    r"\b(?:team|group|consortium|collaboration|lab|labs|inc|university|institute|and|of)\b", re.IGNORECASE
)


def cited(ledger: Snapshot) -> list[PaperVersion]:
    """The versions that are cited, by id."""
    quoted = {(row.paper, row.version) for row in ledger.rows.values() if row.id not in ledger.withdrawals}
    with_rows = {paper for paper, _ in quoted}
    found = [version for paper, name in quoted if (version := _version(ledger.papers.get(paper), name))]
    found += [paper.latest for paper in ledger.included() if paper.id not in with_rows and paper.versions]
    return sorted(found, key=lambda version: version.name)


def _version(paper: Paper | None, name: str) -> PaperVersion | None:
    return paper.versions.get(name) if paper else None


def year(version: PaperVersion) -> str:
    """The year of this version; of the first one where that is all there is."""
    return (version.updated or version.published)[:4]


# -- BibTeX -----------------------------------------------------------------------------------------------------------


def bibtex(ledger: Snapshot) -> bytes:
    """``references.bib``."""
    entries = [f"% Rendered by lpk under policy {ledger.policy.hash}.\n", *map(_entry, cited(ledger))]
    return "\n".join(entries).encode()


def _entry(version: PaperVersion) -> str:
    scheme, _, name = version.paper.partition(":")
    fields = {
        "title": f"{{{tex(version.title)}}}",
        "author": " and ".join(_bib_name(Name.of(author)) for author in version.authors),
        "year": year(version),
        "month": (version.updated or version.published)[5:7].lstrip("0"),
        "journal" if version.venue else "howpublished": tex(version.venue or ("arXiv" if scheme == "arxiv" else "")),
        "eprint": tex(name + version.version) if scheme == "arxiv" else "",
        "archiveprefix": "arXiv" if scheme == "arxiv" else "",
        "primaryclass": tex(version.categories[0]) if version.categories and scheme == "arxiv" else "",
        "doi": tex(version.doi or (name if scheme == "doi" else "")),
        "url": tex(version.url),
        "note": tex(f"Withdrawn: {version.withdrawn}") if version.withdrawn else "",
    }
    lines = [f"  {field} = {{{value}}},\n" for field, value in fields.items() if value]
    return f"@{'article' if version.venue else 'misc'}{{{key(version)},\n{''.join(lines)}}}\n"


def key(version: PaperVersion) -> str:
    """Its id; what BibTeX does not allow in a key is written in hexadecimal, and so is the sign for that."""
    return re.sub(r"[^A-Za-z0-9:./-]", lambda char: f"_{ord(char[0]):02x}", version.name)


_TEX = {
    "\\": r"\textbackslash{}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", '"': r"\textquotedbl{}",
    **{char: f"\\{char}" for char in "#$%&_"},
}  # fmt: skip


def tex(text: str) -> str:
    """Plain text for TeX: no character of it is a command, nor a brace that could end a field."""
    return "".join(_TEX.get(char, char) for char in _line(text))


def _bib_name(name: Name) -> str:
    text = tex(name.inverted)
    return f"{{{text}}}" if name.whole or re.search(r"\band\b", text, re.IGNORECASE) else text


# -- CSL-JSON and RIS -------------------------------------------------------------------------------------------------


def csl(ledger: Snapshot) -> bytes:
    """``references.json``: CSL-JSON 1.0.2."""
    items = [_item(version, ledger.policy.hash) for version in cited(ledger)]
    return (json.dumps(items, indent=2, ensure_ascii=False) + "\n").encode()


def _item(version: PaperVersion, policy: str) -> dict[str, Any]:
    scheme, _, name = version.paper.partition(":")
    date = [int(part) for part in (version.updated or version.published).split("-") if part.isdigit()]
    item = {
        "id": key(version),
        "type": "article-journal" if version.venue else "article",
        "title": _line(version.title),
        "author": [_csl_name(Name.of(author)) for author in version.authors],
        "issued": {"date-parts": [date]} if date else None,
        "container-title": _line(version.venue),
        "publisher": "arXiv" if scheme == "arxiv" and not version.venue else "",
        "number": f"arXiv:{name}" if scheme == "arxiv" else "",
        "version": version.version,
        "DOI": version.doi or (name if scheme == "doi" else ""),
        "URL": version.url,
        "note": f"Withdrawn: {_line(version.withdrawn)}" if version.withdrawn else "",
        "custom": {"lpk": {"paper": version.paper, "policy": policy}},
    }
    return {field: value for field, value in item.items() if value}


def _csl_name(name: Name) -> dict[str, str]:
    if name.whole:
        return {"literal": name.whole}
    parts = {"family": name.family, "given": name.given, "non-dropping-particle": name.particle}
    return {part: value for part, value in parts.items() if value}


def ris(versions: Iterable[PaperVersion], policy: str, notes: Iterable[Iterable[str]] | None = None) -> bytes:
    """References in RIS, each with notes of its own."""
    listed = list(versions)
    records = [
        "".join(f"{tag}  - {value}\n" for tag, value in _tags(version, policy, more))
        for version, more in zip(listed, notes or [()] * len(listed), strict=True)
    ]
    return "\n".join(records).encode()


def _tags(version: PaperVersion, policy: str, notes: Iterable[str]) -> Iterator[tuple[str, str]]:
    scheme, _, name = version.paper.partition(":")
    date = version.updated or version.published
    yield "TY", "JOUR" if version.venue else "UNPB"
    yield "ID", version.name
    yield "TI", _line(version.title)
    for author in version.authors:
        yield "AU", Name.of(author).inverted
    tags = {
        "PY": date[:4],
        "DA": date.replace("-", "/"),
        "T2": _line(version.venue),
        "AN": version.name if scheme == "arxiv" else "",
        "DO": version.doi or (name if scheme == "doi" else ""),
        "UR": version.url,
        "AB": _line(version.abstract),
    }
    yield from ((tag, value) for tag, value in tags.items() if value)
    if version.withdrawn:
        yield "N1", f"Withdrawn: {_line(version.withdrawn)}"
    for note in notes:
        yield "N1", _line(note)
    yield "C1", f"lpk policy {policy}"
    yield "ER", ""


def _line(text: str) -> str:
    """Text on one line: a line's end would begin a field of somebody else's making."""
    return " ".join("".join(" " if unicodedata.category(char) == "Cc" else char for char in text).split())
