"""A finished pruning study as evidence: its tables read as values, and what each column of a cell means.

The files are those that ``lpk study`` writes. Nothing is shared with the code that wrote them but their columns, so a
check does not rest on what it checks; averages follow arXiv 2604.24938 (its Tables 1 and 2), as the study's own do.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from lpk.core.errors import UsageError
from lpk.core.evidence.records import digest

T = TypeVar("T")
#: The tables of a study; their hashes make the hash of the run.
TABLES = ("cells.csv", "measures.csv", "trials.csv")
#: What is larger is no study's: 200,000 trials are 20 MB.
BYTES = 256 * 2**20
CELLS = 20_000
LAYERS = 500
#: Searches of one model, budget and draw: their masks are compared in pairs.
BESIDE = 300
MEASURES = 1_000
#: How the dense model is called in ``measures.csv``.
DENSE = "dense"
KINDS = ("accuracy", "accuracy-normalised", "perplexity", "calibration")

#: What a cell has a value of, beside each measure of the study under its own name.
COLUMNS = {
    "loss": "calibration loss of the mask that the search returned, on its own objective and draw",
    "regret": "the lowest loss that the search saw, less the lowest that any saw of this model, objective, budget and draw",
    "ppl": "perplexity, the mean over held-out texts",
    "log_ppl": "natural logarithm of ppl",
    "acc": "accuracy in percent, the mean over tasks; length-normalised only for a task without a plain one",
    "loss_rank": "rank of loss among the searchers of this model, objective, budget and draw; 1 is the lowest",
    "ppl_rank": "the same of ppl; 1 is the lowest",
    "acc_rank": "the same of acc; 1 is the highest",
    "depth": "mean place of the removed layers, from 0 (the first layer) to 1 (the last)",
    "n": "layers of the dense model",
    "removed": "layers removed",
    "share": "removed / n",
    "tried": "different masks that the search asked for",
    "cost": "layer-forwards that it took",
    "seconds": "seconds that it took",
}


@dataclass(frozen=True)
class Cell:
    """One search that ended.

    Attributes:
        removed: the layers that its mask removes.
        values: by column or measure; what was not measured or is not finite is not there. Accuracies are in percent.
        dense: the same of the dense model, as far as it has them.
    """

    model: str
    layers: int
    objective: str
    searcher: str
    budget: int
    draw: int
    removed: frozenset[int]
    values: Mapping[str, float]
    dense: Mapping[str, float]

    @property
    def unit(self) -> tuple[str, int, int]:
        """What is independent of other cells: model, budget and draw. Searchers and objectives share these."""
        return self.model, self.budget, self.draw


@dataclass(frozen=True)
class Study:
    """A study's tables.

    Attributes:
        sha256: of the three tables' hashes.
        ended: the day its tables were written (UTC), YYYY-MM-DD.
        failed: searches that gave no mask.
        measures: the names in ``measures.csv``.
        texts: table -> its CSV, as it was hashed.
    """

    sha256: str
    title: str
    ended: str
    cells: tuple[Cell, ...]
    failed: int
    measures: tuple[str, ...]
    texts: Mapping[str, str]

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.model for cell in self.cells))

    @property
    def columns(self) -> tuple[str, ...]:
        """Everything that a cell may have a value of."""
        return tuple(dict.fromkeys([*COLUMNS, *self.measures]))


def read_study(folder: Path) -> Study:
    """Read a finished study.

    Raises:
        UsageError: it is none, or its tables are damaged: where, and what is wrong.
    """
    if missing := [name for name in (*TABLES, "study.json") if not (folder / name).is_file()]:
        raise UsageError(
            f"{folder}: no finished study, it has no {', '.join(missing)}; `lpk study` writes these when it ends"
        )
    files = {name: _bytes(folder / name) for name in (*TABLES, "study.json")}
    texts = {name: _decoded(folder / name, files[name]) for name in TABLES}
    rows = list(_rows(folder / "cells.csv", texts["cells.csv"], _CELL))
    if len(rows) > CELLS:
        raise UsageError(f"{folder / 'cells.csv'}: {len(rows):,} cells, {CELLS:,} at most")
    measured = list(_rows(folder / "measures.csv", texts["measures.csv"], _MEASURE))
    measures = sorted({row["measure"] for row in measured})
    if len(measures) > MEASURES:
        raise UsageError(f"{folder / 'measures.csv'}: {len(measures):,} different measures, {MEASURES:,} at most")
    regrets = _regrets(_rows(folder / "trials.csv", texts["trials.csv"], _TRIAL))
    cells = _cells(folder, rows, measured, regrets)
    return Study(
        sha256=digest({name: hashlib.sha256(files[name]).hexdigest() for name in TABLES}),
        title=_title(files["study.json"]) or f"Pruning study of {', '.join(dict.fromkeys(c.model for c in cells))}",
        ended=datetime.fromtimestamp((folder / "study.json").stat().st_mtime, UTC).date().isoformat(),
        cells=tuple(_ranked(cells)),
        failed=len(rows) - len(cells),
        measures=tuple(measures),
        texts=texts,
    )


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, ties sharing their mean."""
    order = sorted(values)
    return [(bisect_left(order, value) + bisect_right(order, value) + 1) / 2 for value in values]


