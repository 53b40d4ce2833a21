"""Sources of papers against recorded and documented answers, replayed by a web server on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources_server import DATA, Asked, Clock, Reply, Server, as_json, recorded

from lpk.core.errors import EnvironmentMissing, LpkError, UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.records import Direction, Facet, PaperVersion
from lpk.core.evidence.retrieval.bibliographic import (
    arxiv_id,
    boolean_query,
    doi_of,
    merged,
    one_line,
    paper_id,
    plain_query,
    split_id,
    untagged,
    untexed,
    withdrawn_by,
)
from lpk.core.evidence.retrieval.web import Web
from lpk.core.registry import installed

pytestmark = pytest.mark.usefixtures("clock")

PDF = b"%PDF-1.7\nmade up\n%%EOF\n"
DIRECTION = Direction(
    id="d",
    title="Layer redundancy",
    facets=(
        Facet(name="object", words=("large language model", 'LLM" OR ti:"x')),
        Facet(name="intervention", words=("layer pruning",)),
    ),
    keywords=("depth pruning", "layer-redundancy"),
)


def source(name: str, **options: Any) -> Source[Any]:
    made = installed().find("source", f"lpk/{name}").create(options)
    assert isinstance(made, Source)
    return made


def one_line_of(error: type[LpkError], call: Any, *words: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    for word in words:
        assert word in str(caught.value)


# -- arXiv ------------------------------------------------------------------------------------------------------------

FEED = """<?xml version='1.0' encoding='UTF-8'?>
<feed xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/" xmlns:arxiv="http://arxiv.org/schemas/atom" \
xmlns="http://www.w3.org/2005/Atom">
  <id>https://arxiv.org/api/made-up</id>
  <title>arXiv Query: made up</title>
  <updated>2026-06-01T00:00:00Z</updated>
  <link href="https://arxiv.org/api/query?made-up" type="application/atom+xml"/>
  <opensearch:itemsPerPage>100</opensearch:itemsPerPage>
  <opensearch:totalResults>{total}</opensearch:totalResults>
  <opensearch:startIndex>0</opensearch:startIndex>
{entries}</feed>
"""


def entry(paper: dict[str, Any], *, pdf: bool = True) -> str:
    name = f"{paper['id']}{paper['version']}"
    authors = "".join(f"<author><name>{escape(author)}</name></author>" for author in paper["authors"])
    link = (
        f'<link href="https://arxiv.org/pdf/{name}" rel="related" type="application/pdf" title="pdf"/>' if pdf else ""
    )
    categories = "".join(f'<category term="{term}"/>' for term in paper["categories"])
    comment = f"<arxiv:comment>{escape(paper['comment'])}</arxiv:comment>" if paper["comment"] else ""
    return (
        f"<entry><id>http://arxiv.org/abs/{name}</id><title>{escape(paper['title'])}</title>"
        f"<updated>{paper['updated']}T10:00:00Z</updated>"
        f'<link href="https://arxiv.org/abs/{name}" rel="alternate" type="text/html"/>{link}'
        f"<summary>{escape(paper['summary'])}</summary>{categories}"
        f"<published>{paper['published']}T10:00:00Z</published>{comment}{authors}</entry>\n"
    )


def feed(*entries: str, total: int | None = None) -> Reply:
    text = FEED.format(total=len(entries) if total is None else total, entries="".join(entries))
    return Reply(text.encode(), headers={"Content-Type": "application/atom+xml; charset=utf-8"})


class Arxiv:
    """Answers as arXiv does: the recorded answers, and papers of which it has several versions."""

    def __init__(self, several_at_once: bool = True) -> None:
        self.several_at_once = several_at_once
        self.versions = json.loads((DATA / "arxiv" / "versions.json").read_text(encoding="utf-8"))
        self.recorded = {}
        for file in sorted((DATA / "arxiv").glob("*_*.json")):
            answer = json.loads(file.read_text(encoding="utf-8"))
            body = answer["body"].encode("latin-1")
            self.recorded[answer["url"].partition("?")[2]] = Reply(body, answer["status_code"])

    def __call__(self, asked: Asked) -> Reply | None:
        if asked.path != "/api/query":
            return None
        for query, reply in self.recorded.items():
            if dict(pair.split("=") for pair in query.split("&")) == {
                name: value.replace(",", "%2C").replace("/", "%2F") for name, value in asked.query.items()
            }:
                return reply
        names = asked.query["id_list"].split(",")
        found = []
        for name in names:
            of_it = [each for each in self.versions if name in (each["id"], each["id"] + each["version"])]
            found += of_it[-1:]
        return feed(*map(entry, found if self.several_at_once else found[:1]))


@pytest.fixture
def arxiv(server: Server) -> Source[Any]:
    server.chooser = Arxiv()
    return source("arxiv", base=server.address, files=server.address)


def test_arxiv_pages_through_a_recorded_search(server: Server, arxiv: Source[Any], clock: Clock) -> None:
    found = list(source("arxiv", base=server.address, query="testing", limit=20, page_size=10).find(DIRECTION))
    assert len(found) == 20
    assert [asked.query["start"] for asked in server.asked] == ["0", "10"]
    assert clock.waits == [3]
    assert found[0].name == "arxiv:2202.12139v1"
    assert found[0].title == ("Testing Deep Learning Models: A First Comparative Study of Multiple Testing Techniques")
    assert found[0].source == "lpk/arxiv"
    by_name = {paper.paper: paper for paper in found}
    bounds = by_name["arxiv:2403.16981"]
    assert bounds.number == 2
    assert bounds.updated == "2025-05-24"
    assert (
        "type-I error at most \u03b1" in bounds.abstract
    )  # TeX and hard wraps are gone, and letters are what they were
    assert by_name["arxiv:2405.13786"].pdf_url == "https://arxiv.org/pdf/2405.13786v1"
    assert any(paper.doi == "10.1109/icstw55395.2022.00035" for paper in found)
    for paper in found:
        assert "\n" not in paper.title + paper.abstract
        assert paper.authors
        assert paper.published <= paper.updated
        assert not paper.withdrawn
        assert PaperVersion.model_validate(paper.model_dump()) == paper


def test_arxiv_asks_for_what_the_direction_says(server: Server) -> None:
    server.add("/api/query", feed())
    assert list(source("arxiv", base=server.address).find(DIRECTION)) == []
    assert server.asked[0].query["search_query"] == (
        '((all:"large language model" OR all:"LLM OR ti x") AND (all:"layer pruning"))'
        ' OR all:"depth pruning" OR all:"layer-redundancy"'
    )


@pytest.mark.parametrize("several_at_once", [True, False])
def test_arxiv_gives_every_version(server: Server, several_at_once: bool) -> None:
    server.chooser = Arxiv(several_at_once)
    first, second, third = source("arxiv", base=server.address).versions("arxiv:2604.24938")
    assert [paper.version for paper in (first, second, third)] == ["v1", "v2", "v3"]
    assert [paper.published for paper in (first, second, third)] == ["2026-04-27"] * 3
    assert third.updated == "2026-05-26"
    assert first.title == second.title != third.title
    assert "we adopt a functional perspective, where" in second.abstract  # \emph{...} in arXiv's text
    assert len(server.asked) == (2 if several_at_once else 3)


def test_arxiv_says_which_version_is_missing(server: Server) -> None:
    answers = Arxiv()
    answers.versions = [each for each in answers.versions if each["version"] != "v2"]
    server.chooser = answers
    first, third = source("arxiv", base=server.address).versions("arxiv:2604.24938")
    assert (first.note, third.note) == ("", "arXiv gave no record of v2")


def test_arxiv_knows_withdrawn_versions(server: Server, arxiv: Source[Any]) -> None:
    first, second, third = arxiv.versions("arxiv:2602.23452")
    assert (first.withdrawn, third.withdrawn) == ("", "")
    assert second.withdrawn == "This paper has been withdrawn by the authors due to an error in Table 2"
    assert third.note == "Withdrawn from ICLR 2026; 14 pages"


def test_arxiv_without_a_pdf_is_withdrawn(server: Server) -> None:
    paper = Arxiv().versions[0]
    server.add("/api/query", feed(entry(paper, pdf=False)))
    (found,) = source("arxiv", base=server.address).versions("arxiv:2604.24938")
    assert (found.withdrawn, found.pdf_url) == ("arXiv lists no PDF of it", "")


def test_arxiv_knows_old_ids_and_says_what_it_does_not_know(server: Server) -> None:
    server.add("/api/query", recorded_arxiv("id_quant-ph"), recorded_arxiv("id_0000"))
    arxiv = source("arxiv", base=server.address)
    old = arxiv.versions("arxiv:quant-ph/0201082")
    assert [paper.name for paper in old] == ["arxiv:quant-ph/0201082v1"]
    assert old[0].abstract.startswith("We show a representation")
    assert arxiv.versions("arxiv:0000.0000") == ()


def recorded_arxiv(start: str, status: int | None = None) -> Reply:
    (file,) = (DATA / "arxiv").glob(f"{start}*.json")
    answer = json.loads(file.read_text(encoding="utf-8"))
    return Reply(answer["body"].encode("latin-1"), status or answer["status_code"])


@pytest.mark.parametrize("status", [400, 200])
def test_an_entry_titled_error_is_no_paper(server: Server, status: int) -> None:
    server.add("/api/query", recorded_arxiv("id_abc", status))
    arxiv = source("arxiv", base=server.address, query="((")
    one_line_of(UsageError, lambda: list(arxiv.find(DIRECTION)), "arXiv refuses the query: incorrect id format for abc")


def test_a_paper_may_be_titled_error(server: Server) -> None:
    server.add("/api/query", feed(entry(Arxiv().versions[0] | {"title": "Error"})))
    (found,) = source("arxiv", base=server.address).versions("arxiv:2604.24938")
    assert found.title == "Error"


@pytest.mark.parametrize("status", [200, 429])
def test_rate_exceeded_is_waited_for(server: Server, clock: Clock, status: int) -> None:
    refused = Reply(b"Rate exceeded.", status, {"Content-Type": "text/plain"})
    server.add("/api/query", refused, refused, feed(entry(Arxiv().versions[0])))
    assert len(source("arxiv", base=server.address).versions("arxiv:2604.24938")) == 1
    assert clock.waits == [1, 2, 2, 1]  # a pause that doubles, and what is left of three seconds after it


def test_rate_exceeded_for_ever(server: Server) -> None:
    server.add("/api/query", Reply(b"Rate exceeded.", headers={"Content-Type": "text/plain"}))
    arxiv = source("arxiv", base=server.address)
    one_line_of(EnvironmentMissing, lambda: arxiv.versions("arxiv:2604.24938"), "said that we ask too often, 4 times")


def test_one_paper_twice_in_a_search(server: Server) -> None:
    one = Arxiv().versions[0]
    server.add("/api/query", feed(entry(one), entry(one | {"title": "Another title"})))
    (found,) = source("arxiv", base=server.address).find(DIRECTION)
    assert found.title == one["title"]
    assert found.note.startswith("two records disagree on title: 'Rethinking Layer Redundancy in Large Language Models")
    assert found.note.endswith(" and 'Another title'")


def test_an_empty_page_in_the_middle_is_asked_for_again(server: Server) -> None:
    one, other = (entry(paper) for paper in Arxiv().versions[2:4])
    arxiv = source("arxiv", base=server.address, page_size=1, limit=2)
    server.add("/api/query", feed(one, total=2), feed(total=2), feed(other, total=2))
    assert [paper.paper for paper in arxiv.find(DIRECTION)] == ["arxiv:2604.24938", "arxiv:2602.23452"]
    server.replies["/api/query"] = [feed(one, total=2), feed(total=2)]
    one_line_of(EnvironmentMissing, lambda: list(arxiv.find(DIRECTION)), "an empty page in the middle of its results")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("2026-04-27T10:00:00Z", "yesterday"),
        ("abs/2604.24938v1", "abs/no-id"),
        ("2604.24938v1</id>", "2604.24938v0</id>"),
    ],
)
def test_an_entry_of_another_shape(server: Server, right: str, wrong: str) -> None:
    server.add("/api/query", feed(entry(Arxiv().versions[0]).replace(right, wrong)))
    arxiv = source("arxiv", base=server.address)
    one_line_of(EnvironmentMissing, lambda: arxiv.versions("arxiv:2604.24938"), "arXiv answered an entry")


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Service unavailable</body></html>",
        b"<feed xmlns='http://www.w3.org/2005/Atom'><entry><title>cut",
        b"not xml at all",
        b"",
        b'<!DOCTYPE f [<!ENTITY x SYSTEM "file:///etc/passwd">]><feed xmlns="http://www.w3.org/2005/Atom">&x;</feed>',
    ],
)
def test_what_is_no_feed(server: Server, body: bytes) -> None:
    server.add("/api/query", Reply(body))
    arxiv = source("arxiv", base=server.address)
    one_line_of(EnvironmentMissing, lambda: arxiv.versions("arxiv:2604.24938"), "no feed, or a broken one")


def test_arxiv_pdfs(server: Server, arxiv: Source[Any], tmp_path: Path, clock: Clock) -> None:
    server.add("/pdf/2604.24938v2", Reply(PDF, headers={"Content-Type": "application/pdf"}))
    paper = PaperVersion(paper="arxiv:2604.24938", version="v2", title="x")
    for _ in range(2):
        file = arxiv.fetch(paper, tmp_path)
        assert file == tmp_path / "arxiv-2604.24938v2.pdf"
        assert file.read_bytes() == PDF
    assert len(server.asked) == 1
    assert arxiv.fetch(paper.model_copy(update={"version": "v3"}), tmp_path) is None
    assert clock.waits == [3]


@pytest.mark.parametrize(
    "paper",
    [
        *("arxiv:../../etc/passwd", "arxiv:2604.24938/../x", "arxiv:2604.24938\n", "arxiv:\x1b[2J", "arxiv:"),
        *("arxiv:abc", "arxiv:2604.24938v2", "doi:10.1000/182", "2604.24938", "", "arxiv:" + "9" * 100_000),
    ],
)
def test_ids_that_are_none(server: Server, arxiv: Source[Any], paper: str) -> None:
    one_line_of(UsageError, lambda: arxiv.versions(paper))
    assert server.asked == []


# -- OpenAlex ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def openalex(server: Server) -> Source[Any]:
    def answer(asked: Asked) -> Reply | None:
        if asked.path == "/works" and "search" in asked.query:
            return recorded("openalex/search-1.json" if asked.query["cursor"] == "*" else "openalex/search-2.json")
        if asked.path == "/works":
            return recorded("openalex/names.json")
        return recorded("openalex/work.json") if asked.path == "/works/doi:10.48550/arxiv.2403.17887" else None

    server.chooser = answer
    return source("openalex", base=server.address)


def test_openalex_search(server: Server, openalex: Source[Any]) -> None:
    deeper, examples, wrong = openalex.find(DIRECTION)  # the one without a title is none
    assert [asked.query.get("cursor") for asked in server.asked] == ["*", "Ijc0LjE=", "*"]
    assert server.asked[0].query["search"] == (
        '(("large language model" OR "LLM OR ti x") AND ("layer pruning")) OR "depth pruning" OR "layer-redundancy"'
    )
    assert server.asked[2].query["filter"] == "openalex:W2963403868|W4221143046|W99"
    assert deeper.paper == "arxiv:2403.17887"
    assert deeper.authors[0] == "Andrey Gromov"
    assert deeper.authors[-1] == "Daniel A Roberts"  # as the paper has it
    assert deeper.abstract == (
        "We empirically study a simple layer-pruning strategy for popular families of open-weight pretrained LLMs, of layers."
    )
    assert deeper.references == ("arxiv:1706.03762", "doi:10.18653/v1/2022.acl-long.1", "openalex:W99")
    assert (deeper.citations, deeper.licence, deeper.venue) == (87, "cc-by", "arXiv (Cornell University)")
    assert examples.paper == "arxiv:2401.00001"  # its preprint is among its locations
    assert examples.doi == "10.1234/example.2024.17"
    assert examples.title == "Pruning deep models & others"
    assert examples.venue == "Journal of Examples"
    assert (wrong.paper, wrong.withdrawn) == ("doi:10.1234/bad.2023.1", "OpenAlex marks it as retracted")
    for paper in (deeper, examples, wrong):
        assert paper.source == "lpk/openalex"
        assert PaperVersion.model_validate(paper.model_dump()) == paper


def test_openalex_one_work_and_its_key(server: Server, openalex: Source[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENALEX_API_KEY", "secret")
    (found,) = openalex.versions("arxiv:2403.17887")
    assert found.references[0] == "arxiv:1706.03762"
    assert all(asked.query["api_key"] == "secret" for asked in server.asked)
    assert "secret" not in repr(found) + repr(openalex.options)
    assert openalex.versions("doi:10.1/unknown") == ()
    (unresolved,) = source("openalex", base=server.address, resolve=False).versions("arxiv:2403.17887")
    assert unresolved.references == ("openalex:W2963403868", "openalex:W4221143046", "openalex:W99")
    one_line_of(UsageError, lambda: openalex.versions("s2:" + "0" * 40), "OpenAlex knows arxiv:, doi: and openalex:")
    server.chooser = lambda asked: Reply(status=429, headers={"Retry-After": "40000"})
    one_line_of(EnvironmentMissing, lambda: openalex.versions("arxiv:2403.17887"), "wait 11 h")


def test_openalex_limit(server: Server, openalex: Source[Any]) -> None:
    assert len(list(source("openalex", base=server.address, limit=1).find(DIRECTION))) == 1
    assert len(server.asked) == 2


def test_openalex_pdfs(server: Server, openalex: Source[Any], tmp_path: Path) -> None:
    paper = PaperVersion(paper="doi:10.1234/a", title="x", pdf_url=f"{server.address}/a.pdf")
    server.chooser = lambda asked: Reply(PDF, headers={"Content-Type": "application/pdf"})
    file = openalex.fetch(paper, tmp_path)
    assert file is not None
    assert (file.name, file.read_bytes()) == ("doi-10-1234-a.pdf", PDF)
    assert openalex.fetch(paper.model_copy(update={"pdf_url": ""}), tmp_path) is None
    real = source("openalex")
    for address in ("http://127.0.0.1/x.pdf", "https://192.168.0.7/x.pdf", "file:///etc/passwd"):
        away = paper.model_copy(update={"pdf_url": address})
        one_line_of(EnvironmentMissing, lambda away=away: real.fetch(away, tmp_path), "is not asked")


@pytest.mark.parametrize("index", [{"a": [-1]}, {"a": ["0"]}, {"a": [True]}, {"a": 0}])
def test_openalex_abstract_of_another_shape(server: Server, index: Any) -> None:
    work = json.loads((DATA / "openalex/work.json").read_text(encoding="utf-8"))
    server.chooser = lambda asked: as_json(work | {"abstract_inverted_index": index})
    openalex = source("openalex", base=server.address, resolve=False)
    one_line_of(EnvironmentMissing, lambda: openalex.versions("arxiv:2403.17887"), "another shape")


@given(st.lists(st.text("abcde", min_size=1, max_size=3), max_size=40))
def test_an_inverted_index_is_inverted(words: list[str]) -> None:
    from lpk.plugins.sources.openalex import _abstract

    index: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        index.setdefault(word, []).append(place)
    assert _abstract(index) == " ".join(words)


def test_an_index_with_a_place_far_out_takes_no_memory() -> None:
    from lpk.plugins.sources.openalex import _abstract

    assert _abstract({"a": [0], "b": [10**15]}) == "a b"


# -- Semantic Scholar -------------------------------------------------------------------------------------------------


def test_semantic_scholar(server: Server, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    def answer(asked: Asked) -> Reply | None:
        if asked.path == "/graph/v1/paper/search":
            return recorded(f"semantic-scholar/search-{1 if asked.query['offset'] == '0' else 2}.json")
        known = asked.path == "/graph/v1/paper/ARXIV:2403.17887"
        return recorded("semantic-scholar/paper.json") if known else None

    server.chooser = answer
    monkeypatch.setenv("S2_API_KEY", "secret")
    scholar = source("semantic-scholar", base=server.address)
    deeper, short, doi, nothing = scholar.find(DIRECTION)
    assert [asked.query["query"] for asked in server.asked] == ["depth pruning layer redundancy"] * 2
    assert clock.waits == [1]
    assert all(asked.headers["x-api-key"] == "secret" for asked in server.asked)
    assert (deeper.paper, deeper.published, deeper.citations) == ("arxiv:2403.17887", "2024-03-26", 91)
    assert deeper.venue == "International Conference on Learning Representations"
    assert (deeper.pdf_url, deeper.licence) == ("", "")
    assert (short.paper, short.published, short.authors) == ("arxiv:2403.03853", "2024", ("Xin Men",))
    assert (doi.paper, doi.citations, doi.pdf_url) == ("doi:10.1234/example.7", None, "https://example.org/7.pdf")
    assert (nothing.paper, nothing.published) == (f"s2:{'0' * 39}4", "")
    (found,) = scholar.versions("arxiv:2403.17887")
    assert found.references == ("arxiv:1706.03762", "doi:10.18653/v1/2022.acl-long.1", f"s2:{'0' * 39}7")
    assert "secret" not in repr((found, scholar.options))
    assert scholar.versions("doi:10.1234/unknown") == ()
    one_line_of(UsageError, lambda: scholar.versions("openalex:W1"), "Semantic Scholar knows arxiv:, doi: and s2: ids")
    one_line_of(UsageError, lambda: scholar.fetch(found, Path()), "has no full texts")
    for paper in (deeper, short, doi, nothing, found):
        assert PaperVersion.model_validate(paper.model_dump()) == paper


# -- Crossref ---------------------------------------------------------------------------------------------------------


def test_crossref(server: Server) -> None:
    pages = iter(("search-1", "search-2", "search-3"))
    server.chooser = lambda asked: recorded(f"crossref/{next(pages)}.json") if asked.path == "/works" else None
    crossref = source("crossref", base=server.address, mailto="me@example.org")
    examples, wrong, notice = crossref.find(DIRECTION)  # the one without a title is none
    assert [asked.query["cursor"] for asked in server.asked] == ["*", "DnF1ZXJ5+/=", "DnF1ZXJ5+/="]
    assert all(asked.query["mailto"] == "me@example.org" for asked in server.asked)
    assert server.asked[0].query["query.bibliographic"] == "depth pruning layer-redundancy"
    assert examples.paper == "doi:10.1234/example.2024.17"
    assert examples.title == "Pruning deep models: A study of layers"
    assert examples.authors == ("Ada Lovelace", "The Example Consortium")
    assert (examples.published, examples.citations) == ("2024-05-17", 12)
    assert examples.abstract == "Layers can go: 5% of them at p < 0.05."
    assert examples.references == ("arxiv:1706.03762", "doi:10.18653/v1/2022.acl-long.1")
    assert examples.withdrawn == ""  # a correction takes nothing back
    assert examples.note == "correction by doi:10.1234/example.2024.99 2024-09-01; has-preprint arxiv:2401.00001"
    assert wrong.withdrawn == "retraction by doi:10.1234/bad.notice 2023-11-30 (says retraction-watch)"
    assert wrong.note == "correction by doi:10.1234/bad.2023.1.c 2023-03-02"
    assert wrong.published == "2023"
    assert notice.withdrawn == ""  # the notice is not what was retracted
    assert notice.note == "this is a notice: retraction of doi:10.1234/bad.2023.1"
    for paper in (examples, wrong, notice):
        assert PaperVersion.model_validate(paper.model_dump()) == paper


def test_crossref_one_work(server: Server) -> None:
    server.add("/works/10.1234/bad.2023.1", recorded("crossref/work.json"))
    crossref = source("crossref", base=server.address)
    (found,) = crossref.versions("doi:10.1234/bad.2023.1")
    assert found.withdrawn
    assert crossref.versions("doi:10.1234/unknown") == ()
    assert crossref.versions("arxiv:2403.17887") == ()
    one_line_of(UsageError, lambda: crossref.versions("local:x"), "Crossref knows doi: ids")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) within a JSON value."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


@pytest.mark.parametrize(
    ("name", "file", "paper"),
    [
        ("openalex", "openalex/work.json", "arxiv:2403.17887"),
        ("semantic-scholar", "semantic-scholar/paper.json", "arxiv:2403.17887"),
        ("crossref", "crossref/work.json", "doi:10.1234/bad.2023.1"),
    ],
)
def test_answers_of_another_shape_break_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, file: str, paper: str
) -> None:
    """Each place of a documented answer, with a value of another type: a record, none, or one line."""
    whole = json.loads((DATA / file).read_text(encoding="utf-8"))
    monkeypatch.setattr(Web, "json", lambda *args: whole)
    found = 0
    for container, key in list(places(whole)):
        right = container[key]
        wrongs: tuple[Any, ...] = (
            None,
            0,
            -1,
            True,
            1.5,
            "x",
            "",
            "\n\x00",
            [],
            {},
            [None],
            [[]],
            {"a": None},
            [{"a": 1}],
        )
        for wrong in wrongs:
            container[key] = wrong
            with suppress(EnvironmentMissing):
                for record in source(name, **({"resolve": False} if name == "openalex" else {})).versions(paper):
                    assert PaperVersion.model_validate(record.model_dump()) == record
                    found += 1
        container[key] = right
    assert found > 500


@pytest.mark.parametrize("name", ["arxiv", "openalex", "semantic-scholar", "crossref"])
def test_a_direction_of_nothing(server: Server, name: str) -> None:
    empty = Direction(id="d", title="t", keywords=('"()"',))
    found = source(name, base=server.address)
    one_line_of(UsageError, lambda: list(found.find(empty)), "neither facets nor keywords")
    assert server.asked == []


def test_listing_plugins_loads_no_library() -> None:
    names = ("arxiv", "openalex", "semantic_scholar", "crossref", "bibliography")
    code = f"import sys, {', '.join(f'lpk.plugins.sources.{name}' for name in names)}\n"
    code += "print([m for m in ('requests', 'lxml', 'arxiv', 'bibtexparser', 'rispy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    monkeypatch.delitem(sys.modules, "lpk.core.evidence.retrieval.web")
    one_line_of(
        EnvironmentMissing, lambda: source("crossref").versions("doi:10.1000/182"), 'pip install "lpk[evidence]"'
    )


# -- words and ids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2403.17887", ("2403.17887", "")),
        ("arXiv:2403.17887v2", ("2403.17887", "v2")),
        ("http://arxiv.org/abs/2403.17887v12", ("2403.17887", "v12")),
        ("https://arxiv.org/pdf/2403.17887v1.pdf", ("2403.17887", "v1")),
        ("https://doi.org/10.48550/arXiv.2403.17887", ("2403.17887", "")),
        ("10.48550/ARXIV.1706.03762", ("1706.03762", "")),
        ("https://export.arxiv.org/abs/quant-ph/0201082v1", ("quant-ph/0201082", "v1")),
        ("math.GT/0309136", ("math.GT/0309136", "")),
        *(
            (wrong, None)
            for wrong in ("2403.178", "10.1000/182", "2403.17887v0", "2403.17887 x", "../2403.17887", "", None)
        ),
    ],
)
def test_arxiv_ids(text: Any, found: Any) -> None:
    assert arxiv_id(text) == found


def test_dois_and_paper_ids() -> None:
    assert doi_of("https://doi.org/10.1000/ABC.1") == doi_of("doi: 10.1000/abc.1") == "10.1000/abc.1"
    assert doi_of("10.1/x") == doi_of("10.1000/a b") == doi_of(None) == ""
    assert paper_id("10.1000/182", "http://arxiv.org/abs/2403.17887v2", "openalex:W1") == "arxiv:2403.17887"
    assert paper_id(None, "10.1000/182", "openalex:W1") == "doi:10.1000/182"
    assert paper_id("10.1000/a+b", "openalex:W1") == "openalex:W1"  # a DOI that a record cannot hold
    assert paper_id("arxiv:None", "doi:None", None) == ""
    assert split_id("doi:10.1000/182") == ("doi", "10.1000/182")
    for wrong in ("x", "doi:10.1/../x", "doi:a b", "DOI:10.1000/182", "doi:10.1000/182\n", "local:" + "a" * 5000):
        one_line_of(UsageError, lambda wrong=wrong: split_id(wrong), "is no paper id")


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"\textbf{Grad}{MAP}", "GradMAP"),
        (r"a $4\times$ speedup", "a 4\u00d7 speedup"),
        (r"at most $\epsilon$, with $0 \le \alpha$", "at most \u03f5, with 0 \u2264\u03b1"),
        (r"K. G{\"o}del, J. Ho\v{s}ek, \'Elie", "K. Gödel, J. Hošek, Élie"),
        (r"\emph{functional perspective}, where", "functional perspective, where"),
        (r"5% of {A} & B", "5% of A & B"),
        (r"5\% of {A} \& B", "5% of A & B"),
        (r"the \TeX{}book by \method, \mybold{bold} and \LaTeX", "the TeXbook by method, bold and LaTeX"),
        ("awarded $35,000 in total for {it}", "awarded $35,000 in total for it"),
        ("costs $5 and {10}% of $6", "costs $5 and 10% of $6"),
        ("no TeX: a_b ~ 5% # ^", "no TeX: a_b ~ 5% # ^"),
        (r"see \cite{x}, \url{https://a.b/c_d}", "see, https://a.b/c_d"),
        (r"unclosed {brace and $math", "unclosed brace and $math"),
        ("hard\n  wrapped", "hard wrapped"),
    ],
)
def test_tex_becomes_text(tex: str, text: str) -> None:
    assert untexed(tex) == text


@given(st.text(alphabet="abc \\{}$%&_^~\"'#\n", max_size=40))
def test_tex_of_any_kind_becomes_one_line(tex: str) -> None:
    assert "\n" not in untexed(tex)


@given(st.text(max_size=60))
def test_one_line_is_one_line(text: str) -> None:
    line = one_line(text)
    assert line == one_line(line)
    assert line.isprintable() or not line.isascii()
    assert not any(letter in line for letter in "\n\r\t\x00\x1b\u202e\u200b\u2028")


def test_mark_up_goes_and_angles_stay() -> None:
    assert untagged("<jats:p>Of <i>x</i> &amp; a < b and c > d</jats:p>") == "Of x & a < b and c > d"
    assert untagged("H<sub>2</sub>O by<p>one") == "H2O by one"


@pytest.mark.parametrize(
    ("comment", "found"),
    [
        ("This paper has been withdrawn by the authors. See v1", "This paper has been withdrawn by the authors"),
        (
            "12 pages. This submission has been withdrawn by arXiv; see v1",
            "This submission has been withdrawn by arXiv",
        ),
        ("The paper (v2) is temporarily withdrawn", "The paper (v2) is temporarily withdrawn"),
        ("Withdrawn", "Withdrawn"),
        ("Paper withdrawn due to a crucial error", "Paper withdrawn due to a crucial error"),
        ("The article is being retracted", "The article is being retracted"),
        *(
            (wrong, "")
            for wrong in ("Withdrawn from ICLR 2025", "This paper was withdrawn from ICLR 2025", "10 pages", "")
        ),
    ],
)
def test_comments_that_say_that_a_paper_is_withdrawn(comment: str, found: str) -> None:
    assert withdrawn_by(comment, "comment") == found


@pytest.mark.parametrize(
    ("abstract", "found"),
    [
        ("This paper has been withdrawn. We showed that layers go.", "This paper has been withdrawn"),
        ("We show it. Withdrawn by the authors: Lemma 2 is wrong.", "Withdrawn by the authors: Lemma 2 is wrong"),
        ("Withdrawn.", "Withdrawn."),
        ("We study how deposits are withdrawn by customers. This paper models it.", ""),
        ("In this paper we show that consent is often withdrawn.", ""),
        ("Retracted papers are cited on. The work was retracted in 2010.", ""),
    ],
)
def test_abstracts_that_say_that_a_paper_is_withdrawn(abstract: str, found: str) -> None:
    assert withdrawn_by(abstract, "abstract") == found


def test_titles_that_say_that_a_paper_is_withdrawn() -> None:
    for title in (
        "RETRACTED: On layers",
        "Retracted Article: On layers",
        "WITHDRAWN: On layers",
        "[Retracted] On layers",
    ):
        assert withdrawn_by(title, "title") == title
    for title in ("Withdrawn behaviour of layers", "Retraction of layers", "On papers that have been retracted"):
        assert withdrawn_by(title, "title") == ""


def test_queries() -> None:
    assert plain_query(DIRECTION) == "depth pruning layer-redundancy"
    only = Direction(id="d", title="t", keywords=("a", "b"))
    assert boolean_query(only, str) == "a OR b"
    facets = Direction(id="d", title="t", facets=DIRECTION.facets)
    assert boolean_query(facets, str) == "(large language model OR LLM OR ti x) AND (layer pruning)"
    assert plain_query(facets) == "large language model layer pruning"


def test_two_records_of_one_paper() -> None:
    one = PaperVersion(
        paper="doi:10.1000/1", title="A Title", authors=("A",), citations=3, references=("arxiv:1706.03762",)
    )
    two = PaperVersion(
        paper="doi:10.1000/1", title="a  title", abstract="x", citations=5, references=("doi:10.1000/2",)
    )
    three = PaperVersion(paper="doi:10.1000/1", title="Another title", authors=("A", "B"), withdrawn="yes")
    other = PaperVersion(paper="doi:10.1000/1", version="v2", title="x")
    assert merged([one, one]) == [one]
    whole, alone = merged([one, two, three, other])
    assert alone == other
    assert (whole.title, whole.authors, whole.abstract, whole.citations) == ("A Title", ("A",), "x", 5)
    assert whole.references == ("arxiv:1706.03762", "doi:10.1000/2")
    assert whole.withdrawn == "yes"
    assert whole.note == (
        "two records disagree on title: 'A Title' and 'Another title'; "
        "two records disagree on authors: ['A'] and ['A', 'B']"
    )
