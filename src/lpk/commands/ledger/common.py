"""What the commands of ``lpk ledger`` share: the group, where the ledger is, and how a result is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lpk.core.registry import installed

if TYPE_CHECKING:
    from lpk.core.evidence.ledger import Ledger, Snapshot

FOLDER = click.option(
    "--ledger",
    "folder",
    envvar="LPK_LEDGER",
    default=Path(),
    show_default="the working directory",
    type=click.Path(path_type=Path),
    help="The ledger's folder.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def ledger() -> None:
    """Keep an evidence ledger: papers, quotes, claims, and how far each claim has come."""


def opened_at(folder: Path) -> tuple[Ledger, Snapshot]:
    """A ledger, and what is true in it now, with its full texts at hand."""
    from lpk.core.evidence.ledger import Ledger
    from lpk.core.evidence.work import snapshot

    opened = Ledger(folder)
    return opened, snapshot(opened, installed())


def tell(as_json: bool, value: Any, say: Callable[[], None]) -> None:
    """A result, as JSON or in words."""
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        say()
