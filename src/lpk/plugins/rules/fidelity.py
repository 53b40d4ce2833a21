"""Round 4, claims against quotes: a claim says what its quotes say, and is of the kind that they are."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Component
from lpk.core.evidence.contracts import Finding
from lpk.core.evidence.english.conflicts import read
from lpk.core.evidence.english.fidelity import SHARE
from lpk.core.evidence.english.prose import Passage, Zone, split, squeezed, zone, zone_in
from lpk.core.evidence.english.quantities import FAMILIES, quantities
from lpk.core.evidence.ledger import Paper, Snapshot
from lpk.core.evidence.records import Claim, Row
from lpk.core.evidence.rules import (
    OfClaims,
    OfDraft,
    OfRows,
    Wrong,
    offered,
    papers_named,
    rows,
    rows_verified,
)


class Agrees(OfRows):
    id, round, required = "R-FID-1", 4, True
    title = "A claim agrees with every quote that supports it: numbers, units, direction, negation, entities, hedges"
    remedy = "State the claim in the quote's terms, no stronger; or quote what does bear it out."

    def concerns(self, ledger: Snapshot, row: Row) -> bool:
        return row.relation == "supports" and bool(row.quote) and row.claim in ledger.claims and row.basis != "table"

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        from lpk.core.evidence.english.fidelity import disagreements

        row = ledger.rows[subject]
        for each in disagreements(ledger.claims[row.claim].text, row.quote):
            said = f"the quote says {each.quote!r}" if each.quote else "the quote says nothing of it"
            yield Finding(
                f"claim {row.claim}, {each.what}: {each.claim!r}; {said} (row {subject})", (row.claim, subject)
            )


class SameSubject(OfClaims):
    id, round = "R-FID-3", 4
    title = "A claim has a quarter of its words, at least, from one of the quotes that support it"
    remedy = "Quote the sentence that the claim is about; or state the claim in its words."

    def concerns(self, ledger: Snapshot, claim: Claim) -> bool:
        return any(row.basis != "table" for row in _bearing(ledger, claim))

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        claim = ledger.claims[subject]
        says, quoting = read(claim.text).content, [row for row in _bearing(ledger, claim) if row.basis != "table"]
        common = max((says & read(row.quote).content for row in quoting), key=len)
        if len(common) < SHARE * len(says) or not says:
            words = ", ".join(sorted(common)) or "nothing"
            message = f"claim {subject} has {words} in common with what it quotes"
            yield Finding(message, (subject, *(row.id for row in quoting)))


class AgreementKnown(OfRows):
    id, round = "R-FID-2", 4
    title = "What a verification says of claim and quote is what comparing them again gives"
    remedy = "Look the quote up again (lpk ledger verify): the claim was stated anew since."

    def concerns(self, ledger: Snapshot, row: Row) -> bool:
        return ledger.checked(row.id) is not None and Agrees.concerns(self, ledger, row)  # type: ignore[arg-type]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        from lpk.core.evidence.english.fidelity import disagreements

        row, checked = ledger.rows[subject], ledger.checked(subject)
        assert checked is not None
        was, now = checked.verification.disagreements, disagreements(ledger.claims[row.claim].text, row.quote)
        if checked.verification.verdict.good and set(was) != set(now):
            yield f"row {subject} was verified with {len(was)} disagreements; there are {len(now)}"


class OfItsType(OfClaims):
    id, round, required = "R-CLAIM-1", 4, True
    title = "A claim is of the type that its text and quotes are: background and method are no findings"
    remedy = "Give the claim its true type (lpk ledger claim --type background), or state what the paper found."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        claim = ledger.claims[subject]
        if claim.type != "finding":
            return
        if zone(claim.text) in ("background", "method"):
            yield f"claim {subject} is a finding by its type; its text is {zone(claim.text)}: {claim.text!r}"
            return
        told = {row.id: _zone(ledger, row) for row in _bearing(ledger, claim)}
        if told and all(each in ("background", "method") for each in told.values()):
            kinds = " and ".join(sorted({str(each) for each in told.values()}))
            yield Finding(f"claim {subject} is a finding by its type; what it quotes is {kinds}", (subject, *told))


class ReportsFindings(OfDraft):
    id, round = "R-CLAIM-2", 4
    title = "What the draft says that a paper reports is what it found, not what it says of others or sets out to do"
    remedy = "Report a sentence with a result; or call it what it is: background, method."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return bool(_REPORTED.search(passage.text))

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for said in _REPORTED.findall(passage.text):
            for paper in ledger.papers.values():
                told = _zone_of(paper, said)
                if told in ("background", "method"):
                    message = f"{said[:60]!r} is reported as a finding of {paper.id}; there it is {told}"
                    yield Finding(message, (paper.id,))
                    break


class EvaluationStated(OfDraft):
    id, round = "R-CONS-1", 4
    title = "The draft calls nothing unstated that the paper states"
    remedy = "Fill the cell from the paper's results, or say what was looked for and where."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return any(_RESULTS.search(head) and _UNSTATED.search(cell) for head, cell in passage.columns) or any(
            _RESULTS.search(each) and _UNSTATED.search(each) for each in split(passage.text) if not passage.columns
        )

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        for paper in papers_named(ledger, passage.text):
            results = (
                [each for each in split(paper.latest.abstract) if zone(each) == "finding"] if paper.versions else []
            )
            if results:
                message = f"{paper.id} is said to state no result; its abstract says {results[-1][:80]!r}"
                yield Finding(message, (paper.id,))


class EvaluationIsOne(OfDraft):
    id, round = "R-CONS-2", 4
    title = "What stands in a column of results is a result"
    remedy = "Take a sentence with a result; a paper without one has none there."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return any(_RESULTS.search(head) and cell for head, cell in passage.columns)

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        papers = papers_named(ledger, passage.text)
        for head, cell in passage.columns:
            told = next((found for paper in papers if (found := _zone_of(paper, cell))), zone(cell))
            if _RESULTS.search(head) and told in ("background", "method"):
                yield Finding(f"{cell[:60]!r} stands under {head!r}; it is {told}", tuple(paper.id for paper in papers))


class NumbersVerified(OfDraft):
    id, round = "R-NUM-1", 4
    title = "The draft states a paper's number only where a verified row quotes it"
    remedy = "Verify a quote that has the number, or leave it out."

    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        return bool(measured(passage.text)) and any(
            _zone_of(paper, each) or paper in papers_named(ledger, passage.text)
            for paper in ledger.papers.values() for each in split(passage.text)
        )  # fmt: skip

    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        vouched = rows_verified(ledger)
        for sentence in split(passage.text):
            for number, written in measured(sentence).items():
                for paper in ledger.papers.values():
                    stated = any(number in measured(version.abstract) for version in paper.versions.values())
                    if not stated or not (_zone_of(paper, sentence) or paper in papers_named(ledger, passage.text)):
                        continue
                    if not any(number in measured(row.quote) for row in vouched if row.paper == paper.id):
                        live = [row.id for row in rows(ledger) if row.paper == paper.id]
                        message = f"the draft states {written!r} of {paper.id}; no verified row quotes it"
                        yield Finding(message, (paper.id, *live))


# -- how --------------------------------------------------------------------------------------------------------------

_REPORTED = re.compile(
    r"\b(?:the )?(?:abstract|paper|authors?|study) (?:reports?|finds?|found|shows?|showed|says|demonstrates?)"
    r"(?: that|:)\s*([^|;]{20,}?)(?=$|[;|]|(?<=[.…])\s)",
    re.I,
)
_UNSTATED = re.compile(r"\b(?:not|none|nothing) (?:is |was )?(?:stated|reported|given)\b|\bunstated\b", re.I)
_RESULTS = re.compile(r"\b(?:reported evaluation|evaluation|results?|findings?)\b", re.I)
_NAMES = re.compile(r"\b(?:arxiv:)?\d{4}\.\d{4,5}(?:v\d+)?|\b\d{4}-\d\d-\d\d\b|\b10\.\d{4,}/\S+|\bv?\d+(?:\.\d+){2,}")


def measured(text: str) -> dict[tuple[float, str], str]:
    """Figures that measure something, and how they are written: with a unit of measure, or with decimals.

    No counts of layers or papers, no ids, dates or versions.
    """
    found = quantities(_NAMES.sub(" ", text))
    return {(each.value, each.unit): each.text for each in found if each.unit in FAMILIES or each.value % 1}


def _bearing(ledger: Snapshot, claim: Claim) -> list[Row]:
    return [row for row in rows(ledger) if row.claim == claim.id and row.relation == "supports" and row.quote]


def _zone(ledger: Snapshot, row: Row) -> Zone | None:
    """What the sentence that a row quotes is for."""
    version = ledger.version(row)
    return (zone_in(version.abstract, row.quote) if version else None) or zone(row.quote)


def _zone_of(paper: Paper, sentence: str) -> Zone | None:
    """What a sentence is for, if it is one of the paper's abstract; of one that was cut off, what is there counts."""
    cut = re.sub(r"\W*(…|\.\.\.)\W*$", "", sentence)
    if len(squeezed(cut)) < 20:
        return None
    return next((told for each in paper.versions.values() if (told := zone_in(each.abstract, cut))), None)


@hookimpl
def lpk_rules() -> Iterable[Component]:
    yield from offered(
        Agrees,
        SameSubject,
        AgreementKnown,
        OfItsType,
        ReportsFindings,
        EvaluationStated,
        EvaluationIsOne,
        NumbersVerified,
    )
