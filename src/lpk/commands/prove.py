"""``lpk prove``: every supported claim looked up again, by a script that does not know lpk."""

from __future__ import annotations

from pathlib import Path

import click

from lpk.commands.ledger.common import of_ledger


@click.command()
@of_ledger()
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def prove(folder: Path, as_json: bool) -> int:
    """Write paper/demo.py of the ledger in FOLDER and run it: it finds every supported claim's quotes in the papers again.

    Where a paper is not at hand, as in a clone, a paper/proof.json that found its quotes is kept. Exit code 0: all of them,
    and there is at least one; 1: not so.
    """
    from lpk.core.evidence.artifacts import proof
    from lpk.core.evidence.ledger import Ledger

    code, said, noted = proof.prove(Ledger(folder), as_json)
    click.echo(said.rstrip("\n"))
    for note in noted.splitlines():
        click.echo(f"lpk: note: {note}", err=True)
    return code
