"""What is measured of a ledger. Each measure says what it counts and over what; over nothing it is n/a, and never 1.

The first six are the agenda of the draft that the protocol began with (top-N relevance, filled coverage, supported-claim
precision, citation existence, unsupported-claim detection, time to brief); correctness and novelty are those of
``production_run.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lpk.core.evidence.audit import Audit
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.records import Row
from lpk.core.evidence.states import Status, of_row, statuses

#: How many of the first papers top-N relevance looks at.
TOP = 10


@dataclass(frozen=True)
class Measure:
    """One figure, with all that it is made of.

    Attributes:
        name: e.g. ``filled coverage``.
        definition: what is counted, and over what.
        counted: the ids that the numerator counts.
        among: the ids that the denominator counts.
        absent: why it cannot be told, where that is not because there is nothing to count over.
        amount: the numerator, where it is no count.
        unit: of ``amount``.
    """

    name: str
    definition: str
    counted: tuple[str, ...]
    among: tuple[str, ...]
    absent: str = ""
    amount: float | None = None
    unit: str = ""

    @property
    def numerator(self) -> float:
        """What is counted."""
        return len(self.counted) if self.amount is None else self.amount

    @property
    def denominator(self) -> int:
        """What it is counted over."""
        return len(self.among)

    @property
    def why(self) -> str:
        """Why it is n/a; empty where it is not."""
        return self.absent or ("" if self.among else "there is nothing to count over")

    @property
    def value(self) -> float | None:
        """The quotient; None where it is n/a."""
        return None if self.why else round(self.numerator / self.denominator, 4)

    def described(self) -> dict[str, Any]:
        """For a JSON file: a value that is not there is ``n/a``, with the reason."""
        values: dict[str, Any] = {
            "name": self.name,
            "definition": self.definition,
            "numerator": self.numerator,
            "denominator": self.denominator,
            "value": "n/a" if self.value is None else self.value,
        }
        if self.unit:
            values["unit"] = self.unit
        if self.why:
            values["why"] = self.why
        return values | {"counted": list(self.counted), "among": list(self.among)}


def share(name: str, definition: str, among: Iterable[str], counts: Callable[[str], bool]) -> Measure:
    """The share of some things that something holds for."""
    listed = tuple(among)
    return Measure(name, definition, tuple(each for each in listed if counts(each)), listed)


def metrics(ledger: Snapshot, audit: Audit | None = None) -> list[Measure]:
    """The measures of the agenda; one that needs an audit is n/a without."""
    return [
        top_relevance(ledger),
        filled_coverage(ledger),
        supported_precision(ledger),
        citation_existence(ledger),
        unsupported_detection(ledger, audit),
        time_to_brief(ledger),
    ]


def top_relevance(ledger: Snapshot) -> Measure:
    """Whether the likeliest papers, as the sources rank them, belong."""
    included = {paper.id for paper in ledger.included()}
    judged = [paper.id for paper in ledger.papers.values() if paper.decision]
    definition = f"of the first {TOP} papers that were found and have a decision, those that were screened in"
    return share(f"top-{TOP} relevance", definition, judged[:TOP], included.__contains__)


def filled_coverage(ledger: Snapshot) -> Measure:
    """Whether rows are whole."""
    definition = (
        "of the rows that are not withdrawn, those whose quote was found, with page, section, date and document hash"
    )
    return share("filled coverage", definition, _standing_rows(ledger), lambda name: _filled(ledger, ledger.rows[name]))


def supported_precision(ledger: Snapshot) -> Measure:
    """Whether what is called supported is."""
    from lpk.core.evidence.artifacts.proof import proof_of

    name, definition = (
        "supported-claim precision",
        "of the supported claims, those that paper/demo.py found again in the papers",
    )
    supported = [claim for claim, standing in statuses(ledger).items() if standing.status is Status.SUPPORTED]
    proof = proof_of(ledger)
    if proof is None and supported:
        return Measure(name, definition, (), tuple(supported), "paper/demo.py was not run on this evidence matrix")
    return share(name, definition, supported, lambda claim: proof is not None and claim in proof.reverified)


def citation_existence(ledger: Snapshot) -> Measure:
    """Whether what is cited exists."""
    cited = sorted({row.paper + row.version for row in ledger.rows.values() if row.id not in ledger.withdrawals})
    known = {version.name for paper in ledger.papers.values() for version in paper.versions.values() if version.source}
    definition = "of the versions of papers that rows quote, those that a source has described"
    return share("citation existence", definition, cited, known.__contains__)


def unsupported_detection(ledger: Snapshot, audit: Audit | None) -> Measure:
    """Whether the audit notices what is not supported."""
    name = "unsupported-claim detection"
    definition = (
        "of the claims that are neither supported nor withdrawn, those that the audit names, or a row of theirs"
    )
    done = (Status.SUPPORTED, Status.WITHDRAWN)
    among = [claim for claim, standing in statuses(ledger).items() if standing.status not in done]
    if audit is None and among:
        return Measure(name, definition, (), tuple(among), "no audit was run")
    named = (
        {subject for rule in audit.rules for found in rule.findings for subject in found.subjects} if audit else set()
    )
    mine = {claim: {claim, *(row.id for row in ledger.of_claim(claim))} for claim in among}
    return share(name, definition, among, lambda claim: bool(mine[claim] & named))


def time_to_brief(ledger: Snapshot) -> Measure:
    """How long it took until claims were settled."""
    settled = (Status.SUPPORTED, Status.CONTESTED, Status.CONTRADICTED)
    among = tuple(claim for claim, standing in statuses(ledger).items() if standing.status in settled)
    ends = [
        checked.at
        for claim in among
        for row in ledger.of_claim(claim)
        if of_row(ledger, row).status is Status.VERIFIED and (checked := ledger.checked(row.id))
    ]
    hours = max(0.0, (_time(max(ends)) - _time(ledger.events[0].at)).total_seconds() / 3600) if ends else 0.0
    definition = (
        "hours from the ledger's first event to the last check that a settled claim rests on, for each such claim "
        "(supported, contested or contradicted)"
    )
    return Measure("time to brief", definition, (), among, amount=round(hours, 2), unit="hours")


def correctness(ledger: Snapshot) -> Measure:
    """Whether claims say what their quotes say."""
    rows = [name for name in _standing_rows(ledger) if ledger.rows[name].basis != "abstract"]
    definition = (
        "of the rows from full texts and tables that are not withdrawn, those that are verified: the words are there, "
        "their place is known, the claim agrees with them, and no newer version is out"
    )
    return share("correctness", definition, rows, lambda n: of_row(ledger, ledger.rows[n]).status is Status.VERIFIED)


def novelty(ledger: Snapshot) -> Measure:
    """Whether the ledger holds something that no one of its papers does."""
    settled = (Status.SUPPORTED, Status.CONTESTED, Status.CONTRADICTED)
    among = [claim for claim, standing in statuses(ledger).items() if standing.status in settled]

    def new(claim: str) -> bool:
        papers = {row.paper for row in ledger.of_claim(claim) if of_row(ledger, row).status is Status.VERIFIED}
        measured = ledger.replications.get(claim, ())
        return len(papers) > 1 or any(one.verdict in ("replicated", "not replicated") for one in measured[-1:])

    definition = (
        "of the claims that are supported, contested or contradicted, those that no one paper settles: "
        "two papers or more have verified rows on them, or they were measured again here"
    )
    return share("novelty", definition, among, new)


def _standing_rows(ledger: Snapshot) -> list[str]:
    return [row.id for row in ledger.rows.values() if of_row(ledger, row).status is not Status.WITHDRAWN]


def _filled(ledger: Snapshot, row: Row) -> bool:
    checked = ledger.checked(row.id)
    found = checked.verification if checked else None
    return bool(found and found.verdict.good and row.quote and found.page and found.section and found.document)


def _time(at: str) -> datetime:
    return datetime.fromisoformat(at.replace("Z", "+00:00"))
