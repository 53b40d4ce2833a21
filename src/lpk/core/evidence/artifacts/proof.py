"""The proof: ``paper/demo.py``, which shares no code with lpk's quote engine, looks every supported claim up again."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from lpk.core.errors import UsageError
from lpk.core.evidence.ledger import Ledger, Snapshot
from lpk.core.evidence.records import Row

#: Seconds that the proof may take: some hundred PDFs.
PATIENCE = 1800.0


@dataclass(frozen=True)
class Proof:
    """What ``demo.py`` wrote into ``paper/proof.json``.

    Attributes:
        reverified: claims that it found again.
        failed: supported claims that it did not, and why.
        score: ``3/3``, or ``n/a`` over nothing.
        passed: all of them, and at least one.
    """

    reverified: tuple[str, ...]
    failed: dict[str, str]
    score: str
    passed: bool

    @classmethod
    def read(cls, values: Any) -> Proof:
        """Take the JSON values apart."""
        claims = values["claims"]
        failed = {one["claim"]: _reason(one) for one in claims if not one["re-verified"]}
        reverified = tuple(one["claim"] for one in claims if one["re-verified"])
        return cls(reverified, failed, str(values["score"]), values["passed"] is True)


def _reason(claim: Any) -> str:
    return "; ".join(f"{row['row']}: {row['reason']}" for row in claim["rows"] if row["reason"]) or "no verified row"


def script() -> bytes:
    """What ``paper/demo.py`` is."""
    return files("lpk.core.evidence.artifacts").joinpath("demo.py").read_bytes()


def proof_of(ledger: Snapshot) -> Proof | None:
    """The proof that lies in the ledger, if it was made by this script from the evidence matrix as it is now."""
    from lpk.core.evidence.artifacts.exports import evidence_matrix

    try:
        values = json.loads(ledger.artifacts["paper/proof.json"])
        current = (_sha256(evidence_matrix(ledger)), _sha256(script()))
        if (values["evidence_matrix_sha256"], values["demo_sha256"]) != current:
            return None
        return Proof.read(values)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def found_again(ledger: Snapshot, row: Row) -> bool:
    """Whether the proof that lies in the ledger covers a row: this script found these words in the file that was checked.

    What became of other rows since does not matter.
    """
    checked = ledger.checked(row.id)
    try:
        values = json.loads(ledger.artifacts["paper/proof.json"])
        told = [one for claim in values["claims"] if claim["claim"] == row.claim for one in claim["rows"]]
        (found,) = [one for one in told if one["row"] == row.id]
        said = (values["demo_sha256"], found["quote"], found["document_sha256"], found["page"], found["re-verified"])
    except (KeyError, TypeError, ValueError):
        return False
    return checked is not None and said == (
        _sha256(script()), row.quote, checked.verification.document, str(checked.verification.page), True,
    )  # fmt: skip


def prove(ledger: Ledger, as_json: bool = False) -> tuple[int, str, str]:
    """Write the evidence matrix and ``demo.py``, and run it in a process of its own.

    Returns:
        Its exit code (0: all re-verified, 1: not so), what it printed, and what it noted beside that.

    Raises:
        UsageError: it could not read the matrix, or took longer than half an hour.
    """
    from lpk.core.evidence.artifacts.exports import evidence_matrix
    from lpk.core.evidence.artifacts.render import write

    write(ledger.folder, {"evidence_matrix.csv": evidence_matrix(ledger.snapshot()), "paper/demo.py": script()})
    command = [sys.executable, "-I", "-X", "utf8", str((ledger.folder / "paper" / "demo.py").resolve())]
    command += ["--json"] * as_json
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"{ledger.folder / 'paper' / 'demo.py'} was not done in {PATIENCE / 60:.0f} minutes") from None
    if done.returncode not in (0, 1) or not done.stdout:
        raise UsageError(f"the proof could not be run: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return done.returncode, done.stdout, done.stderr


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
