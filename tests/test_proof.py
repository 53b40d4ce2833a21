"""``paper/demo.py``: it finds what is there, and nothing else, and needs nothing of lpk."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import warm
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import in_folder, supported_records

from lpk.core.evidence.artifacts import demo, proof
from lpk.core.evidence.artifacts.demo import Document, Documents, places_of, read_text, squeeze, without_latex
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.records import Claim, Record, Row, Verdict, Verification

PAGES = (
    "Title\n\n1 Introduction\nDepth pruning is unable to remove the first layers without a loss. Noth-\ning else is known.\n",
    "2 Results\nRemoving 4 of 30 layers raises the perplexity of SmolLM2\nfrom 30.4 to 52.1 on held-out text. Removing 8 of them\n",
    "does more harm than good in every case that we tried.\nAccuracy falls by 5.3 points, from 70.2% to 64.9%.\n",
)
QUOTE = "Removing 4 of 30 layers raises the perplexity of SmolLM2 from 30.4 to 52.1 on held-out text."


def text_ledger(folder: Path, rows: Sequence[dict[str, Any]] = (), **changes: Any) -> Ledger:
    """One text document of three pages; one claim with a row whose quote is on page 2, changed as told, and more rows."""
    return document_ledger(folder, "\f".join(PAGES).encode(), "text/plain", ".txt", rows, **changes)


def document_ledger(
    folder: Path, data: bytes, media: str, ending: str, rows: Sequence[dict[str, Any]] = (), **changes: Any
) -> Ledger:
    sha = hashlib.sha256(data).hexdigest()
    paper, screening, document, claim, row, found = supported_records()
    name = f"{sha[:16]}{ending}"
    document = document.model_copy(update={"sha256": sha, "file": name, "media": media, "pages": 3})
    # A claim that shares no word with what it quotes is not supported, and only what is supported is proved.
    claim = claim.model_copy(update={"text": changes.get("quote", claim.text)})
    made: list[Record] = [paper, screening, document, claim]
    for number, change in enumerate([changes, *rows], start=1):
        fields = {"quote": QUOTE, "page": 2, "page_end": None, "section": "2 Results", "document": sha, **change}
        quote, relation = fields.pop("quote"), fields.pop("relation", "supports")
        made.append(row.model_copy(update={"id": f"r-{number}", "quote": quote, "relation": relation}))
        made.append(found.model_copy(update={"row": f"r-{number}", **fields}))
    ledger = in_folder(folder, made)
    (folder / "papers" / name).write_bytes(data)
    return ledger


def lpk(*arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.call(arguments)


def proved(ledger: Ledger) -> tuple[int, dict[str, Any], str]:
    code, said, _ = proof.prove(ledger)
    return code, json.loads((ledger.folder / "paper" / "proof.json").read_text(encoding="utf-8")), said


def looked_up_again(ledger: Ledger) -> list[str]:
    """What the audit says of rows that nothing looked up again."""
    done = lpk("audit", str(ledger.folder), "--only", "R-QUOTE-7", "--json")
    (rule,) = json.loads(done.stdout)["rounds"][0]["rules"]
    assert (done.returncode, rule["severity"], rule["looked_at"] > 0) == (bool(rule["findings"]), "error", True)
    return [found["message"] for found in rule["findings"]]


# -- the script in a process of its own -------------------------------------------------------------------------------


def test_a_supported_claim_is_found_again(tmp_path: Path) -> None:
    ledger = text_ledger(tmp_path / "ledger")
    done = lpk("prove", str(ledger.folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "re-verified      c-1",
        "supported claims re-verified: 1 of 1",
        f"policy: {ledger.policy.hash}",
    ]
    written = json.loads((ledger.folder / "paper" / "proof.json").read_text())
    assert (written["passed"], written["score"], written["policies"]) == (True, "1/1", [ledger.policy.hash])
    found = proof.proof_of(ledger.snapshot())
    assert found is not None
    assert (found.reverified, found.failed, found.passed) == (("c-1",), {}, True)
    assert json.loads(lpk("prove", str(ledger.folder), "--json").stdout) == written


def test_it_runs_where_there_is_no_lpk(tmp_path: Path) -> None:
    """-I: no PYTHONPATH, no folder of the script; -S: no site-packages. It writes the same bytes there."""
    ledger = text_ledger(tmp_path / "ledger")
    _, written, _ = proved(ledger)
    moved = tmp_path / "elsewhere"
    shutil.copytree(ledger.folder, moved)
    (moved / "paper" / "proof.json").unlink()
    bare = [sys.executable, "-I", "-S"]
    nothing = subprocess.run([*bare, "-c", "import lpk"], capture_output=True, text=True, check=False)
    assert "No module named 'lpk'" in nothing.stderr
    done = subprocess.run(
        [*bare, str(moved / "paper" / "demo.py")], capture_output=True, text=True, cwd="/", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((moved / "paper" / "proof.json").read_text()) == written
    assert (moved / "paper" / "proof.json").read_bytes() == (ledger.folder / "paper" / "proof.json").read_bytes()


def test_nothing_is_proved_over_no_claim(tmp_path: Path) -> None:
    ledger = in_folder(tmp_path / "ledger", [Claim(id="c-1", text="A claim without a row.")])
    done = lpk("prove", str(ledger.folder))
    assert done.returncode == 1
    assert "supported claims re-verified: n/a: no claim is supported" in done.stdout
    assert json.loads((ledger.folder / "paper" / "proof.json").read_text())["passed"] is False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"quote": QUOTE.replace("52.1", "52.2")}, "its words are not on page 2"),
        ({"quote": QUOTE.replace("raises", "lowers")}, "its words are not on page 2"),
        ({"quote": QUOTE.replace("4 of", "of")}, "its words are not on page 2"),
        ({"page": 3}, "it is on page 2, not on page 3"),
        ({"page": 9}, "it is on page 2, not on page 9"),
        ({"quote": "30 layers raises"}, "the quote has fewer than 4 words"),
        ({"quote": "able to remove the first layers without a loss.", "page": 1}, "its words are not on page 1"),
        ({"quote": "Accuracy falls by 5", "page": 3}, "its words are not on page 3"),
        ({"quote": "Accuracy falls by 5.3 points, from 70.2", "page": 3}, "its words are not on page 3"),
        ({"quote": "Removing 4 of 30 layers … does more harm than good", "page": 2, "page_end": 3}, "not on page 2-3"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_re_verified(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    ledger = text_ledger(tmp_path / "ledger", **change)
    code, written, said = proved(ledger)
    assert code == 1
    assert written["claims"][0]["re-verified"] is False
    assert reason in written["claims"][0]["rows"][0]["reason"]
    assert "NOT RE-VERIFIED  c-1" in said


@pytest.mark.parametrize(
    "change",
    [
        {"quote": "Depth pruning is unable to remove the first layers", "page": 1},
        {"quote": "Nothing else is known.", "page": 1},
        {"quote": "Removing 4 of 30 layers … on held-out text."},
        {"quote": "Removing 4 of 30 layers [...] from 30.4 to 52.1"},
        {"quote": "Removing 8 of them does more harm than good in every case", "page": 2, "page_end": 3},
        {"quote": r"Accuracy falls by $5.3$ points, from $70.2\%$ to 64.9\%.", "page": 3},
        {"quote": "REMOVING 4 of 30 layers   raises the per-plexity of SmolLM2"},
    ],
)
def test_what_is_there_is_found(tmp_path: Path, change: dict[str, Any]) -> None:
    assert proved(text_ledger(tmp_path / "ledger", **change))[0] == 0


def test_all_rows_that_a_claim_rests_on_must_be_found(tmp_path: Path) -> None:
    ledger = text_ledger(tmp_path / "ledger", rows=[{"quote": "These words are not in the document."}])
    code, written, _ = proved(ledger)
    assert code == 1
    assert [row["re-verified"] for row in written["claims"][0]["rows"]] == [True, False]


def test_without_the_file_the_gate_asks_for_a_proof_that_covers_each_row(tmp_path: Path) -> None:
    """As in a clone: git keeps the proof and no PDF."""
    ledger = text_ledger(tmp_path / "ledger")
    assert looked_up_again(ledger) == []
    assert proved(ledger)[0] == 0
    (file,) = (ledger.folder / "papers").iterdir()
    kept, proof_file = file.read_bytes(), ledger.folder / "paper" / "proof.json"
    file.unlink()
    assert looked_up_again(ledger) == [], "the proof covers it"
    written = proof_file.read_text(encoding="utf-8")
    proof_file.unlink()
    assert "row r-1 was not looked up again: papers/" in looked_up_again(ledger)[0]
    for old, new in (
        ("52.1 on held-out", "42.1 on held-out"),  # other words
        (hashlib.sha256(kept).hexdigest(), "ab" * 32),  # another file
        ('"page": "2"', '"page": "3"'),
        ('"re-verified": true,\n          "reason"', '"re-verified": false,\n          "reason"'),
        ('"demo_sha256": "', '"demo_sha256": "0'),  # another script
        ('"claim": "c-1"', '"claim": "c-2"'),
    ):
        assert written.count(old) == 1, old
        proof_file.write_text(written.replace(old, new), encoding="utf-8")
        assert len(looked_up_again(ledger)) == 1, old
    proof_file.write_text(written, encoding="utf-8")
    more = Row(
        id="r-9", claim="c-1", paper="arxiv:2401.00001", version="v1", quote="Accuracy falls by 5.3 points, from 70.2%"
    )
    found = next(event.record for event in ledger.log.read() if event.kind == "verification")
    ledger.write([more, found.model_copy(update={"row": "r-9", "page": 3})])
    (message,) = looked_up_again(ledger)
    assert "row r-9 " in message, "what was proved before is still covered"
    file.write_bytes(kept)
    assert looked_up_again(ledger) == []


def test_another_file_is_told_by_its_hash(tmp_path: Path) -> None:
    ledger = text_ledger(tmp_path / "ledger")
    (file,) = (ledger.folder / "papers").iterdir()
    file.write_bytes(file.read_bytes() + b" ")
    code, written, _ = proved(ledger)
    assert code == 1
    assert "is not the file that was checked" in written["claims"][0]["rows"][0]["reason"]
    assert written["claims"][0]["rows"][0]["at-hand"]
    file.unlink()
    code, written, _ = proved(ledger)
    assert code == 1
    assert written["claims"][0]["rows"][0]["reason"] == (
        f"papers/{file.name} is not here; it is from https://arxiv.org/abs/2401.00001v1"
    )
    assert not written["claims"][0]["rows"][0]["at-hand"]


def test_who_has_no_papers_takes_nothing_from_the_proof_of_who_has(tmp_path: Path) -> None:
    ledger = text_ledger(tmp_path / "ledger")
    assert proved(ledger)[0] == 0
    (file,) = (ledger.folder / "papers").iterdir()
    kept, written = file.read_bytes(), ledger.folder / "paper" / "proof.json"
    before = written.read_bytes()
    file.unlink()
    done = lpk("prove", str(ledger.folder))
    assert (done.returncode, written.read_bytes()) == (1, before)
    assert "NOT RE-VERIFIED" in done.stdout
    note = "paper/proof.json is kept: it found r-1, which could not be looked at here\n"
    assert done.stderr == "lpk: note: " + note
    alone = [sys.executable, "-I", str(ledger.folder / "paper" / "demo.py")]
    by_hand = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert (by_hand.returncode, by_hand.stderr, written.read_bytes()) == (1, note, before)
    said = json.loads(lpk("prove", str(ledger.folder), "--json").stdout)
    assert (said["passed"], said["claims"][0]["rows"][0]["at-hand"]) == (False, False), "what was seen here, not there"
    file.write_bytes(kept + b" ")
    assert lpk("prove", str(ledger.folder)).returncode == 1
    assert written.read_bytes() != before, "another file is a finding, and is written down"


def test_a_matrix_that_calls_a_contradicted_claim_supported_is_not_believed(tmp_path: Path) -> None:
    ledger = text_ledger(tmp_path / "ledger", rows=[{"relation": "contradicts"}])
    assert proved(ledger)[1]["supported"] == 0
    matrix = ledger.folder / "evidence_matrix.csv"
    matrix.write_text(matrix.read_text().replace('"contested"', '"supported"'))
    values = demo.prove(ledger.folder)
    assert (values["supported"], values["passed"]) == (1, False)
    assert "speaks against" in values["claims"][0]["rows"][1]["reason"]


def test_a_proof_of_another_matrix_is_none(tmp_path: Path) -> None:
    ledger = text_ledger(tmp_path / "ledger")
    proved(ledger)
    assert proof.proof_of(ledger.snapshot())
    ledger.write(
        [Claim(id="c-9", text="A new claim."), Row(id="r-9", claim="c-9", paper="arxiv:2401.00001", quote="some words")]
    )
    assert proof.proof_of(ledger.snapshot()) is None
    (ledger.folder / "paper" / "proof.json").write_text("[]")
    assert proof.proof_of(ledger.snapshot()) is None


def test_what_is_no_matrix_is_told(tmp_path: Path) -> None:
    (tmp_path / "paper").mkdir()
    shutil.copy(demo.__file__, tmp_path / "paper" / "demo.py")
    for content, words in ((None, "No such file"), ("a,b\n1,2\n", "no column claim_id"), (b"\xff\xfe", "demo.py: ")):
        if content is not None:
            (tmp_path / "evidence_matrix.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        done = subprocess.run(
            [sys.executable, str(tmp_path / "paper" / "demo.py")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_cells_that_were_neutralised_are_read_as_they_were(tmp_path: Path) -> None:
    data = b"- 4 of 30 layers raise the perplexity, we find\n"
    ledger = document_ledger(
        tmp_path / "ledger", data, "text/plain", ".txt", quote="- 4 of 30 layers raise the perplexity", page=1
    )
    assert "\"'- 4 of 30" in lpk_matrix(ledger)
    assert proved(ledger)[0] == 0


def lpk_matrix(ledger: Ledger) -> str:
    from lpk.core.evidence.artifacts.exports import evidence_matrix

    return evidence_matrix(ledger.snapshot()).decode()


def test_a_folder_without_a_ledger_is_bad_usage(tmp_path: Path) -> None:
    assert lpk("prove", str(tmp_path)).returncode == 2


# -- PDFs -------------------------------------------------------------------------------------------------------------


def pdf(pages: Sequence[str]) -> bytes:
    """A PDF of a line of text after the other, in Helvetica, as ISO 32000 has it; small print after ``~``."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>", ""]
    kids = []
    for page in pages:
        shown = []
        for number, line in enumerate(page.splitlines()):
            size, words = (6, line[1:]) if line.startswith("~") else (11, line)
            escaped = words.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            shown.append(f"BT /F1 {size} Tf 60 {760 - 16 * number} Td ({escaped}) Tj ET")
        stream = "\n".join(shown)
        objects.append(f"<</Length {len(stream)}>>stream\n{stream}\nendstream")
        font = "<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources{font}/Contents {len(objects)} 0 R>>")
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<</Type/Pages/Kids[{' '.join(kids)}]/Count {len(kids)}>>"
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(data))
        data += f"{number} 0 obj{body}endobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer<</Size {len(objects) + 1}/Root 1 0 R>>\n"
    return data + f"{end}startxref\n{len(data)}\n%%EOF\n".encode()


