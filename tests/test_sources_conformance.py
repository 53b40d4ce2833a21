"""The conformance kit for sources: every built-in one passes, and each promise finds who breaks it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import made_up_study
import pytest
from conftest import Lpk, refused
from fake_plugins import distribution, entry_points
from sources_server import DATA, Asked, Reply, Server, as_json
from test_checks import written
from test_sources import PDF, Arxiv, entry, feed

from lpk.core.errors import UsageError
from lpk.core.registry import Registry
from lpk.testing import checks

pytestmark = pytest.mark.usefixtures("clock")

REFUSING = ["refuses-what-is-no-paper", "refuses-damaged-files"]
GIVING = [
    *("records-are-well-formed", "same-question-same-records", "limit-is-kept", "knows-what-it-found"),
    "fetches-into-the-folder",
]


@pytest.fixture
def server(server: Server) -> Server:
    server.chooser = _answer
    return server


def _answer(asked: Asked) -> Reply | None:
    """What the four services answer; a paper is looked up among those of the searches."""
    if asked.path == "/api/query":
        answers = Arxiv()
        if not asked.query.get("search_query"):
            return answers(asked)
        last = [each for each in answers.versions if each["version"] in ("v2", "v3")]
        return feed(*map(entry, last[: int(asked.query["max_results"])]), total=len(last))
    if asked.path.startswith("/pdf/"):
        return Reply(PDF, headers={"Content-Type": "application/pdf"})
    service = "semantic-scholar" if asked.path.startswith("/graph/") else "openalex"
    if "query.bibliographic" in asked.query or asked.path.startswith("/works/10."):
        service = "crossref"
    of = {"openalex": ["results"], "semantic-scholar": ["data"], "crossref": ["message", "items"]}[service]
    pages = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((DATA / service).glob("search-*.json"))]
    if asked.path in ("/works", "/graph/v1/paper/search"):
        first = asked.query.get("cursor", asked.query.get("offset")) in ("*", "0")
        return as_json(pages[0 if first else -1])
    name = (
        asked.path.lower().rpartition("works/" if "works" in asked.path else ":")[2].removeprefix("doi:10.48550/arxiv.")
    )
    items = [item for page in pages for item in _dug(page, of)]
    found = next((item for item in items if name.removeprefix("doi:") in json.dumps(item).lower()), None)
    return None if found is None else as_json({"message": found} if service == "crossref" else found)


def _dug(page: Any, keys: list[str]) -> Any:
    for key in keys:
        page = page[key]
    return page


@pytest.mark.parametrize("name", ["arxiv", "openalex", "semantic-scholar", "crossref"])
def test_sources_of_the_network(server: Server, name: str) -> None:
    options = {"base": server.address} | ({"files": server.address} if name == "arxiv" else {})
    asked_of = checks("source", f"lpk/{name}", options=options)
    assert [check.name for check in asked_of[2:]] == REFUSING + GIVING
    for check in asked_of:
        check()
        assert not (check.name in REFUSING and server.asked), "what is no paper is asked for nowhere"


@pytest.mark.parametrize("name", ["pdf", "text", "bibtex", "ris", "study"])
def test_sources_of_files(tmp_path: Path, name: str) -> None:
    if name == "pdf":
        pytest.importorskip("pymupdf")
    for folder, ending in (("pdf", ".pdf"), ("text", ".md")):
        (tmp_path / folder).mkdir()
        for number in (1, 2):
            (tmp_path / folder / f"paper-{number}{ending}").write_bytes(b"# A paper\n\nWords.\n")
    paths = {
        "bibtex": DATA / "papers.bib",
        "ris": DATA / "papers.ris",
        "study": written(tmp_path / "study", made_up_study.tables()),
    }
    for check in checks("source", f"lpk/{name}", options={"path": str(paths.get(name, tmp_path / name))}):
        check()


SOURCE = """
import lpk
from pathlib import Path
from pydantic import Field
from lpk.core.contracts import Component, Options
from lpk.core.errors import UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.records import PaperVersion

CALLS = []

class Mine(Options):
    path: str = Field("", description="a file")
    limit: int = Field(50, description="papers")

