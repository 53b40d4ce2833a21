"""``lpk schema``: what a recipe may say, for editors and for checking."""

from __future__ import annotations

import json
from typing import Any

import click

from lpk.core.pruning.recipe import Recipe
from lpk.core.registry import KINDS, Entry, installed


@click.command()
def schema() -> None:
    """Print the JSON schema of a run recipe, the options of every installed plugin included."""
    described = Recipe.model_json_schema()
    registry = installed()
    for kind in (kind for kind in KINDS if kind in described["properties"]):  # a run has neither sources nor rules
        entries = [entry for entry in registry.entries if entry.kind == kind]
        ways: list[dict[str, Any]] = [{"enum": sorted({name for e in entries for name in (e.name, e.qualified)})}]
        for entry in entries:
            options = entry.component.options.model_json_schema()
            described["$defs"] |= options.pop("$defs", {})
            ways.append(_with_options(entry, options))
        if kind == "scorer":
            ways.append({"enum": ["none", None]})
        described["properties"][kind] = {"description": described["properties"][kind]["description"], "anyOf": ways}
    for section in ("calibration", "held_out"):
        described["properties"][section] = {"anyOf": [{"type": "string"}, described["properties"][section]]}
    described["properties"]["remove"]["type"] = ["integer", "string"]
    described["properties"]["protect"]["type"] = ["integer", "string", "array"]
    described["$defs"].pop("Choice", None)
    described["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    click.echo(json.dumps(described, indent=2))


def _with_options(entry: Entry, options: dict[str, Any]) -> dict[str, Any]:
    """``{name: ..., option: value}`` for one plugin."""
    name = {"enum": [entry.name, entry.qualified]}
    return {
        "type": "object",
        "title": entry.qualified,
        "description": entry.component.summary,
        "properties": {"name": name, **options.get("properties", {})},
        "required": ["name", *options.get("required", [])],
        "additionalProperties": False,
    }
