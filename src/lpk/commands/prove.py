"""``lpk prove``: every supported claim looked up again, by a script that does not know lpk."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lpk.commands.ledger.common import of_ledger


@click.command()
@of_ledger()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: paper/proof.json.")
def prove(folder: Path, as_json: bool) -> int:
    """Write paper/demo.py of the ledger in FOLDER and run it: it finds every supported claim's quotes in the papers again.

    Exit code 0: all of them, and there is at least one; 1: not so.
    """
    from lpk.core.evidence.artifacts import proof
    from lpk.core.evidence.ledger import Ledger

    opened = Ledger(folder)
    code, said = proof.prove(opened)
    if as_json:
        written = (opened.folder / "paper" / "proof.json").read_text(encoding="utf-8")
        click.echo(json.dumps(json.loads(written), indent=2, ensure_ascii=False))
    else:
        click.echo(said.rstrip("\n"))
    return code
