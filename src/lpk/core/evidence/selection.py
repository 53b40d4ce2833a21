"""Where every paper is in the flow that ``prisma.py`` counts: the papers themselves, so that a count can name them.

identified = undescribed + waiting + screened
screened   = excluded, by reason + included
included   = withdrawn + unread + read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lpk.core.evidence.ledger import Paper, Snapshot

Ids = tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """Papers by what became of them, by the names of ``prisma.Flow``; each in the order in which they came.

    Attributes:
        sources: who described a paper first -> the papers.
    """

    sources: Mapping[str, Ids]
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


def select(ledger: Snapshot) -> Selection:
    """Put every paper of a ledger where it is."""
    papers = list(ledger.papers.values())
    described = [paper for paper in papers if paper.versions]
    screened = [paper for paper in described if paper.decision]
    included = [paper for paper in screened if paper.decision == "include"]
    kept = [paper for paper in included if not paper.withdrawn]
    quoting = {row.paper for row in ledger.rows.values()}
    sources: dict[str, list[str]] = {}
    for paper in described:
        source = next((version.source for version in paper.versions.values() if version.source), "hand")
        sources.setdefault(source, []).append(paper.id)
    excluded: dict[str, list[str]] = {}
    for paper in screened:
        if paper.decision != "include":
            excluded.setdefault(_reason(paper), []).append(paper.id)
    return Selection(
        sources={name: tuple(sources[name]) for name in sorted(sources)},
        identified=_ids(papers),
        undescribed=_ids([paper for paper in papers if not paper.versions]),
        waiting=_ids([paper for paper in described if not paper.decision]),
        screened=_ids(screened),
        excluded={reason: tuple(excluded[reason]) for reason in sorted(excluded)},
        included=_ids(included),
        withdrawn=_ids([paper for paper in included if paper.withdrawn]),
        unread=_ids([paper for paper in kept if not paper.documents]),
        read=_ids([paper for paper in kept if paper.documents]),
        quoted=_ids([paper for paper in kept if paper.documents and paper.id in quoting]),
    )


def _ids(papers: list[Paper]) -> Ids:
    return tuple(paper.id for paper in papers)


def _reason(paper: Paper) -> str:
    last = paper.screenings[-1].screening
    return last.reason if last.decision == "exclude" else f"background: {last.reason}"
