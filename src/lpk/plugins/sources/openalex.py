"""OpenAlex: metadata, citations, references, retractions, and PDFs of open-access papers.

https://developers.openalex.org. Since February 2026 a day's requests are counted in money: a dollar's worth with a (free)
key, a tenth of it without; a search costs ten times as much as a list, and one work by its id nothing. When the budget is
spent the answer is 429 and a wait until midnight, which is told at once. The key comes from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options
from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.records import Direction, PaperVersion
from lpk.core.evidence.retrieval.bibliographic import (
    arxiv_id,
    boolean_query,
    doi_of,
    merged,
    one_line,
    paper_id,
    paper_ids,
    split_id,
    untagged,
    withdrawn_by,
)

if TYPE_CHECKING:
    from lpk.core.evidence.retrieval.web import Web

KEY: Final = "OPENALEX_API_KEY"
_WHOLE: Final = ",".join(
    (
        "id,doi,display_name,publication_date,authorships,primary_location,best_oa_location,locations",
        "abstract_inverted_index,is_retracted,cited_by_count,referenced_works",
    )
)
_NAMES: Final = "id,doi,locations"
#: OpenAlex takes at most 100 results a page, and 100 values in one filter.
_PAGE: Final = 100


class OpenAlexOptions(Options):
    query: str = Field("", description="in OpenAlex's query language, instead of one made from the direction")
    filter: str = Field("", description="OpenAlex filters, e.g. from_publication_date:2024-01-01,type:article")
    limit: int = Field(50, ge=1, le=10_000, description="papers that a search gives at most")
    resolve: bool = Field(True, description="look up by which ids cited papers go elsewhere, 100 a request")
    refresh: bool = Field(False, description="download PDFs anew, even those that are in the cache")
    base: str = Field("https://api.openalex.org", description="the address of the API")
    mailto: str = Field("", description="your address, for OpenAlex's operators; sent with each request")


class OpenAlex(Source[OpenAlexOptions]):
    """Papers as OpenAlex knows them, without versions."""

    def find(self, direction: Direction) -> Iterator[PaperVersion]:
        query = self.options.query or boolean_query(direction, lambda term: f'"{term}"')
        params = {"search": query, "select": _WHOLE}
        if self.options.filter:
            params["filter"] = self.options.filter
        yield from merged(self._versions(list(self._list(params, self.options.limit))))

    def versions(self, paper: str) -> Sequence[PaperVersion]:
        scheme, name = split_id(paper)
        if scheme not in ("arxiv", "doi", "openalex"):
            raise UsageError(f"OpenAlex knows arxiv:, doi: and openalex: ids, not {paper!r}")
        key = {"arxiv": f"doi:10.48550/arxiv.{name}", "doi": f"doi:{name}", "openalex": name}[scheme]
        work = self._web.json(f"works/{quote(key, safe=':/')}", self._keyed({"select": _WHOLE}))
        return tuple(merged(self._versions([work]))) if work else ()

    def fetch(self, version: PaperVersion, into: Path) -> Path | None:
        if not version.pdf_url:
            return None
        # OpenAlex keeps many addresses as it found them; what is served over http only is not asked for.
        address = version.pdf_url.replace("http://", "https://", 1) if not self._local else version.pdf_url
        name = "".join(letter if letter.isalnum() else "-" for letter in version.name)
        return self._anywhere.pdf(address, into, name, refresh=self.options.refresh)

    def _list(self, params: dict[str, str], limit: int) -> Iterator[dict[str, Any]]:
        """Works, page after page."""
        from lpk.core.evidence.retrieval.answers import dig, rows

        cursor, seen = "*", 0
        while cursor and seen < limit:
            page = {"per-page": str(min(_PAGE, limit)), "cursor": cursor}
            answer = self._web.json("works", self._keyed(params | page)) or {}
            works = [work for work in rows(answer.get("results")) if isinstance(work, dict)]
            yield from works[: limit - seen]
            seen += len(works)
            cursor = (works and one_line(dig(answer, "meta", "next_cursor"))) or ""

    def _versions(self, works: Sequence[dict[str, Any]]) -> Iterator[PaperVersion]:
        from lpk.core.evidence.retrieval.answers import rows

        cited = dict.fromkeys(_short(name) for work in works for name in rows(work.get("referenced_works")))
        known = self._names(list(cited)) if self.options.resolve else {}
        for work in works:
            title, paper = untagged(work.get("display_name")), paper_id(*_ids(work))
            if title and paper:
                yield self._version(work, paper, title, known)

    def _names(self, works: Sequence[str]) -> dict[str, list[object]]:
        """The other ids of works: OpenAlex says only its own of what a paper cites."""
        found = {}
        for start in range(0, len(works), _PAGE):
            some = works[start : start + _PAGE]
            for work in self._list({"filter": f"openalex:{'|'.join(some)}", "select": _NAMES}, len(some)):
                found[_short(work.get("id"))] = _ids(work)
        return found

    def _version(self, work: dict[str, Any], paper: str, title: str, known: dict[str, list[object]]) -> PaperVersion:
        from lpk.core.evidence.retrieval.answers import dig, rows

        authors = [
            one_line(each.get("raw_author_name")) or one_line(dig(each, "author", "display_name"))
            for each in rows(work.get("authorships"))
            if isinstance(each, dict)
        ]
        cited = [_short(name) for name in rows(work.get("referenced_works"))]
        citations = work.get("cited_by_count")
        return PaperVersion(
            paper=paper,
            title=title,
            authors=tuple(filter(None, authors)),
            published=one_line(work.get("publication_date")),
            abstract=untagged(_abstract(work.get("abstract_inverted_index"))),
            venue=untagged(dig(work, "primary_location", "source", "display_name")),
            doi=doi_of(work.get("doi")),
            url=one_line(dig(work, "primary_location", "landing_page_url")) or one_line(work.get("id")),
            pdf_url=one_line(dig(work, "best_oa_location", "pdf_url")),
            licence=one_line(dig(work, "best_oa_location", "license")),
            note="OpenAlex lists no more than 100 authors" if len(authors) >= 100 else "",
            withdrawn="OpenAlex marks it as retracted"
            if work.get("is_retracted") is True
            else withdrawn_by(title, "title"),
            citations=citations if isinstance(citations, int) and citations >= 0 else None,
            references=paper_ids(known.get(name, [f"openalex:{name}"]) for name in cited),
            source=self.name,
        )

    def _keyed(self, params: dict[str, str]) -> dict[str, str]:
        key = os.environ.get(KEY, "").strip()
        return params | ({"api_key": key} if key else {})

    @cached_property
    def _web(self) -> Web:
        from lpk.core.evidence.retrieval.web import Web

        hint = "" if os.environ.get(KEY) else f"a (free) key in {KEY} allows ten times as much"
        return Web("openalex", self.options.base, interval=0.1, mailto=self.options.mailto, hint=hint)

    @cached_property
    def _anywhere(self) -> Web:
        """PDFs lie on any public host."""
        from lpk.core.evidence.retrieval.web import Web

        return Web("openalex's open-access locations", self.options.base, hosts=("*",), mailto=self.options.mailto)

    @property
    def _local(self) -> bool:
        return self.options.base.startswith("http:")


def _short(name: object) -> str:
    """``W2741809807`` of ``https://openalex.org/W2741809807``."""
    return one_line(name).rpartition("/")[2]


