"""``lpk schema``: what a recipe or a study may say, for editors and for checking."""

from __future__ import annotations

import json
from typing import Any

import click
from pydantic import BaseModel

from lpk.core.registry import KINDS, Entry, Registry, installed

Schema = dict[str, Any]
#: Mappings for which a word may stand.
WORDS = ("CalibrationRecipe", "HeldOutRecipe", "ModelRecipe")
#: Keys of a study that take one value, or several.
SEVERAL = ("models", "remove", "seeds", "texts", "tasks")
BUDGET = {"type": ["integer", "string"]}


@click.command()
@click.argument("of", type=click.Choice(["run", "study"]), default="run")
def schema(of: str) -> None:
    """Print the JSON schema of a recipe of lpk run, or of a file of lpk study.

    The options of every installed plugin are included.
    """
    described = (_study if of == "study" else _run)(installed())
    described["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    click.echo(json.dumps(described, indent=2))


def _run(registry: Registry) -> Schema:
    from lpk.core.pruning.recipe import Recipe

    described = _described(Recipe)
    properties = described["properties"]
    for kind in (kind for kind in KINDS if kind in properties):  # a run has neither sources nor rules
        properties[kind] = _as(properties[kind], _plugins(described, registry, kind))
    properties["remove"] = _as(properties["remove"], BUDGET)
    properties["allow"] = _several(properties["allow"], properties["allow"]["items"])
    return described


def _study(registry: Registry) -> Schema:
    from lpk.core.study.recipe import StudyRecipe

    described = _described(StudyRecipe)
    properties, definitions = described["properties"], described["$defs"]
    definitions["scorer"] = _plugins(described, registry, "scorer")
    scorer = {"$ref": "#/$defs/scorer"}
    properties["scorer"] = _as(properties["scorer"], scorer)
    for kind, title in (("objective", "ObjectiveRecipe"), ("searcher", "SearcherRecipe")):
        beside = {key: value for key, value in definitions.pop(title)["properties"].items() if key != "name"}
        if "scorer" in beside:
            beside["scorer"] = _as(beside["scorer"], {"anyOf": [{"const": "default"}, scorer]})
        properties[f"{kind}s"] = _several(properties[f"{kind}s"], _plugins(described, registry, kind, beside))
    for budgets in (properties["remove"], definitions["ModelRecipe"]["anyOf"][1]["properties"]["remove"]):
        budgets["items"] = BUDGET
    for key in SEVERAL:
        properties[key] = _several(properties[key], properties[key]["items"])
    return described


def _as(old: Schema, new: Schema) -> Schema:
    """What a key is for, with what it may say put anew."""
    return {key: old[key] for key in ("description", "default") if key in old} | new


def _several(old: Schema, item: Schema) -> Schema:
    """A key that takes one value, or a list of such."""
    return _as(old, {"anyOf": [item, {"type": "array", "items": item, "minItems": old.get("minItems", 0)}]})


def _described(recipe: type[BaseModel]) -> Schema:
    """The schema of its keys, plugins aside."""
    described = recipe.model_json_schema()
    definitions = described["$defs"]
    definitions.pop("Choice", None)
    for name in definitions.keys() & set(WORDS):
        definitions[name] = {"anyOf": [{"type": "string"}, definitions[name]]}
    described["properties"]["protect"]["type"] = ["integer", "string", "array"]
    return described


def _plugins(described: Schema, registry: Registry, kind: str, beside: Schema | None = None) -> Schema:
    """One of the installed plugins of a kind: its name, or a mapping of its name, its options and what else goes beside."""
    entries = [entry for entry in registry.entries if entry.kind == kind]
    ways: list[Schema] = [{"enum": sorted({name for entry in entries for name in (entry.name, entry.qualified)})}]
    for entry in entries:
        options = entry.component.options.model_json_schema()
        for name, definition in options.pop("$defs", {}).items():
            described["$defs"].setdefault(name, definition)  # the recipe's own is there already, and knows of words
        ways.append(_with_options(entry, options, beside or {}))
    if kind == "scorer":
        ways.append({"enum": ["none", None]})
    if kind == "executor":
        ways.append({"const": "auto"})
    return {"anyOf": ways}


def _with_options(entry: Entry, options: Schema, beside: Schema) -> Schema:
    """``{name: ..., option: value}`` for one plugin."""
    name = {"enum": [entry.name, entry.qualified]}
    return {
        "type": "object",
        "title": entry.qualified,
        "description": entry.component.summary,
        "properties": {"name": name, **options.get("properties", {}), **beside},
        "required": ["name", *options.get("required", [])],
        "additionalProperties": False,
    }
