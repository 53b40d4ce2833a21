"""How much of an outcome's variance the objective, the searcher, the budget and the calibration draw explain.

This is the claim of "Rethinking Layer Redundancy" made measurable: that the objective matters more than the searcher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import combinations
from operator import attrgetter
from typing import Any

from lpk.core.study import inference
from lpk.core.study.statistics.outcomes import Found, Outcome, groups
from lpk.core.study.tables import Cell

FACTORS = ("objective", "searcher", "budget", "draw")
#: What is only added to a model after what: the seed names other data under another objective.
NESTED = {"draw": "objective"}
#: The two that the claim compares.
COMPARED = ("objective", "searcher")
#: What varies less than this does not vary.
CONSTANT = 1e-9
#: Numbers of resampled outcomes held at once.
AT_ONCE = 2_000_000


def decomposition(every: Sequence[Outcome]) -> list[Found]:
    """How much of an outcome's variance each factor explains, for each model.

    Masks (which layers go, over all layers together), perplexity (log) and accuracy over all cells; the calibration loss
    within an objective, for losses of two objectives have different units. See :func:`decompose`.
    """
    rows: list[Found] = []
    for (model,), group in groups(every, lambda cell: (cell.model,)):
        for name, value in _OUTCOMES.items():
            rows.extend(decompose(group, value, FACTORS, {"model": model, "outcome": name}))
        for (objective,), own in groups(group, lambda cell: (cell.objective,)):
            which = {"model": model, "outcome": f"calibration loss, {objective}"}
            rows.extend(decompose(own, attrgetter("loss"), FACTORS[1:], which))
    inference.correct([factor for row in rows for factor in row["factors"]])
    return rows


def decompose(
    every: Sequence[Outcome],
    value: Callable[[Outcome], float | list[float] | None],
    names: Sequence[str],
    which: Found,
) -> list[Found]:
    """LMG shares of R^2: what each factor adds to a linear model of all factors, averaged over the orders of adding them.

    A draw belongs to its objective (the seed names other data under another one), so it is added after it. In a
    balanced design a share is the factor's sum of squares over the total, whatever the order; ``budget_aside`` is its
    part of what the budget does not explain. ``chance`` is what pure noise would give a factor with so many levels,
    df / (n - 1); ``adjusted`` takes it off (epsilon squared: share - df (1 - R^2) / df of the rest), and can be
    negative. Factors with different numbers of levels are compared by it: ``difference`` is the objective's less the
    searcher's. Intervals are of adjusted shares: what main effects leave is drawn again, all columns of a cell together
    (made wider by sqrt(n / df of the rest), shifted to the estimate, for resamples carry the noise twice), so
    interactions count as noise. p: the share against its values when the outcome is permuted within the cells that
    differ in this factor only; the objective's with its draws, so that it is a test of the objective and its data. What
    main effects leave is split into pairwise interactions, by the same average over orders, and the rest: higher
    interactions and noise.

    Args:
        value: an outcome, or several columns of one, such as each layer's being removed.

    Returns:
        One row, or none where there is nothing to explain.
    """
    import numpy as np

    known = [(outcome, found) for outcome in every if (found := value(outcome)) is not None]
    varied = [name for name in names if len({_level(name, outcome.cell) for outcome, _ in known}) > 1]
    if not varied or len(known) < 3:
        return []
    y = np.array([found for _, found in known], dtype=float).reshape(len(known), -1)
    y = y[:, np.ptp(y, axis=0) > CONSTANT]
    if not y.size:
        return []
    design = _Design([outcome.cell for outcome, _ in known], varied)
    return [
        {
            **which,
            "n": len(y),
            "variance": float(y.var(axis=0).sum()),
            "r2": design.mains.r2(y[:, None]).item(),
            **_main_effects(design, y),
            "interactions": [
                {"pair": pair, "share": design.interactions.share(pair, y[:, None]).item()} for pair in design.pairs
            ],
            "rest": max(0.0, 1 - design.interactions.r2(y[:, None]).item()),
            "not_varied": [name for name in names if name not in varied],
        }
    ]


class _Design:
    """The factors in which some cells vary, and pairs of these factors.

    Attributes:
        levels: of each factor the level of each cell; a draw's level holds the objective whose data it draws.
        pairs: the interactions of two, in the same way.
        mains: the factors' shares.
        interactions: the pairs' shares of what the factors leave.
    """

    def __init__(self, cells: Sequence[Cell], varied: Sequence[str]) -> None:
        self._plain = {name: [_level(name, cell) for cell in cells] for name in FACTORS}
        self.levels: dict[str, list[Hashable]] = {name: self._plain[name] for name in varied}
        if "draw" in varied:
            self.levels["draw"] = list(zip(self._plain["objective"], self._plain["draw"], strict=True))
        self.pairs: dict[str, list[Hashable]] = {
            f"{a} x {b}": list(zip(self.levels[a], self.levels[b], strict=True))
            for a, b in combinations(varied, 2)
            if (a, b) != ("objective", "draw")
        }
        self.mains = inference.Lmg(self.levels, varied, NESTED)
        before = {f"{name} x draw": f"objective x {name}" for name in varied}  # a draw's levels hold the objective's
        every = {**self.levels, **self.pairs}
        self.interactions = inference.Lmg(every, list(self.pairs), before, frozenset(varied))

    def orders(self, factor: str) -> tuple[Any, bool]:
        """Orders of the cells that exchange only those that differ in nothing but a factor; and whether these are all."""
        others = [self._plain[name] for name in FACTORS if name != factor]
        return inference.permuted_within(list(zip(*others, strict=True)))


def _main_effects(design: _Design, y: Any) -> Found:
    """Each factor's share, and how sure it is; and how far the objective's lies above the searcher's."""
    import numpy as np

    lmg = design.mains
    share = {name: lmg.share(name, y[:, None]).item() for name in design.levels}
    adjusted = {name: value.item() for name, value in lmg.adjusted(y[:, None]).items()} if lmg.left else {}
    drawn = _residual_bootstrap(lmg, y, adjusted) if lmg.left else {}
    aside = 1 - share.get("budget", 0)
    factors = []
    for name in design.levels:
        orders, exact = design.orders(name)
        permuted = np.concatenate([lmg.share(name, each) for each in _taken(y, orders)])
        factors.append(
            {
                "factor": name,
                "levels": len(set(design.levels[name])),
                "share": share[name],
                "budget_aside": share[name] / aside if name != "budget" and aside > CONSTANT else None,
                "chance": lmg.degrees[name] / (len(y) - 1),
                "adjusted": adjusted.get(name),
                "interval": inference.interval(drawn[name]) if drawn else None,
                "p": inference.p_value(share[name], permuted, exact),
            }
        )
    return {"factors": factors, "difference": _difference(adjusted, drawn)}


