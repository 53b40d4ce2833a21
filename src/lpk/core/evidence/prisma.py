"""The flow of papers, as PRISMA 2020 draws it (https://www.prisma-statement.org), counted from the screening records.

    found    = duplicates + waiting + screened
    screened = excluded, by reason + background + included
    included = read + unread

Each number is the papers themselves, so the sums hold because every paper is in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lpk.core.evidence.ledger import Paper, Snapshot

Ids = tuple[str, ...]


@dataclass(frozen=True)
class Flow:
    """Papers by what became of them; each in the order in which they came.

    Attributes:
        found: all of them.
        sources: source -> the papers that it described first.
        duplicates: screened out as the same as another one.
        waiting: nobody has decided.
        screened: somebody has.
        excluded: reason -> papers; "withdrawn" are those that were taken back.
        background: kept as such.
        included: screened in.
        read: included, and the full text was read.
        unread: included, and only the abstract is known.
    """

    found: Ids
    sources: Mapping[str, Ids]
    duplicates: Ids
    waiting: Ids
    screened: Ids
    excluded: Mapping[str, Ids]
    background: Ids
    included: Ids
    read: Ids
    unread: Ids


def flow(ledger: Snapshot) -> Flow:
    """Where every paper of a ledger is."""
    places: dict[str, list[str]] = {name: [] for name in ("duplicates", "waiting", "background", "read", "unread")}
    excluded: dict[str, list[str]] = {}
    sources: dict[str, list[str]] = {}
    for paper in ledger.papers.values():
        place, reason = _place(paper)
        (excluded.setdefault(reason, []) if place == "excluded" else places[place]).append(paper.id)
        sources.setdefault(_source(paper), []).append(paper.id)
    out = {name for ids in excluded.values() for name in ids}
    included = {*places["read"], *places["unread"]}
    screened = {*out, *places["background"], *included}
    every = tuple(ledger.papers)
    return Flow(
        found=every,
        sources={name: tuple(sources[name]) for name in sorted(sources)},
        duplicates=tuple(places["duplicates"]),
        waiting=tuple(places["waiting"]),
        screened=tuple(name for name in every if name in screened),
        excluded={reason: tuple(excluded[reason]) for reason in sorted(excluded)},
        background=tuple(places["background"]),
        included=tuple(name for name in every if name in included),
        read=tuple(places["read"]),
        unread=tuple(places["unread"]),
    )


def _place(paper: Paper) -> tuple[str, str]:
    """(where it is, why it was excluded)."""
    reason = paper.screenings[-1].screening.reason if paper.screenings else ""
    if paper.decision == "exclude" and reason == "duplicate":
        return "duplicates", ""
    if paper.withdrawn:
        return "excluded", "withdrawn"
    if paper.decision == "exclude":
        return "excluded", reason
    if paper.decision == "include":
        return ("read" if paper.documents else "unread"), ""
    return paper.decision or "waiting", ""


def _source(paper: Paper) -> str:
    """Who described it first; by hand where no source did."""
    return next((version.source for version in paper.versions.values() if version.source), "by hand")
