"""A finished cell and what its mask is worth; and how such outcomes are grouped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar

from lpk.core.errors import UsageError
from lpk.core.study.tables import DENSE, Cell, Front, Measure, Trial

Found = dict[str, Any]
#: What names a cell: model, objective, searcher, budget, seed.
Key = tuple[str, str, str, int, int]
#: The measures of one mask: of perplexity and of accuracy, each by what it was measured on.
Measured = dict[str, dict[str, Measure]]
T = TypeVar("T")
NAMES = ("model", "objective", "searcher", "budget", "seed")


@dataclass(frozen=True)
class Outcome:
    """A finished cell and what its mask is worth.

    Attributes:
        perplexity: the mean over held-out texts, as in the paper's Table 2; None where it was not measured or is infinite.
        accuracy: the mean over tasks in percent, as in its Table 1.
        accuracy_error: its standard error from the finite number of questions, the tasks taken as independent.
    """

    cell: Cell
    perplexity: float | None
    accuracy: float | None
    accuracy_error: float | None

    @property
    def loss(self) -> float | None:
        """The calibration loss, where it is a number."""
        return _finite(self.cell.calibration_loss)

    @property
    def log_perplexity(self) -> float | None:
        """Its logarithm: an exploding model must not outweigh all others."""
        return math.log(self.perplexity) if self.perplexity else None

    @classmethod
    def of(cls, cell: Cell, texts: Sequence[Measure], tasks: Sequence[Measure]) -> Outcome:
        """The averages of a cell's measures."""
        errors = [task.standard_error for task in tasks if task.standard_error is not None]
        return cls(
            cell,
            _finite(fmean(text.value for text in texts)) if texts else None,
            _finite(100 * fmean(task.value for task in tasks)) if tasks else None,
            100 * math.hypot(*errors) / len(tasks) if tasks and len(errors) == len(tasks) else None,
        )


def outcomes(cells: Sequence[Cell], measures: Sequence[Measure]) -> list[Outcome]:
    """The finished cells with their averages.

    A task's plain accuracy is taken where there is one, else the length-normalised. Averages of one model are over the
    texts and tasks that all its cells have, or they could not be compared.

    Raises:
        UsageError: two finished cells have one name, or a measure is none of a cell's.
    """
    done = {key(cell): cell for cell in cells if cell.status == "done"}
    if len(done) < sum(cell.status == "done" for cell in cells):
        raise UsageError("cells: two have the same model, objective, searcher, budget and seed")
    values = _measured(measures, done, {key(cell) for cell in cells})
    shared = {
        (model, kind): set.intersection(*(set(values[one][kind]) for one in done if one[0] == model))
        for model in {one[0] for one in done}
        for kind in ("perplexity", "accuracy")
    }
    return [
        Outcome.of(
            cell,
            *(
                [values[one][kind][name] for name in sorted(shared[cell.model, kind])]
                for kind in ("perplexity", "accuracy")
            ),
        )
        for one, cell in sorted(done.items())
    ]


def _measured(measures: Iterable[Measure], done: Mapping[Key, Cell], there: set[Key]) -> dict[Key, Measured]:
    """The texts and tasks of every finished cell."""
    values: dict[Key, Measured] = {one: {"perplexity": {}, "accuracy": {}} for one in done}
    for measure in measures:
        if measure.searcher == DENSE:
            continue
        if (of := key(measure)) not in there:
            raise UsageError(f"measures: {measure.measure} is of a cell that is not there: {of}")
        if of in done and measure.kind != "calibration":
            known = values[of]["perplexity" if measure.kind == "perplexity" else "accuracy"]
            if measure.kind != "accuracy-normalised" or measure.measure not in known:
                known[measure.measure] = measure
    return values


def by(rows: Iterable[T], name: Callable[[T], Any]) -> dict[Any, list[T]]:
    """Rows that share a name, in the order in which names come."""
    found: dict[Any, list[T]] = {}
    for row in rows:
        found.setdefault(name(row), []).append(row)
    return found


def groups(
    every: Sequence[Outcome], name: Callable[[Cell], tuple[Any, ...]]
) -> list[tuple[tuple[Any, ...], list[Outcome]]]:
    """Outcomes that share a name, in the names' order."""
    return sorted(by(every, lambda outcome: name(outcome.cell)).items())


def setting(cell: Cell) -> tuple[str, int, str]:
    """What searchers are compared within."""
    return cell.model, cell.budget, cell.objective


def draw(row: Cell | Trial | Front) -> tuple[str, str, int, int]:
    """What losses can be compared within."""
    return row.model, row.objective, row.budget, row.seed


def key(row: Cell | Measure | Trial | Front) -> Key:
    """What names a cell."""
    return row.model, row.objective, row.searcher, row.budget, row.seed


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
