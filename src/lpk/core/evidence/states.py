"""How far a row or a claim has come. Nobody sets a status: it follows from the records, and this file says how.

    preliminary-linked    from an abstract: a reading priority, no support
    linked                quoted from a full text that nobody has looked into yet
    located               the words are there, but the claim says something else, or their place is not known
    verified              the words are there, their place is known, and the claim agrees with them
    supported             a finding: enough verified rows of included papers, and none against it

and beside these: contradicted, contested, stale, withdrawn, unverifiable, rejected; candidate is a claim without rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lpk.core.evidence.english.fidelity import same_subject
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.records import Claim, Row, Verdict, Verification


class Status(StrEnum):
    """The statuses, the strongest statement about a claim first."""

    WITHDRAWN = "withdrawn"
    CONTESTED = "contested"
    CONTRADICTED = "contradicted"
    SUPPORTED = "supported"
    VERIFIED = "verified"
    STALE = "stale"
    LOCATED = "located"
    UNVERIFIABLE = "unverifiable"
    LINKED = "linked"
    PRELIMINARY = "preliminary-linked"
    REJECTED = "rejected"
    CANDIDATE = "candidate"


@dataclass(frozen=True)
class Standing:
    """A status, and why."""

    status: Status
    why: str


def of_row(ledger: Snapshot, row: Row) -> Standing:
    """How far a row has come."""
    taken_back = _taken_back(ledger, row)
    if taken_back:
        return Standing(Status.WITHDRAWN, taken_back)
    checked = ledger.checked(row.id)
    if row.basis == "abstract":
        if checked and not checked.verification.verdict.good:
            return _rejected(checked.verification)
        return Standing(Status.PRELIMINARY, "from the abstract; the full text was not read")
    if checked is None:
        return Standing(Status.LINKED, "not looked up in the full text yet")
    if ledger.restated(row):
        return Standing(Status.LINKED, "the claim or the quote was stated anew since it was looked up")
    found = checked.verification
    outdated = _outdated(ledger, row, found)
    if outdated:
        return Standing(Status.STALE, outdated)
    if found.verdict is Verdict.UNVERIFIABLE:
        return Standing(Status.UNVERIFIABLE, found.reason)
    if not found.verdict.good:
        return _rejected(found)
    missing = _locator_missing(ledger, found)
    if missing:
        return Standing(Status.LOCATED, missing)
    if found.disagreements:
        first = found.disagreements[0]
        said = f"{first.quote!r} in the quote" if first.quote else "nothing in the quote"
        return Standing(Status.LOCATED, f"the claim does not agree with it: {first.what}: {first.claim!r}, {said}")
    where = f"page {found.page}" + (f", section {found.section}" if found.section else "")
    return Standing(Status.VERIFIED, f"{where}, checked {checked.at[:10]}")


def _taken_back(ledger: Snapshot, row: Row) -> str:
    for what in (row.id, row.claim, row.paper):
        if what in ledger.withdrawals:
            return f"{what}: {ledger.withdrawals[what]}"
    version = ledger.version(row)
    return f"{version.name} was withdrawn: {version.withdrawn}" if version and version.withdrawn else ""


def _outdated(ledger: Snapshot, row: Row, found: Verification) -> str:
    """Why what was found may not hold any more: another file, or a newer version."""
    document, paper = ledger.document(row), ledger.papers.get(row.paper)
    if found.verdict is not Verdict.UNVERIFIABLE and (document is None or document.sha256 != found.document):
        return "the document has changed since it was checked" if document else "no document of it was read"
    if document and ledger.replaced(document):
        return f"papers/{document.file} is another file than was checked"
    if paper and paper.versions and paper.latest.number > int(row.version[1:] or 0 if row.version else 0):
        return f"{paper.latest.version} is out; the quote is from {row.version or 'an unnumbered version'}"
    return ""


def _rejected(found: Verification) -> Standing:
    return Standing(Status.REJECTED, f"{found.verdict}: {found.reason}" if found.reason else str(found.verdict))


def _locator_missing(ledger: Snapshot, found: Verification) -> str:
    wanted = [("page", found.page), ("section", found.section)]
    if ledger.policy.locator == "page":
        wanted = wanted[:1]
    missing = [name for name, value in wanted if not value]
    return f"its {' and '.join(missing)} could not be told" if missing else ""


def of_claim(ledger: Snapshot, claim: Claim) -> Standing:
    """How far a claim has come."""
    if claim.id in ledger.withdrawals:
        return Standing(Status.WITHDRAWN, ledger.withdrawals[claim.id])
    rows = [(row, of_row(ledger, row)) for row in ledger.of_claim(claim.id)]
    if not rows:
        return Standing(Status.CANDIDATE, "no row bears on it")
    verified = [row for row, standing in rows if standing.status is Status.VERIFIED]
    against = [row for row in verified if row.relation == "contradicts"]
    for_it = [row for row in verified if row.relation == "supports"]
    if against:
        named = ", ".join(row.id for row in against)
        status = Status.CONTESTED if for_it else Status.CONTRADICTED
        return Standing(status, f"verified rows speak against it: {named}")
    if for_it:
        return _supported(ledger, claim, for_it)
    weaker = [standing for _, standing in rows if standing.status is not Status.VERIFIED] or [
        Standing(Status.VERIFIED, "its verified rows neither support nor contradict it")
    ]
    return min(weaker, key=lambda standing: list(Status).index(standing.status) + _SET_ASIDE[standing.status])


#: A withdrawn row says nothing about its claim, where others do.
_SET_ASIDE = {status: 100 if status is Status.WITHDRAWN else 0 for status in Status}


def _supported(ledger: Snapshot, claim: Claim, rows: list[Row]) -> Standing:
    if not any(row.basis == "table" or same_subject(claim.text, row.quote) for row in rows):
        return Standing(Status.LOCATED, "the claim has next to no word in common with what it quotes")
    included = {paper.id for paper in ledger.included()}
    papers = {row.paper for row in rows}
    if not papers <= included:
        outside = ", ".join(sorted(papers - included))
        if not papers & included:
            return Standing(Status.VERIFIED, f"not screened in: {outside}")
    supporting, needed = len(papers & included), ledger.policy.supporting_papers
    if supporting < needed:
        return Standing(Status.VERIFIED, f"{supporting} of {needed} papers that the policy asks for")
    return Standing(Status.SUPPORTED, f"by {', '.join(row.id for row in rows)}")


def statuses(ledger: Snapshot) -> dict[str, Standing]:
    """Every claim's."""
    return {claim.id: of_claim(ledger, claim) for claim in ledger.claims.values()}
