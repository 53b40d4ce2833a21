"""``lpk draft``: what a ledger bears out, as a draft and in the formats of other tools."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from lpk.commands.ledger.common import of_ledger
from lpk.core.registry import installed


@click.command()
@of_ledger()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def draft(folder: Path, as_json: bool) -> None:
    """Render the draft of the ledger in FOLDER, its evidence matrix, references and the rest.

    Every sentence of fact in it comes from the ledger's rows. The same ledger gives the same bytes.
    """
    from lpk.core.evidence.artifacts.publish import audited
    from lpk.core.evidence.artifacts.render import write
    from lpk.core.evidence.ledger import Ledger
    from lpk.core.evidence.states import statuses

    opened = Ledger(folder)
    found, files = audited(opened, installed())
    changed = write(opened.folder, files)
    counts = Counter(str(standing.status) for standing in statuses(opened.snapshot()).values())
    blocking = sorted({rule.rule for rule, _ in found.blocking})
    if as_json:
        values = {
            "draft": str(opened.folder / "paper" / "paper.md"),
            "ready": found.ready,
            "blocking": blocking,
            "claims": counts,
            "files": sorted(files),
            "changed": sorted(changed),
        }
        click.echo(json.dumps(values, indent=2))
        return
    click.echo(f"draft      {opened.folder / 'paper' / 'paper.md'}")
    click.echo(f"claims     {', '.join(f'{count} {status}' for status, count in sorted(counts.items())) or 'none'}")
    click.echo(f"gate       {'ready' if found.ready else 'blocked'}{': ' + ', '.join(blocking) if blocking else ''}")
    click.echo(f"files      {len(files)} rendered, {len(changed)} of them changed")
