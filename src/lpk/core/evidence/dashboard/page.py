"""The page: what it shows, as plain values for the template."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import pairwise
from typing import Any, Final

from lpk import __version__
from lpk.core.evidence.audit import ROUNDS, Audit
from lpk.core.evidence.ledger import Paper, Snapshot
from lpk.core.evidence.prisma import flow
from lpk.core.evidence.records import Claim, Row
from lpk.core.evidence.states import Status, of_row, statuses
from lpk.core.evidence.versions import changes
from lpk.core.templates import environment

#: status -> the sign that stands for it where there is no room for the word; never the colour alone.
SIGNS: Final[Mapping[Status, str]] = {
    Status.SUPPORTED: "●",
    Status.VERIFIED: "◉",
    Status.LOCATED: "◎",
    Status.LINKED: "○",
    Status.PRELIMINARY: "◌",
    Status.CANDIDATE: "·",
    Status.CONTESTED: "⇄",
    Status.CONTRADICTED: "⊘",
    Status.STALE: "↻",
    Status.UNVERIFIABLE: "?",
    Status.REJECTED: "✕",
    Status.WITHDRAWN: "-",
}
#: How many of the latest events the page lists.
HISTORY: Final = 200

_DIFF = re.compile(r"\[-(.*?)-\]|\{\+(.*?)\+\}", re.DOTALL)


def page(ledger: Snapshot, audit: Audit, pictures: Mapping[str, bytes] | None = None) -> str:
    """The whole of ``index.html``; the same ledger, audit and pictures give the same bytes.

    Args:
        ledger: what is true.
        audit: of this ledger.
        pictures: row id -> PNG of the page with its quote marked.

    Raises:
        EnvironmentMissing: jinja2 is not installed.
    """
    pages = environment("lpk.core.evidence.dashboard", "lpk[evidence]", keep_trailing_newline=True)
    pages.filters |= {"diffed": diffed, "web": web, "anchor": anchor, "png": png}
    pages.globals |= {"SIGNS": {str(status): sign for status, sign in SIGNS.items()}}
    style, script = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    rendered: str = pages.get_template("page.html.j2").render(
        version=__version__,
        ledger=ledger,
        audit=audit,
        style=style,
        script=script,
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        **_view(ledger, audit, pictures or {}),
    )
    return rendered


def _csp_hash(text: str) -> str:
    """What a Content-Security-Policy calls an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def diffed(text: str) -> Iterator[tuple[str, str]]:
    """A word diff in pieces: ``("same" | "del" | "ins", words)``."""
    end = 0
    for found in _DIFF.finditer(text):
        if found.start() > end:
            yield "same", text[end : found.start()]
        yield ("del", found[1]) if found[1] is not None else ("ins", found[2])
        end = found.end()
    if end < len(text):
        yield "same", text[end:]


def web(address: str) -> str:
    """An address that may be linked to; empty for any other scheme, such as javascript:."""
    return address if re.match(r"https?://[^\s]+$", address) else ""


def anchor(name: str) -> str:
    """The id, in the page, of a claim, row, paper, rule or file."""
    if re.fullmatch(r"[A-Za-z0-9-]+", name):
        return f"id-{name}"
    return f"id-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def png(picture: bytes) -> str:
    """A picture inside the page."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


# ---------------------------------------------------------------------------------------------------------------------
# What is shown
# ---------------------------------------------------------------------------------------------------------------------


def _view(ledger: Snapshot, audit: Audit, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    standing = statuses(ledger)
    claims = [_claim(ledger, claim, standing[claim.id], pictures) for claim in ledger.claims.values()]
    counted = flow(ledger).counts
    counts = {str(status): sum(claim["status"] == status for claim in claims) for status in SIGNS}
    return {
        "claims": claims,
        "counts": {status: count for status, count in counts.items() if count},
        "flow": counted,
        "set_aside": [f"{count}: {reason}" for reason, count in counted["excluded"].items()],
        "papers": [_paper(ledger, paper) for paper in ledger.papers.values()],
        "matrix": _matrix(ledger, claims),
        "rounds": [(number, ROUNDS.get(number, "Plugins"), audit.of_round(number)) for number in audit.rounds],
        "blocking": _blocking(audit),
        "known": {anchor(name) for name in (*ledger.claims, *ledger.rows, *ledger.papers)},
        "questions": [
            (question, [claim for claim in claims if question.id in claim["questions"]])
            for question in ledger.direction.questions
        ],
        "history": ledger.events[: -HISTORY - 1 : -1],
    }


def _claim(ledger: Snapshot, claim: Claim, standing: Any, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "id": claim.id,
        "text": claim.text,
        "type": claim.type,
        "questions": claim.questions,
        "status": standing.status,
        "why": standing.why,
        "check": claim.check,
        "rows": [_row(ledger, row, pictures) for row in ledger.of_claim(claim.id)],
        "replications": ledger.replications.get(claim.id, []),
    }


def _row(ledger: Snapshot, row: Row, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    standing, checked = of_row(ledger, row), ledger.checked(row.id)
    version = ledger.version(row)
    return {
        "row": row,
        "status": standing.status,
        "why": standing.why,
        "at": checked.at if checked else "",
        "by": checked.by if checked else "",
        "found": checked.verification if checked else None,
        "title": version.title if version else "",
        "url": version.url if version else "",
        "picture": pictures.get(row.id),
    }


def _paper(ledger: Snapshot, paper: Paper) -> dict[str, Any]:
    versions = sorted(paper.versions.values(), key=lambda version: version.number)
    return {
        "paper": paper,
        "versions": versions,
        "latest": versions[-1] if versions else None,
        "changes": [(old.version, new.version, changes(old, new)) for old, new in pairwise(versions)],
        "rows": [row for row in ledger.rows.values() if row.paper == paper.id],
    }


def _matrix(ledger: Snapshot, claims: list[dict[str, Any]]) -> dict[str, Any]:
    """Claims by papers: the best row of each pair."""
    papers = list(dict.fromkeys(row.paper for row in ledger.rows.values()))
    order = {status: place for place, status in enumerate(Status)}
    cells = {}
    for claim in claims:
        for shown in sorted(claim["rows"], key=lambda shown: -order[shown["status"]]):
            cells[claim["id"], shown["row"].paper] = shown
    return {"papers": papers, "cells": cells}


def _blocking(audit: Audit) -> list[tuple[Any, list[Any]]]:
    """Blocking findings, by rule."""
    grouped: dict[str, tuple[Any, list[Any]]] = {}
    for rule, finding in audit.blocking:
        grouped.setdefault(rule.rule, (rule, []))[1].append(finding)
    return list(grouped.values())
