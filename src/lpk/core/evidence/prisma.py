"""The flow of papers through a review, as PRISMA 2020 draws it, counted from the records (prisma-statement.org)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from lpk.core.evidence.ledger import Paper, Snapshot


@dataclass(frozen=True)
class Flow:
    """How many papers came how far; each step is what is left of the one before.

    Attributes:
        identified: paper ids that were ever written down.
        undescribed: of these, named somewhere but never described by a source.
        waiting: described, and nobody has decided yet.
        screened: decided.
        excluded: reason -> how many were excluded, or set aside as background.
        included: screened in.
        withdrawn: screened in, and taken back.
        unread: screened in, their full text not read.
        read: screened in, and read.
        quoted: read, and quoted by a row.
    """

    identified: int
    undescribed: int
    waiting: int
    screened: int
    excluded: dict[str, int]
    included: int
    withdrawn: int
    unread: int
    read: int
    quoted: int

    @property
    def adds_up(self) -> bool:
        """Whether every step is the sum of what follows it; true of any ledger, and audited."""
        return (
            self.identified == self.undescribed + self.waiting + self.screened
            and self.screened == self.included + sum(self.excluded.values())
            and self.included == self.withdrawn + self.unread + self.read
            and self.quoted <= self.read
        )


def flow(ledger: Snapshot) -> Flow:
    """Count."""
    papers = list(ledger.papers.values())
    described = [paper for paper in papers if paper.versions]
    screened = [paper for paper in described if paper.decision]
    included = [paper for paper in screened if paper.decision == "include"]
    kept = [paper for paper in included if not paper.withdrawn]
    read = [paper for paper in kept if paper.documents]
    quoting = {row.paper for row in ledger.rows.values()}
    return Flow(
        identified=len(papers),
        undescribed=len(papers) - len(described),
        waiting=len(described) - len(screened),
        screened=len(screened),
        excluded=dict(sorted(Counter(_reason(paper) for paper in screened if paper.decision != "include").items())),
        included=len(included),
        withdrawn=len(included) - len(kept),
        unread=len(kept) - len(read),
        read=len(read),
        quoted=sum(paper.id in quoting for paper in read),
    )


def _reason(paper: Paper) -> str:
    last = paper.screenings[-1].screening
    return last.reason if last.decision == "exclude" else f"background: {last.reason}"
