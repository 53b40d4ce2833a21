"""PDFs: layouts that interrupt a sentence, files that are broken or hostile, pictures, and the command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Lpk, refused

from lpk.core.errors import UsageError
from lpk.core.evidence.contracts import Source
from lpk.core.evidence.documents.fulltext import FullText, picture, read, reader_of
from lpk.core.evidence.quotes import look_up
from lpk.core.evidence.records import Direction, Verdict
from lpk.core.registry import installed
from lpk.plugins.sources import pdf as reader

pymupdf = pytest.importorskip("pymupdf")
DATA = Path(__file__).parent / "data" / "quotes"

SENTENCES = [
    "The pruning of depth removes whole layers, and the saving is proportional to their number.",
    "When the calibration data are drawn from source code, accuracy falls from 61.3% to 42.8% on two tasks.",
    "We do not observe a benefit from more than 128 sequences, which earlier work had reported.",
    "Under a fixed objective, the seven search algorithms find nearly identical masks.",
    "Removing the attention sub-layers hurts more than removing the feed-forward sub-layers.",
    "The rank correlation of perplexity and accuracy is only -0.19 for the smaller model.",
    "Healing with low-rank adapters for 500 steps recovers 3.2 of the 7.9 points that were lost.",
    "In contrast to earlier reports, the last five layers are needed for long chains of reasoning.",
]


class Page:
    """Lines of text put where they are wanted."""

    def __init__(self, document: Any) -> None:
        self.page = document.new_page(width=595, height=842)

    def line(self, x: float, y: float, words: str, size: float = 10, font: str = "tiro") -> None:
        self.page.insert_text((x, y), words, fontsize=size, fontname=font)


def _broken(words: str, width: int) -> list[str]:
    """Lines of at most so many characters, with hyphens in words as they come."""
    lines, current = [], ""
    for word in words.split():
        room = width - len(current) - 1
        if len(word) <= room:
            current += " " * bool(current) + word
        elif word.isalpha() and len(word) > 7 and room > 5:
            lines.append(f"{current} {word[: room - 2]}-".strip())
            current = word[room - 2 :]
        else:
            lines.append(current)
            current = word
    return [*lines, current]


def _save(document: Any, file: Path) -> FullText:
    document.save(file)
    return read(file, installed())


def _all_found(text: FullText, sentences: list[str]) -> None:
    for sentence in sentences:
        found = look_up(sentence, text)
        assert found.verdict is Verdict.VERIFIED, (sentence, found)


# Layouts -------------------------------------------------------------------------------------------------------------


def _two_columns(row_by_row: bool) -> Any:
    """Two pages of two columns, with running heads, page numbers, review line numbers, a figure and a footnote."""
    document = pymupdf.open()
    lines = _broken(" ".join(SENTENCES * 5), 48)
    columns = [lines[start : start + 42] for start in range(0, 168, 42)]
    number = 0
    for first in (0, 2):
        page = Page(document)
        page.line(60, 40, "A. Author et al. / Depth Pruning", 9)
        page.line(290, 820, str(first // 2 + 1), 9)
        places = [(row, side) for side in (0, 1) for row in range(42)]
        for row, side in sorted(places) if row_by_row else places:
            if row >= len(columns[first + side]):
                continue
            y = 80 + 15 * row
            if side == 0:
                number += 1
                page.line(25, y, str(number), 6, "helv")
            if (first, side, row) == (0, 1, 0) and not row_by_row:  # a float on top of the second column
                page.line(330, 50, "Figure 1: Masks of the seven search", 9)
                page.line(330, 60, "algorithms. None stands out.", 9)
            page.line(60 if side == 0 else 320, y, columns[first + side][row])
        page.line(60, 760, f"{first + 1}", 5)
        page.line(64, 763, f"See the supplementary material, item {first + 17}.", 8)
    return document


@pytest.mark.parametrize("row_by_row", [False, True])
def test_two_columns_are_read_in_any_order_of_the_file(tmp_path: Path, row_by_row: bool) -> None:
    text = _save(_two_columns(row_by_row), tmp_path / "a.pdf")
    whole = " ".join(SENTENCES)
    for sentence in SENTENCES:
        found = look_up(sentence, text)
        assert found.verdict is Verdict.AMBIGUOUS, (sentence, found)  # all are there several times
    assert look_up(whole, text).page == 1
    for stitched in (f"{SENTENCES[0][:40]} {SENTENCES[3][-40:]}", f"{SENTENCES[7][:-1]} not."):
        assert look_up(stitched, text).verdict in (Verdict.ALTERED, Verdict.NOT_FOUND)


def test_a_sentence_that_is_interrupted_by_a_page_a_head_a_note_and_a_float(tmp_path: Path) -> None:
    document = pymupdf.open()
    halves = [sentence.split(", ", 1) for sentence in SENTENCES[:3]]
    for number, (ending, beginning) in enumerate(zip([[""], *halves], [*halves, [""]], strict=True)):
        page = Page(document)
        page.line(60, 40, f"{number + 2} METHOD", 9)
        page.line(520, 40, str(number + 1), 9)
        if number == 1:
            page.line(60, 90, "Table 2: Accuracy, by model and", 9)
            page.line(60, 102, "by calibration set.", 9)
        y = 160.0
        for words in [
            *_broken(ending[-1], 80),
            *_broken(" ".join(SENTENCES[3:]), 80),
            *_broken(beginning[0] + ",", 80),
        ]:
            page.line(60, y, words)
            y += 12
        page.line(60, 756, "1", 5)
        page.line(64, 760, "Weights are released under a free licence.", 8)
    text = _save(document, tmp_path / "a.pdf")
    for nth, sentence in enumerate(SENTENCES[:3]):
        found = look_up(sentence, text)
        assert (found.verdict, found.page, found.page_end) == ("verified", nth + 1, nth + 2), (sentence, found)
        assert {rect[0] for rect in found.rects} == {nth + 1, nth + 2}


def test_sections_by_number_by_title_and_by_the_table_of_contents(tmp_path: Path) -> None:
    document = pymupdf.open()
    page = Page(document)
    page.line(60, 60, "On the Depth of Models", 18, "tibo")
    headings = ["Abstract", "1 Introduction", "2. Method", "2.1 Calibration", "Limitations", "A Proofs"]
    for nth, (heading, sentence) in enumerate(zip(headings, SENTENCES, strict=False)):
        page.line(60, 100 + 60 * nth, heading, 12, "tibo")
        for row, line in enumerate(_broken(sentence, 90)):
            page.line(60, 120 + 60 * nth + 12 * row, line)
    text = _save(document, tmp_path / "a.pdf")
    names = ["Abstract", "1", "2", "2.1", "Limitations", "A"]
    assert [look_up(sentence, text).section for sentence in SENTENCES[:6]] == names
    assert look_up(SENTENCES[3], text, section="2").verdict is Verdict.VERIFIED
    assert look_up(SENTENCES[3], text, section="Calibration").verdict is Verdict.VERIFIED
    assert look_up(SENTENCES[3], text, section="3").verdict is Verdict.LOCATOR_MISMATCH
    document.set_toc([[1, "Introduction", 1], [1, "Method", 1], [2, "Calibration", 1], [1, "Limitations", 1]])
    text = _save(document, tmp_path / "b.pdf")
    assert [look_up(sentence, text).section for sentence in SENTENCES[1:5]] == names[1:5]


def test_a_raised_figure_that_stands_alone_numbers_no_line(tmp_path: Path) -> None:
    document = pymupdf.open()
    page = Page(document)
    for nth, sentence in enumerate(SENTENCES[:2]):
        page.line(40, 100 + 40 * nth, "¹²"[nth])
        page.line(60, 100 + 40 * nth, sentence)
    text = _save(document, tmp_path / "a.pdf")
    assert [look_up(sentence, text).verdict for sentence in SENTENCES[:2]] == [Verdict.VERIFIED] * 2


def test_the_boxes_are_around_the_words(tmp_path: Path) -> None:
    document = pymupdf.open()
    page = Page(document)
    page.line(60, 100, "Before it. " + SENTENCES[3] + " After it.")
    text = _save(document, tmp_path / "a.pdf")
    (box,) = look_up(SENTENCES[3], text).rects
    (expected,) = document[0].search_for(SENTENCES[3])
    assert box[1:] == pytest.approx(tuple(expected), abs=1.0)


def test_a_font_without_letters_is_unverifiable(tmp_path: Path) -> None:
    document = pymupdf.open()
    page = document.new_page()
    page.insert_text((60, 100), "This cannot be read by any program.")
    file = tmp_path / "a.pdf"
    document.save(file)
    # What the reader is told is a letter becomes one of the private use area.
    text = read(file, installed())
    assert look_up("This cannot be read by any program.", text).verdict is Verdict.VERIFIED
    assert reader._unreadable(None, [(0, [0, 0, 0, 0], True, [("\ue001\ue002\ufffd \ue003", 9.0, 0)], [])])


# Pictures ------------------------------------------------------------------------------------------------------------


def _pixels(png: bytes) -> Any:
    return pymupdf.Pixmap(png)


@pytest.mark.parametrize("rotation", [0, 90])
def test_a_picture_shows_the_quote_highlighted(tmp_path: Path, rotation: int) -> None:
    document = pymupdf.open()
    page = Page(document)
    page.line(60, 100, SENTENCES[3])
    page.page.set_rotation(rotation)
    file = tmp_path / "a.pdf"
    found, before = look_up(SENTENCES[3], _save(document, file)), file.read_bytes()
    plain, marked = (_pixels(picture(file, installed(), 1, rects, 1.0)) for rects in ((), found.rects))
    assert (plain.width, plain.height) == ((595, 842) if rotation == 0 else (842, 595))
    changed = [
        (x, y) for x in range(plain.width) for y in range(plain.height) if plain.pixel(x, y) != marked.pixel(x, y)
    ]
    x0, y0, x1, y1 = found.rects[0][1:]
    assert changed
    assert x0 - 6 <= min(x for x, _ in changed) <= x0 + 6
    assert x1 - 6 <= max(x for x, _ in changed) <= x1 + 6
    assert y0 - 4 <= min(y for _, y in changed) <= max(y for _, y in changed) <= y1 + 4
    assert file.read_bytes() == before
    with pytest.raises(UsageError, match="has no page 7"):
        picture(file, installed(), 7, ())


def test_a_text_has_no_pages_to_draw(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("four words are enough")
    with pytest.raises(UsageError, match="draws no pages"):
        picture(tmp_path / "a.md", installed(), 1, ())


# Broken and hostile files --------------------------------------------------------------------------------------------


def _plain() -> Any:
    document = pymupdf.open()
    Page(document).line(60, 100, SENTENCES[0])
    return document


def _encrypted(file: Path) -> None:
    _plain().save(file, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret", owner_pw="other")


def _truncated(file: Path) -> None:
    data = (DATA / "pdfs" / "a_twocol_cm.pdf").read_bytes()
    file.write_bytes(data[: len(data) // 2])


def _objects(*bodies: bytes) -> bytes:
    """A PDF of these objects; the first is the catalogue."""
    out, places = b"%PDF-1.5\n", []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1) + b"".join(
        b"%010d 00000 n \n" % at for at in places
    )
    return out + table + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(bodies) + 1, len(out))


def _many_pages(file: Path) -> None:
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>"
    kids = b" ".join(b"%d 0 R" % number for number in range(3, 10_003))
    tree = b"<</Type/Pages/Kids[" + kids + b"]/Count 10000>>"
    file.write_bytes(_objects(b"<</Type/Catalog/Pages 2 0 R>>", tree, *[page] * 10_000))


def _stream_bomb(file: Path) -> None:
    """4 GB of content in 4 MB."""
    packer = zlib.compressobj(9)
    head = packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"BT /F 9 Tf (bomb) Tj ET\n" * 43_691) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = head + block * 4096 + packer.flush()  # after a full flush a block stands for itself
    stream = b"<</Length %d/Filter/FlateDecode>>stream\n" % len(packed) + packed + b"\nendstream"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>"
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    file.write_bytes(
        _objects(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>", page, stream, font)
    )


def _page_tree_bomb(file: Path) -> None:
    """Nine levels of nine kids each, all the same: 387 million pages."""
    levels = [
        b"<</Type/Pages/Kids[" + b"%d 0 R " % (number + 1) * 9 + b"]/Count %d>>" % 9 ** (11 - number)
        for number in range(2, 11)
    ]
    page = b"<</Type/Page/Parent 10 0 R/MediaBox[0 0 99 99]>>"
    file.write_bytes(_objects(b"<</Type/Catalog/Pages 2 0 R>>", *levels, page))


def _page_tree_loop(file: Path) -> None:
    file.write_bytes(_objects(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R]/Count 5>>"))


def _no_pages(file: Path) -> None:
    file.write_bytes(_objects(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"))


def _form_bomb(file: Path) -> None:
    """Thirty forms, each of which draws the next one ten times."""
    forms = [
        b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X %d 0 R>>/Font<</F 35 0 R>>>>/Length 60>>stream\n"
        % min(nth + 1, 34)
        + (b"/X Do " * 10 if nth < 34 else b"BT /F 9 Tf (bomb) Tj ET").ljust(60)
        + b"\nendstream"
        for nth in range(4, 35)
    ]
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>>>"
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    file.write_bytes(
        _objects(b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>", page, *forms, font)
    )


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda file: file.write_bytes(b""), "empty"),
    "encrypted": (_encrypted, "encrypted"),
    "truncated": (_truncated, "cut short"),
    "html": (lambda file: file.write_text("<html>404 Not Found</html>"), "not a PDF"),
    "garbage": (lambda file: file.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 40 + b"\n%%EOF\n"), "damaged"),
    "10,000 pages": (_many_pages, "10,000 pages"),
    "no pages": (_no_pages, "no pages"),
    "stream bomb": (_stream_bomb, "bad.pdf"),
    "page tree bomb": (_page_tree_bomb, "number of pages"),
    "page tree loop": (_page_tree_loop, "damaged"),
    "form bomb": (_form_bomb, "seconds"),
    "missing": (lambda file: None, "no such file"),
    "folder": (lambda file: file.mkdir(), "a folder; say which file in it"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_pdf_is_refused_within_seconds(tmp_path: Path, name: str) -> None:
    make, said = BAD[name]
    file = tmp_path / "bad.pdf"
    make(file)
    read(DATA / "pdfs" / "f_scanned_no_text.pdf", installed())  # the reader is running
    begin = time.monotonic()
    with pytest.raises(UsageError, match=said) as refusal:
        read(file, installed())
    assert time.monotonic() - begin < 15
    assert "bad.pdf" in str(refusal.value)


@pytest.mark.parametrize("name", ["encrypted", "truncated", "stream bomb"])
def test_a_bad_pdf_is_one_line(lpk: Lpk, tmp_path: Path, name: str) -> None:
    make, said = BAD[name]
    make(tmp_path / "bad.pdf")
    refused(lpk("quote", "check", tmp_path / "bad.pdf", "the words that are looked for here"), 2, said, "bad.pdf")


def test_no_bomb_takes_more_than_the_limit(tmp_path: Path) -> None:
    _stream_bomb(tmp_path / "bad.pdf")
    # VmHWM, since a process's own ru_maxrss begins at that of the one that started it: gigabytes after other tests.
    code = (
        "import resource, sys; from pathlib import Path; from lpk.core.evidence.documents.fulltext import read\n"
        "from lpk.core.registry import installed; from lpk.core.errors import UsageError\n"
        "from lpk.plugins.sources import pdf\n"
        "try: read(Path(sys.argv[1]), installed())\n"
        "except UsageError as error: print(error)\n"
        "pdf._stop(pdf._started()) if pdf._worker else None\n"
        "(own,) = (int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "bad.pdf")], capture_output=True, text=True, check=True, timeout=120
    )
    *_, peak = done.stdout.split()
    assert int(peak) * 1024 < reader.MEMORY


def test_after_a_bad_file_the_next_is_read(tmp_path: Path) -> None:
    _form_bomb(tmp_path / "bad.pdf")
    slow = installed().find("source", "pdf").create({"seconds": 1})
    assert isinstance(slow, Source)
    with pytest.raises(UsageError, match="more than 1"):
        slow.read(tmp_path / "bad.pdf")
    _stream_bomb(tmp_path / "bomb.pdf")
    with pytest.raises(UsageError, match="bomb"):
        read(tmp_path / "bomb.pdf", installed())
    _encrypted(tmp_path / "locked.pdf")
    with pytest.raises(UsageError, match="encrypted"):
        slow.read(tmp_path / "locked.pdf")
    good = _save(_plain(), tmp_path / "good.pdf")
    assert look_up(SENTENCES[0], good).verdict is Verdict.VERIFIED


def test_a_scan_is_no_error_and_its_quotes_are_unverifiable(lpk: Lpk) -> None:
    done = lpk("quote", "check", DATA / "pdfs" / "f_scanned_no_text.pdf", "four words are enough")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("unverifiable")
    text = read(DATA / "pdfs" / "f_scanned_no_text.pdf", installed())
    assert (text.text_layer, text.pages, text.unreadable) == (False, 2, {1, 2})


def test_limits_are_options(tmp_path: Path) -> None:
    file = DATA / "pdfs" / "a_twocol_cm.pdf"
    with pytest.raises(UsageError, match="4 pages"):
        installed().find("source", "pdf").create({"pages": 3}).read(file)  # type: ignore[attr-defined]


# Files and folders as a source ---------------------------------------------------------------------------------------


@pytest.fixture
def direction() -> Direction:
    return Direction(id="any", title="any")


@pytest.mark.parametrize(("kind", "ending"), [("pdf", ".pdf"), ("text", ".md")])
def test_a_folder_is_a_source(tmp_path: Path, direction: Direction, kind: str, ending: str) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    _plain().save(tmp_path / "in" / "A paper (2).pdf")
    (tmp_path / "in" / "A paper (2).md").write_text("# A Title\n\nfour words are enough\n")
    shutil.copy(tmp_path / "in" / f"A paper (2){ending}", tmp_path / "in" / "deep" / f"other{ending}")
    source = installed().find("source", kind).create({"path": str(tmp_path / "in")})
    assert isinstance(source, Source)
    found = list(source.find(direction))
    assert [version.paper for version in found] == ["local:A-paper--2", "local:other"]
    assert list(source.versions("local:other")) == [found[1]]
    assert list(source.versions("local:none")) == []
    fetched = source.fetch(found[1], tmp_path / "out")
    assert fetched is not None
    assert fetched.parent == tmp_path / "out"
    assert source.read(fetched).pages == 1
    assert reader_of(fetched, installed()).name == source.name
    with pytest.raises(UsageError, match="no such file"):
        next(iter(installed().find("source", kind).create({"path": str(tmp_path / "none")}).find(direction)))  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="say which files"):
        next(iter(installed().find("source", kind).create().find(direction)))  # type: ignore[attr-defined]


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_finds_a_quote_and_draws_it(lpk: Lpk, tmp_path: Path) -> None:
    file, quote = (
        DATA / "pdfs" / "a_twocol_cm.pdf",
        "LAMBADA collapses after pruning 2 layers: accuracy falls from 64.2%",
    )
    done = lpk("quote", "check", file, quote, "--page", 3, "--section", 5, "--json", "--picture", tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["verdict"], answer["page"], answer["section"]) == ("verified", 3, "5")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    done = lpk("quote", "check", file, quote, "--page", 1)
    assert done.returncode == 1
    assert "locator-mismatch: page 3, section 5" in done.stdout
    assert "not page 1" in done.stdout
    done = lpk("quote", "check", file, quote.replace("64.2", "46.2"), "--picture", tmp_path / "b.png")
    assert done.returncode == 1
    assert "[-46.2%-]{+64.2%+}" in done.stdout
    assert "number" in done.stdout
    done = lpk("quote", "check", file, "nothing of this kind was ever written there", "--picture", tmp_path / "c.png")
    assert done.returncode == 1
    assert done.stdout.startswith("not-found")
    assert not (tmp_path / "c.png").exists()


def test_a_batch_gives_each_row_its_verdict_and_the_bad_ones_their_error(lpk: Lpk, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "a.md").write_text(f"# A\n\n## 1 One\n\n{SENTENCES[0]}\n")
    _plain().save(tmp_path / "papers" / "b.pdf")
    rows: list[Any] = [
        {"id": 7, "pdf": "papers/b.pdf", "quote": SENTENCES[0], "claimed_page": 1},
        {"pdf": "papers/a.md", "quote": SENTENCES[0], "claimed_section": "2"},
        {"pdf": "papers/none.pdf", "quote": SENTENCES[0]},
        {"pdf": "papers/a.md"},
        {"pdf": "papers/a.md", "quote": SENTENCES[0], "claimed_page": "one"},
        [1, 2],
        {"pdf": "papers/a.md", "quote": ""},
    ]
    batch = tmp_path / "cases.jsonl"
    batch.write_text("\n".join([*map(json.dumps, rows), "no JSON", ""]))
    done = lpk("quote", "check", "--batch", batch)
    assert done.returncode == 1, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer.get("verdict") for answer in answers] == [
        "verified",
        "locator-mismatch",
        None,
        None,
        None,
        None,
        "too-short",
        None,
    ]
    assert answers[0]["id"] == 7
    assert answers[0].keys() >= {"pdf", "quote", "verdict", "page", "section", "rects", "reason", "diff"}
    for answer, said in zip(
        (answers[2], answers[3], answers[4], answers[5], answers[7]),
        ("no such file", "quote", "claimed_page", "no JSON object", "no JSON"),
        strict=True,
    ):
        assert said in answer["error"]
    batch.write_text(json.dumps(rows[0]) + "\n")
    done = lpk("quote", "check", "--batch", batch, "--out", tmp_path / "out.jsonl")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((tmp_path / "out.jsonl").read_text())["verdict"] == "verified"
    batch.write_text("[" * 99_999 + "\n" + r'{"pdf": "a.md", "quote": "four words \ud800 are enough"}' + "\n")
    done = lpk("quote", "check", "--batch", batch)
    assert (done.returncode, done.stderr) == (1, "")
    told = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert [error.partition(":")[0] for error in told] == ["line 1 is no JSON", "line 2 is no JSON"]
    done = lpk("quote", "check", "--batch", batch, "--out", tmp_path / "none" / "out.jsonl")
    assert done.returncode == 2
    assert f"there is no folder {tmp_path / 'none'}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say which document"),
        (("a.pdf",), "say which document"),
        (("a.docx", "four words are enough"), "no such file"),
        ((".", "four words are enough"), "a folder; say which file in it"),
        (("--batch", "none.jsonl"), "none.jsonl"),
        (("--batch", "none.jsonl", "--page", "3"), "--batch takes"),
        (("a.pdf", "four words are enough", "--page", "0"), "--page"),
        (("a.pdf", "four words are enough", "--policy", "fuzzy"), "seed-2026"),
        (("a.pdf", "four words are enough", "--out", "x"), "--out is for"),
    ],
)
def test_wrong_usage_is_one_line(lpk: Lpk, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    refused(lpk("quote", "check", *arguments, cwd=tmp_path), 2, said)


def test_without_pymupdf_the_command_says_what_to_install(lpk: Lpk, tmp_path: Path) -> None:
    _plain().save(tmp_path / "a.pdf")
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'pymupdf' else find(name, *rest)\n"
    )
    done = lpk("quote", "check", tmp_path / "a.pdf", "four words are enough", env={"PYTHONPATH": str(tmp_path)})
    refused(done, 4, 'pip install "lpk[pdf]"')
