"""``lpk plugins``: what is installed, what is broken, and what a plugin can be told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from lpk.commands.console import key_values, table
from lpk.core.errors import PluginError, UsageError, did_you_mean
from lpk.core.registry import KINDS, Entry, Registry, describe_options, installed


@click.group()
def plugins() -> None:
    """List installed plugins and describe one."""


@plugins.command("list")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only this kind.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(kind: str | None, as_json: bool) -> None:
    """List every plugin, and every broken one with the reason."""
    registry = installed()
    entries = [entry for entry in registry.entries if kind in (None, entry.kind)]
    if as_json:
        broken = [{**vars(culprit.provider), "reason": culprit.reason} for culprit in registry.broken]
        click.echo(json.dumps({"plugins": [_brief(entry) for entry in entries], "broken": broken}, indent=2))
        return
    ambiguous = _ambiguous(registry)
    rows = [
        (e.kind, e.qualified if (e.kind, e.name) in ambiguous else e.name, e.component.summary, str(e.provider))
        for e in entries
    ]
    table(("KIND", "NAME", "WHAT IT DOES", "FROM"), rows)
    for culprit in registry.broken:
        click.echo(f"broken: {culprit.provider.entry_point} of {culprit.provider}: {culprit.reason}", err=True)


@plugins.command("show")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), help="If several kinds have one of this name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, kind: str | None, as_json: bool) -> None:
    """Describe the plugin NAME: options, paper, where it is from."""
    entry = _find(installed(), name, kind)
    options = describe_options(entry.component.options)
    if as_json:
        click.echo(json.dumps({**_brief(entry), "options": options}, indent=2))
        return
    component = entry.component
    click.echo(f"{entry.kind} {entry.name}: {component.summary}")
    facts = {
        "from": f"{entry.provider} ({entry.provider.module})",
        "qualified name": entry.qualified,
        "paper": component.reference,
        "needs": f'pip install "{component.extra}"' if component.extra else "",
    }
    for label, value in facts.items():
        if value:
            click.echo(f"  {label}: {value}")
    if options:
        click.echo("  options (-O name=value):")
        table(
            ("NAME", "TYPE", "DEFAULT", "WHAT IT IS"),
            [
                (o["name"], o["type"], "required" if o["required"] else json.dumps(o["default"]), o["help"])
                for o in options
            ],
            indent="    ",
        )
    else:
        click.echo("  options: none")


@plugins.command("check")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), help="If several kinds have one of this name.")
@click.option("-O", "options", multiple=True, metavar="KEY=VALUE", help="Of a source: with which it finds papers.")
def check(name: str, kind: str | None, options: Sequence[str]) -> None:
    """Check that the plugin NAME keeps its promises.

    Exit code 3 if it breaks one.
    """
    from lpk.testing import checks

    registry = installed()
    entry = _find(registry, name, kind)
    failed = 0
    for promise in checks(entry.kind, entry.qualified, registry, key_values(options)):
        try:
            promise()
        except Exception as error:
            failed += 1
            click.echo(f"FAILED  {promise.name}: {type(error).__name__}: {' '.join(str(error).split())}")
        else:
            click.echo(f"ok      {promise.name}")
    if failed:
        raise PluginError(f"{entry.kind} {entry.qualified} breaks {failed} of its promises")


def _find(registry: Registry, name: str, kind: str | None) -> Entry:
    """The one plugin of this name, of whatever kind."""
    kinds = [kind] if kind else list(KINDS)
    having = [k for k in kinds if any(e.kind == k and name in (e.name, e.qualified) for e in registry.entries)]
    if len(having) > 1:
        raise UsageError(f"{name!r} is a {' and a '.join(having)}; say which: --kind {having[0]}")
    if having or kind:
        return registry.find((having or kinds)[0], name)
    for culprit in registry.broken:
        if name == culprit.provider.entry_point:
            raise PluginError(f"plugin {name!r} of {culprit.provider} is broken: {culprit.reason}")
    raise UsageError(f"no plugin {name!r}{did_you_mean(name, (entry.name for entry in registry.entries))}")


def _ambiguous(registry: Registry) -> set[tuple[str, str]]:
    names = [(entry.kind, entry.name) for entry in registry.entries]
    return {name for name in names if names.count(name) > 1}


def _brief(entry: Entry) -> dict[str, Any]:
    component, provider = entry.component, entry.provider
    return {
        "kind": entry.kind,
        "name": entry.name,
        "qualified_name": entry.qualified,
        "summary": component.summary,
        "reference": component.reference,
        "extra": component.extra,
        "target": component.target,
        "distribution": provider.distribution,
        "version": provider.version,
    }
