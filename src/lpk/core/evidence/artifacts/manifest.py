"""``production_run.json``: what the artifacts were rendered from, under which thresholds, and what came of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from lpk import __version__
from lpk.core.evidence.audit import Audit
from lpk.core.evidence.ledger import Ledger, Snapshot
from lpk.core.evidence.metrics import correctness, novelty
from lpk.core.evidence.prisma import flow
from lpk.core.evidence.states import Status, of_row, statuses


def production_run(ledger: Ledger, now: Snapshot, audit: Audit) -> bytes:
    """Render it.

    It names no file of this machine and no clock. The events are named by their heads, which fix all of the history: the
    order of lines in ``events.jsonl`` after a merge says nothing.
    """
    values = {
        "direction": now.direction.id,
        "as_of": now.events[-1].at if now.events else "",
        "policy": now.policy.hash,
        "inputs": _inputs(ledger, now),
        "versions": _versions(now, audit),
        "counts": _counts(now),
        "audit": _audit(audit),
        "correctness": correctness(now).described(),
        "novelty": novelty(now).described(),
    }
    return (json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _inputs(ledger: Ledger, now: Snapshot) -> dict[str, Any]:
    documents = [document for paper in now.papers.values() for document in paper.documents.values()]
    return {
        "ledger.toml": hashlib.sha256((ledger.folder / "ledger.toml").read_bytes()).hexdigest(),
        "events": {"count": len(now.events), "heads": list(now.heads)},
        "documents": [
            {
                "paper": document.paper + document.version,
                "file": document.file,
                "sha256": document.sha256,
                "text_sha256": document.text_sha256,
                "pages": document.pages,
            }
            for document in sorted(documents, key=lambda document: (document.paper, document.version, document.sha256))
        ],
    }


def _versions(now: Snapshot, audit: Audit) -> dict[str, Any]:
    found = [made[-1].verification for made in now.verifications.values()]
    return {
        "lpk": __version__,
        "readers": sorted({document.reader for paper in now.papers.values() for document in paper.documents.values()}),
        "checkers": sorted({one.checker for one in found}),
        "policies_of_checks": sorted({one.policy for one in found}),
        "rules": sorted({rule.plugin for rule in audit.rules}),
    }


def _counts(now: Snapshot) -> dict[str, Any]:
    claims = [standing.status for standing in statuses(now).values()]
    rows = [of_row(now, row).status for row in now.rows.values()]
    return {
        "papers": flow(now).counts,
        "claims": {str(status): claims.count(status) for status in Status if status in claims},
        "rows": {str(status): rows.count(status) for status in Status if status in rows},
    }


def _audit(audit: Audit) -> dict[str, Any]:
    return {
        "gate": "ready" if audit.ready else "blocked",
        "blocking": sorted({rule.rule for rule, _ in audit.blocking}),
        "nothing_to_look_at": [rule.rule for rule in audit.rules if rule.verdict == "n/a"],
        "rules": len(audit.rules),
    }
