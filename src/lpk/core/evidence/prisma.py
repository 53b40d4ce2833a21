"""The flow of papers through a review, as PRISMA 2020 draws it, from the records (prisma-statement.org).

identified = undescribed + waiting + screened
screened   = excluded, by reason + included
included   = withdrawn + unread + read
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lpk.core.evidence.ledger import Paper, Snapshot

Ids = tuple[str, ...]


@dataclass(frozen=True)
class Flow:
    """The papers by how far they came, each in the order in which they were written down: a count can name them.

    Attributes:
        identified: every paper that was ever written down.
        undescribed: of these, named somewhere but never described by a source.
        waiting: described, and nobody has decided yet.
        screened: decided.
        excluded: reason -> those excluded, or set aside as background.
        included: screened in.
        withdrawn: screened in, and taken back.
        unread: screened in, their full text not read.
        read: screened in, and read.
        quoted: read, and quoted by a row.
        sources: who described a paper first -> the papers.
    """

    identified: Ids
    undescribed: Ids
    waiting: Ids
    screened: Ids
    excluded: Mapping[str, Ids]
    included: Ids
    withdrawn: Ids
    unread: Ids
    read: Ids
    quoted: Ids
    sources: Mapping[str, Ids]

    @property
    def counts(self) -> dict[str, Any]:
        """How many there are of each; for ``excluded`` and ``sources``, by reason and source."""
        return {field.name: _count(getattr(self, field.name)) for field in fields(self)}


def _count(papers: Ids | Mapping[str, Ids]) -> int | dict[str, int]:
    return {name: len(ids) for name, ids in papers.items()} if isinstance(papers, Mapping) else len(papers)


def flow(ledger: Snapshot) -> Flow:
    """Put every paper of a ledger where it is."""
    papers = list(ledger.papers.values())
    described = [paper for paper in papers if paper.versions]
    screened = [paper for paper in described if paper.decision]
    included = [paper for paper in screened if paper.decision == "include"]
    kept = [paper for paper in included if not paper.withdrawn]
    read = [paper for paper in kept if paper.documents]
    quoting = {row.paper for row in ledger.rows.values()}
    return Flow(
        identified=_ids(papers),
        undescribed=_ids(paper for paper in papers if not paper.versions),
        waiting=_ids(paper for paper in described if not paper.decision),
        screened=_ids(screened),
        excluded=_grouped((_reason(paper), paper) for paper in screened if paper.decision != "include"),
        included=_ids(included),
        withdrawn=_ids(paper for paper in included if paper.withdrawn),
        unread=_ids(paper for paper in kept if not paper.documents),
        read=_ids(read),
        quoted=_ids(paper for paper in read if paper.id in quoting),
        sources=_grouped((_source(paper), paper) for paper in described),
    )


def _ids(papers: Iterable[Paper]) -> Ids:
    return tuple(paper.id for paper in papers)


def _grouped(papers: Iterable[tuple[str, Paper]]) -> dict[str, Ids]:
    groups: dict[str, list[str]] = {}
    for name, paper in papers:
        groups.setdefault(name, []).append(paper.id)
    return {name: tuple(groups[name]) for name in sorted(groups)}


def _reason(paper: Paper) -> str:
    last = paper.screenings[-1].screening
    return last.reason if last.decision == "exclude" else f"background: {last.reason}"


def _source(paper: Paper) -> str:
    return next((version.source for version in paper.versions.values() if version.source), "hand")
