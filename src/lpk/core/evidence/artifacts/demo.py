"""Checks again, without lpk, that every supported claim of this ledger has its quotes in the papers.

    python paper/demo.py [--json]

It reads evidence_matrix.csv and the documents in papers/, prints a line for each claim (or all as JSON) and writes
paper/proof.json. Exit code 0: every supported claim was found again, and there is at least one; 1: not so; 2: the matrix
cannot be read. Text documents need Python's standard library alone, PDFs also pymupdf or pypdfium2, whichever is there.

Where a document is not here, as in a clone, or nothing can read it, a proof.json that found its quotes is kept: that
somebody could not look says nothing against it. The exit code is 1 all the same.

A row counts when the file's SHA-256 is the one that was checked, and the quote's letters and figures stand in the text of
its page, or of its pages joined, in the same order with nothing between them. Spaces, hyphens, ligatures and ordinary
punctuation do not matter; decimal points, signs, comparisons and percents do. "..." in a quote may leave out words of one
sentence. What these simple views do not show is "not re-verified", right or wrong. Sections are not looked at again.

(This file is a copy of lpk/core/evidence/artifacts/demo.py. It uses nothing of lpk.)
"""

from __future__ import annotations

import csv
import functools
import hashlib
import importlib
import io
import json
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

#: A quote of fewer words shows nothing.
WORDS = 4
#: A section's title has no more words.
TITLE = 12
#: Characters that change what a sentence says: percents, comparisons, times, about.
TELLING = "%\u2030<>=\u2264\u2265\u2260\u00b1\u00d7\u00f7+\u2248"
HYPHENS = "-\u2010\u2011\u2013\u2212"
#: Lines that begin a page of a text document; a form feed ends one.
MARK = re.compile(
    r"\s*(?:<!--\s*page\s+(\d{1,6})\s*-->|\[page\s+(\d{1,6})\]|-{3,}\s*page\s+(\d{1,6})\s*-{3,})\s*", re.I
)
#: What a reader of Markdown does not see: addresses of links, comments, tags.
UNSEEN = (
    (re.compile(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)"), r"\1"),
    (re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>"), " "),
)
ELISION = re.compile(r"\s*(?:\[\s*(?:\.\s*\.\s*\.|\u2026)\s*\]|\.\s*\.\s*\.|\u2026)\s*")
#: The end of a sentence, by a capital after it; "et al. We" counts as one, which only makes the check stricter.
SENTENCE_END = re.compile(r"[.!?][\"'\u2019\u201d)\]]*\s+[\"'\u2018\u201c(\[]*[A-Z]|\n\s*\n")
#: What stands before or after a match that takes a word or a number apart.
BEFORE = re.compile(rf"[^\W_]\Z|[^\W_][{HYPHENS}]\s*\Z")
AFTER = re.compile(rf"[^\W_]|[{HYPHENS}](?:\r?\n)?[^\W_]")
BEFORE_FIGURE = re.compile(rf"[{HYPHENS}{TELLING}.,]\Z")
AFTER_FIGURE = re.compile(r"[.,]\d|\s?[%\u2030]")

#: A character and its size in points; 0 where it is not known.
Char = tuple[str, float]


class View:
    """A text, squeezed to what must agree, each squeezed character with the place that it came from."""

    def __init__(self, chars: list[Char]) -> None:
        self.text = "".join(char for char, _ in chars)
        letters: list[str] = []
        self.places: list[int] = []
        for place in range(len(self.text)):
            for letter in kept(self.text, place):
                if letters and letter.isdigit() and letters[-1].isdigit() and self.places[-1] < place - 1:
                    letters.append(" ")  # "30 4" is not "304"
                    self.places.append(place)
                letters.append(letter)
                self.places.append(place)
        self.squeezed = "".join(letters)

    def find(self, squeezed: str, begin: int = 0) -> list[tuple[int, int]]:
        """Where it stands as whole words: first and last place in the text."""
        found = []
        at = self.squeezed.find(squeezed, begin)
        while at >= 0:
            first, last = self.places[at], self.places[at + len(squeezed) - 1]
            if not cuts(self.text, first, last):
                found.append((first, last))
            at = self.squeezed.find(squeezed, at + 1)
        return found


def kept(text: str, place: int) -> str:
    """What of a character must agree: letters and figures, what tells (TELLING), points in and signs before figures."""
    char, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if char in TELLING:
        return char
    if char in ".," and before.isdigit() and after.isdigit():
        return char
    if before.isdigit() and after in ("\n", "\r"):
        after = text[place + 1 : place + 4].lstrip()[:1]  # "3.1-" at a line's end, "8B" on the next
    if char in HYPHENS and after.isdigit() and not before.isalpha():
        return "-"
    return "".join(c for c in unicodedata.normalize("NFKC", char).casefold() if c.isalnum())


def squeeze(text: str) -> str:
    """A quote as it is looked for."""
    return View([(char, 0.0) for char in text]).squeezed.strip()


def cuts(text: str, first: int, last: int) -> bool:
    """Whether the words at these places are part of longer ones: "able to" in "unable to", "by 5" in "by 5.3%"."""
    before, after = text[max(0, first - 8) : first], text[last + 1 : last + 5]
    if BEFORE.search(before) or AFTER.match(after):
        return True
    figure_cut = text[first].isdigit() and BEFORE_FIGURE.search(before)
    return bool(figure_cut or (text[last].isdigit() and AFTER_FIGURE.match(after)))


def without_latex(quote: str) -> str:
    r"""What LaTeX of a quote is typeset as: 5\% as 5%, \textbf{x} as x."""
    signs = {"times": "\u00d7", "pm": "\u00b1", "leq": "\u2264", "geq": "\u2265", "approx": "\u2248"}
    for written, typeset in signs.items():
        quote = re.sub(rf"\\{written}\b", typeset, quote)
    return re.sub(r"\\[a-zA-Z]+\b", "", quote)


def places_of(quote: str, view: View) -> list[tuple[int, int]]:
    """Where a quote stands in a view: in one piece, or its parts in order within one sentence."""
    parts = [squeeze(part) for part in ELISION.split(quote.strip())]
    parts = [part for part in parts if part]
    if not parts:
        return []
    spans = view.find(parts[0])
    for part in parts[1:]:
        longer = []
        for first, last in spans:
            following = [span for span in view.find(part) if span[0] > last]
            if following and not SENTENCE_END.search(view.text[last + 1 : following[0][0] + 1]):
                longer.append((first, following[0][1]))
        spans = longer
    return spans


# ---------------------------------------------------------------------------------------------------------------------
# Documents
# ---------------------------------------------------------------------------------------------------------------------


def read_text(file: Path, markdown: bool) -> list[list[Char]]:
    """The pages of a text document: between its page marks, or all of it."""
    pages: dict[int, list[Char]] = {1: []}
    page = 1
    for number, sheet in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").split("\f")):
        page += number > 0
        for line in sheet.splitlines(keepends=True):
            mark = MARK.fullmatch(line)
            if mark:
                page = int(next(filter(None, mark.groups())))
                continue
            for pattern, seen in UNSEEN if markdown else ():
                line = pattern.sub(seen, line)  # noqa: PLW2901
            pages.setdefault(page, []).extend((char, 0.0) for char in line)
    return [pages.get(number, []) for number in range(1, max(pages) + 1)]


def with_pymupdf(file: Path) -> list[list[Char]]:
    pymupdf: Any = importlib.import_module("pymupdf")
    pages = []
    with pymupdf.open(file) as document:
        for page in document:
            chars: list[Char] = []
            for block in page.get_text("dict", flags=pymupdf.TEXT_PRESERVE_WHITESPACE)["blocks"]:
                for line in block.get("lines", ()):
                    for span in line["spans"]:
                        chars += [(char, span["size"]) for char in span["text"]]
                    chars.append(("\n", chars[-1][1] if chars else 0.0))
            pages.append(chars)
    return pages


def with_pypdfium2(file: Path) -> list[list[Char]]:
    pdfium: Any = importlib.import_module("pypdfium2")
    raw: Any = importlib.import_module("pypdfium2.raw")
    pages = []
    document = pdfium.PdfDocument(file)
    for number in range(len(document)):
        text = document[number].get_textpage()
        chars: list[Char] = []
        for place in range(text.count_chars()):
            code = raw.FPDFText_GetUnicode(text, place)
            broken = code in (
                0x2,
                0xFFFE,
            )  # PDFium's signs for a hyphen at a line's end; it has no other sign for that end
            size = (
                raw.FPDFText_GetFontSize(text, place) if broken or code > ord(" ") else (chars[-1][1] if chars else 0.0)
            )
            chars += [(char, size) for char in ("-\n" if broken else chr(code))]
        pages.append(chars)
    document.close()
    return pages


ENGINES = {"pymupdf": with_pymupdf, "pypdfium2": with_pypdfium2}


def engine() -> str:
    """The PDF engine that is installed; empty if none is."""
    for name in ENGINES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        return name
    return ""


class Document:
    """The pages of one file, and the texts that a quote is looked for in."""

    def __init__(self, pages: list[list[Char]]) -> None:
        self.pages = pages
        self.plain = without_furniture(pages)
        sizes = Counter(round(size, 1) for page in pages for char, size in page if size and char.isalnum())
        self.usual = sizes.most_common(1)[0][0] if sizes else 0.0
        self.views = functools.cache(self._views)

    def _views(self, first: int, last: int) -> list[View]:
        """Some pages, joined: as they stand, without what stands above and below on several pages, the body alone."""
        joined, plain = [
            [char for page in pages[first - 1 : last] for char in [*page, ("\n", 0.0)]]
            for pages in (self.pages, self.plain)
        ]
        body = [
            char for char in plain if char[1] >= 0.93 * self.usual or char[0].isspace()
        ]  # no notes, no raised figures
        return [View(joined), View(plain), View(body)]

    def has(self, quote: str, first: int, last: int) -> bool:
        """Whether a quote stands on these pages."""
        readings = {quote, without_latex(quote)}
        return any(places_of(reading, view) for view in self.views(first, last) for reading in sorted(readings))


def lines(page: list[Char]) -> list[list[Char]]:
    """A page's lines, each with its end."""
    found: list[list[Char]] = [[]]
    for char in page:
        found[-1].append(char)
        if char[0] == "\n":
            found.append([])
    return [line for line in found if line]


def written(line: list[Char]) -> str:
    """What a line says."""
    return "".join(char for char, _ in line).strip()


def edge(line: list[Char]) -> str:
    """What makes a line the same one on another page: its words without figures."""
    return re.sub(r"\d+", "#", written(line))


def title(line: list[Char]) -> str:
    """The letters of a line that may be a section's title, in capitals or not, whatever figures it holds; else empty."""
    text = written(line)
    return "".join(filter(str.isalpha, text.casefold())) if len(text.split()) <= TITLE else ""


def without_furniture(pages: list[list[Char]]) -> list[list[Char]]:
    """Pages without what stands above and below their text: heads, feet, numbers.

    It is a line that is first or last on at least two pages, whatever figures it holds; the page's own number; or, above
    the text, the title of a section, which stands somewhere else too.
    """
    sheets = [lines(page) for page in pages]
    filled = [[place for place, line in enumerate(sheet) if written(line)] for sheet in sheets]
    edges, titles = Counter[str](), Counter(title(line) for sheet in sheets for line in sheet)
    titles[""] = 0
    for sheet, places in zip(sheets, filled, strict=True):
        edges.update({edge(sheet[place]) for place in (*places[:2], *places[-2:])})
    kept = []
    for number, (sheet, places) in enumerate(zip(sheets, filled, strict=True), start=1):
        heads = {place for place in places[:3] if titles[title(sheet[place])] > 1}
        numbers = {place for place in (*places[:3], *places[-2:]) if written(sheet[place]) == str(number)}
        text = [line for place, line in enumerate(sheet) if place not in heads | numbers and edges[edge(line)] < 2]
        kept.append([char for line in text for char in line])
    return kept


# ---------------------------------------------------------------------------------------------------------------------
# Rows and claims
# ---------------------------------------------------------------------------------------------------------------------


class NotAtHand(ValueError):
    """A document cannot be looked into here; somewhere else it may be."""


class Documents:
    """The files in papers/, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = engine()
        self.read: dict[str, Document] = {}

    def of(self, row: dict[str, str]) -> Document:
        """The document that a row was checked in.

        Raises:
            NotAtHand: it is not here, or there is no engine to read it.
            ValueError: none is recorded, it is another file, or it is damaged.
        """
        name, sha256 = row["document_file"], row["document_sha256"]
        if not name or "/" in name or "\\" in name or not sha256:
            raise ValueError("no document is recorded")
        file = self.folder / name
        if not file.is_file():
            source = f"; it is from {row['document_url']}" if row["document_url"] else ""
            raise NotAtHand(f"papers/{name} is not here{source}")
        if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            raise ValueError(f"papers/{name} is not the file that was checked (its SHA-256 differs)")
        if sha256 not in self.read:
            self.read[sha256] = Document(self._read(file, row["document_media"]))
        return self.read[sha256]

    def _read(self, file: Path, media: str) -> list[list[Char]]:
        if media != "application/pdf":
            return read_text(file, markdown=media == "text/markdown")
        if not self.engine:
            raise NotAtHand("a PDF needs pymupdf or pypdfium2, and neither is installed")
        try:
            return ENGINES[self.engine](file)
        except Exception as error:
            raise ValueError(f"{self.engine} cannot read papers/{file.name}: {error}") from None


def check(row: dict[str, str], documents: Documents) -> str:
    """Why a row is not re-verified; empty if it is.

    Raises:
        NotAtHand: its document is not.
    """
    quote = row["source_quote"]
    if len(squeeze(quote)) < 2 * WORDS or len(quote.split()) < WORDS:
        return f"the quote has fewer than {WORDS} words"
    if not row["full_text_checked_at"]:
        return "no date of a check is recorded"
    if not row["page"].isdigit():
        return "no page is recorded"
    first = int(row["page"])
    last = max(first, int(row["page_end"])) if row["page_end"].isdigit() else first
    try:
        document = documents.of(row)
    except NotAtHand:
        raise
    except ValueError as error:
        return str(error)
    if document.has(quote, first, last):
        return ""
    said = f"page {first}" + (f"-{last}" if last > first else "")
    where = [str(number) for number in range(1, len(document.pages) + 1) if document.has(quote, number, number)]
    return f"it is on page {', '.join(where)}, not on {said}" if where else f"its words are not on {said}"


def examine(claim: str, rows: list[dict[str, str]], documents: Documents) -> dict[str, Any]:
    """One supported claim: every verified row that supports it must be found again, and none may speak against it."""
    looked = []
    for row in rows:
        if row["row_status"] != "verified" or row["relation"] not in ("supports", "contradicts"):
            continue
        at_hand = True
        if row["relation"] == "contradicts":
            reason = "it speaks against the claim, which cannot be supported then"
        else:
            try:
                reason = check(row, documents)
            except NotAtHand as error:
                at_hand, reason = False, str(error)
        looked.append(
            {
                "row": row["row_id"],
                "paper": row["paper_id"] + row["version"],
                "quote": row["source_quote"],
                "document_sha256": row["document_sha256"],
                "page": row["page"],
                "at-hand": at_hand,
                "re-verified": not reason,
                "reason": reason,
            }
        )
    return {"claim": claim, "re-verified": bool(looked) and all(one["re-verified"] for one in looked), "rows": looked}


def plain(cell: str) -> str:
    """A cell's value: lpk writes ' before what a spreadsheet could take for a formula."""
    return cell[1:] if cell.startswith("'") else cell


def prove(ledger: Path) -> dict[str, Any]:
    """Re-verify a ledger's supported claims.

    Raises:
        OSError: evidence_matrix.csv cannot be read.
        ValueError: it is not an evidence matrix.
    """
    csv.field_size_limit(2**31 - 1)
    matrix = ledger / "evidence_matrix.csv"
    data = matrix.read_bytes()
    table = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
    missing = {"claim_id", "claim_status", "row_id", "source_quote", "document_sha256"} - set(table.fieldnames or ())
    if missing:
        raise ValueError(f"{matrix} is no evidence matrix: it has no column {sorted(missing)[0]}")
    rows = [{name: plain(value or "") for name, value in row.items() if name} for row in table]
    documents = Documents(ledger / "papers")
    claims = sorted({row["claim_id"] for row in rows if row["claim_status"] == "supported"})
    proved = [examine(claim, [row for row in rows if row["claim_id"] == claim], documents) for claim in claims]
    found = sum(claim["re-verified"] for claim in proved)
    pdf = any(row["document_media"] == "application/pdf" for row in rows if row["claim_id"] in claims)
    return {
        "what": "claims that the matrix calls supported, each looked up again in the papers by demo.py",
        "passed": bool(proved) and found == len(proved),
        "reverified": found,
        "supported": len(proved),
        "score": f"{found}/{len(proved)}" if proved else "n/a: no claim is supported",
        "evidence_matrix_sha256": hashlib.sha256(data).hexdigest(),
        "demo_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "policies": sorted({row["policy"] for row in rows if row["policy"]}),
        "pdf_engine": documents.engine if pdf else "",
        "claims": proved,
    }


def found_elsewhere(proof: dict[str, Any], file: Path) -> list[str]:
    """The rows that a proof could not look at, and that the one in a file found: it may not take that one's place."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))["claims"]
        found = {row["row"] for claim in before for row in claim["rows"] if row["re-verified"]}
    except (OSError, KeyError, TypeError, ValueError):
        return []
    return sorted({row["row"] for claim in proof["claims"] for row in claim["rows"] if not row["at-hand"]} & found)


def tell(proof: dict[str, Any]) -> None:
    """Print a line for each claim, and what was found in all."""
    for claim in proof["claims"]:
        print(f"{'re-verified    ' if claim['re-verified'] else 'NOT RE-VERIFIED'}  {claim['claim']}")
        for row in claim["rows"]:
            if row["reason"]:
                print(f"    {row['row']} ({row['paper']}): {row['reason']}")
        if not claim["rows"]:
            print("    no verified row supports it")
    score = f"{proof['reverified']} of {proof['supported']}" if proof["supported"] else proof["score"]
    print(f"supported claims re-verified: {score}")
    for policy in proof["policies"]:
        print(f"policy: {policy}")


def main(arguments: list[str]) -> int:
    """Prove, say so, and write it down."""
    ledger = Path(__file__).resolve().parent.parent
    try:
        proof = prove(ledger)
    except (OSError, ValueError) as error:
        print(f"demo.py: {error}", file=sys.stderr)
        return 2
    text = json.dumps(proof, indent=2, ensure_ascii=False) + "\n"
    if "--json" in arguments:
        print(text, end="")
    else:
        tell(proof)
    written = ledger / "paper" / "proof.json"
    kept = found_elsewhere(proof, written)
    if kept:
        print(
            f"paper/proof.json is kept: it found {', '.join(kept)}, which could not be looked at here", file=sys.stderr
        )
    else:
        written.write_text(text, encoding="utf-8")
    return 0 if proof["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