ENGINES = [name for name in demo.ENGINES if importlib.util.find_spec(name)]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setattr(demo, "ENGINES", {name: demo.ENGINES[name]})
    return name


def test_an_engine_is_installed_to_test_with() -> None:
    assert ENGINES, 'install "lpk[pdf]": these tests need pymupdf or pypdfium2'


def test_a_pdf_is_read_by_either_engine(tmp_path: Path, engine: str) -> None:
    ledger = document_ledger(tmp_path / "ledger", pdf(PAGES), "application/pdf", ".pdf")
    proved(ledger)
    values = demo.prove(ledger.folder)
    assert (values["passed"], values["pdf_engine"]) == (True, engine)


def test_heads_feet_notes_and_line_numbers_do_not_come_between(tmp_path: Path, engine: str) -> None:
    pages = [
        f"Preprint, under review, page {number}\n{page}~{number} A note, in small print.\n{number}\n"
        for number, page in enumerate(PAGES, start=1)
    ]
    quote = "Removing 8 of them does more harm than good in every case"
    ledger = document_ledger(
        tmp_path / "ledger", pdf(pages), "application/pdf", ".pdf", quote=quote, page=2, page_end=3
    )
    proved(ledger)
    assert demo.prove(ledger.folder)["passed"]


def test_a_section_named_at_the_head_of_a_page_does_not_come_between(tmp_path: Path, engine: str) -> None:
    """A head that is on one page only: the sections have a page each."""
    titles = ("1 INTRODUCTION", "2 RESULTS", "3 METHOD")
    pages = [f"{head}\n{page}3 Method\n" for head, page in zip(titles, PAGES, strict=True)]
    quote = "Removing 8 of them does more harm than good in every case"
    changes = {"quote": quote, "page": 2, "page_end": 3}
    ledger = document_ledger(tmp_path / "ledger", pdf(pages), "application/pdf", ".pdf", **changes)
    proved(ledger)
    assert demo.prove(ledger.folder)["passed"]
    said_once = [page.replace("3 METHOD", "OTHER THINGS") for page in pages]
    ledger = document_ledger(tmp_path / "other", pdf(said_once), "application/pdf", ".pdf", **changes)
    proved(ledger)
    assert not demo.prove(ledger.folder)["passed"], "words that stand there alone may be the sentence's"