# -- files ------------------------------------------------------------------------------------------------------------


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > BYTES:
            raise UsageError(f"{path}: larger than {BYTES >> 20} MB, no study's table")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: no UTF-8 at byte {error.start}") from None


def _title(data: bytes) -> str:
    try:
        title = json.loads(data).get("title")
    except (ValueError, RecursionError, AttributeError):
        raise UsageError("study.json: no JSON object; the study's folder is damaged") from None
    return " ".join(title.split())[:300] if isinstance(title, str) and title.isprintable() else ""


def _rows(path: Path, text: str, kinds: Mapping[str, Callable[[str], Any]]) -> Iterator[dict[str, Any]]:
    """The rows of a table, with the columns that are wanted; others may be there."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if missing := [name for name in kinds if header.count(name) != 1]:
            raise UsageError(f"{path}: it should have one column {missing[0]!r}")
        places = {name: header.index(name) for name in kinds}
        for number, fields in enumerate(reader, start=1):
            if len(fields) != len(header):
                raise UsageError(f"{path}, row {number}: {len(fields)} fields, the header has {len(header)}")
            row = {}
            for name, kind in kinds.items():
                try:
                    row[name] = kind(fields[places[name]])
                except ValueError as error:
                    raise UsageError(
                        f"{path}, row {number}: {name} is {error}, not {fields[places[name]][:60]!r}"
                    ) from None
            yield row
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: {error}") from None


def _name(text: str) -> str:
    if not text.isprintable() or len(text) > 300:
        raise ValueError("a printable name of at most 300 characters")
    return text


def _natural(text: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", text):
        raise ValueError("a whole number")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


def _optional(text: str) -> float:
    return _number(text) if text else math.nan


def _layers(text: str) -> frozenset[int]:
    layers = [_natural(each) for each in text.split()]
    if len(set(layers)) < len(layers):
        raise ValueError("different layers")
    return frozenset(layers)


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return read


_KEY: dict[str, Callable[[str], Any]] = {
    "model": _name, "objective": _name, "searcher": _name, "budget": _natural, "seed": _natural,
}  # fmt: skip
_CELL = {
    **_KEY, "layers": _natural, "status": _one_of("done", "failed"), "removed": _layers, "calibration_loss": _optional,
    "masks": _natural, "layer_forwards": _natural, "seconds": _number,
}  # fmt: skip
_MEASURE = {**_KEY, "measure": _name, "kind": _one_of(*KINDS), "value": _number}
_TRIAL = {**_KEY, "removed": _layers, "sequences": _natural, "loss": _number, "stopped": _one_of("0", "1")}


# -- values -----------------------------------------------------------------------------------------------------------


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)


def _setting(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["model"], row["objective"], row["budget"], row["seed"]


def _regrets(trials: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], float]:
    """For each setting and searcher the lowest loss on all sequences that it saw of a whole mask, less the lowest that any saw."""
    most: dict[tuple[Any, ...], int] = {}
    seen: dict[tuple[Any, ...], float] = {}
    for trial in trials:
        setting, sequences, loss = _setting(trial), trial["sequences"], trial["loss"]
        most[setting] = max(sequences, most.get(setting, 0))
        if trial["stopped"] == "0" and len(trial["removed"]) == trial["budget"] and math.isfinite(loss):
            of = setting, trial["searcher"], sequences
            seen[of] = min(loss, seen.get(of, math.inf))
    own = {
        (setting, searcher): loss for (setting, searcher, sequences), loss in seen.items() if sequences == most[setting]
    }
    lowest: dict[tuple[Any, ...], float] = {}
    for (setting, _), loss in own.items():
        lowest[setting] = min(loss, lowest.get(setting, math.inf))
    return {(setting, searcher): loss - lowest[setting] for (setting, searcher), loss in own.items()}


def _cells(
    folder: Path, rows: list[dict[str, Any]], measured: list[dict[str, Any]], regrets: Mapping[tuple[Any, ...], float]
) -> list[Cell]:
    """The cells that are done, with everything but ranks."""
    keys = {_key(row) for row in rows}
    if len(keys) < len(rows):
        raise UsageError(f"{folder / 'cells.csv'}: two cells have the same model, objective, searcher, budget and seed")
    found: dict[tuple[Any, ...], dict[tuple[str, str], float]] = {}
    for row in measured:
        key = _key(row) if row["searcher"] != DENSE else _dense_key(row)
        if row["searcher"] != DENSE and key not in keys:
            raise UsageError(f"{folder / 'measures.csv'}: {row['measure']!r} is of a cell that is not in cells.csv")
        found.setdefault(key, {})[row["kind"], row["measure"]] = row["value"]
    beside = Counter((row["model"], row["budget"], row["seed"]) for row in rows)
    if beside and max(beside.values()) > BESIDE:
        raise UsageError(f"{folder / 'cells.csv'}: more than {BESIDE:,} searches of one model, budget and draw")
    done = [row for row in rows if row["status"] == "done"]
    deep = {row["model"]: row["layers"] for row in done}
    for row in done:
        if not 0 < row["layers"] == deep[row["model"]] <= LAYERS:
            raise UsageError(f"{folder / 'cells.csv'}: a model has one number of layers, 1 to {LAYERS:,}")
        if len(row["removed"]) != row["budget"] or any(layer >= row["layers"] for layer in row["removed"]):
            raise UsageError(f"{folder / 'cells.csv'}: removed is not {row['budget']} of {row['layers']} layers")
    own = {_key(row): _named(found.get(_key(row), {})) for row in done}
    shared = {
        (model, kind): set.intersection(*(set(own[key][kind]) for key in own if key[0] == model))
        for model in {row["model"] for row in done}
        for kind in ("perplexity", "accuracy")
    }
    cells = []
    for row in done:
        named = {kind: shared[row["model"], kind] for kind in ("perplexity", "accuracy")}
        dense = _named(found.get((row["model"], 0), {}) | found.get((row["model"], row["seed"], "calibration"), {}))
        regret = regrets.get((_setting(row), row["searcher"]), math.nan)
        values = _averages(own[_key(row)], named) | _of_search(row, regret)
        without = _averages(dense, named) | {"loss": dense["calibration"].get(row["objective"], math.nan)}
        cells.append(
            Cell(
                row["model"], row["layers"], row["objective"], row["searcher"], row["budget"], row["seed"],
                row["removed"], _finite(values), _finite(without),
            )
        )  # fmt: skip
    return cells


def _dense_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The dense model is measured once, but on the calibration data of every draw."""
    return (row["model"], row["seed"], "calibration") if row["kind"] == "calibration" else (row["model"], 0)