class Bad(Source[Mine]):
    reads = (".bad",)

    def find(self, direction):
        CALLS.append(1)
        if self.options.path.endswith("none"):
            raise UsageError("no such file")
        papers = [
            PaperVersion(paper=f"local:a-{n}", title="A paper", source=self.name, published="2024-05") for n in range(3)
        ]
        {find}

    def versions(self, paper):
        if paper.startswith("local:"):
            return [each for each in self.find(None) if each.paper == paper]
        {versions}

    def fetch(self, version, into):
        file = into / "file"
        file.write_text("words")
        {fetch}

    def read(self, file):
        {read}

@lpk.hookimpl
def lpk_sources():
    yield Component("bad", "Bad.", __name__ + ":Bad", options=Mine)
"""
RIGHT = {
    "find": "return iter(papers[: self.options.limit])",
    "versions": "raise UsageError('it is no paper id')",
    "fetch": "return file",
    "read": "raise UsageError('it is damaged')",
}
BROKEN = {
    "refuses-what-is-no-paper": [
        ("versions", "return self.find(None)", "knows a paper"),
        ("versions", "raise UsageError('no\\nid')", "is no line"),
        ("versions", "raise KeyError(paper)", None),
    ],
    "refuses-damaged-files": [("read", "return 'text'", "file that is not there")],
    "records-are-well-formed": [
        ("find", "return iter(())", "finds nothing"),
        ("find", "return iter(['a paper'])", "no PaperVersion"),
        ("find", "return iter([papers[0].model_copy(update={'source': 'x'})])", "of source 'x'"),
        ("find", "return iter([papers[0].model_copy(update={'paper': '../x'})])", None),
        ("find", "return iter([papers[0].model_copy(update={'title': 'On\\nlayers'})])", "title is no line"),
        ("find", "return iter([papers[0].model_copy(update={'published': 'May'})])", "'May' is no date"),
        ("find", "return iter([papers[0].model_copy(update={'url': 'x y'})])", "is no address"),
    ],
    "same-question-same-records": [("find", "return iter(papers[: 1 + len(CALLS) % 2])", "other records")],
    "limit-is-kept": [("find", "return iter(papers)", "3 papers where 1 were asked for")],
    "knows-what-it-found": [("find", "return iter(papers if direction else ())", "does not know local:a-0")],
    "fetches-into-the-folder": [
        ("fetch", "return file.rename(into.parent / 'lpk-elsewhere')", "not in the folder"),
        ("fetch", "file.write_text(''); return file", "empty file"),
    ],
}
CASES = [(promise, *case) for promise, cases in BROKEN.items() for case in cases]


def stranger(site: Path, module: str, **changes: str) -> Registry:
    code = SOURCE
    for hole, body in (RIGHT | changes).items():
        code = code.replace("{" + hole + "}", body)
    distribution(site, "lpk-bad", "1.0", {module: code}, {"bad": module})
    return Registry.load(entry_points(site))


def test_a_source_that_keeps_its_promises_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for check in checks("source", "bad", stranger(tmp_path, "good_source"), {"path": "there"})[1:]:
        check()


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_kit_finds_what_is_broken(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promise, hole, body, why = CASES[number]
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = stranger(tmp_path, f"bad_source_{number}", **{hole: body})
    (check,) = [each for each in checks("source", "bad", registry, {"path": "there"}) if each.name == promise]
    with pytest.raises(AssertionError if why else Exception, match=why):
        check()


def test_the_command_checks_a_source_with_options(lpk: Lpk, tmp_path: Path) -> None:
    shutil.copy(DATA / "papers.bib", tmp_path)
    plain = lpk("plugins", "check", "bibtex", cwd=tmp_path)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert [line.split()[1] for line in plain.stdout.splitlines()[2:]] == REFUSING
    whole = lpk("plugins", "check", "bibtex", "-O", "path=papers.bib", cwd=tmp_path)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert [line.split()[1] for line in whole.stdout.splitlines()[2:]] == REFUSING + GIVING
    refused(lpk("plugins", "check", "greedy", "-O", "path=papers.bib"), 2, "a searcher is checked as it is")
    refused(lpk("plugins", "check", "bibtex", "-O", "path"), 2, "write KEY=VALUE")


def test_only_sources_are_checked_with_options() -> None:
    with pytest.raises(UsageError, match="a rule is checked as it is"):
        checks("rule", "r-num-1", options={"path": "x"})
