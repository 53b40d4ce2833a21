"""What is rendered from a ledger, and what each file is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lpk.core.errors import UsageError
from lpk.core.files import room, write_bytes

if TYPE_CHECKING:
    from lpk.core.evidence.audit import Audit
    from lpk.core.evidence.contracts import Rule
    from lpk.core.evidence.documents.fulltext import FullText
    from lpk.core.evidence.ledger import Ledger, Snapshot

#: file -> what it is; the same ledger gives the same bytes.
RENDERED: Final[Mapping[str, str]] = {
    "evidence_matrix.csv": "every row of evidence, with verdict and place",
    "claims.csv": "every claim, with its status and why",
    "screening.csv": "every screening decision: reason, criterion, note, who and when",
    "screening.ris": "every paper with its decision, for reference managers",
    "audit_report.md": "what the audit looked at and found, round by round",
    "audit_report.json": "the same for machines",
    "production_run.json": "inputs with hashes, versions, and what novelty and correctness are",
    "paper/paper.md": "the draft: every sentence of fact from rows",
    "paper/demo.py": "checks every supported claim again, without lpk",
    "paper/proof.json": "what that check found",
    "references.bib": "BibTeX",
    "references.json": "CSL-JSON",
    "references.ris": "RIS",
    "annotations.jsonld": "W3C Web Annotations of every located quote",
    "scifact.jsonl": "claims and evidence in SciFact's schema",
    "audit.sarif": "the audit's findings for editors and CI",
    "index.html": "all of it, for a browser",
}

#: Audits of the draft that the draft may need until both say the same.
ROUNDS: Final = 5


def render(ledger: Ledger, audit: Audit) -> dict[str, bytes]:
    """All artifacts but the audit's own reports, the proof's result and the page; file -> bytes.

    Raises:
        UsageError: the audit is of another state of the ledger.
        EnvironmentMissing: the extra ``evidence`` is not installed.
    """
    return _rendered(ledger, ledger.snapshot(), audit)


def _rendered(ledger: Ledger, now: Snapshot, audit: Audit) -> dict[str, bytes]:
    from lpk.core.evidence.artifacts import draft, exports, manifest, proof, references

    if (audit.policy, audit.heads) != (now.policy.hash, tuple(now.heads)):
        raise UsageError(f"{ledger.folder}: the ledger has changed since it was audited; audit it again")
    return {
        "evidence_matrix.csv": exports.evidence_matrix(now),
        "claims.csv": exports.claims(now),
        "screening.csv": exports.screening_csv(now),
        "screening.ris": exports.screening_ris(now),
        "production_run.json": manifest.production_run(ledger, now, audit),
        "paper/paper.md": draft.paper(now, audit),
        "paper/demo.py": proof.script(),
        "references.bib": references.bibtex(now),
        "references.json": references.csl(now),
        "references.ris": references.ris(references.cited(now), now.policy.hash),
        "annotations.jsonld": exports.web_annotations(now),
        "scifact.jsonl": exports.scifact(now),
    }


def settled(
    ledger: Ledger,
    among: Sequence[Rule[Any]],
    texts: Mapping[str, FullText] | None = None,
    versions: Mapping[str, str] | None = None,
) -> tuple[Audit, dict[str, bytes]]:
    """An audit, and artifacts that say what it says: rules look at the draft, and the draft tells what rules found.

    Whatever was rendered before plays no part, so the same ledger gives the same bytes; only the proof's result, which is
    made by running ``paper/demo.py``, is taken as it lies there.

    Raises:
        UsageError: as for :func:`render`; or a rule finds in the draft that the draft tells of the rule.
    """
    from lpk.core.evidence.audit import audit
    from lpk.core.evidence.ledger import Snapshot

    folded = ledger.snapshot(texts)
    kept = {name: text for name, text in folded.artifacts.items() if name == "paper/proof.json"}
    files: dict[str, bytes] = {}
    audits: list[Audit] = []
    for _ in range(ROUNDS):
        artifacts = kept | {name: data.decode() for name, data in files.items()}
        now = Snapshot(folded.direction, folded.policy, folded.events, folded.texts, artifacts)
        audits.append(audit(now, among, versions))
        rendered = _rendered(ledger, now, audits[-1])
        if rendered == files:
            return audits[-1], files
        files = rendered
    changing = [one.rule for one, other in zip(*(each.rules for each in audits[-2:]), strict=True) if one != other]
    raise UsageError(
        f"{ledger.folder}: the draft tells what {', '.join(changing)} found, and that changes what is found"
    )


def write(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write artifacts into a ledger, each whole or not at all; one that says the same already is left alone.

    Returns:
        The names of those that changed.

    Raises:
        UsageError: the disk is full, or may not be written.
    """
    changed = []
    for name, data in files.items():
        path = folder / name
        with room(path):
            path.parent.mkdir(exist_ok=True)
            if not path.is_file() or path.read_bytes() != data:
                write_bytes(path, data)
                changed.append(name)
    return changed
