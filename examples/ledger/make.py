"""Make the example ledger that lpk ships, from what lies beside this file.

    python examples/ledger/make.py src/lpk/data/example-ledger [--study examples/study/results/families]

Metadata of papers (papers.jsonl) and the full text of one (2604.24938v1.md) are CC0. Each step is what a person would
do with ``lpk ledger``, at the date that is given here, so the same files make the same ledger.
"""

from __future__ import annotations

import argparse
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lpk.core.evidence import work
from lpk.core.evidence.checks.check import check
from lpk.core.evidence.ledger import Ledger
from lpk.core.evidence.records import Beginning, Claim, PaperVersion, Record
from lpk.core.registry import installed

HERE = Path(__file__).parent
ANCHOR = "arxiv:2604.24938"
AUTHOR = "lpk"


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--study", type=Path, help="a finished study, to check claims on")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    ledger = Ledger.begin(arguments.folder, (HERE / "ledger.toml").read_text(encoding="utf-8"))
    (arguments.folder / "events.jsonl").unlink()
    ledger.write([Beginning(direction=ledger.direction.id)], AUTHOR, "2026-05-20T08:00:00Z")
    papers = [PaperVersion.model_validate_json(line) for line in (HERE / "papers.jsonl").open(encoding="utf-8")]
    later = [paper for paper in papers if paper.paper == ANCHOR and paper.number > 1]

    _write(ledger, (paper for paper in papers if paper not in later), "2026-05-20T08:10:00Z")
    _screen(ledger)
    _read(ledger)
    _claim(ledger)
    _verify(ledger, "2026-05-20T11:00:00Z")
    _write(ledger, later, "2026-06-05T08:00:00Z")
    _verify(ledger, "2026-06-05T08:10:00Z")
    if arguments.study:
        now = work.snapshot(ledger, installed())
        checked = [check(claim, arguments.study) for claim in now.claims.values() if claim.check]
        _write(ledger, checked, "2026-11-28T14:30:00Z")
    print(f"{arguments.folder}: {len(ledger.snapshot().events)} events")


def _write(ledger: Ledger, records: Iterable[Record], at: str) -> None:
    ledger.write(list(records), AUTHOR, at)


def _screen(ledger: Ledger) -> None:
    decisions = {
        "arxiv:2406.07929": ("exclude", "not-llm", "E1", "Prunes networks that recognise radio modulation."),
    }
    now = ledger.snapshot()
    for paper in now.papers:
        decision, reason, criterion, note = decisions.get(paper, ("include", "in-scope", "I1", ""))
        _write(ledger, [work.screen(now, paper, decision, reason, criterion, note)], "2026-05-20T09:00:00Z")


def _read(ledger: Ledger) -> None:
    paper = ledger.snapshot().papers[ANCHOR]
    document = work.read_document(ledger, installed(), paper, "v1", HERE / "2604.24938v1.md")
    _write(ledger, [document], "2026-05-20T09:30:00Z")


def _claim(ledger: Ledger) -> None:
    """The claims of both files, each with its rows."""
    now = ledger.snapshot()
    listed: list[dict[str, Any]] = []
    for name in ("claims.toml", "abstracts.toml"):
        listed += tomllib.loads((HERE / name).read_text(encoding="utf-8"))["claim"]
    for values in listed:
        rows = values.pop("row", [])
        claim = Claim.model_validate(values)
        made: list[Record] = [claim, *(work.row_of(now, claim, row) for row in rows)]
        _write(ledger, made, "2026-05-20T10:00:00Z")


def _verify(ledger: Ledger, at: str) -> None:
    now = work.snapshot(ledger, installed())
    _write(ledger, work.news(now, work.verify(now, list(now.rows.values()))), at)


if __name__ == "__main__":
    main()
