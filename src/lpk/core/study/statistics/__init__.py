"""What a study's tables say, with how sure they are: every function takes rows and returns plain values for JSON.

The questions and the first three statistics are those of "Rethinking Layer Redundancy" (https://arxiv.org/abs/2604.24938):
does the perplexity of a pruned model rank searchers as its accuracy does (Fig. 2), how far do searchers differ under one
objective (Fig. 3), do masks depend on the objective or on the searcher (Fig. 1). The paper has one calibration draw and
no tests; here every claim has a p-value, corrected over its family, and draws are a factor like the others. Methods are
in :mod:`lpk.core.study.inference`.
"""

from __future__ import annotations

from collections.abc import Sequence

from lpk.core.study import inference
from lpk.core.study.statistics.fronts import fronts
from lpk.core.study.statistics.masks import overlap
from lpk.core.study.statistics.outcomes import Found, Outcome, outcomes
from lpk.core.study.statistics.quality import rank_agreement, spread
from lpk.core.study.statistics.searches import BASELINE, against_baseline, cost, regret
from lpk.core.study.statistics.variance import decomposition
from lpk.core.study.tables import Cell, Front, Measure, Trial

__all__ = [
    "BASELINE",
    "Found",
    "Outcome",
    "against_baseline",
    "analyse",
    "cost",
    "decomposition",
    "fronts",
    "outcomes",
    "overlap",
    "rank_agreement",
    "regret",
    "spread",
]


def analyse(
    cells: Sequence[Cell],
    measures: Sequence[Measure],
    trials: Sequence[Trial],
    protected: Sequence[int] = (0, -1),
    undominated: Sequence[Front] = (),
) -> Found:
    """All of it, as one value for ``statistics.json``; of fronts only where there are some."""
    every = outcomes(cells, measures)

    def candidates(cell: Cell) -> int:
        return cell.layers - len({layer % cell.layers for layer in protected})

    return {
        "alpha": inference.ALPHA,
        "cells": {"done": len(every), "failed": len(cells) - len(every)},
        "rank_agreement": rank_agreement(every),
        "spread": spread(every),
        "overlap": overlap(every, candidates),
        "cost": cost(every),
        "decomposition": decomposition(every),
        "regret": regret(every, trials),
        "against_baseline": against_baseline(every),
        **({"fronts": fronts(every, undominated)} if undominated else {}),
    }
