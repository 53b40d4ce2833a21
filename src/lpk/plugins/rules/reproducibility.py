"""Round 7, reproducibility and gate: one policy, no score over nothing, and what was rendered is of this ledger."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from lpk import hookimpl
from lpk.core.contracts import Component
from lpk.core.evidence.artifacts.render import RENDERED
from lpk.core.evidence.contracts import Finding
from lpk.core.evidence.english.prose import Passage
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.records import Claim, Replication
from lpk.core.evidence.rules import (
    DRAFT,
    EachRule,
    OfClaims,
    OfDraft,
    Wrong,
    draft,
    events,
    offered,
    rows,
    rows_verified,
    supported,
)
from lpk.core.evidence.states import of_claim, of_row

MATRIX: Final = "evidence_matrix.csv"
PROOF: Final = "paper/proof.json"
RUN: Final = "production_run.json"


class OneThreshold(EachRule):
    id, round = "R-SCORE-2", 7
    title = "Thresholds are the policy's alone: the draft has none of its own, and every artifact was made under it"
    remedy = "Take the threshold out of the text, and render the artifacts again (lpk draft, lpk prove)."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [name for name in (DRAFT, *_JSON) if name in ledger.artifacts]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        if subject == DRAFT:
            for passage in draft(ledger):
                for found in _THRESHOLD.findall(passage.text):
                    yield Finding(f"a threshold of the draft's own: {found!r}", (f"{DRAFT}:{passage.line}",))
            return
        if _json(ledger, subject) is None:
            yield f"{subject} is no JSON: it is damaged"
        for key, value in _walk(_json(ledger, subject)):
            if key in ("policy", "policies") and value not in (ledger.policy.hash, [ledger.policy.hash], []):
                yield f"{subject} was made under policy {value!r}; {ledger.policy.hash[:12]} holds"
            if key in ("threshold", "floor"):
                yield f"{subject} has a {key} of its own: {value}"


class NoScoreOverNothing(EachRule):
    id, round = "R-SCORE-3", 7
    title = "A score over nothing is n/a and no pass"
    remedy = "Have something to count; until then the score is n/a."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [name for name in (DRAFT, *_JSON) if name in ledger.artifacts]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        if subject == DRAFT:
            for passage in draft(ledger):
                if re.search(r"\b0/0\b", passage.text) and not re.search(r"n/a", passage.text):
                    yield Finding(f"a score over nothing: {passage.text[:60]!r}", (f"{DRAFT}:{passage.line}",))
            return
        for scored in _objects(_json(ledger, subject)):
            over = next((scored[key] for key in _COUNTS if key in scored), None)
            passes = [key for key in _PASSES if scored.get(key) not in (None, False, 0, 0.0) and not _na(scored[key])]
            if over in (0, []) and passes:
                yield f"{subject}: {passes[0]} is {scored[passes[0]]!r}, over nothing"


class SaysWhatPassed(OfDraft):
    id, round = "R-SCORE-5", 7
    title = "Where the draft says that something passed, there are verified rows, and it says over how many"
    remedy = "Say what was checked and how many: 'links checked, 12 rows: pass'."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return bool(_PASSED.search(passage.text))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        vouched = len(rows_verified(ledger))
        if not vouched:
            yield f"{passage.text[:60]!r}, and no row is verified"
        elif not re.search(r"\d", passage.text):
            yield f"{passage.text[:60]!r}: over how many?"


class Locked(OfDraft):
    id, round = "R-DET-1", 7
    title = "A draft that calls itself deterministic has no clock in it, and the hash of every document is recorded"
    remedy = "Read the documents (their hashes are then recorded), and take the date from the ledger's last event."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return bool(_DETERMINISTIC.search(passage.text) or _CLOCK.search(passage.text))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        if _DETERMINISTIC.search(passage.text):
            loose = [row.id for row in rows(ledger) if row.basis != "table" and ledger.document(row) is None]
            if loose:
                message = f"it is called deterministic; the documents of {len(loose)} rows are not fixed by a hash"
                yield Finding(message, tuple(loose))
        days = {event.at[:10] for event in ledger.events}
        for day in _CLOCK.findall(passage.text):
            if day not in days:
                yield f"it is dated {day}, on which nothing was written to the ledger: the clock's date"


class Enough(EachRule):
    id, round, required = "R-GATE-1", 7, True
    title = "There are as many included papers and supported claims as the policy asks for"
    remedy = "Read papers, quote them and verify the quotes, until enough claims are supported."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return ["policy.toml"]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        policy, papers, held = ledger.policy, len(ledger.included()), len(supported(ledger))
        if papers < policy.papers:
            yield Finding(f"{papers} papers are included; the policy asks for {policy.papers}", (ledger.direction.id,))
        if held < policy.supported_claims:
            message = (
                f"{held} of {len(ledger.claims)} claims are supported; the policy asks for {policy.supported_claims}"
            )
            yield Finding(message, tuple(ledger.claims) or (ledger.direction.id,))


class FilesThere(OfDraft):
    id, round = "R-FILE-1", 7
    title = "A file of the ledger that the draft names is there"
    remedy = "Render it (lpk ledger export, lpk draft, lpk prove)."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return any(name in passage.text for name in _NAMED)

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for name in _NAMED:
            if name in passage.text and name not in ledger.artifacts:
                yield f"{name} is named, and not there"


class MatrixCurrent(EachRule):
    id, round = "R-FILE-2", 7
    title = "evidence_matrix.csv has the ledger's rows, each with the status that it has now"
    remedy = "Render it again (lpk ledger export)."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [MATRIX] if MATRIX in ledger.artifacts else []

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        listed = {line.get("row_id", ""): line for line in csv.DictReader(io.StringIO(ledger.artifacts[MATRIX]))}
        for row in ledger.rows.values():
            line = listed.pop(row.id, None)
            status = of_row(ledger, row).status
            if line is None:
                yield Finding(f"row {row.id} is not in {MATRIX}", (MATRIX, row.id))
            elif line.get("row_status") != status:
                yield Finding(f"row {row.id} is {status}; {MATRIX} says {line.get('row_status')}", (MATRIX, row.id))
            elif (
                row.claim in ledger.claims
                and line.get("claim_status") != of_claim(ledger, ledger.claims[row.claim]).status
            ):
                now = of_claim(ledger, ledger.claims[row.claim]).status
                yield Finding(
                    f"claim {row.claim} is {now}; {MATRIX} says {line.get('claim_status')}", (MATRIX, row.claim)
                )
        for name in filter(None, listed):
            yield Finding(f"{MATRIX} has row {name}, which the ledger does not have", (MATRIX, name))


class OfThisHistory(EachRule):
    id, round = "R-FILE-3", 7
    title = "The events that production_run.json was rendered from are the ledger's: none was taken out, none is another ledger's"
    remedy = (
        "Take events.jsonl again from git if its last lines are gone; otherwise render it again (lpk ledger export)."
    )

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [RUN] if RUN in ledger.artifacts else []

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        heads = _heads(_json(ledger, RUN))
        if not heads:
            yield f"{RUN} does not say which events it was rendered from"
        for head in heads:
            if head not in events(ledger):
                yield f"{RUN} was rendered from event {head[:12]}, which the ledger does not have"


class ProofHolds(EachRule):
    id, round = "R-PROOF-1", 7
    title = "The proof found every supported claim again, all of them and no others"
    remedy = "Run it again (lpk prove), and look into what it did not find."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [PROOF] if PROOF in ledger.artifacts else []

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        proof, matrix = _json(ledger, PROOF), ledger.artifacts.get(MATRIX)
        proved = _proved(proof)
        made_of = proof.get("evidence_matrix_sha256") if isinstance(proof, dict) else None
        if made_of and matrix is not None and made_of != hashlib.sha256(matrix.encode()).hexdigest():
            yield Finding(f"the proof is of another {MATRIX} than the one that is there", (PROOF, MATRIX))
        held = {claim.id for claim in supported(ledger)}
        lost = sorted(name for name in held if not proved.get(name))
        if lost:
            yield Finding(f"the proof did not find {', '.join(lost)} again", (PROOF, *lost))
        if proved.keys() - held:
            more = sorted(proved.keys() - held)
            yield Finding(f"the proof is of {', '.join(more)}, not supported now", (PROOF, *more))
        if not proved:
            yield "the proof is of no claim"


class ReplicationTold(OfClaims):
    id, round = "R-REPL-1", 7
    title = "Where the draft states a claim that did not replicate, it says so"
    remedy = "Render the draft again (lpk draft): it puts the replication beside the claim."

    def concerns(self, ledger: Snapshot, claim: Claim) -> bool:
        last = _last(ledger, claim.id)
        return last is not None and last.verdict != "replicated" and bool(_mentions(ledger, claim.id))

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        last = _last(ledger, subject)
        if last and not any(last.verdict in passage.text.lower() for passage in _mentions(ledger, subject)):
            where = tuple(f"{DRAFT}:{passage.line}" for passage in _mentions(ledger, subject))
            yield Finding(f"claim {subject} was measured: {last.verdict}; the draft does not say so", (subject, *where))


class ReplicationSound(OfClaims):
    id, round = "R-REPL-2", 7
    title = (
        "A replication is of the claim's check as it is now, over enough observations, with its effect in its interval"
    )
    remedy = "Check the claim again (lpk ledger check)."

    def concerns(self, ledger: Snapshot, claim: Claim) -> bool:
        return _last(ledger, claim.id) is not None

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        last, check = _last(ledger, subject), ledger.claims[subject].check
        assert last is not None
        if check is None or last.expression != check.expression:
            now = check.expression if check else "no check"
            yield f"claim {subject} was measured by {last.expression!r}; it has {now!r}"
        decided = last.verdict in ("replicated", "not replicated")
        if decided and check and last.count < check.minimum:
            yield f"claim {subject} is {last.verdict} on {last.count} observations; its check asks for {check.minimum}"
        if decided and last.effect is None:
            yield f"claim {subject} is {last.verdict} without an effect size"
        if None not in (last.low, last.effect, last.high) and not last.low <= last.effect <= last.high:  # type: ignore[operator]
            yield f"claim {subject}: the effect {last.effect} is outside {last.low} to {last.high}"


class Replicated(OfClaims):
    id, round, severity = "R-REPL-3", 7, "warning"
    title = "A supported claim holds in our own measurements too"
    remedy = "Say for which models it holds; or measure it on more (lpk ledger check)."

    def concerns(self, ledger: Snapshot, claim: Claim) -> bool:
        return _last(ledger, claim.id) is not None

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        last = _last(ledger, subject)
        if last and last.verdict == "not replicated":
            on = ", ".join(last.models) or last.title or last.study[:12]
            yield f"claim {subject} was not replicated on {on}: effect {last.effect}"


class CheckRun(OfClaims):
    id, round, severity = "R-REPL-4", 7, "info"
    title = "A claim that can be run was run"
    remedy = "Run it (lpk ledger check CLAIM --study RUN)."

    def concerns(self, ledger: Snapshot, claim: Claim) -> bool:
        return claim.check is not None

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        if _last(ledger, subject) is None:
            yield f"claim {subject} has a check, and was never measured"


# -- how --------------------------------------------------------------------------------------------------------------

#: The artifacts that hold scores. The audit's own reports are not read: what it says may not depend on what it said.
_JSON = (PROOF, RUN)
_NAMED = tuple(name for name in RENDERED if not name.startswith("audit"))
_THRESHOLD = re.compile(
    r"\b(?:(?:proof|correctness|novelty|readiness|quality|audit|quote|match\w*|overlap|ledger)[ _-](?:score|floor|threshold)"
    r"|token(?:-level)?[ -]jaccard)[\w`]*\s*(?:>=|≥|>|of at least|is at least)\s*\d*\.?\d+",
    re.I,
)
_PASSED = re.compile(
    r"\b(?:integrity|verification|audit|checks?|proof|ledger)\b[^|.:]*[:|] *(?:pass|passed|ok)\b", re.I
)
_DETERMINISTIC = re.compile(r"\bdeterministic(?:ally)?\b|\bbyte[- ]identical\b|\bbit[- ]for[- ]bit\b", re.I)
_CLOCK = re.compile(
    r"\b(?:generated|rendered|built|created|compiled|drafted|as of)\b[^.\d]{0,20}(\d{4}-\d\d-\d\d)", re.I
)
#: What a score is over, by the first of these that stands beside it.
_COUNTS = ("denominator", "count", "n", "total", "supported", "claims")
_PASSES = ("passed", "score", "value", "ready", "verdict")


def _na(value: Any) -> bool:
    return isinstance(value, str) and value.lower().startswith(("n/a", "fail", "blocked", "no"))


def _proved(proof: Any) -> dict[str, bool]:
    """Claim -> whether the proof found it again; nothing of what is no proof."""
    listed = proof.get("claims") if isinstance(proof, dict) else None
    named = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return {str(each.get("claim")): each.get("re-verified") is True for each in named}


def _heads(run: Any) -> list[str]:
    """The last events of the ledger that a run was rendered from; none where it does not say."""
    try:
        return [str(head) for head in run["inputs"]["events"]["heads"]]
    except (KeyError, TypeError):
        return []


def _json(ledger: Snapshot, name: str) -> Any:
    try:
        return json.loads(ledger.artifacts[name])
    except (ValueError, RecursionError):
        return None


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(each)


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of every object."""
    for each in _objects(value):
        yield from each.items()


def _last(ledger: Snapshot, claim: str) -> Replication | None:
    """The replication that holds: the last one."""
    found = ledger.replications.get(claim)
    return found[-1] if found else None


def _mentions(ledger: Snapshot, claim: str) -> list[Passage]:
    return [passage for passage in draft(ledger) if re.search(rf"(?<![\w-]){re.escape(claim)}(?![\w-])", passage.text)]


@hookimpl
def lpk_rules() -> Iterable[Component]:
    yield from offered(
        OneThreshold, NoScoreOverNothing, SaysWhatPassed, Locked, Enough, FilesThere, MatrixCurrent, OfThisHistory,
        ProofHolds, ReplicationTold, ReplicationSound, Replicated, CheckRun,
    )  # fmt: skip
