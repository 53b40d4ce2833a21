"""How alike masks are (Fig. 1): do they depend on the objective, on the searcher, or on the draw?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from lpk.core.study import inference
from lpk.core.study.statistics.outcomes import Found, Outcome, groups, mean
from lpk.core.study.tables import Cell


def overlap(every: Sequence[Outcome], candidates: Callable[[Cell], int]) -> list[Found]:
    """Do masks depend on the objective? Jaccard indices within and across objectives, for each model and budget.

    Within: one draw number, one objective, two searchers. Across: one draw number, two objectives, two searchers. The
    test permutes the objectives' labels within (searcher, draw): if the objective did not matter, they would be
    exchangeable there. It is one-sided, on mean within minus mean across. Masks of one draw number and two objectives
    whose calibration data differ have nothing in common but the searcher's habits, so the test is of an objective with
    its data. ``changed`` compares masks that differ in what it names only; where data differ, draw and searcher is what
    to hold ``across`` against. ``random`` is what masks drawn at random from the ``candidates`` would share.
    """
    rows = []
    for (model, budget), group in groups(every, lambda cell: (cell.model, cell.budget)):
        cells = [outcome.cell for outcome in group]
        pairs = [(a, b, inference.jaccard(a.removed, b.removed)) for a, b in combinations(cells, 2)]
        same = {
            "searcher": [j for a, b, j in pairs if a.objective == b.objective and a.seed == b.seed],
            "objective": [j for a, b, j in pairs if a.searcher == b.searcher and a.seed == b.seed],
            "draw": [j for a, b, j in pairs if a.searcher == b.searcher and a.objective == b.objective],
            "draw and searcher": [
                j for a, b, j in pairs if a.objective == b.objective and a.seed != b.seed and a.searcher != b.searcher
            ],
        }
        rows.append(
            {
                "model": model,
                "budget": budget,
                "n": len(cells),
                **_objective_test(cells),
                "within_objective": {
                    objective: mean(
                        j for a, b, j in pairs if a.objective == b.objective == objective and a.seed == b.seed
                    )
                    for objective in sorted({cell.objective for cell in cells})
                },
                "changed": {name: mean(found) for name, found in same.items()},
                "identical": {name: sum(j == 1 for j in found) for name, found in same.items()},
                "pairs": {name: len(found) for name, found in same.items()},
                "random": inference.random_jaccard(candidates(cells[0]), budget),
            }
        )
    inference.correct(rows)
    return rows


def _objective_test(cells: Sequence[Cell]) -> Found:
    """Within, across, their difference with a bootstrap over searchers, and the permutation test of the labels."""
    import numpy as np

    pairs = [
        (i, k)
        for i, k in combinations(range(len(cells)), 2)
        if cells[i].seed == cells[k].seed and cells[i].searcher != cells[k].searcher
    ]
    left, right = np.array(pairs, dtype=int).reshape(-1, 2).T
    label, searcher = (
        np.unique([getattr(cell, name) for cell in cells], return_inverse=True)[1] for name in ("objective", "searcher")
    )
    inside = label[left] == label[right]
    if inside.all() or not inside.any():  # no pairs at all included
        return dict.fromkeys(("within", "across", "difference", "interval", "p", "smallest_p"))
    shared = np.array([inference.jaccard(cells[i].removed, cells[k].removed) for i, k in pairs])

    def difference(labels: Any, weight: Any) -> Any:
        """Mean within minus mean across, for each row of labels."""
        within = (labels[..., left] == labels[..., right]) * weight
        across = weight - within
        with np.errstate(invalid="ignore"):
            return within @ shared / within.sum(-1) - across @ shared / across.sum(-1)

    once = np.ones(len(pairs))
    observed = float(difference(label, once))
    orders, exact = inference.permuted_within([(cell.searcher, cell.seed) for cell in cells])
    permuted = difference(label[orders], once)
    drawn = np.array([difference(label, row[searcher[left]] * row[searcher[right]]) for row in _drawn(searcher)])
    return {
        "within": float(shared[inside].mean()),
        "across": float(shared[~inside].mean()),
        "difference": observed,
        "interval": inference.interval(drawn[np.isfinite(drawn)]),
        "p": inference.p_value(observed, permuted, exact),
        "smallest_p": inference.p_value(float(permuted.max()), permuted, True) if exact else inference.SMALLEST_P,
    }


def _drawn(searcher: Any) -> Any:
    """How often each searcher is in each bootstrap sample of them."""
    import numpy as np

    count = int(searcher.max()) + 1
    return np.random.default_rng(0).multinomial(count, [1 / count] * count, size=inference.BOOTSTRAPS)
