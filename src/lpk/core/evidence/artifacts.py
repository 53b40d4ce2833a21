"""What is rendered from a ledger, and what each file is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: file -> what it is; the same ledger gives the same bytes.
RENDERED: Final[Mapping[str, str]] = {
    "evidence_matrix.csv": "every row of evidence, with verdict and place",
    "claims.csv": "every claim, with its status and why",
    "audit_report.md": "what the audit looked at and found, round by round",
    "audit_report.json": "the same for machines",
    "production_run.json": "inputs with hashes, versions, and what novelty and correctness are",
    "paper/paper.md": "the draft: every sentence of fact from rows",
    "paper/demo.py": "checks every supported claim again, without lpk",
    "paper/proof.json": "what that check found",
    "references.bib": "BibTeX",
    "references.json": "CSL-JSON",
    "annotations.jsonld": "W3C Web Annotations of every located quote",
    "scifact.jsonl": "claims and evidence in SciFact's schema",
    "audit.sarif": "the audit's findings for editors and CI",
    "index.html": "all of it, for a browser",
}