def test_a_damaged_pdf_is_told(tmp_path: Path, engine: str) -> None:
    ledger = document_ledger(tmp_path / "ledger", b"%PDF-1.4\nnothing", "application/pdf", ".pdf")
    proved(ledger)
    (claim,) = demo.prove(ledger.folder)["claims"]
    assert not claim["re-verified"]
    assert claim["rows"][0]["reason"]


def test_a_pdf_without_an_engine_is_not_re_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "ENGINES", {})
    ledger = document_ledger(tmp_path / "ledger", pdf(PAGES), "application/pdf", ".pdf")
    proved(ledger)
    (claim,) = demo.prove(ledger.folder)["claims"]
    assert claim["rows"][0]["reason"] == "a PDF needs pymupdf or pypdfium2, and neither is installed"


# -- the matcher against one that is as simple as can be --------------------------------------------------------------

#: None is part of another, and no two make a third.
WORDS = ("bark", "cold", "dusk", "fern", "gulf", "haze", "jump", "kiln", "limp", "moth")


def stands_in(quote: Sequence[str], text: Sequence[str]) -> bool:
    return any(list(text[at : at + len(quote)]) == list(quote) for at in range(len(text)))


@settings(max_examples=300)
@given(st.data())
def test_words_in_a_row_are_found_and_nothing_else(data: st.DataObject) -> None:
    text = data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30))
    quote = data.draw(st.lists(st.sampled_from(WORDS), min_size=2, max_size=5))
    gaps = data.draw(st.lists(st.sampled_from([" ", "\n", "  ", ", ", " \u201c", "; "]), min_size=30, max_size=30))
    written = "".join(word + gap for word, gap in zip(text, gaps, strict=False))
    assert bool(places_of(" ".join(quote), view(written))) is stands_in(quote, text)


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from([*WORDS, "4", "30", "5.3", "1,000", "-2", "7%", "+3", "<0.05", "2-3"]), min_size=4, max_size=12
    ),
    st.data(),
)
def test_no_word_nor_figure_may_differ(words: list[str], data: st.DataObject) -> None:
    assert places_of(" ".join(words), view("Before it. " + "\n".join(words) + ". After it."))
    at = data.draw(st.integers(0, len(words) - 1))
    other = data.draw(
        st.sampled_from(
            [w for w in (*WORDS, "44", "0", "5.4", "53", "2", "7", "3", "0.05", "23", "2 3") if w != words[at]]
        )
    )
    altered = [*words[:at], other, *words[at + 1 :]]
    assert not places_of(" ".join(altered), view("Before it. " + " ".join(words) + ". After it."))


