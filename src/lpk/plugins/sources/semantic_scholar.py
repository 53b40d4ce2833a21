"""Semantic Scholar's Academic Graph: metadata, citation counts, references.

https://api.semanticscholar.org/api-docs/graph. One request a second with a key (from the environment), a share of a common
pool without. A search gives the 1,000 most relevant papers at most and no references; a paper by its id has them. The
graph does not know of retractions: only a title may tell.
"""

from __future__ import annotations

import os
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

KEY: Final = "S2_API_KEY"
_FIELDS: Final = "title,abstract,authors,year,publicationDate,venue,externalIds,url,openAccessPdf,citationCount"
_PAGE: Final = 100


class SemanticScholarOptions(Options):
    query: str = Field("", description="words to search for, instead of the direction's")
    year: str = Field("", pattern=r"^(\d{4})?(-(\d{4})?)?$", description="e.g. 2024, 2023-2025 or 2023-")
    limit: int = Field(50, ge=1, le=1000, description="papers that a search gives at most")
    base: str = Field("https://api.semanticscholar.org", description="the address of the API")
    mailto: str = Field("", description="your address, for the operators; sent with each request")


class SemanticScholar(Source[SemanticScholarOptions]):
    """Papers as Semantic Scholar knows them, without versions or full texts."""

    def find(self, direction: Direction) -> Iterator[PaperVersion]:
        # A hyphen in a query finds nothing, says the documentation; a space finds both ways to write it.
        query = (self.options.query or plain_query(direction)).replace("-", " ")
        yield from merged(self._versions(self._search(query)))

    def versions(self, paper: str) -> Sequence[PaperVersion]:
        scheme, name = split_id(paper)
        schemes = {"arxiv": "ARXIV:", "doi": "DOI:", "s2": ""}
        if scheme not in schemes:
            raise UsageError(f"Semantic Scholar knows arxiv:, doi: and s2: ids, not {paper!r}")
        path = f"graph/v1/paper/{quote(schemes[scheme] + name, safe=':/')}"
        found = self._web.json(path, {"fields": f"{_FIELDS},references.externalIds"})
        return tuple(self._versions([found])) if found else ()

    def _search(self, query: str) -> Iterator[object]:
        from lpk.core.evidence.retrieval.answers import rows

        params = {"query": query, "fields": _FIELDS} | ({"year": self.options.year} if self.options.year else {})
        offset, seen, limit = 0, 0, self.options.limit
        while seen < limit:
            page = {"offset": str(offset), "limit": str(min(_PAGE, limit - seen))}
            answer = self._web.json("graph/v1/paper/search", params | page) or {}
            papers = rows(answer.get("data"))
            yield from papers[: limit - seen]
            seen += len(papers)
            after = answer.get("next")  # absent on the last page
            if not papers or not isinstance(after, int) or after <= offset:
                return
            offset = after

    def _versions(self, papers: Iterable[object]) -> Iterator[PaperVersion]:
        for paper in papers:
            if isinstance(paper, dict) and (name := paper_id(*_ids(paper))) and (title := untagged(paper.get("title"))):
                yield self._version(paper, name, title)

    def _version(self, paper: dict[str, Any], name: str, title: str) -> PaperVersion:
        from lpk.core.evidence.retrieval.answers import dig, rows

        year, citations = paper.get("year"), paper.get("citationCount")
        return PaperVersion(
            paper=name,
            title=title,
            authors=tuple(filter(None, (one_line(dig(author, "name")) for author in rows(paper.get("authors"))))),
            published=one_line(paper.get("publicationDate")) or (str(year) if isinstance(year, int) else ""),
            abstract=untagged(paper.get("abstract")),
            venue=untagged(paper.get("venue")),
            doi=doi_of(dig(paper, "externalIds", "DOI")),
            url=one_line(paper.get("url")),
            pdf_url=one_line(dig(paper, "openAccessPdf", "url")),
            licence=one_line(dig(paper, "openAccessPdf", "license")),
            withdrawn=withdrawn_by(title, "title"),
            citations=citations if isinstance(citations, int) and citations >= 0 else None,
            references=paper_ids(_ids(cited) for cited in rows(paper.get("references"))),
            source=self.name,
        )

    @cached_property
    def _web(self) -> Web:
        from lpk.core.evidence.retrieval.web import Web

        key = os.environ.get(KEY, "").strip()
        headers = {"x-api-key": key} if key else {}
        hint = "" if key else f"a (free) key in {KEY} makes it likelier to be served"
        return Web(
            "semantic-scholar",
            self.options.base,
            interval=1.0,
            headers=headers,
            mailto=self.options.mailto,
            hint=hint,
        )


def _ids(paper: object) -> list[object]:
    from lpk.core.evidence.retrieval.answers import dig

    external = dig(paper, "externalIds")
    return [f"arxiv:{dig(external, 'ArXiv')}", dig(external, "DOI"), f"s2:{dig(paper, 'paperId') or ''}"]


@hookimpl
def lpk_sources() -> Iterable[Component]:
    yield Component(
        "semantic-scholar",
        "Semantic Scholar: metadata, citation counts, references; key in S2_API_KEY",
        f"{__name__}:SemanticScholar",
        reference="https://arxiv.org/abs/2301.10140",
        options=SemanticScholarOptions,
        extra="lpk[evidence]",
    )
