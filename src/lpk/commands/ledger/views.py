"""Looking at a ledger: status, explain, export, serve."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lpk.commands.console import table
from lpk.commands.ledger.common import JSON, ledger, of_ledger, opened_at, tell
from lpk.core.registry import installed

if TYPE_CHECKING:
    from lpk.core.evidence.audit import Audit
    from lpk.core.evidence.ledger import Ledger, Snapshot


@ledger.command()
@of_ledger()
@click.option("--metrics", is_flag=True, help="The measures, each with definition, numerator and denominator.")
@JSON
def status(folder: Path, metrics: bool, as_json: bool) -> None:
    """Say how far papers, rows and claims have come."""
    from lpk.core.evidence.states import statuses

    if metrics:
        _metrics(folder, as_json)
        return
    _, now = opened_at(folder)
    standing = statuses(now)
    decisions = [paper.decision or "waiting" for paper in now.papers.values()]
    read = sum(bool(paper.documents) for paper in now.papers.values())
    counts = {name: decisions.count(name) for name in ("include", "exclude", "background", "waiting")}
    statuses_met = [found.status for found in standing.values()]

    def say() -> None:
        click.echo(f"{now.direction.title} ({now.direction.id})")
        click.echo(
            f"papers: {len(now.papers)}: {counts['include']} included, {counts['exclude']} excluded, "
            f"{counts['background']} background, {counts['waiting']} waiting; {read} read"
        )
        met = ", ".join(f"{statuses_met.count(name)} {name}" for name in dict.fromkeys(sorted(statuses_met)))
        click.echo(f"claims: {len(now.claims)}" + (f": {met}" if met else ""))
        if now.claims:
            table(
                ["claim", "status", "what", "why"],
                [[name, found.status, now.claims[name].text, found.why] for name, found in standing.items()],
            )

    said = {
        "direction": now.direction.id,
        "papers": {"all": len(now.papers), "read": read, **counts},
        "claims": {name: {"status": found.status, "why": found.why} for name, found in standing.items()},
        "events": len(now.events),
        "heads": now.heads,
    }
    tell(as_json, said, say)


def _metrics(folder: Path, as_json: bool) -> None:
    from lpk.core.evidence.artifacts.publish import audited
    from lpk.core.evidence.metrics import metrics

    opened, now = opened_at(folder)
    found = metrics(now, audited(opened, installed())[0])

    def say() -> None:
        for measure in found:
            value = f"n/a: {measure.why}" if measure.value is None else f"{measure.value:.3g} {measure.unit}".rstrip()
            click.echo(f"{measure.name}: {value} ({measure.numerator} / {measure.denominator})")
            click.echo(f"    {measure.definition}")

    tell(as_json, [measure.described() for measure in found], say)


@ledger.command()
@of_ledger()
@click.argument("name", metavar="ID")
def explain(folder: Path, name: str) -> None:
    """Tell all about a claim, a row or a paper: its status, what it rests on, and what happened to it."""
    from lpk.core.evidence.records import Restoration, Withdrawal

    _, now = opened_at(folder)
    name = now.found(name, {**now.claims, **now.rows, **now.papers}, "claim, row or paper")
    if name in now.papers:
        _explain_paper(now, name)
    else:
        _explain_claim(now, name)
    for event in now.events:
        if isinstance(event.record, Withdrawal | Restoration) and event.record.what == name:
            click.echo(f"{event.at} {event.kind}: {event.record.reason} ({event.by})")


def _explain_claim(now: Snapshot, name: str) -> None:
    """A claim with its rows, or one row."""
    from lpk.core.evidence.states import of_claim, of_row

    claim = now.claims.get(name)
    if claim:
        standing = of_claim(now, claim)
        click.echo(f"{claim.id}  {claim.type}, {standing.status}: {standing.why}\n  {claim.text}")
        if claim.check:
            beside = {key: value for key, value in claim.check.canonical().items() if key != "expression"}
            said = ", ".join(f"{key} {json.dumps(value)}" for key, value in beside.items())
            click.echo(f"  check: {claim.check.expression}" + (f" ({said})" if said else ""))
        for made in now.replications.get(claim.id, []):
            click.echo(f"  measured: {made.verdict}, {made.expression}, study {made.study[:12]}")
    rows = now.of_claim(name) if claim else [now.rows[name]]
    for row in rows:
        standing = of_row(now, row)
        click.echo(f"\n{row.id}  {row.relation}, {row.paper}{row.version}, {standing.status}: {standing.why}")
        click.echo(f"  “{row.quote}”")
        for checked in now.verifications.get(row.id, []):
            found = checked.verification
            where = f", page {found.page}, section {found.section or '?'}" if found.page else ""
            click.echo(f"  {checked.at} {found.verdict}{where} ({found.checker}, by {checked.by})")
            if found.reason:
                click.echo(f"    {found.reason}")
            if found.diff:
                click.echo(f"    {found.diff}")
            for each in found.disagreements:
                click.echo(f"    {each.what}: claim {each.claim!r}, quote {each.quote!r}")


def _explain_paper(now: Snapshot, name: str) -> None:
    from lpk.core.evidence.versions import changes

    paper = now.papers[name]
    versions = sorted(paper.versions.values(), key=lambda version: version.number)
    for version in versions:
        click.echo(f"{version.name}  {version.title}\n  {', '.join(version.authors)}; {version.published}")
        if version.withdrawn:
            click.echo(f"  withdrawn: {version.withdrawn}")
    for old, new in pairwise(versions):
        for what, diff in changes(old, new).items():
            click.echo(f"{old.version} -> {new.version}, {what}: {diff}")
    for screened in paper.screenings:
        made = screened.screening
        criterion = f", {made.criterion}" if made.criterion else ""
        click.echo(f"{screened.at} {made.decision}: {made.reason}{criterion} ({screened.by}) {made.note}".rstrip())
    for row in now.rows.values():
        if row.paper == name:
            click.echo(f"row {row.id} for claim {row.claim}: “{row.quote}”")


@ledger.command()
@of_ledger()
def export(folder: Path) -> None:
    """Write every artifact: tables, audit report, draft, proof script, references, annotations, dashboard.

    The same ledger gives the same bytes. lpk prove runs the proof.
    """
    from lpk.core.evidence.artifacts import report
    from lpk.core.evidence.artifacts.publish import audited
    from lpk.core.evidence.artifacts.render import write
    from lpk.core.evidence.audit import rules
    from lpk.testing.mutants import try_rules

    opened, now = opened_at(folder)
    found, files = audited(opened, installed())
    lines = report.event_lines(opened.log.text())
    tested = try_rules(rules(installed()))
    files |= {name: text.encode() for name, text in report.files(found, tested, lines).items()}
    files["index.html"] = _page(opened, now, found).encode()
    changed = write(folder, files)
    for name in sorted(files):
        click.echo(f"{name}{'' if name in changed else '  (as it was)'}")


@ledger.command()
@of_ledger()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port.  [default: any that is free]")
def serve(folder: Path, port: int) -> None:
    """Show the dashboard to a browser on this machine, until Ctrl-C."""
    from lpk.core.evidence.artifacts.publish import audited
    from lpk.core.evidence.serve import serve

    opened_at(folder)  # a wrong folder is told before anything is served

    def page() -> str:
        opened, now = opened_at(folder)
        return _page(opened, now, audited(opened, installed())[0])

    serve(page, port, lambda address: click.echo(f"{address} (Ctrl-C ends it)"))


def _page(opened: Ledger, now: Snapshot, found: Audit) -> str:
    """The dashboard of a ledger, as it is now."""
    from lpk.core.evidence.dashboard import page
    from lpk.core.evidence.work import pictures

    return page(now, found, pictures(opened, now, installed()))