def _ids(work: dict[str, Any]) -> list[object]:
    """All that a work may go by: a preprint that was published has its arXiv address among its locations."""
    from lpk.core.evidence.retrieval.answers import dig, rows

    pages = [dig(place, "landing_page_url") for place in rows(work.get("locations"))]
    return [work.get("doi"), *(page for page in pages if arxiv_id(page)), f"openalex:{_short(work.get('id'))}"]


def _abstract(index: object) -> str:
    """The abstract of an inverted index: word -> its places.

    Raises:
        EnvironmentMissing: it is no index; a place far beyond the last word would be gigabytes of nothing.
    """
    if not isinstance(index, dict):
        return ""
    placed: dict[int, str] = {}
    for word, places in index.items():
        for place in places if isinstance(places, list) else [None]:
            if not isinstance(place, int) or isinstance(place, bool) or place < 0:
                raise EnvironmentMissing("OpenAlex answered an abstract of another shape than documented")
            placed[place] = word
    return " ".join(word for _, word in sorted(placed.items()))


@hookimpl
def lpk_sources() -> Iterable[Component]:
    yield Component(
        "openalex",
        "OpenAlex: metadata, citations, references, retractions, open-access PDFs; key in OPENALEX_API_KEY",
        f"{__name__}:OpenAlex",
        reference="https://arxiv.org/abs/2205.01833",
        options=OpenAlexOptions,
        extra="lpk[evidence]",
    )
