"""Crossref: what publishers say of papers with a DOI, and what Retraction Watch says of them.

https://api.crossref.org, https://github.com/CrossRef/rest-api-doc. Since January 2025 a retracted paper's own record has
``updated-by``, from its publisher or from Retraction Watch; ``update-to`` is the other direction, of the notice
(https://doi.org/10.13003/c23rw1d9). DOIs of arXiv are DataCite's: Crossref does not know them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options
from lpk.core.errors import UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.records import Direction, PaperVersion
from lpk.core.evidence.retrieval.bibliographic import (
    doi_of,
    merged,
    one_line,
    paper_id,
    paper_ids,
    plain_query,
    split_id,
    untagged,
    withdrawn_by,
)

if TYPE_CHECKING:
    from lpk.core.evidence.retrieval.web import Web

_PAGE: Final = 100
#: Kinds of updates that take a paper back; others (correction, erratum, expression_of_concern ...) are noted.
_TAKES_BACK: Final = ("retraction", "withdrawal", "removal")
#: Relations that lead to another form of the same work.
_SAME_WORK: Final = (
    *("is-preprint-of", "has-preprint", "is-version-of", "has-version", "is-replaced-by", "replaces"),
    *("is-identical-to", "is-same-as"),
)


class CrossrefOptions(Options):
    query: str = Field("", description="words to search for, instead of the direction's")
    filter: str = Field("", description="Crossref filters, e.g. from-pub-date:2024,type:journal-article")
    limit: int = Field(50, ge=1, le=10_000, description="papers that a search gives at most")
    base: str = Field("https://api.crossref.org", description="the address of the API")
    mailto: str = Field("", description="your address, for Crossref's operators: it gets faster answers")


class Crossref(Source[CrossrefOptions]):
    """Papers as their publishers describe them, without versions or full texts."""

    def find(self, direction: Direction) -> Iterator[PaperVersion]:
        params = {"query.bibliographic": self.options.query or plain_query(direction)}
        if self.options.filter:
            params["filter"] = self.options.filter
        yield from merged(self._versions(self._search(params)))

    def versions(self, paper: str) -> Sequence[PaperVersion]:
        scheme, name = split_id(paper)
        if scheme == "arxiv":
            return ()
        if scheme != "doi":
            raise UsageError(f"Crossref knows doi: ids, not {paper!r}")
        answer = self._web.json(f"works/{quote(name, safe='/')}", self._polite({}))
        return tuple(self._versions([answer.get("message")])) if answer else ()

    def _search(self, params: dict[str, str]) -> Iterator[object]:
        from lpk.core.evidence.retrieval.answers import dig, rows

        cursor, seen, limit = "*", 0, self.options.limit
        while cursor and seen < limit:
            page = {"rows": str(min(_PAGE, limit - seen)), "cursor": cursor}
            answer = self._web.json("works", self._polite(params | page)) or {}
            works = rows(dig(answer, "message", "items"))
            yield from works[: limit - seen]
            seen += len(works)
            # The cursor never ends by itself: an empty page is the end.
            cursor = one_line(dig(answer, "message", "next-cursor")) if works else ""

    def _versions(self, works: Iterable[object]) -> Iterator[PaperVersion]:
        from lpk.core.evidence.retrieval.answers import dig

        for work in works:
            title = untagged(dig(work, "title", 0))
            if isinstance(work, dict) and title and (paper := paper_id(work.get("DOI"))):
                yield self._version(work, paper, title)

    def _version(self, work: dict[str, Any], paper: str, title: str) -> PaperVersion:
        from lpk.core.evidence.retrieval.answers import dig, rows

        subtitle, citations = untagged(dig(work, "subtitle", 0)), work.get("is-referenced-by-count")
        withdrawn, notes = _updates(work)
        return PaperVersion(
            paper=paper,
            title=f"{title}: {subtitle}" if subtitle and subtitle.casefold() not in title.casefold() else title,
            authors=tuple(filter(None, map(_author, rows(work.get("author"))))),
            published=next(filter(None, (_date(work.get(kind)) for kind in ("published", "issued", "posted"))), ""),
            abstract=untagged(work.get("abstract")).removeprefix("Abstract ").strip(),
            categories=tuple(filter(None, map(untagged, rows(work.get("subject"))))),
            venue=untagged(dig(work, "container-title", 0)),
            doi=doi_of(work.get("DOI")),
            url=one_line(dig(work, "resource", "primary", "URL")) or one_line(work.get("URL")),
            licence=one_line(dig(work, "license", 0, "URL")),
            note="; ".join((*notes, *_relations(work))),
            withdrawn=withdrawn or withdrawn_by(title, "title"),
            citations=citations if isinstance(citations, int) and citations >= 0 else None,
            references=paper_ids([dig(cited, "DOI")] for cited in rows(work.get("reference"))),
            source=self.name,
        )

    def _polite(self, params: dict[str, str]) -> dict[str, str]:
        return params | ({"mailto": self.options.mailto} if self.options.mailto else {})

    @cached_property
    def _web(self) -> Web:
        from lpk.core.evidence.retrieval.web import Web

        # Crossref's public pool allows 5 requests a second and one at a time.
        return Web("crossref", self.options.base, interval=0.2, mailto=self.options.mailto)


def _author(author: object) -> str:
    """``Ada Lovelace``; an organisation has a name only."""
    from lpk.core.evidence.retrieval.answers import dig

    person = " ".join(filter(None, (untagged(dig(author, "given")), untagged(dig(author, "family")))))
    return person or untagged(dig(author, "name"))


def _date(value: object) -> str:
    """``2024-05-17`` of ``{"date-parts": [[2024, 5, 17]]}``; ``2024-05`` or ``2024`` where that is all that is known."""
    from lpk.core.evidence.retrieval.answers import dig, rows

    parts = [part for part in rows(dig(value, "date-parts", 0)) if isinstance(part, int)]
    return "-".join(f"{part:02d}" for part in parts[:3])


def _updates(work: dict[str, Any]) -> tuple[str, list[str]]:
    """Why a work is taken back, if it is, and what else has become of it."""
    from lpk.core.evidence.retrieval.answers import dig, rows

    withdrawn, notes = "", []
    for update in rows(work.get("updated-by")):
        kind = one_line(dig(update, "type")).lower()
        by = one_line(dig(update, "source")) or "the publisher"
        said = f"{kind or 'update'} by doi:{doi_of(dig(update, 'DOI'))} {_date(dig(update, 'updated'))}".strip()
        if kind in _TAKES_BACK:
            withdrawn = withdrawn or f"{said} (says {by})"
        elif said not in notes:
            notes.append(said)
    for update in rows(work.get("update-to")):
        notes.append(
            f"this is a notice: {one_line(dig(update, 'type')) or 'update'} of doi:{doi_of(dig(update, 'DOI'))}"
        )
    return withdrawn, list(dict.fromkeys(notes))


def _relations(work: dict[str, Any]) -> Iterator[str]:
    from lpk.core.evidence.retrieval.answers import dig, rows

    for kind in _SAME_WORK:
        for other in rows(dig(work, "relation", kind)):
            if name := paper_id(dig(other, "id")):
                yield f"{kind} {name}"


@hookimpl
def lpk_sources() -> Iterable[Component]:
    yield Component(
        "crossref",
        "Crossref: metadata of papers with a DOI, citations, references, retractions and corrections",
        f"{__name__}:Crossref",
        reference="https://doi.org/10.1162/qss_a_00022",
        options=CrossrefOptions,
        extra="lpk[evidence]",
    )