def view(text: str) -> demo.View:
    return Document([[(char, 0.0) for char in text]]).views(1, 1)[0]


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("possible to remove any layer", "It is im-\npossible to remove any layer."),
        ("linear layers can be removed", "Only non-linear layers can be removed."),
        ("loses 5 points of accuracy", "It loses -5 points of accuracy."),
        ("by a factor of 2", "by a factor of 2.5 on average"),
        ("p < 0.05 in all cases", "p > 0.05 in all cases"),
        ("a total of 304 layers", "a total of 30 4 layers"),
        ("in the range 35 points", "in the range 3-5 points"),
        ("drops to 70.2 in total", "drops to 70.2% in total"),
        ("we remove one layer", "we remove one layer-norm"),
        ("one … three sentences here", "This is one. That has three sentences here."),
    ],
)
def test_what_means_something_else_is_not_found(quote: str, text: str) -> None:
    assert not places_of(quote, view(text))


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("efficient fine-tuning of models", "e\ufb03cient \ufb01ne-\ntuning of models"),
        ("accuracy is 70.2% for Llama-3.1-8B", "accuracy is 70.2 % for Llama-3.1-\n8B"),
        ("it loses \u22125 points", "it loses -5 points"),
        ("one of … three here", "This is one of the many, e.g. the three here."),
    ],
)
def test_what_means_the_same_is_found(quote: str, text: str) -> None:
    assert places_of(quote, view(text))


