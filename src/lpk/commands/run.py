"""``lpk run``: flags and recipe in, summary out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from lpk.commands.console import progress
from lpk.commands.options import memory_options
from lpk.commands.summary import plan_text, summary_text
from lpk.core.errors import UsageError, did_you_mean
from lpk.core.pruning.recipe import Choice, Recipe
from lpk.core.registry import Registry, installed


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option("--model", help="demo, a local directory, a hub id, or a .gguf file.  [default: demo]")
@click.option("--objective", help="What 'the model still works' means.  [default: perplexity]")
@click.option("--scorer", help="Prior knowledge for the searcher, or 'none'.  [default: angular]")
@click.option("--searcher", help="Which masks to try.  [default: optuna]")
@click.option("--executor", help="Runs the layers: local, cuda.  [default: cuda on such a device, else local]")
@click.option("--remove", help="How many layers to remove: 8, or 25% (rounded down).  [default: 25%]")
@click.option("--protect", help="Layers never removed, or 'none'; -1 is the last.  [default: 0,-1]")
@click.option(
    "--calibration",
    help="wikitext2, arc-easy, piqa, gsm8k (shipped), a text, .jsonl, or token ids as .npy or .safetensors.",
)
@click.option("--field", help="The text field of a .jsonl file.  [default: text]")
@click.option("--sequences", type=int, help="Calibration sequences taken from a text.  [default: 8]")
@click.option("--length", type=int, help="Tokens in each.  [default: 256]")
@click.option(
    "--held-out",
    help="File to report perplexity on.  [default: the calibration text's last quarter; beside ids the shipped text]",
)
@click.option(
    "--dtype",
    help="What the search runs in: float32, bfloat16, float16, or auto: what is fast here.  [default: auto]",
)
@click.option(
    "--confirm", type=int, help="Finalists measured again in float32, if the search ran in less.  [default: 3]"
)
@click.option("--device", help="auto, cpu, cuda, cuda:1 ...  [default: auto]")
@click.option("--seed", type=int, help="Draws the calibration sequences, seeds the searcher.  [default: 0]")
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(["pickle", "remote-code"]),
    help="Load pickled weights; run a model's own code.",
)
@click.option(
    "-O",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A plugin's option, e.g. trials=80 or searcher.trials=80.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder.  [default: one under runs/, named after the recipe]",
)
@memory_options("What the model and its hidden states may take, e.g. 6GB.  [default: what the machine has free]")
@click.option(
    "--store",
    envvar="LPK_STORE",
    metavar="URL",
    help="Keep measurements where other runs find them: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE."
    "  [default: memo.sqlite in the run's folder; or $LPK_STORE]",
)
@click.option("--resume", type=click.Path(path_type=Path), metavar="DIR", help="Go on with the run in this folder.")
@click.option("--dry-run", is_flag=True, help="Print the plan and its cost; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def run(
    recipe: Path | None, options: tuple[str, ...], out: Path | None, stream: str, memory: int | None,
    store: str | None, resume: Path | None, dry_run: bool, as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Remove layers from a model, measure what it costs, write the smaller model.

    RECIPE is a YAML file that says what to do (lpk schema tells its keys); flags win over it. The same command again
    goes on where a stopped one was.
    """
    from lpk.core.pruning.parts import resolved
    from lpk.core.pruning.plan import plan
    from lpk.core.pruning.run import execute
    from lpk.core.pruning.run_directory import default_path, read_run

    quieten_libraries()
    registry = installed()
    given = {key: value for key, value in flags.items() if value not in (None, ())}
    if resume:
        if given or options or recipe or out:
            raise UsageError("--resume takes the whole recipe from its folder; leave the other flags away")
        record = read_run(resume)
        if record is None:
            raise UsageError(f"--resume {resume}: no run is there (no run.json)")
        wanted, out = Recipe.parse(record["recipe"], f"{resume}/run.json"), resume.absolute()
        began = Path(record.get("started_in", "."))
        if began.is_dir():
            os.chdir(began)  # relative paths in the recipe are relative to it
        elif record["status"] != "complete":
            raise UsageError(
                f"--resume {resume}: the run began in {began}, which is gone; its paths may be relative to it"
            )
    else:
        values = _with_flags(Recipe.read(recipe) if recipe else {}, given)
        wanted = _with_options(Recipe.parse(values, str(recipe or "")), options, registry)
    out = out or default_path(resolved(wanted, registry))
    if dry_run:
        planned = plan(wanted, registry, out, store, stream=stream, memory=memory)
        click.echo(json.dumps(planned, indent=2) if as_json else plan_text(planned))
        return
    with progress(quiet) as shown:
        done = execute(wanted, registry, out, shown, store, stream=stream, memory=memory)
    click.echo(json.dumps({"directory": str(out), **done}, indent=2) if as_json else summary_text(out, done))


#: Flags that set a key inside a recipe's section.
_SECTIONS = {
    "calibration": ("calibration", "source"),
    "field": ("calibration", "field"),
    "sequences": ("calibration", "sequences"),
    "length": ("calibration", "length"),
    "held_out": ("held_out", "source"),
}


def _with_flags(values: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """Recipe values overridden by flags. A plugin named by a flag brings its own options, not those of another."""
    merged = dict(values)
    for name, value in flags.items():
        section, key = _SECTIONS.get(name, (name, None))
        if key is None:
            merged[name] = list(value) if isinstance(value, tuple) else value
        else:
            before = merged.get(section) or {}
            merged[section] = {**(before if isinstance(before, dict) else {"source": before}), key: value}
    return merged


def _with_options(recipe: Recipe, options: tuple[str, ...], registry: Registry) -> Recipe:
    """Give each ``-O name=value`` to the chosen plugin that has this option.

    Raises:
        UsageError: none has it, or several do.
    """
    chosen: dict[str, Choice] = {
        k: v
        for k in ("objective", "scorer", "searcher", "executor")
        if (v := getattr(recipe, k)) is not None and v.name != "auto"
    }
    known = {
        kind: set(registry.find(kind, choice.name).component.options.model_fields) for kind, choice in chosen.items()
    }
    for option in options:
        path, equals, value = option.partition("=")
        kind, dot, name = path.rpartition(".")
        if not equals or not name:
            raise UsageError(f"-O {option}: wanted NAME=VALUE, such as trials=80")
        if dot and kind not in chosen:
            raise UsageError(f"-O {option}: this run has no {kind!r}{did_you_mean(kind, chosen)}")
        having = [k for k in ([kind] if dot else chosen) if name in known[k]]
        if not having:
            every = {key for keys in known.values() for key in keys}
            names = ", ".join(choice.name for choice in chosen.values())
            raise UsageError(f"-O {option}: none of {names} has an option {name!r}{did_you_mean(name, every)}")
        if len(having) > 1:
            ways = " or ".join(f"-O {k}.{name}={value}" for k in having)
            raise UsageError(f"-O {option}: {' and '.join(having)} both have it; say which: {ways}")
        chosen[having[0]] = chosen[having[0]].with_option(name, value)
    return recipe.model_copy(update=chosen)


def quieten_libraries() -> None:
    """Progress is ours to show; transformers' bars and notes would write over it.

    By its own variables, before it is imported: that takes a second, which a refusal need not.
    """
    for name, value in (
        ("TQDM_DISABLE", "1"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
    ):
        os.environ.setdefault(name, value)
