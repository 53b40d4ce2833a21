"""What most audit rules share: what they look at. A rule is then its title, its remedy and what is wrong with one thing."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from lpk.core.contracts import Component, Options
from lpk.core.evidence.contracts import Finding, Rule
from lpk.core.evidence.english.prose import Passage, passages
from lpk.core.evidence.events import Event
from lpk.core.evidence.ledger import Paper, Snapshot
from lpk.core.evidence.records import Claim, Row, Verification
from lpk.core.evidence.states import Status, of_claim, of_row

#: The draft.
DRAFT: Final = "paper/paper.md"

#: A finding, or its message alone where the thing that was looked at is all that is concerned.
Wrong = Iterator[Finding | str]


class EachRule(Rule[Options]):
    """A rule about things of one kind: it names them, and says what is wrong with one."""

    @abstractmethod
    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        """What is wrong with a subject."""

    def examine(self, ledger: Snapshot, subject: str) -> Iterator[Finding]:
        for found in self.wrong(ledger, subject):
            yield found if isinstance(found, Finding) else Finding(found, (subject,))


class OfClaims(EachRule):
    """About the claims that were not withdrawn."""

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [claim.id for claim in claims(ledger) if self.concerns(ledger, claim)]

    def concerns(self, ledger: Snapshot, claim: Claim) -> bool:
        """Whether the rule is about this one."""
        return True


class OfRows(EachRule):
    """About the rows that were not withdrawn, nor their claims or papers."""

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [row.id for row in rows(ledger) if self.concerns(ledger, row)]

    def concerns(self, ledger: Snapshot, row: Row) -> bool:
        """Whether the rule is about this one."""
        return True


class OfChecked(OfRows):
    """About the rows that were looked up."""

    def concerns(self, ledger: Snapshot, row: Row) -> bool:
        return ledger.checked(row.id) is not None

    def wrong(self, ledger: Snapshot, subject: str) -> Wrong:
        checked = ledger.checked(subject)
        assert checked is not None  # it would not concern us
        return self.wrong_with(ledger, ledger.rows[subject], checked.verification)

    @abstractmethod
    def wrong_with(self, ledger: Snapshot, row: Row, found: Verification, /) -> Wrong:
        """What is wrong with what was found of a row."""


class OfPapers(EachRule):
    """About papers that are described and were not taken back."""

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [paper.id for paper in ledger.papers.values() if described(paper) and self.concerns(ledger, paper)]

    def concerns(self, ledger: Snapshot, paper: Paper) -> bool:
        """Whether the rule is about this one: as it stands, those that were screened in."""
        return paper.decision == "include"


class OfDraft(Rule[Options]):
    """About passages of the draft; where nobody wrote one, it has nothing to look at."""

    def subjects(self, ledger: Snapshot) -> Sequence[str]:
        return [place(passage) for passage in draft(ledger) if self.concerns(ledger, passage)]

    @abstractmethod
    def concerns(self, ledger: Snapshot, passage: Passage) -> bool:
        """Whether the rule is about this one."""

    @abstractmethod
    def wrong(self, ledger: Snapshot, passage: Passage) -> Wrong:
        """What is wrong with it."""

    def examine(self, ledger: Snapshot, subject: str) -> Iterator[Finding]:
        passage = next(passage for passage in draft(ledger) if place(passage) == subject)
        for found in self.wrong(ledger, passage):
            about = found if isinstance(found, Finding) else Finding(found, ())
            yield Finding(about.message, (subject, *about.subjects))


def offered(*rules: type[Rule[Any]]) -> Iterable[Component]:
    """A component for each rule, named by its code, described by what must hold."""
    for rule in rules:
        yield Component(rule.id.lower(), rule.title, f"{rule.__module__}:{rule.__name__}")


# What is looked at ---------------------------------------------------------------------------------------------------


def described(paper: Paper) -> bool:
    """Whether a source described it, and nobody took it back."""
    return bool(paper.versions) and not paper.withdrawn


def claims(ledger: Snapshot) -> list[Claim]:
    """The claims that were not withdrawn."""
    return [claim for claim in ledger.claims.values() if claim.id not in ledger.withdrawals]


def rows(ledger: Snapshot) -> list[Row]:
    """The rows that were not withdrawn, nor their claims or papers."""
    gone = ledger.withdrawals
    return [row for row in ledger.rows.values() if not {row.id, row.claim, row.paper} & gone.keys()]


@lru_cache(maxsize=2)
def events(ledger: Snapshot) -> Mapping[str, Event]:
    """The ledger's events by id."""
    return {event.id: event for event in ledger.events}


@lru_cache(maxsize=2)
def draft(ledger: Snapshot) -> Sequence[Passage]:
    """The draft's passages, but for code and for what it tells of the audit: rules do not read their own words."""
    written = passages(ledger.artifacts.get(DRAFT, ""))
    return tuple(each for each in written if each.kind != "code" and not re.match(r"`?[A-Z]+-[A-Z]+-\d+\b", each.text))


def of_references(passage: Passage) -> bool:
    """Whether it is in the list of references."""
    return bool(re.match(r"[\W\d]*(?:references|bibliography)", passage.section, re.I))


def place(passage: Passage) -> str:
    """``paper/paper.md:12``."""
    return f"{DRAFT}:{passage.line}"


def papers_named(ledger: Snapshot, text: str) -> list[Paper]:
    """The ledger's papers whose id (with or without its scheme) a text has."""
    named = ((paper, paper.id.partition(":")[2]) for paper in ledger.papers.values())
    return [paper for paper, name in named if name in text and re.search(rf"(?<![\w.]){re.escape(name)}(?!\d)", text)]


@lru_cache(maxsize=2)
def rows_verified(ledger: Snapshot) -> list[Row]:
    """The rows that were verified, as their status says."""
    return [row for row in rows(ledger) if of_row(ledger, row).status is Status.VERIFIED]


@lru_cache(maxsize=2)
def supported(ledger: Snapshot) -> list[Claim]:
    """The claims that are supported, as their status says."""
    return [claim for claim in claims(ledger) if of_claim(ledger, claim).status is Status.SUPPORTED]