@pytest.mark.parametrize(
    "text",
    [
        "one\ftwo",
        "<!-- page 1 -->\none\n<!-- page 2 -->\ntwo\n",
        "[page 1]\none\n[Page 2]\ntwo",
        "one\n--- page 2 ---\ntwo",
        "<!-- page 2 -->\ntwo\n<!-- page 1 -->\none\n",
    ],
)
def test_page_marks_divide_a_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.md").write_text(text)
    pages = ["".join(char for char, _ in page).strip() for page in read_text(tmp_path / "t.md", True)]
    assert pages == ["one", "two"]


def test_markdown_is_read_as_it_is_seen(tmp_path: Path) -> None:
    (tmp_path / "t.md").write_text(
        "We use _depth_ pruning of [ShortGPT](https://a.example/x) <b>and</b> **others** here."
    )
    (page,) = read_text(tmp_path / "t.md", True)
    assert places_of("depth pruning of ShortGPT and others here.", Document([page]).views(1, 1)[0])


def test_latex_is_read_as_it_is_typeset() -> None:
    assert squeeze(without_latex(r"by $3.8\times$ and 5\%, \textbf{Grad}ient")) == "by3.8\u00d7and5%gradient"


def test_a_documents_name_is_no_path(tmp_path: Path) -> None:
    row = {
        "document_file": "../ledger.toml",
        "document_sha256": "ab" * 32,
        "document_url": "",
        "document_media": "text/plain",
    }
    with pytest.raises(ValueError, match="no document is recorded"):
        Documents(tmp_path).of(row)


