"""Quotes: what is found and what is falsely accepted, and how fast, against the usual ways.

    python benchmarks/quotes.py                          # the labelled cases that the tests have
    python benchmarks/quotes.py --cases mine/cases.jsonl

Rows are ``{pdf, quote, expected, ...}``; a true quote is ``verified``, one that must not be accepted ``rejected``. The
baselines see what PyMuPDF reads: ``page.search_for`` of each page, ``in`` on the text in lower case with single spaces,
and the seed's rule. Times are of the processor, without the start of the reader's process.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymupdf
from common import arguments, in_turns, report

from lpk.core.evidence.documents.fulltext import FullText, read
from lpk.core.evidence.quotes import look_up
from lpk.core.evidence.records import Verdict
from lpk.core.registry import installed

CASES = Path(__file__).parent.parent / "tests" / "data" / "quotes" / "cases.jsonl"
THERE = (Verdict.VERIFIED, Verdict.VERIFIED_ELIDED, Verdict.AMBIGUOUS)


def main() -> None:
    parser = arguments(__doc__ or "", rounds=5)
    parser.add_argument("--cases", type=Path, default=CASES)
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.cases.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["expected"] in ("verified", "rejected")]
    files = sorted({given.cases.parent / row["pdf"] for row in rows})
    texts = {file: read(file, installed()) for file in files}
    of = [(row, given.cases.parent / row["pdf"]) for row in rows]
    documents = {file: pymupdf.open(file) for file in files}
    naive = {file: _normalised(_raw(document)) for file, document in documents.items()}
    ways: dict[str, Callable[[str, Path], bool]] = {
        "lpk, policy strict": lambda quote, file: look_up(quote, texts[file]).verdict in THERE,
        "policy seed-2026": lambda quote, file: look_up(quote, texts[file], policy="seed-2026").verdict.good,
        "normalise and `in`": lambda quote, file: _normalised(quote) in naive[file],
        "page.search_for": lambda quote, file: (
            any(page.search_for(quote) for page in documents[file]) if quote else True
        ),
    }
    figures: dict[str, Any] = {}
    for text in texts.values():
        assert text.views  # indexed
    for name, way in ways.items():
        figures[name] = _judged(way, of)
    table = [
        [
            name,
            part["found"],
            part["false"],
            f"{part['precision']:.3f}",
            f"{part['recall']:.3f}",
            part["ms"],
            part["ms"] / figures["page.search_for"]["ms"],
        ]
        for name, part in figures.items()
    ]
    true, false = (sum(row["expected"] == what for row in rows) for what in ("verified", "rejected"))
    figures["several"] = sum(
        look_up(r["quote"], texts[f]).verdict is Verdict.AMBIGUOUS for r, f in of if r["expected"] == "verified"
    )
    columns = [
        "",
        f"found of {true}",
        f"accepted of {false}",
        "precision",
        "recall",
        "CPU ms a quote",
        "of search_for's",
    ]
    print(
        f"{figures['several']} of the found are in the document more than once: `ambiguous` until a page is claimed\n"
    )
    report(figures, "quotes that are there, and that are not", columns, table, None)
    figures["indexing"] = _indexing(files, given.rounds)
    rows_ = [
        [name, part, part / figures["indexing"]["PyMuPDF's text alone"]] for name, part in figures["indexing"].items()
    ]
    report(figures, "indexing", ["", "CPU ms a page", "of the text alone"], rows_, given.out)


def _judged(way: Callable[[str, Path], bool], of: list[tuple[dict[str, Any], Path]]) -> dict[str, float]:
    begin = time.process_time()
    accepted = [row["expected"] for row, file in of if way(row["quote"], file)]
    taken = time.process_time() - begin
    found, false = accepted.count("verified"), accepted.count("rejected")
    return {
        "found": found,
        "false": false,
        "precision": found / max(found + false, 1),
        "recall": found / sum(row["expected"] == "verified" for row, _ in of),
        "ms": 1000 * taken / len(of),
    }


def _indexing(files: list[Path], rounds: int) -> dict[str, float]:
    """CPU milliseconds a page: reading in the other process is measured in this one."""
    from lpk.plugins.sources import pdf

    def extract() -> None:
        for file in files:
            with pymupdf.open(file) as document:
                for page in document:
                    page.get_text()

    def layers() -> None:
        for file in files:
            with pymupdf.open(file) as document:
                _, *answers = (json.loads(json.dumps(answer)) for answer in pdf._read(document, {}))
                assert sum(1 for _ in pdf._lines(answers)) >= 0

    texts = [read(file, installed()) for file in files]

    def index() -> None:
        for text in texts:
            assert FullText(text.sha256, text.media, text.reader, text.pages, text.lines, text.outline).views

    pages = sum(text.pages for text in texts)
    seconds = in_turns({"text": extract, "read": layers, "index": index}, rounds)
    cost = {name: 1000 * part["cpu"] / pages for name, part in seconds.items()}
    return {
        "PyMuPDF's text alone": cost["text"],
        "lines, sizes and places of words": cost["read"],
        "layout and views": cost["index"],
        "lpk, whole": cost["read"] + cost["index"],
    }


def _raw(document: Any) -> str:
    return " ".join(page.get_text() for page in document)


def _normalised(text: str) -> str:
    return re.sub(r"\s+", " ", text.lower()).strip()


if __name__ == "__main__":
    main()
