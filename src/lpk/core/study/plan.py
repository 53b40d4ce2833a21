"""What a study will cost, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lpk.core.errors import LpkError
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.parts import DrawSize, Parts, Term
from lpk.core.pruning.search import forecasts, tally_of
from lpk.core.registry import Registry
from lpk.core.study.recipe import CellRecipe, StudyRecipe

#: Seconds that forecasting one cell's search may take.
PATIENCE = 10.0


def plan(study: StudyRecipe, registry: Registry) -> dict[str, Any]:
    """What a study would do and cost, if nothing were known.

    ``searchers`` has the layer-forwards of every search, its scorer's included, each cell by itself; ``exact`` says whether
    they do not depend on losses and scores. ``measuring`` has those of the masks that searches return and of the dense models,
    at most: two searches may return one mask, a task may have fewer questions than asked for.

    Raises:
        LpkError: the study would be refused.
    """
    cells, corpora = study.cells(registry), _Corpora()
    objectives = {cell.objective: cell for cell in cells}.values()
    asked = sum(_asked(study, [cell.parts(registry) for cell in objectives], corpora))
    rows: dict[str, dict[str, Any]] = {}
    returned, dense = 0, dict[tuple[str, int], int]()
    for cell in cells:
        returned += asked * (cell.layers - cell.problem.budget)
        dense[cell.model, cell.seed] = asked * cell.layers
        row = rows.setdefault(
            cell.searcher, {"cells": 0, "masks": 0, "layer_forwards": 0, "naive": 0, "unknown": 0, "exact": True}
        )
        row["cells"] += 1
        for name, count in _searched(cell, cell.parts(registry), corpora).items():
            row[name] = row[name] and count if name == "exact" else row[name] + count
    measuring = {"returned masks, at most": returned, "dense models, at most": sum(dense.values())}
    layers = {cell.model: cell.layers for cell in cells}
    return {"cells": len(cells), "models": layers, "searchers": rows, "measuring": measuring}


@dataclass
class _Corpora:
    """The files that are calibrated and reported on, each read once."""

    _read: dict[tuple[str, str, str], Corpus] = field(default_factory=dict)

    def __call__(self, source: str, column: str = "text", role: str = "calibration") -> Corpus:
        if (source, column, role) not in self._read:
            self._read[source, column, role] = Corpus.read(source, column, role)
        return self._read[source, column, role]

    def drawn(self, terms: Iterable[Term]) -> DrawSize:
        """What a draw of an objective takes.

        Raises:
            UsageError: a file cannot be read, or does not hold what its term is measured on.
        """
        return DrawSize(*map(sum, zip(*map(self._drawn, terms), strict=True)))

    def _drawn(self, term: Term) -> DrawSize:
        corpus = self(term.calibration.source, term.calibration.field, term.role)
        term.check(corpus)
        return term.size(corpus)


def _searched(cell: CellRecipe, parts: Parts, corpora: _Corpora) -> dict[str, int]:
    """Masks and layer-forwards of one cell's search; one ``unknown`` where they cannot be told."""
    drawn = corpora.drawn(parts.terms)
    problem = replace(cell.problem, sequences=drawn.items)
    asked = parts.scored(cell.layers, drawn.items)
    try:
        found, contrary = forecasts(parts.searcher, problem, PATIENCE, asked, scored=bool(parts.scorer))
    except LpkError:  # a search that made-up scores do not suit
        found = contrary = None
    if found is None:
        return {"unknown": 1, "exact": False}
    passed, tally = parts.passes(drawn) * cell.layers, tally_of(asked)
    tally.cost += found.cost
    return {
        "masks": len(tally.masks.keys() | found.masks),
        "layer_forwards": drawn.sequences * tally.cost.layer_forwards // drawn.items + passed,
        "naive": drawn.sequences * tally.cost.naive_layer_forwards // drawn.items + passed,
        "exact": found.agrees(contrary),
    }


def _asked(study: StudyRecipe, objectives: Iterable[Parts], corpora: _Corpora) -> Iterator[int]:
    """Of each thing that the study asks about a mask, how many sequences it is measured on."""
    for parts in objectives:
        yield corpora.drawn(parts.terms).sequences
    for text in study.texts:
        count, _ = corpora(text.source, text.field, "text").size(text.sequences, text.length)
        yield count
    for task in study.tasks:
        corpus = corpora(task.source, role="task")
        corpus.check("questions")
        yield task.items * corpus.options("questions")
