"""Round 1, integrity: everything that is named is there, once, and says what it was named for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from lpk import hookimpl
from lpk.core.contracts import Component, Options
from lpk.core.evidence.contracts import Finding, Rule
from lpk.core.evidence.english.prose import squeezed
from lpk.core.evidence.ledger import Snapshot
from lpk.core.evidence.records import (
    Beginning,
    Document,
    PaperVersion,
    Replication,
    Restoration,
    Screening,
    Verification,
    Withdrawal,
)
from lpk.core.evidence.retrieval.bibliographic import two_papers
from lpk.core.evidence.rules import EachRule, OfClaims, OfPapers, OfRows, Wrong, claims, events, offered, rows


class Chain(Rule[Options]):
    id, round, required = "R-CHAIN-1", 1, True
    title = "Every event has the hash that its content gives, and follows events that are there"
    remedy = "Take events.jsonl again from the last commit in which it was whole."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [event.id for event in ledger.events]

    def examine(self, ledger: Snapshot, subject: str) -> Iterator[Finding]:
        event, name = events(ledger)[subject], subject[:12]
        if event.hash() != event.id:
            yield Finding(f"event {name} was changed after it was written: its hash does not fit", (name,))
        for before in event.previous:
            if before not in events(ledger):
                yield Finding(f"event {name} follows {before[:12]}, which is not there", (name,))


class InTime(Chain):
    id, severity, required = "R-CHAIN-2", "warning", False
    title = "No event is dated before one that it follows"
    remedy = "Set the clock of whoever wrote it; what was written stays."

    def examine(self, ledger: Snapshot, subject: str) -> Iterator[Finding]:
        event, name = events(ledger)[subject], subject[:12]
        for before in map(events(ledger).get, event.previous):
            if before and before.at > event.at:
                yield Finding(f"event {name} of {event.at} follows one of {before.at}: it is dated back", (name,))


class HasEvidence(OfClaims):
    id, round, required = "R-LINK-1", 1, True
    title = "Every claim has a row of evidence, or was withdrawn"
    remedy = "Add a row with a quote (lpk ledger claim), or withdraw the claim (lpk ledger withdraw)."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        if not any(row.claim == subject for row in rows(ledger)):
            yield f"claim {subject} has no row: {ledger.claims[subject].text!r}"


class RowsPoint(OfRows):
    id, round, required = "R-LINK-2", 1, True
    title = "Every row is about a claim that the ledger has, and of a version of a paper that it describes"
    remedy = "Collect the version (lpk ledger collect), or withdraw the row and write it again with the right ids."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        row = ledger.rows[subject]
        if row.claim not in ledger.claims:
            yield f"row {subject} is about claim {row.claim}, which the ledger does not have"
        if ledger.version(row) is None:
            yield f"row {subject} quotes {row.paper}{row.version}, which the ledger does not describe"


class RecordsPoint(Rule[Options]):
    id, round = "R-LINK-3", 1
    title = (
        "Every document, screening, verification, replication, withdrawal and restoration is of something that is there"
    )
    remedy = "Collect the paper that is missing, or read the document again under the right id (lpk ledger read)."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        kinds = (Document, Screening, Verification, Replication, Withdrawal, Restoration)
        return [event.id for event in ledger.events if isinstance(event.record, kinds)]

    def examine(self, ledger: Snapshot, subject: str) -> Iterator[Finding]:
        record = events(ledger)[subject].record
        papers = {name for name, paper in ledger.papers.items() if paper.versions}
        match record:
            case Document() if record.version not in getattr(ledger.papers.get(record.paper), "versions", {}):
                yield Finding(
                    f"document {record.file} is of {record.paper}{record.version}, which the ledger does not describe",
                    (record.paper, record.file),
                )
            case Screening() if record.paper not in papers:
                yield Finding(f"{record.paper} was screened, but nothing describes it", (record.paper,))
            case Verification() if record.row not in ledger.rows:
                yield Finding(f"a verification is of row {record.row}, which the ledger does not have", (record.row,))
            case Replication() if record.claim not in ledger.claims:
                yield Finding(f"a replication is of claim {record.claim}, which is not there", (record.claim,))
            case Withdrawal() | Restoration() if record.what not in {*ledger.rows, *ledger.claims, *papers}:
                yield Finding(f"a {record.KIND} is of {record.what}, which was never there", (record.what,))


class QuestionsAsked(OfClaims):
    id, round = "R-LINK-4", 1
    title = "Every claim answers research questions that the direction asks"
    remedy = "State the claim again with the right --question, or add the question to ledger.toml."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [claim.id for claim in claims(ledger) if claim.questions]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        asked = {question.id for question in ledger.direction.questions}
        for question in ledger.claims[subject].questions:
            if question not in asked:
                known = ", ".join(sorted(asked)) or "none"
                yield f"claim {subject} answers {question}; the direction asks {known}"


class OneIdOnePaper(EachRule):
    id, round, required = "R-TWIN-1", 1, False
    title = "One id of a version is one paper: nobody described it with another title by other authors"
    remedy = "Collect the right one again, and the other under its own id; or withdraw the id (lpk ledger withdraw)."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [name for name, told in _descriptions(ledger).items() if told[-1].paper not in ledger.withdrawals]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        *others, holds = _descriptions(ledger)[subject]
        if any(other.title == holds.title and other.authors == holds.authors for other in others):
            return  # collected once more: somebody has looked into it
        for other in others:
            if two_papers(other, holds):
                yield f"{subject} is {_told(holds)}, and was also {_told(other)}"


class OnePaperOneId(OfPapers):
    id, round = "R-TWIN-2", 1
    title = "One paper has one id: its evidence is not counted twice"
    remedy = "Withdraw the id with less evidence (lpk ledger withdraw), naming the other one as the reason."

    def concerns(self, ledger: Snapshot, paper: object) -> bool:
        return True

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        mine = ledger.papers[subject].latest
        for other in self.subjects(ledger):
            if other >= subject:
                continue
            theirs = ledger.papers[other].latest
            same_doi = mine.doi and mine.doi.lower() == theirs.doi.lower()
            if same_doi or squeezed(mine.title) == squeezed(theirs.title):
                why = f"doi {mine.doi}" if same_doi else f"title {mine.title!r}"
                yield Finding(f"{other} and {subject} are one paper: both have the {why}", (other, subject))


class OneStatementOneClaim(OfClaims):
    id, round = "R-TWIN-3", 1
    title = "Nothing is stated twice: neither a claim, nor a row's quote for the same claim"
    remedy = "Withdraw the younger of the two."

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        first = _statements(ledger)[squeezed(ledger.claims[subject].text)]
        if first != subject:
            yield Finding(f"claims {first} and {subject} say the same", (first, subject))
        seen: dict[tuple[str, str, str], str] = {}
        for row in rows(ledger):
            if row.claim == subject and row.quote:
                key = (row.paper, row.version, squeezed(row.quote))
                if seen.setdefault(key, row.id) != row.id:
                    yield Finding(f"rows {seen[key]} and {row.id} are one quote for one claim", (seen[key], row.id))


@lru_cache(maxsize=2)
def _statements(ledger: Snapshot) -> dict[str, str]:
    """Text of a claim, squeezed -> the first claim that has it."""
    found: dict[str, str] = {}
    for claim in claims(ledger):
        found.setdefault(squeezed(claim.text), claim.id)
    return found


class OneDirection(EachRule):
    id, round = "R-ID-1", 1
    title = "The direction has one name: its id is of the words of its title and category, and the events are of it"
    remedy = "Give the direction one id in ledger.toml, of the words of its category, and use it everywhere."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [ledger.direction.id]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        direction = ledger.direction
        begun = [event.record.direction for event in ledger.events if isinstance(event.record, Beginning)]
        if begun != [subject]:
            yield f"the ledger began as {', '.join(map(repr, begun)) or 'nothing'}; ledger.toml says {subject!r}"
        if direction.category:
            strange = _words(subject) - _words(direction.title) - _words(direction.category)
            if strange:
                named = f"{subject!r} and {direction.category!r}"
                yield f"the direction is {named}: neither title nor category has {', '.join(sorted(strange))!r}"


class TitleReads(EachRule):
    id, round, severity = "R-ID-2", 1, "warning"
    title = "The direction's title is a phrase: no plural acronym stands before its noun, nothing is cut off"
    remedy = "Write the title as a person would say it; it is repeated all over the draft."

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [ledger.direction.id]

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        title = ledger.direction.title
        if re.search(r"\b[A-Z]{2,}s [A-Z][a-z]+$", title) or re.search(r"(…|\.\.\.|[-,:])$", title):
            yield f"the title {title!r} is garbled"


@lru_cache(maxsize=2)
def _descriptions(ledger: Snapshot) -> dict[str, list[PaperVersion]]:
    """Every description of each version, in order; the last one holds."""
    found: dict[str, list[PaperVersion]] = {}
    for event in ledger.events:
        if isinstance(event.record, PaperVersion):
            found.setdefault(event.record.name, []).append(event.record)
    return found


def _told(version: PaperVersion) -> str:
    return f"{version.title!r} by {', '.join(version.authors) or 'nobody'}"


def _words(name: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z0-9]+", name.lower())}


@hookimpl
def lpk_rules() -> Iterable[Component]:
    yield from offered(
        Chain, InTime, HasEvidence, RowsPoint, RecordsPoint, QuestionsAsked, OneIdOnePaper, OnePaperOneId,
        OneStatementOneClaim, OneDirection, TitleReads,
    )  # fmt: skip
