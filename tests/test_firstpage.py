"""Whether a file is the paper that it is read as: its first page against the record."""

# ruff: noqa: RUF001 - ligatures and dashes are what this is about
from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Lpk

from lpk.core.evidence.documents.firstpage import first_page, stranger
from lpk.core.evidence.documents.fulltext import FullText, read
from lpk.core.evidence.documents.lines import Line, Run
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.records import FirstPage, PaperVersion
from lpk.core.registry import installed

PDFS = Path(__file__).parent / "data" / "quotes" / "pdfs"
TITLES = {
    "a_twocol_cm": "Rethinking depth pruning",
    "b_twocol_times_fn": "Which layers matter?",
    "c_onecol_lineno": "On the Efficiency of Shallow Survivors",
    "d_twocol_stamp": "Redundancy is in the eye of the objective",
    "e_twocol_narrow": "A difficult baseline for layer removal",
}
TITLE = "Redundancy of Layers: Efficient, Re-examined"


def paper(title: str = TITLE, paper: str = "arxiv:2401.00001", version: str = "v2", doi: str = "") -> PaperVersion:
    return PaperVersion(paper=paper, version=version, title=title, doi=doi)


def why(page: str, version: PaperVersion) -> str:
    return stranger(first_page(FullText.plain(page), version), version)


@pytest.mark.parametrize(
    "page",
    [
        f"{TITLE}\nAda Lovelace",
        "REDUNDANCY OF LAYERS\nEFFICIENT, REEXAMINED\nAda Lovelace",
        "Published as a conference paper\nRedun-\ndancy of Layers —\nEﬃcient; Re-\nexamined∗\nAda Lovelace",
        "R EDUNDANCY OF L AYERS : E FFICIENT , R E - EXAMINED",
        f"Title: {TITLE}\n\nURL Source: https://example.org",
        "Another title of the same paper\narXiv:2401.00001v2 [cs.CL] 17 Dec 2026",
        "Another title of the same paper\narXiv:2401.00001 [cs.CL] 17 Dec 2026",
        f"{TITLE}\nWe build on arXiv:2312.00005v1 and on doi.org/10.1145/3600006.3613165.",
    ],
)
def test_a_copy_of_the_paper_passes(page: str) -> None:
    assert why(page, paper()) == ""


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("Redundancy of Heads: Efficient, Re-examined\nAda Lovelace", "begins 'Redundancy of Heads"),
        (f"A comment on {TITLE}\nAnn Other", "begins 'A comment on"),
        (f"{TITLE} 2\nAda Lovelace", "neither the title"),
        (f"Depth\nIt was shown that layers are redundant [{TITLE}, 2024].", "neither the title"),
        ("Redundancy of Layers\nAda Lovelace", "neither the title"),
        (f"{TITLE}\narXiv:2312.00005v1 [cs.CL] 17 Dec 2026", "the stamp arXiv:2312.00005v1"),
        (f"{TITLE}\narXiv:2401.00001v1 [cs.CL] 17 Dec 2026", "the stamp of v1"),
    ],
)
def test_another_paper_does_not(page: str, said: str) -> None:
    assert said in why(page, paper())


def test_a_doi_that_is_printed_is_enough() -> None:
    page = "PagedAttention\nhttps://doi.org/10.1145/3600006.3613165."
    assert why(page, paper(paper="doi:10.1145/3600006.3613165", version="")) == ""
    assert why(page, paper(paper="openalex:W1", version="", doi="10.1145/3600006.3613165")) == ""
    assert why(page, paper(paper="doi:10.1145/3600006.36131", version=""))


def test_the_first_page_is_the_first_with_words() -> None:
    lines = (Line(2, 0, (Run(TITLE),)), Line(3, 1, (Run("Other words"),)))
    assert first_page(FullText("ab" * 32, "text/plain", "r", 3, lines), paper()) == FirstPage(title=True, begins=TITLE)


def test_a_raised_figure_is_no_line_number() -> None:
    """A line that begins with an affiliation's mark stands where line numbers would."""
    marked = Line(1, 1, (Run("¹ Universität Innsbruck"),), (50, 90, 200, 100), ((50, 53), (56, 110), (113, 200)))
    lines = (Line(1, 0, (Run(TITLE),), (50, 70, 300, 84)), marked)
    assert first_page(FullText("ab" * 32, "application/pdf", "r", 1, lines), paper()).title


@pytest.mark.parametrize("name", TITLES)
def test_of_typeset_papers_each_has_its_own_title_alone(name: str) -> None:
    pytest.importorskip("pymupdf")
    text = read(PDFS / f"{name}.pdf", installed())
    assert [each for each, title in TITLES.items() if first_page(text, paper(title)).title] == [name]
    assert first_page(text, paper()).arxiv == ("2612.01234v2" if name == "d_twocol_stamp" else "")


def test_reading_another_file_is_told_in_one_line_and_keeps_the_gate_shut(lpk: Lpk, tmp_path: Path) -> None:
    ledger = Ledger.begin(tmp_path / "ledger", 'format = 1\n[direction]\nid = "depth"\ntitle = "Depth"\n')
    (tmp_path / "right.md").write_text(f"# {TITLE.upper()}\n\nWords.\n", encoding="utf-8")
    (tmp_path / "wrong.md").write_text("# Something else\n\nWords.\n", encoding="utf-8")
    ledger.write([paper()])
    right = lpk("ledger", "read", "arxiv:2401.00001", tmp_path / "right.md", cwd=ledger.folder)
    assert (right.returncode, right.stderr) == (0, "")
    wrong = lpk("ledger", "read", "arxiv:2401.00001", tmp_path / "wrong.md", cwd=ledger.folder)
    assert wrong.returncode == 0
    (said,) = wrong.stderr.splitlines()
    assert said.startswith("lpk: note: wrong.md may not be arxiv:2401.00001v2: its first page has neither the title ")
    assert said.endswith("it begins 'Something else Words.'")
    seen = [event.data.get("first_page") for event in ledger.log.read() if event.kind == "document"]
    assert seen == [
        {"title": True, "begins": f"{TITLE.upper()} Words."},
        {"begins": "Something else Words."},
    ]
    for file in (None, *(ledger.papers).iterdir()):  # with the file at hand, and by what the event says
        if file:
            file.unlink()
        done = lpk("audit", "--only", "R-DOC-1", "--json", cwd=ledger.folder)
        (rule,) = json.loads(done.stdout)["rounds"][0]["rules"]
        assert (done.returncode, rule["looked_at"], len(rule["findings"])) == (1, 1, 1)
        assert "was read as arxiv:2401.00001v2: " in rule["findings"][0]["message"]


def test_a_file_that_is_a_paper_of_its_own_has_no_other_title(lpk: Lpk, tmp_path: Path) -> None:
    ledger = Ledger.begin(tmp_path / "ledger", 'format = 1\n[direction]\nid = "depth"\ntitle = "Depth"\n')
    (tmp_path / "my-notes.txt").write_text("Words of mine.\n", encoding="utf-8")
    options = ("--source", "text", "-O", f"path={tmp_path / 'my-notes.txt'}")
    assert lpk("ledger", "collect", *options, cwd=ledger.folder).returncode == 0
    done = lpk("ledger", "read", "local:my-notes", *options, cwd=ledger.folder)
    assert (done.returncode, done.stderr) == (0, "")