def test_only_good_verdicts_are_in_the_records_used_here() -> None:
    assert [one.verdict for one in supported_records() if isinstance(one, Verification)] == [Verdict.VERIFIED]


# -- labelled cases ---------------------------------------------------------------------------------------------------

DATA = Path(__file__).parent / "data"


def test_no_altered_quote_is_found_among_the_sentences_that_it_was_made_from() -> None:
    cases = [json.loads(line) for line in (DATA / "altered_quotes.jsonl").read_text(encoding="utf-8").splitlines()]
    text = view("\n".join(dict.fromkeys(case["source"] for case in cases)))
    assert len(cases) > 90
    assert [case["id"] for case in cases if places_of(case["quote"], text)] == []
    assert [case["id"] for case in cases if not places_of(case["source"], text)] == []


def test_the_labelled_quotes_that_are_true_are_found_and_no_other(engine: str) -> None:
    cases = [json.loads(line) for line in (DATA / "quotes" / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    documents = {
        name: Document(demo.ENGINES[engine](DATA / "quotes" / name)) for name in {case["pdf"] for case in cases}
    }
    true = [case for case in cases if case["expected"] == "verified"]
    altered = [case for case in cases if case["expected"] == "rejected"]
    assert (len(true), len(altered)) == (76, 132)
    missed = [
        case["id"]
        for case in true
        if not documents[case["pdf"]].has(case["quote"], case["page_start"], case["page_end"])
    ]
    assert missed == []
    for case in altered:
        if len(case["quote"].split()) < demo.WORDS:  # of which a row is told before a document is looked into
            continue
        document = documents[case["pdf"]]
        for page in range(1, len(document.pages) + 1):
            assert not document.has(case["quote"], page, min(page + 1, len(document.pages))), case["id"]


def test_sentences_of_a_paper_are_found_and_with_a_word_exchanged_not() -> None:
    (page,) = read_text(DATA / "2604.24938v1.md", True)
    document = Document([page])
    prose = " ".join("".join(char for char, _ in page).split())
    sentences = re.findall(r"(?<=[.] )[A-Z][a-z][^.?!|*$#<>\[\]()]{60,250}[.](?= [A-Z])", prose)
    assert len(sentences) > 40
    assert [each for each in sentences if not document.has(each, 1, 1)] == []
    for each in sentences:
        words = each.split()
        at = len(words) // 2
        assert not document.has(" ".join([*words[:at], "zebra", *words[at + 1 :]]), 1, 1)
        assert not document.has(" ".join([*words[:at], *words[at + 1 :]]), 1, 1)
