"""Bibliographies: BibTeX and RIS as people have them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Lpk
from ledgers import TOML
from sources_server import DATA

from lpk.core.errors import UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.records import Direction, PaperVersion
from lpk.core.registry import installed
from lpk.plugins.sources.bibliography import _name, _published

DIRECTION = Direction(id="d", title="t")


def source(name: str, path: object) -> Source[Any]:
    made = installed().find("source", f"lpk/{name}").create({"path": str(path)})
    assert isinstance(made, Source)
    return made


def papers(name: str, path: object) -> list[PaperVersion]:
    found = list(source(name, path).find(DIRECTION))
    for paper in found:
        assert PaperVersion.model_validate(paper.model_dump()) == paper
    return found


def refused(name: str, path: object, *words: str) -> None:
    with pytest.raises(UsageError) as caught:
        papers(name, path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_bibtex() -> None:
    gromov, gradmap, lovelace, same_key, knuth = papers("bibtex", DATA / "papers.bib")
    assert gromov.paper == "arxiv:2403.17887"
    assert gromov.title == "The Unreasonable Ineffectiveness of the Deeper Layers"
    assert gromov.authors == (
        *("Andrey Gromov", "Kushal Tirumala", "Hassan Shapourian", "Paolo Glorioso", "Daniel A. Roberts"),
    )
    assert gromov.venue == "International Conference on Learning Representations"  # @string
    assert gromov.published == "2025-04"
    assert gromov.url == "https://openreview.net/forum?id=ngmEcEer8a"
    assert gradmap.paper == "arxiv:2602.14649"  # out of "arXiv preprint arXiv:2602.14649"
    assert gradmap.title == ("GradMAP: Faster Layer Pruning with Gradient Metric, 4\u00d7 Faster at 50% & More")
    assert gradmap.authors == ("Kurt Gödel", "Barnes and Noble", "Jan Hošek")
    assert (lovelace.paper, lovelace.doi) == ("doi:10.1234/example.2024.17", "10.1234/example.2024.17")
    assert lovelace.published == "2024-05-17"
    # Another entry has the same DOI under another title: one paper, and a note.
    assert lovelace.note == "two records disagree on title: 'A DOI only' and 'A DOI, only'"
    assert same_key.name == "arxiv:quant-ph/0201082v1"  # a key that is taken, out of \url{...}
    assert (knuth.paper, knuth.title) == ("local:knuth-texbook", "The TeXbook")
    assert {paper.source for paper in (gromov, knuth)} == {"lpk/bibtex"}


def test_ris() -> None:
    pruning, attention = papers("ris", DATA / "papers.ris")
    assert pruning.paper == "doi:10.1234/example.2024.17"
    assert pruning.title == "Pruning deep models: 5% of layers"
    assert pruning.authors == ("Ada Lovelace", "William King, Jr.")
    assert (pruning.published, pruning.venue) == ("2024-05-17", "Journal of Examples")
    assert pruning.abstract == "Layers can go. And some cannot."
    assert pruning.url == "https://journal.example/17"
    assert (attention.name, attention.published) == ("arxiv:1706.03762v5", "2017-06")
    assert attention.authors == ("Ashish Vaswani",)


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
@pytest.mark.parametrize(("name", "file"), [("bibtex", "papers.bib"), ("ris", "papers.ris")])
def test_line_ends_and_byte_order_marks(tmp_path: Path, name: str, file: str, line_end: str) -> None:
    text = (DATA / file).read_text(encoding="utf-8")
    (tmp_path / file).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", line_end).encode())
    assert papers(name, tmp_path / file) == papers(name, DATA / file)


def test_one_paper_of_a_file() -> None:
    bibtex = source("bibtex", DATA / "papers.bib")
    (found,) = bibtex.versions("arxiv:2602.14649")
    assert found.title.startswith("GradMAP")
    assert bibtex.versions("arxiv:2602.14648") == ()
    with pytest.raises(UsageError, match="is no paper id"):
        bibtex.versions("../papers.bib")
    with pytest.raises(UsageError, match="has no full texts"):
        bibtex.fetch(found, Path())


@pytest.mark.parametrize("name", ["bibtex", "ris"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    refused(name, "", "reads a file: say which with -O path=FILE")
    refused(name, tmp_path / "none", "cannot read", "No such file")
    refused(name, tmp_path, "cannot read", "Is a directory")
    (tmp_path / "latin").write_bytes("@misc{a, title={Gödel}}".encode("latin-1"))
    refused(name, tmp_path / "latin", "is no UTF-8: byte 17 is 0xf6" if name == "bibtex" else "is no UTF-8")
    (tmp_path / "empty").write_bytes(b"")
    refused(name, tmp_path / "empty", "has no entry with a title")
    (tmp_path / "pdf").write_bytes(b"%PDF-1.7\n")
    refused(name, tmp_path / "pdf", "has no entry with a title")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(50_000_001)
    refused(name, tmp_path / "large", "is larger than 50,000,000 bytes")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n@article{a,\n  title = {never closed\n}\n", 2),
        ('@article{a, title = "x"}\n\n@article{b, title = {y}, {z}}\n', 3),
        ("@article{a, title = {x}, title = {y}}", 1),
    ],
)
def test_damaged_bibtex_says_where(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "a.bib").write_text(text)
    refused("bibtex", tmp_path / "a.bib", f"a.bib, line {line}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@article{a, title = {x}\n\n@article{b, title = {y}}\n", "a.bib, line 1: Unexpected block start: `@article`."),
        ("@article{a,\n  title = {never closed\n}\n", "a.bib, line 1: Unexpectedly reached end of file."),
        ("@article{a, title = {x}, title = {y}}", "a.bib, line 1: Duplicate field keys on entry: 'title'."),
    ],
)
def test_damaged_bibtex_is_told_in_one_line(lpk: Lpk, tmp_path: Path, text: str, said: str) -> None:
    Ledger.begin(tmp_path / "ledger", TOML)
    (tmp_path / "a.bib").write_text(text)
    done = lpk("ledger", "collect", "--source", "bibtex", "-O", "path=../a.bib", cwd=tmp_path / "ledger")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("lpk: ")
    assert said in line


TWINS = {
    "bibtex": """
