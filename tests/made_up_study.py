"""Made-up tables of a study, plausible and seeded: no model was measured for them."""

from __future__ import annotations

import math
import random
from typing import Any

from lpk.core.study.tables import DENSE, Cell, Front, Measure, Trial

MODELS = {"made-up-a": 30, "made-up-b": 24}
OBJECTIVES = ("perplexity", "task-margin")
SEARCHERS = ("one-shot", "greedy", "beam", "evolutionary", "optuna", "quadratic", "block-select")
COST = dict(zip(SEARCHERS, (900, 5_400, 21_000, 7_000, 6_300, 12_000, 760), strict=True))
TASKS = ("arc-easy", "boolq", "piqa")
STUDY: dict[str, Any] = {"title": "Made-up study", "protect": [0, -1], "recipe": {"note": "nothing here was measured"}}


def tables(seed: int = 0, budgets: tuple[int, ...] = (5, 7)) -> tuple[list[Cell], list[Measure], list[Trial]]:
    """2 models x 2 objectives x 7 searchers x budgets x 2 draws; one cell failed."""
    random_ = random.Random(seed)
    cells: list[Cell] = []
    measures: list[Measure] = []
    trials: list[Trial] = []
    for model, layers in MODELS.items():
        measures += _measures((model, "", DENSE, 0, 0), 0.0, 0.0, random_)
        for objective in OBJECTIVES:
            liked = random_.sample(range(1, layers - 1), 9)
            for budget in budgets:
                for searcher in SEARCHERS:
                    for draw in (0, 1):
                        key = (model, objective, searcher, budget, draw)
                        if key == ("made-up-b", "task-margin", "quadratic", 7, 1):
                            error = "the quadratic is not convex: <eigenvalue -0.3>"
                            cells.append(Cell(*_cell(key, layers), "failed", error, (), None, 0, 0, 0, 0, 0.0))
                            continue
                        layer_order = sorted(
                            range(1, layers - 1), key=lambda i: (i not in liked) + 0.8 * random_.random()
                        )
                        removed = tuple(sorted(layer_order[:budget]))
                        missed = len(set(removed) - set(liked))
                        loss = 3 + 0.12 * budget + 0.2 * missed + random_.gauss(0, 0.04)
                        loss = loss if objective == "perplexity" else loss - 4.2
                        cost = int(COST[searcher] * budget / 7 * layers)
                        numbers = (cost // 40, cost // 5, cost, int(1.8 * cost), cost / 50 + random_.random())
                        cells.append(Cell(*_cell(key, layers), "done", "", removed, loss, *numbers))
                        damage = 0.06 * budget + 0.05 * missed + 0.2 * (objective != "perplexity")
                        measures += _measures(
                            key, damage, 1.2 * budget + missed + 3 * (objective == "perplexity"), random_
                        )
                        trials += [
                            Trial(
                                *key,
                                step,
                                tuple(sorted(layer_order[step : step + budget])),
                                8 if step else 4,
                                loss + 0.01 * step,
                                not step,
                            )
                            for step in range(3)
                        ]
    return cells, measures, trials


def fronts(cells: list[Cell], searchers: tuple[str, ...] = ("greedy", "optuna")) -> list[Front]:
    """Fronts of cells as if their objective were made of two: hyperbolas x y = 1 and x y = 1.1, the answer in their middle."""
    rows: list[Front] = []
    for cell in cells:
        if cell.status == "done" and cell.objective == "perplexity" and cell.searcher in searchers:
            worse = 1 + 0.1 * searchers.index(cell.searcher)
            others = [layer for layer in range(1, cell.layers - 1) if layer not in cell.removed]
            for x in (0.5, 0.7, 1.0, 1.4, 2.0):
                swapped = cell.removed if x == 1 else tuple(sorted((*cell.removed[1:], others[int(5 * x)])))
                of = cell.model, cell.objective, cell.searcher, cell.budget, cell.seed, swapped
                rows += [Front(*of, "likelihood", worse * x), Front(*of, "margin", worse / x)]
    return rows


def _cell(key: tuple[str, str, str, int, int], layers: int) -> tuple[str, int, str, str, str, int, int]:
    model, objective, searcher, budget, draw = key
    return model, layers, objective, searcher, "angular" if searcher == "one-shot" else "", budget, draw


def _measures(key: tuple[str, str, str, int, int], worse: float, lost: float, random_: random.Random) -> list[Measure]:
    perplexity = math.exp(2.9 + worse + random_.gauss(0, 0.03))
    found = [Measure(*key, "perplexity", "perplexity", perplexity, 0.02 * perplexity, 64)]
    for task in TASKS:
        share = 0.7 - lost / 100 + random_.gauss(0, 0.012)
        found.append(Measure(*key, task, "accuracy", share, math.sqrt(share * (1 - share) / 800), 800))
        found.append(Measure(*key, task, "accuracy-normalised", share + 0.01, None, 800))
    return found
