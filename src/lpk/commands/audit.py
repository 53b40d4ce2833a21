"""``lpk audit``: every rule over a ledger, the gate, and the reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lpk.commands.console import table
from lpk.commands.ledger.common import of_ledger
from lpk.core.errors import UsageError, did_you_mean
from lpk.core.registry import installed

if TYPE_CHECKING:
    from lpk.core.evidence.audit import Audit, Examined, MutationScore
    from lpk.core.evidence.contracts import Rule

#: Findings of a rule that the summary prints.
SHOWN = 2


@click.command(epilog="Exit codes: 0 ready; 1 blocked; 2 the ledger, the policy or a flag is wrong.")
@of_ledger(otherwise=None, said="the working directory, or else the example")
@click.option(
    "--only", multiple=True, metavar="RULE", help="Only this rule, e.g. R-NUM-1. May be repeated; no reports."
)
@click.option("--list", "listing", is_flag=True, help="List the rules; audit nothing.")
@click.option("--dry-run", is_flag=True, help="Write no reports.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(folder: Path | None, only: Sequence[str], listing: bool, dry_run: bool, as_json: bool) -> int:
    """Audit the ledger in FOLDER: seven rounds of rules, then the gate.

    Without FOLDER it is the ledger in the working directory, or else the example that comes with lpk. What it finds
    is written beside the ledger: audit_report.md, audit_report.json and audit.sarif. Where that cannot be, it is
    printed all the same, and the exit code is 2.
    """
    from lpk.core.evidence.artifacts import report
    from lpk.core.evidence.audit import audit as run
    from lpk.core.evidence.audit import full_audit, rules
    from lpk.core.evidence.ledger import Ledger
    from lpk.core.evidence.work import snapshot
    from lpk.testing.mutants import try_rules

    registry = installed()
    chosen = _chosen(rules(registry), only)
    if listing:
        _list(chosen, as_json)
        return 0
    where, unwritable = _folder(folder)
    ledger = Ledger(where)
    now = snapshot(ledger, registry)
    found = run(now, chosen) if only else full_audit(now, registry)
    tested = try_rules(chosen)
    written, reporting = [], not (dry_run or only)
    if reporting and not unwritable:
        try:
            written = report.write(ledger, found, tested)
        except UsageError as error:
            unwritable = error
    if as_json:
        click.echo(json.dumps(report.as_json(found, tested), indent=2, ensure_ascii=False))
    else:
        _show(ledger.folder, found, tested, written)
    for culprit in registry.broken:
        note = f"{culprit.provider.entry_point} of {culprit.provider} is broken; rules that it may have were not run"
        click.echo(f"lpk: note: {note}", err=True)
    if reporting and unwritable:
        raise UsageError(f"no report was written: {unwritable}")
    return 0 if found.ready else 1


def _folder(folder: Path | None) -> tuple[Path, UsageError | None]:
    """The ledger that is meant; and why the example could not be copied, where it is read as it was shipped."""
    if folder is not None:
        return folder, None
    if Path("ledger.toml").exists():
        return Path(), None
    from lpk.core.evidence.example import open_example, shipped

    try:
        return open_example(), None
    except UsageError as error:
        return click.get_current_context().with_resource(shipped()), error


def _chosen(every: Sequence[Rule[Any]], only: Sequence[str]) -> list[Rule[Any]]:
    known = [rule.id for rule in every]
    for name in only:
        if name.upper() not in known:
            raise UsageError(f"--only: no rule {name!r}{did_you_mean(name.upper(), known)}")
    return [rule for rule in every if not only or rule.id in {name.upper() for name in only}]


def _list(rules: Sequence[Rule[Any]], as_json: bool) -> None:
    if as_json:
        fields = ("id", "round", "severity", "title", "remedy")
        click.echo(json.dumps([{name: getattr(rule, name) for name in fields} for rule in rules], indent=2))
        return
    rows = [(rule.id, str(rule.round), rule.severity, rule.title, rule.name) for rule in rules]
    table(("RULE", "ROUND", "SEVERITY", "WHAT MUST HOLD", "PLUGIN"), rows)


def _show(folder: Path, found: Audit, tested: MutationScore, written: Sequence[Path]) -> None:
    """The gate, the rounds, and what to do, the worst first."""
    from lpk.core.evidence.artifacts import report
    from lpk.core.evidence.audit import ROUNDS

    counts = report.counted(found)
    click.echo(f"{folder}: {report.gate(found)}. " + ", ".join(report.times(n, what) for what, n in counts.items()))
    click.echo()
    rows = []
    for number in found.rounds:
        rules = found.of_round(number)
        seen = [rule.verdict for rule in rules]
        looked = sum(rule.count for rule in rules)
        tally = [str(seen.count(verdict) or "-") for verdict in ("pass", "fail", "warn", "note", "n/a")]
        rows.append([str(number), ROUNDS.get(number, "Plugins"), str(looked), *tally, report.verdict(rules)])
    table(("ROUND", "ABOUT", "LOOKED AT", "PASS", "FAIL", "WARN", "NOTE", "N/A", "VERDICT"), rows)
    for severity in counts:
        for rule in found.rules:
            if rule.severity == severity and rule.findings:
                _rule(rule)
    for reason in report.why(found) if not found.blocking and not found.ready else ():
        click.echo(f"\nblocked: {reason}")
    click.echo(f"\nrules tested on {tested.killed} mutants that they must find; policy {found.policy[:12]}")
    if tested.survived or tested.alarms:
        for lost in (*tested.survived, *tested.alarms):
            click.echo(f"  a rule is not to be trusted: {lost}")
    if written:
        click.echo("written: " + ", ".join(map(str, written)))


def _rule(rule: Examined) -> None:
    """What a rule found, and how to mend it."""
    click.echo(f"\n{rule.severity} {rule.rule}: {rule.title}")
    for finding in rule.findings[:SHOWN]:
        click.echo(f"  {' '.join(finding.message.split())}")
        if any(subject not in finding.message for subject in finding.subjects):
            click.echo(f"    {', '.join(finding.subjects)}")
    if len(rule.findings) > SHOWN:
        click.echo(f"  and {len(rule.findings) - SHOWN} more")
    click.echo(f"  to mend: {rule.remedy}")