@article{a, title = {First title here}, author = {Lovelace, Ada}, doi = {10.1000/182}, year = {2024}}
@article{b, title = {Another one}, author = {Hopper, Grace}, doi = {10.1000/182}, abstract = {Of the other.}}
""",
    "ris": """
TY  - JOUR
TI  - First title here
AU  - Lovelace, Ada
DO  - 10.1000/182
PY  - 2024
ER  -
TY  - JOUR
TI  - Another one
AU  - Hopper, Grace
DO  - 10.1000/182
AB  - Of the other.
ER  -
""",
}


@pytest.mark.parametrize("name", TWINS)
def test_two_papers_with_one_id_are_both_kept_and_told(lpk: Lpk, tmp_path: Path, name: str) -> None:
    ledger = Ledger.begin(tmp_path / "ledger", TOML)
    (tmp_path / "file").write_text(TWINS[name])
    collect = ("ledger", "collect", "--source", name, "-O", "path=../file")
    first = lpk(*collect, cwd=ledger.folder)
    (said,) = first.stderr.splitlines()
    assert said == (
        "lpk: note: doi:10.1000/182 is the id of two papers here, 'First title here' and 'Another one': the last one holds"
    )
    assert "2 found by" in first.stdout
    told = [event.record for event in ledger.log.read() if isinstance(event.record, PaperVersion)]
    assert [(each.title, each.authors, each.abstract) for each in told] == [
        ("First title here", ("Ada Lovelace",), ""),
        ("Another one", ("Grace Hopper",), "Of the other."),
    ]
    audited = lpk("audit", "--only", "R-TWIN-1", cwd=ledger.folder)
    assert audited.returncode == 1
    assert "is 'Another one' by Grace Hopper, and was also 'First title here' by Ada Lovelace" in audited.stdout
    again = lpk(*collect, cwd=ledger.folder)
    assert again.stdout.endswith("0 new, 0 newer versions, 0 changed, 2 known\n")
    assert again.stderr == first.stderr


def test_two_papers_with_one_id_and_no_authors_are_told_apart_by_their_titles(lpk: Lpk, tmp_path: Path) -> None:
    ledger = Ledger.begin(tmp_path / "ledger", TOML)
    (tmp_path / "file").write_text(re.sub(r" author = {.*?},", "", TWINS["bibtex"]))
    done = lpk("ledger", "collect", "--source", "bibtex", "-O", "path=../file", cwd=ledger.folder)
    assert "doi:10.1000/182 is the id of two papers here, 'First title here' and 'Another one'" in done.stderr
    told = [event.record for event in ledger.log.read() if isinstance(event.record, PaperVersion)]
    assert [each.title for each in told] == ["First title here", "Another one"]
    assert lpk("audit", "--only", "R-TWIN-1", cwd=ledger.folder).returncode == 1


def test_one_paper_under_two_titles_is_one_and_told(lpk: Lpk, tmp_path: Path) -> None:
    ledger = Ledger.begin(tmp_path / "ledger", TOML)
    text = TWINS["bibtex"].replace("Hopper, Grace", "Lovelace, Ada")
    (tmp_path / "file").write_text(text)
    done = lpk("ledger", "collect", "--source", "bibtex", "-O", "path=../file", cwd=ledger.folder)
    assert done.stderr == (
        "lpk: note: doi:10.1000/182: two records disagree on title: 'First title here' and 'Another one'\n"
    )
    (found,) = [event.record for event in ledger.log.read() if isinstance(event.record, PaperVersion)]
    assert (found.title, found.abstract) == ("First title here", "Of the other.")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("TY  - JOUR\nTI  - x\n", 1, "has no end"),
        ("TY  - JOUR\nTI  - x\n\nTY  - JOUR\nTI  - y\nER  - \n", 4, "that of line 1 has no end"),
        ("TI  - x\nER  - \n", 1, "outside of any record"),
    ],
)
def test_damaged_ris_says_where(tmp_path: Path, text: str, line: int, what: str) -> None:
    (tmp_path / "a.ris").write_text(text)
    refused("ris", tmp_path / "a.ris", f"a.ris, line {line}: ", what)


def test_a_key_that_is_no_id(tmp_path: Path) -> None:
    (tmp_path / "a.bib").write_text("@misc{../../../etc/passwd, title = {x}}\n@misc{a/../b, title = {y}}")
    assert [paper.paper for paper in papers("bibtex", tmp_path / "a.bib")] == ["local:etc-passwd", "local:a-b"]
    (tmp_path / "b.bib").write_text("@misc{---, title = {x}}")
    refused("bibtex", tmp_path / "b.bib", "neither DOI, arXiv id, nor a key that can be an id")


def test_a_retracted_entry(tmp_path: Path) -> None:
    (tmp_path / "a.bib").write_text("@misc{a, title = {RETRACTED: On layers}}\n@misc{b, title = {On layers}}")
    assert [bool(paper.withdrawn) for paper in papers("bibtex", tmp_path / "a.bib")] == [True, False]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Lovelace, Ada", "Ada Lovelace"),
        ("Ada Lovelace", "Ada Lovelace"),
        ("van der Berg, Jan", "Jan van der Berg"),
        ("King, Jr., William", "William King, Jr."),
        ("Plato", "Plato"),
    ],
)
def test_names(name: str, plain: str) -> None:
    assert _name(name) == plain


@pytest.mark.parametrize(
    ("given", "date"),
    [
        (("2024-05-17", "", ""), "2024-05-17"),
        (("2024-5", "2023", ""), "2024-05"),
        (("", "2024", "may"), "2024-05"),
        (("", "2024", "5"), "2024-05"),
        (("", "2024", "13"), "2024"),
        (("", "2024", "spring"), "2024"),
        (("", "in press", ""), ""),
        (("20240517", "", ""), ""),
    ],
)
def test_dates(given: tuple[str, str, str], date: str) -> None:
    assert _published(*given) == date
