"""``lpk study``: a grid of searches in, tables and a report out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lpk.commands.console import progress, table
from lpk.commands.options import memory_options
from lpk.commands.run import quieten_libraries
from lpk.core.registry import installed


@click.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="The study's folder.  [default: runs/ and the file's name]"
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="Processes that do cells at once.  [default: 1]")
@memory_options(
    "What each job may take for models and hidden states, e.g. 6GB.  [default: a share of what the machine has free]"
)
@click.option(
    "--store",
    envvar="LPK_STORE",
    metavar="URL",
    help="Keep measurements where others find them, as for lpk run.  [default: memo.sqlite in the study's folder]",
)
@click.option("--dry-run", is_flag=True, help="Print the grid and its cost; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option("--helping", is_flag=True, hidden=True)
def study(
    study: Path,
    out: Path | None,
    jobs: int,
    stream: str,
    memory: int | None,
    store: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    helping: bool,
) -> None:
    """Run every search of a grid, measure every mask that they return, and compare.

    STUDY is a YAML file: models, objectives, searchers, budgets, seeds; lpk schema study prints all that it may say. The
    same command again goes on where a stopped one was.
    """
    from lpk.core.study.plan import plan
    from lpk.core.study.recipe import StudyRecipe
    from lpk.core.study.run import execute

    quieten_libraries()
    registry, wanted = installed(), StudyRecipe.read(study)
    planned = plan(wanted, registry) if not helping else {}
    if dry_run:
        if as_json:
            click.echo(json.dumps(planned, indent=2))
        else:
            _show(planned)
        return
    out = out or Path("runs") / study.stem
    again = ["study", str(study), "--out", str(out), "--helping", "--quiet"]
    with progress(quiet) as shown:
        if planned:
            shown.stage(f"{planned['cells']} searches, {_cost(planned)}")
        done = execute(
            wanted,
            registry,
            out,
            shown,
            store,
            jobs=jobs,
            again=again,
            helping=helping,
            stream=stream,
            memory=memory,
        )
    if not helping:
        click.echo(json.dumps(done, indent=2) if as_json else _summary(done))


def _show(planned: dict[str, Any]) -> None:
    """The plan: what each searcher costs over all its cells."""
    rows = [
        [
            name,
            str(row["cells"]),
            f"{row['masks']:,}",
            f"{'' if row['exact'] else 'about '}{row['layer_forwards']:,}"
            + (f" and {row['unknown']} unknown" if row["unknown"] else ""),
            f"{row['naive']:,}",
        ]
        for name, row in planned["searchers"].items()
    ]
    total = [
        sum(row[key] for row in planned["searchers"].values()) for key in ("cells", "masks", "layer_forwards", "naive")
    ]
    rows.append(["all", *(f"{value:,}" for value in total)])
    click.echo(", ".join(f"{name}: {layers} layers" for name, layers in planned["models"].items()))
    table(["SEARCHER", "CELLS", "MASKS", "LAYER-FORWARDS", "WITHOUT SHARING"], rows)
    for name, count in planned["measuring"].items():
        click.echo(f"measuring {name}: {count:,} layer-forwards")
    click.echo(f"in all {_cost(planned)}")


def _cost(planned: dict[str, Any]) -> str:
    """The whole of it in words."""
    searched = sum(row["layer_forwards"] for row in planned["searchers"].values())
    whole = searched + sum(planned["measuring"].values())
    unknown = sum(row["unknown"] for row in planned["searchers"].values())
    also = f", and what {unknown} of the searches take, which cannot be told" if unknown else ""
    return f"about {whole:,} layer-forwards if nothing is known yet{also}"


def _summary(done: dict[str, Any]) -> str:
    failed = done["failed"]
    return "\n".join(
        [
            f"{done['cells']} cells, {len(failed)} failed",
            f"  cost               {done['layer_forwards']:,} layer-forwards, each cell by itself; "
            f"{done['naive_layer_forwards']:,} without prefix sharing",
            *(f"  failed             {line}" for line in failed),
            f"  report             {done['report']}",
            f"  everything         {done['directory']}",
        ]
    )
