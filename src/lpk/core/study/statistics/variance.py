"""How much of an outcome's variance the objective, the searcher, the budget and the calibration draw explain.

This is the claim of "Rethinking Layer Redundancy" made measurable: that the objective matters more than the searcher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from itertools import combinations
from operator import attrgetter
from typing import Any

from lpk.core.study import inference
from lpk.core.study.statistics.outcomes import Found, Outcome, groups
from lpk.core.study.tables import Cell

FACTORS = ("objective", "searcher", "budget", "draw")
#: What is only added to a model after what: the seed names other data under another objective.
NESTED = {"draw": "objective"}
#: What varies less than this does not vary.
CONSTANT = 1e-9


def decomposition(every: Sequence[Outcome]) -> list[Found]:
    """How much of an outcome's variance each factor explains, for each model.

    Perplexity (log) and accuracy over all cells; the calibration loss within an objective, for losses of two objectives
    have different units. See :func:`decompose`.
    """
    rows: list[Found] = []
    for (model,), group in groups(every, lambda cell: (cell.model,)):
        for name in ("log_perplexity", "accuracy"):
            which = {"model": model, "outcome": name.replace("_", " ")}
            rows.extend(decompose(group, attrgetter(name), FACTORS, which))
        for (objective,), own in groups(group, lambda cell: (cell.objective,)):
            which = {"model": model, "outcome": f"calibration loss, {objective}"}
            rows.extend(decompose(own, attrgetter("loss"), FACTORS[1:], which))
    inference.correct([factor for row in rows for factor in row["factors"]])
    return rows


def decompose(
    every: Sequence[Outcome], value: Callable[[Outcome], float | None], names: Sequence[str], which: Found
) -> list[Found]:
    """LMG shares of R^2: what each factor adds to a linear model of all factors, averaged over the orders of adding them.

    A draw belongs to its objective (the seed names other data under another one), so it is added after it. In a
    balanced design a share is the factor's sum of squares over the total, whatever the order; ``budget_aside`` is its
    part of what the budget does not explain. ``chance`` is what pure noise would give a factor with so many levels,
    df / (n - 1); ``adjusted`` takes it off (epsilon squared: share - df (1 - R^2) / df of the rest), and can be
    negative. p: the share against its values when the outcome is permuted within the cells that differ in this factor
    only; the objective's with its draws, so that it is a test of the objective and its data. The interval is a bootstrap of the main effects' residuals (made wider by sqrt(n / df of the rest)), so
    interactions count as noise. What main effects leave is split into pairwise interactions, by the same average over
    orders, and the rest: higher interactions and noise.

    Returns:
        One row, or none where there is nothing to explain.
    """
    import numpy as np

    known = [outcome for outcome in every if value(outcome) is not None]
    y = np.array([value(outcome) for outcome in known], dtype=float)
    varied = [name for name in names if len({_level(name, outcome.cell) for outcome in known}) > 1]
    if not varied or len(y) < 3 or float(np.ptp(y)) <= CONSTANT:
        return []
    design = _Design([outcome.cell for outcome in known], varied)
    return [
        {
            **which,
            "n": len(y),
            "variance": float(y.var()),
            "r2": float(design.explained(design.mains, y)),
            "factors": _main_effects(design, y),
            "interactions": _interactions(design, y),
            "rest": max(0.0, 1 - float(design.explained(design.mains | set(design.pairs), y))),
            "not_varied": [name for name in names if name not in varied],
        }
    ]


class _Design(inference.Factors):
    """Linear models of the factors in which some cells vary, and of pairs of these factors.

    Attributes:
        varied: the factors.
        mains: the same as a set.
        levels: of each the level of each cell; a draw's level holds the objective whose data it draws.
        pairs: the interactions of two, in the same way.
    """

    def __init__(self, cells: Sequence[Cell], varied: Sequence[str]) -> None:
        self._plain = {name: [_level(name, cell) for cell in cells] for name in FACTORS}
        self.varied, self.mains = varied, frozenset(varied)
        self.levels: dict[str, list[Hashable]] = {name: self._plain[name] for name in varied}
        if "draw" in varied:
            self.levels["draw"] = list(zip(self._plain["objective"], self._plain["draw"], strict=True))
        self.pairs: dict[str, list[Hashable]] = {
            f"{a} x {b}": list(zip(self.levels[a], self.levels[b], strict=True))
            for a, b in combinations(varied, 2)
            if (a, b) != ("objective", "draw")
        }
        super().__init__({**self.levels, **self.pairs})

    def shares(self, y: Any) -> Found:
        """The LMG share of each factor in one outcome, or in each column of a matrix of them."""
        return inference.shapley(self.varied, lambda subset: self.explained(subset, y), NESTED)

    def orders(self, factor: str) -> tuple[Any, bool]:
        """Orders of the cells that exchange only those that differ in nothing but a factor; and whether these are all."""
        others = [self._plain[name] for name in FACTORS if name != factor]
        return inference.permuted_within(list(zip(*others, strict=True)))


def _main_effects(design: _Design, y: Any) -> list[Found]:
    """Each factor's share, and how sure it is."""
    share, degrees = design.shares(y), inference.shapley(design.varied, design.degrees, NESTED)
    unexplained, left = 1 - float(design.explained(design.mains, y)), len(y) - 1 - design.degrees(design.mains)
    intervals = _residual_bootstrap(design, y, left) if left else {}
    aside = 1 - float(share.get("budget", 0))
    factors = []
    for name in design.varied:
        orders, exact = design.orders(name)
        factors.append(
            {
                "factor": name,
                "levels": len(set(design.levels[name])),
                "share": float(share[name]),
                "budget_aside": float(share[name] / aside) if name != "budget" and aside > CONSTANT else None,
                "interval": intervals.get(name),
                "chance": degrees[name] / (len(y) - 1),
                "adjusted": float(share[name]) - degrees[name] * unexplained / left if left else None,
                "p": inference.p_value(float(share[name]), design.shares(y[orders].T)[name], exact),
            }
        )
    return factors


def _residual_bootstrap(design: _Design, y: Any, left: int) -> Found:
    """Intervals of the shares when what main effects leave is drawn again."""
    import numpy as np

    fitted = design.fitted(design.mains, y)
    residuals = (y - fitted) * math.sqrt(len(y) / left)
    drawn = np.random.default_rng(0).choice(residuals, size=(len(y), inference.BOOTSTRAPS))
    return {name: inference.interval(values) for name, values in design.shares(fitted[:, None] + drawn).items()}


def _interactions(design: _Design, y: Any) -> list[Found]:
    """The share of each pair of factors in what main effects leave."""
    before = {f"{name} x draw": f"objective x {name}" for name in design.varied}  # a draw's levels hold the objective's
    share = inference.shapley(
        list(design.pairs), lambda subset: float(design.explained(subset | design.mains, y)), before
    )
    return [{"pair": pair, "share": share[pair]} for pair in design.pairs]


def _level(factor: str, cell: Cell) -> Hashable:
    level: Hashable = getattr(cell, "seed" if factor == "draw" else factor)
    return level