def _named(found: Mapping[tuple[str, str], float]) -> dict[str, dict[str, float]]:
    """Kind -> measure -> value, with accuracies of both kinds as one, in percent."""
    named: dict[str, dict[str, float]] = {"accuracy": {}, "perplexity": {}, "calibration": {}}
    for kind in reversed(KINDS):  # the plain accuracy last, over the normalised
        for (of, measure), value in found.items():
            if of == kind:
                group, scale = ("accuracy", 100) if kind.startswith("accuracy") else (kind, 1)
                named[group][measure] = scale * value
    return named


def _averages(own: Mapping[str, Mapping[str, float]], shared: Mapping[str, set[str]]) -> dict[str, float]:
    """Each measure under its name, and the means of those that all cells of the model have."""
    values = {**own["calibration"], **own["perplexity"], **own["accuracy"]}
    for column, kind in (("ppl", "perplexity"), ("acc", "accuracy")):
        known = [own[kind].get(name, math.nan) for name in sorted(shared[kind])]
        values[column] = fmean(known) if known else math.nan
    values["log_ppl"] = math.log(values["ppl"]) if values["ppl"] > 0 else math.nan
    return values


def _of_search(row: Mapping[str, Any], regret: float) -> dict[str, float]:
    last = row["layers"] - 1
    return {
        "loss": row["calibration_loss"],
        "regret": regret,
        "depth": fmean(row["removed"]) / last if row["removed"] and last else math.nan,
        "n": row["layers"],
        "removed": row["budget"],
        "share": row["budget"] / row["layers"] if row["layers"] else math.nan,
        "tried": row["masks"],
        "cost": row["layer_forwards"],
        "seconds": row["seconds"],
    }


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def _ranked(cells: Iterable[Cell]) -> Iterator[Cell]:
    """The cells with their ranks among the searchers of one setting."""
    for group in grouped(cells, lambda cell: (cell.unit, cell.objective)).values():
        added: dict[str, dict[str, float]] = {cell.searcher: {} for cell in group}
        for column, sign in (("loss", 1), ("ppl", 1), ("acc", -1)):
            known = [cell for cell in group if column in cell.values]
            places = ranks([sign * cell.values[column] for cell in known])
            for cell, place in zip(known, places, strict=True):
                added[cell.searcher][f"{column}_rank"] = place
        yield from (replace(cell, values={**cell.values, **added[cell.searcher]}) for cell in group)


def grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> dict[Any, list[T]]:
    """Items by key, in the order in which they come."""
    found: dict[Any, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