def _difference(adjusted: dict[str, float], drawn: dict[str, Any]) -> Found | None:
    """The objective's adjusted share less the searcher's; None where one does not vary, or nothing is left to compare with."""
    if not adjusted.keys() >= set(COMPARED):
        return None
    one, other = COMPARED
    return {"value": adjusted[one] - adjusted[other], "interval": inference.interval(drawn[one] - drawn[other])}


def _residual_bootstrap(lmg: inference.Lmg, y: Any, adjusted: dict[str, float]) -> dict[str, Any]:
    """The adjusted shares when what main effects leave is drawn again."""
    import numpy as np

    fitted = lmg.fitted(y)
    residuals = (y - fitted) * math.sqrt(len(y) / lmg.left)
    rows = np.random.default_rng(0).integers(len(y), size=(inference.BOOTSTRAPS, len(y)))
    drawn = [lmg.adjusted(fitted[:, None] + each) for each in _taken(residuals, rows)]
    every = {name: np.concatenate([each[name] for each in drawn]) for name in adjusted}
    return {name: values - values.mean() + adjusted[name] for name, values in every.items()}


def _taken(y: Any, rows: Any) -> Iterator[Any]:
    """An outcome with its cells taken as each row says, some rows at a time: cells x rows x columns."""
    step = max(1, AT_ONCE // y.size)
    for begin in range(0, len(rows), step):
        yield y[rows[begin : begin + step].T]


def _level(factor: str, cell: Cell) -> Hashable:
    level: Hashable = getattr(cell, "seed" if factor == "draw" else factor)
    return level


def _mask(outcome: Outcome) -> list[float]:
    return [float(layer in outcome.cell.removed) for layer in range(outcome.cell.layers)]


_OUTCOMES: dict[str, Callable[[Outcome], float | list[float] | None]] = {
    "masks": _mask,
    "log perplexity": attrgetter("log_perplexity"),
    "accuracy": attrgetter("accuracy"),
}
