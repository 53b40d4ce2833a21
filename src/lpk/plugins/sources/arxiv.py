"""arXiv, by its API and the ``arxiv`` client: all versions of a paper, and their PDFs.

The API's terms: one request in three seconds and one connection, over all its addresses
(https://info.arxiv.org/help/api/tou.html). Its manual: https://info.arxiv.org/help/api/user-manual.html. What the manual
does not say and is dealt with here: an error may come with status 200, as an entry titled ``Error``; throttling may be the
bare text ``Rate exceeded.``; a page in the middle may come empty; titles and abstracts are wrapped in mid-sentence and
hold TeX; no field says that a paper is withdrawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

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
    needed,
    one_line,
    split_id,
    untexed,
    withdrawn_by,
)

if TYPE_CHECKING:
    from lpk.core.evidence.retrieval.web import Answer, Web

_INTERVAL: Final = 3.0
#: The client asks for pages one after the other; a page that should not be empty is asked for again.
_EMPTY_PAGES: Final = 3


class ArxivOptions(Options):
    query: str = Field("", description="in arXiv's query language, instead of one made from the direction")
    limit: int = Field(50, ge=1, le=2000, description="papers that a search gives at most")
    sort: Literal["relevance", "submitted", "updated"] = Field("relevance", description="which come first")
    page_size: int = Field(100, ge=1, le=2000, description="results a request")
    refresh: bool = Field(False, description="download PDFs anew, even those that are in the cache")
    base: str = Field("https://export.arxiv.org", description="the address of the API")
    files: str = Field("https://export.arxiv.org", description="the address of the PDFs: arXiv's host for programs")
    mailto: str = Field("", description="your address, for arXiv's operators; sent with each request")


class Arxiv(Source[ArxivOptions]):
    """Papers of arXiv."""

    def find(self, direction: Direction) -> Iterator[PaperVersion]:
        query = self.options.query or boolean_query(direction, lambda term: f'all:"{term}"')
        yield from merged(self._ask(query=query))

    def versions(self, paper: str) -> Sequence[PaperVersion]:
        name = self._name(paper)
        found = {version.number: version for version in self._ask(ids=[name])}
        if not found:
            return ()
        latest = max(found)
        # Several versions of one paper in one request; of any that are not in the answer each by itself.
        found |= self._numbered([f"{name}v{number}" for number in range(1, latest) if number not in found])
        for number in range(1, latest):
            if number not in found:
                found |= self._numbered([f"{name}v{number}"])
        missing = ", ".join(f"v{number}" for number in range(1, latest) if number not in found)
        if missing:
            found[latest] = found[latest].model_copy(update={"note": f"arXiv gave no record of {missing}"})
        return tuple(found[number] for number in sorted(found))

    def fetch(self, version: PaperVersion, into: Path) -> Path | None:
        name = self._name(version.paper)
        return self._web.pdf(
            f"{self.options.files.rstrip('/')}/pdf/{name}{version.version}",
            into,
            f"arxiv-{name.replace('/', '-')}{version.version}",
            refresh=self.options.refresh or not version.version,
        )

    def _name(self, paper: str) -> str:
        scheme, name = split_id(paper)
        known = arxiv_id(name)
        if scheme != "arxiv" or known is None or known[0] != name:
            raise UsageError(f"{paper!r} is no paper of arXiv; one is like arxiv:2604.24938 or arxiv:quant-ph/0201082")
        return name

    def _numbered(self, names: Sequence[str]) -> dict[int, PaperVersion]:
        return {version.number: version for version in self._ask(ids=names)} if names else {}

    def _ask(self, query: str = "", ids: Sequence[str] = ()) -> Iterator[PaperVersion]:
        with needed():
            import arxiv
        criteria = arxiv.SortCriterion
        by = {"relevance": criteria.Relevance, "submitted": criteria.SubmittedDate, "updated": criteria.LastUpdatedDate}
        limit = len(ids) or self.options.limit
        search = arxiv.Search(query=query, id_list=list(ids), max_results=limit, sort_by=by[self.options.sort])
        client = arxiv.Client(
            page_size=self.options.page_size if ids else min(limit, self.options.page_size),
            delay_seconds=0,  # ours are three seconds after those of any other process, too
            num_retries=_EMPTY_PAGES,
        )
        client.query_url_format = f"{self.options.base.rstrip('/')}/api/query?{{}}"
        client._session = _Session(self._web)
        try:
            for result in client.results(search):
                yield self._version(result)
        except arxiv.UnexpectedEmptyPageError:
            raise EnvironmentMissing(
                f"arXiv answered an empty page in the middle of its results, {_EMPTY_PAGES + 1} times"
            ) from None
        except ValueError:
            raise EnvironmentMissing("arXiv answered an entry of another shape than documented") from None

    def _version(self, result: Any) -> PaperVersion:
        named = arxiv_id(result.entry_id)
        if named is None:
            raise EnvironmentMissing(f"arXiv answered an entry with the id {one_line(result.entry_id)[:80]!r}")
        comment, abstract = untexed(result.comment or ""), untexed(result.summary)
        withdrawn = withdrawn_by(comment, "comment") or withdrawn_by(abstract, "abstract")
        if not withdrawn and result.pdf_url is None:
            withdrawn = "arXiv lists no PDF of it"
        return PaperVersion(
            paper=f"arxiv:{named[0]}",
            version=named[1],
            title=untexed(result.title) or "(untitled)",
            authors=tuple(filter(None, (untexed(author.name) for author in result.authors))),
            published=f"{result.published:%Y-%m-%d}",
            updated=f"{result.updated:%Y-%m-%d}",
            abstract=abstract,
            categories=tuple(dict.fromkeys(filter(None, (result.primary_category, *result.categories)))),
            venue=untexed(result.journal_ref or ""),
            doi=doi_of(result.doi),
            url=f"https://arxiv.org/abs/{named[0]}{named[1]}",
            pdf_url=re.sub("^http:", "https:", result.pdf_url or ""),
            note=comment,
            withdrawn=withdrawn,
            source=self.name,
        )

    @cached_property
    def _web(self) -> Web:
        from lpk.core.evidence.retrieval.web import Web

        files = re.sub(r"^https?://([^/:]+).*", r"\1", self.options.files)
        return Web(
            "arxiv",
            self.options.base,
            hosts=tuple({files, "arxiv.org", "*.arxiv.org"}),
            interval=_INTERVAL,
            mailto=self.options.mailto,
        )


class _Session:
    """What the client takes for its session: it reads entries leniently, so that what is wrong is seen here."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """The answer, if it is a feed.

        Raises:
            UsageError: arXiv does not understand the query.
            EnvironmentMissing: it is no feed.
        """
        from lpk.core.evidence.retrieval.answers import xml
        from lpk.core.evidence.retrieval.web import Answer

        answer = self._web.get(url, statuses=(200, 400), throttled=_throttled)
        root = xml(answer.content)
        if root is None or root.tag != f"{_ATOM}feed":
            raise EnvironmentMissing("arXiv answered something that is no feed, or a broken one")
        for entry in root.iterfind(f"{_ATOM}entry"):
            if _text(entry, "title").strip() == "Error" and "/api/errors" in _text(entry, "id"):
                raise UsageError(f"arXiv refuses the query: {one_line(_text(entry, 'summary'))[:200]}")
        return Answer(200, answer.content)


_ATOM: Final = "{http://www.w3.org/2005/Atom}"


def _text(entry: Any, tag: str) -> str:
    return entry.findtext(f"{_ATOM}{tag}") or ""


def _throttled(body: bytes) -> bool:
    return body.lstrip()[:14].lower().startswith(b"rate exceeded")


@hookimpl
def lpk_sources() -> Iterable[Component]:
    yield Component(
        "arxiv",
        "arXiv: all versions of a paper, withdrawn ones, PDFs; one request in three seconds",
        f"{__name__}:Arxiv",
        reference="https://info.arxiv.org/help/api/user-manual.html",
        options=ArxivOptions,
        extra="lpk[evidence]",
    )
