"""The tidy tables of a study, and how they are read and written.

One row is one value: a ``Cell`` is one search, a ``Measure`` one quality of the mask it found, a ``Trial`` one mask that it
tried, a ``Front`` one part of the loss of a mask that no other one beats. CSV for people and every tool, Parquet for the large
one. The same rows give the same CSV bytes. What each column holds stands beside it below; of a study done twice on one machine
``seconds`` alone differ.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.files import write_bytes, write_text

#: The searcher named by measures of the dense model; their budget and seed are 0, their objective is "".
DENSE = "dense"
STATUSES = ("done", "failed")
#: ``calibration`` is a loss (less is better) on the calibration draw, ``perplexity`` e to the mean loss on held-out text;
#: accuracies are shares of 1, plain or with log-likelihoods divided by the answer's length.
KINDS = ("calibration", "perplexity", "accuracy", "accuracy-normalised")


@dataclass(frozen=True)
class Row:
    """What the rows of all tables have in common."""

    #: The table's file, without ending.
    FILE: ClassVar[str]

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The names of the table's columns."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def parse(cls, texts: Mapping[str, str | None]) -> Self:
        """A row from a CSV file's words.

        Raises:
            ValueError: a column is missing, unknown or not what it should hold.
        """
        if wrong := set(cls.columns()) ^ set(texts):
            raise ValueError(f"columns {sorted(map(str, wrong))} are missing or unknown")
        values: dict[str, Any] = {}
        for column, kind in _kinds(cls).items():
            try:
                values[column] = _READ[kind](texts[column] or "")
            except (ValueError, KeyError):
                raise ValueError(f"{column} {texts[column]!r} is no {kind}") from None
        return cls(**values)


R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Cell(Row):
    """One search: who looked for which layers on which draw, what it found, and what that took.

    ``searcher`` is the row's label: with model, objective, budget and seed it names the cell.
    """

    FILE: ClassVar[str] = "cells"

    model: str
    #: Layers of the dense model.
    layers: int
    objective: str
    searcher: str
    #: Empty where the searcher asks for no scores.
    scorer: str
    #: Layers removed.
    budget: int
    #: Which calibration draw.
    seed: int
    status: str
    #: Empty where nothing went wrong.
    error: str
    removed: tuple[int, ...]
    #: The objective's loss of ``removed`` on this draw.
    calibration_loss: float | None
    #: Different masks that the search asked for.
    masks: int
    #: (mask, sequence) pairs measured.
    measurements: int
    layer_forwards: int
    #: Layer-forwards that whole forwards of the same masks would have taken.
    naive_layer_forwards: int
    #: What the search took here, to its loss measured. What the memo or an earlier cell of the study knew took no time:
    #: it depends on the order of cells, on resuming and on what else ran. Compare ``layer_forwards``, which count a cell by
    #: itself.
    seconds: float

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is none of {', '.join(STATUSES)}")
        if self.status == "done" and len(self.removed) != self.budget:
            raise ValueError(f"{len(self.removed)} layers removed, the budget is {self.budget}")

    @classmethod
    def failed(
        cls, *, model: str, layers: int, objective: str, searcher: str, budget: int, seed: int, error: str
    ) -> Self:
        """A search of which nothing is known but why it failed, in one line."""
        return cls(
            model=model,
            layers=layers,
            objective=objective,
            searcher=searcher,
            scorer="",
            budget=budget,
            seed=seed,
            status="failed",
            error=" ".join(error.split()),
            removed=(),
            calibration_loss=None,
            masks=0,
            measurements=0,
            layer_forwards=0,
            naive_layer_forwards=0,
            seconds=0.0,
        )


@dataclass(frozen=True)
class Measure(Row):
    """One quality of one cell's mask, or of the dense model."""

    FILE: ClassVar[str] = "measures"

    model: str
    objective: str
    searcher: str
    budget: int
    seed: int
    #: Such as "perplexity", "kl", "task-margin", "piqa".
    measure: str
    kind: str
    value: float
    standard_error: float | None
    #: Sequences or questions that ``value`` is a mean over.
    items: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")


@dataclass(frozen=True)
class Trial(Row):
    """One mask that one search tried, in the order of the search."""

    FILE: ClassVar[str] = "trials"

    model: str
    objective: str
    searcher: str
    budget: int
    seed: int
    step: int
    removed: tuple[int, ...]
    sequences: int
    loss: float
    #: Whether a race ended here for this mask, before all sequences.
    stopped: bool


@dataclass(frozen=True)
class Front(Row):
    """The loss under one part of the objective of a mask that no other one that the search tried beats in every part.

    Of a search for an objective that is made of several; a mask has a row for each. Long, for two objectives may be made
    of other parts. From the best first part on.
    """

    FILE: ClassVar[str] = "fronts"

    model: str
    objective: str
    searcher: str
    budget: int
    seed: int
    removed: tuple[int, ...]
    #: The objective that the cell's is made of.
    part: str
    #: On the calibration draw, as the search measured it and without the part's weight.
    loss: float


def write_csv(path: Path, rows: Iterable[Row], kind: type[Row]) -> None:
    """Write a table with its header, whole or not at all; floats keep every bit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(kind.columns())
    writer.writerows([_text(value) for value in astuple(row)] for row in rows)
    write_text(path, text.getvalue())


def write_records(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that have the same keys, in the same way; the keys are the columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def read_csv(path: Path, kind: type[R]) -> list[R]:
    """Read a table.

    Raises:
        UsageError: there is none, or a row of it is not one of these.
    """
    rows: list[R] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, texts in enumerate(csv.DictReader(file, strict=True), start=1):
                try:
                    rows.append(kind.parse(texts))
                except ValueError as error:
                    raise UsageError(f"{path}, row {number}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: no table of {kind.FILE} ({getattr(error, 'strerror', None) or error})") from None
    return rows


def write_parquet(path: Path, rows: Iterable[Row], kind: type[Row]) -> None:
    """Write a table as Parquet, whole or not at all; layers are lists of integers there.

    Raises:
        EnvironmentMissing: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise EnvironmentMissing('Parquet needs pyarrow: pip install "lpk[study]"') from None

    types = {
        "str": pyarrow.string(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "bool": pyarrow.bool_(),
        "float | None": pyarrow.float64(),
        "tuple[int, ...]": pyarrow.list_(pyarrow.int16()),
    }
    every = list(rows)
    schema = pyarrow.schema([(column, types[name]) for column, name in _kinds(kind).items()])
    columns = {column: [getattr(row, column) for row in every] for column in kind.columns()}
    whole = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), whole, compression="zstd")
    write_bytes(path, whole.getvalue())


def _flag(text: str) -> bool:
    return {"1": True, "0": False}[text]


_READ: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _flag,
    "float | None": lambda text: float(text) if text else None,
    "tuple[int, ...]": lambda text: tuple(map(int, text.split())),
}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return repr(value) if isinstance(value, float) else str(int(value) if isinstance(value, bool) else value)


def _kinds(row: type[Row]) -> dict[str, str]:
    """Column -> its type as it is written above."""
    return {field.name: str(field.type) for field in fields(row)}
