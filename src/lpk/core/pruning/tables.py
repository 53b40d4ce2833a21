"""The tables that a run leaves: each mask that was tried, and the front of an objective of several parts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lpk.core.files import write_text
from lpk.core.pruning.search import Outcome, Trial


def write_tables(folder: Path, outcome: Outcome, parts: Sequence[str]) -> None:
    """Write ``trials.csv``; and ``front.csv``, with the loss under each part, where the objective has several.

    Args:
        folder: where to.
        outcome: of the search.
        parts: what the objective calls those that it is made of.
    """
    columns = ["trial", "step", "removed", "layers_removed", "sequences", "loss", "stopped"]
    _write(folder / "trials.csv", columns, map(_tried, range(len(outcome.trials)), outcome.trials))
    if outcome.front:
        _write(folder / "front.csv", ["removed", "loss", *parts], map(_unbeaten, outcome.front))


def _tried(number: int, trial: Trial) -> list[Any]:
    about = trial.sequences, repr(float(trial.loss)), int(trial.stopped)
    return [number, trial.step, _removed(trial), len(trial.mask), *about]


def _unbeaten(trial: Trial) -> list[Any]:
    return [_removed(trial), *map(repr, map(float, (trial.loss, *trial.loss.parts)))]


def _removed(trial: Trial) -> str:
    return " ".join(map(str, trial.mask.removed))


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, table.getvalue())
