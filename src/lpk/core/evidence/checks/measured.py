"""The functions of a comparison, measured on a study, and how sure that is: resamples and the interval that they give.

The interval is the expanded percentile interval of Hesterberg (https://arxiv.org/abs/1411.5279): with few observations a
percentile interval is too narrow, so its tails are taken where it would be right for the mean of normal values. Variance
shares are of a whole model's cells: there, what their main effects leave is drawn again, as a study's own statistics do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Any, TypeVar

from lpk.core.evidence.checks.arguments import arguments_of, arithmetic, bind, selected
from lpk.core.evidence.checks.expressions import Call, Node
from lpk.core.evidence.checks.functions import AT_ONCE, EMPTY, FUNCTIONS, SHARES, OutOfScope, Share, Value
from lpk.core.evidence.checks.tables import Cell, Study, grouped

#: Resamples of observations: of six, the tails of the expanded interval are the lowest and highest 24 of these.
RESAMPLES = 9_999

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Measured:
    """The functions of a comparison, measured.

    Attributes:
        by_model: the value of each in each model that has it.
        values: the value of each.
        drawn: its resamples.
        count: the observations that it rests on, of the function with the fewest.
        df: degrees of freedom of the interval.
        wider: what resampled deviations are too small by.
        what: what an observation is.
    """

    by_model: Mapping[str, Mapping[Call, float]]
    values: Mapping[Call, float]
    drawn: Mapping[Call, Any]
    count: int
    df: int
    wider: float
    what: str


def measure(asked: Sequence[Call], study: Study, cells: Sequence[Cell], minimum: int) -> Measured:
    """Functions of single observations, and their resamples: the same observations are drawn for all of them."""
    import numpy as np

    found = _known({call: _observations(call, study, cells) for call in asked})
    units = sorted({unit for own in found.values() for unit in own})
    count = min(map(len, found.values()))
    _enough(count, minimum)
    value = np.array([[found[call].get(unit, math.nan) for call in asked] for unit in units])
    known = np.isfinite(value)
    sums, generator = np.where(known, value, 0.0), np.random.default_rng(0)
    drawn, step = [], max(1, AT_ONCE // len(units))
    for begin in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - begin)
        times = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), size=size)
        with np.errstate(invalid="ignore"):
            drawn.append((times @ sums) / (times @ known))

    def means(model: str) -> dict[Call, float]:
        own = {call: [value for unit, value in found[call].items() if unit[0] == model] for call in asked}
        return {call: fmean(values) for call, values in own.items() if values}

    return Measured(
        by_model={model: means(model) for model in dict.fromkeys(unit[0] for unit in units)},
        values={call: fmean(found[call].values()) for call in asked},
        drawn=dict(zip(asked, np.concatenate(drawn).T, strict=True)),
        count=count,
        df=count - 1,
        wider=math.sqrt(count / (count - 1)) if count > 1 else math.inf,
        what="observations (model x budget x draw)",
    )


def _observations(call: Call, study: Study, cells: Sequence[Cell]) -> dict[tuple[str, int, int], Value]:
    """A function's value in each observation that it is about; None where it has none."""
    bound = bind(call)
    arguments, function = arguments_of(bound, study), FUNCTIONS[call.function]
    of_units = {name: node for name, node in bound.selectors.items() if name not in ("objective", "searcher")}
    units = dict.fromkeys(cell.unit for cell in selected(call, of_units, cells))
    groups = grouped(selected(call, bound.selectors, cells), lambda cell: cell.unit)
    return {unit: function(groups[unit], **arguments) if unit in groups else None for unit in units}


def _known(found: Mapping[Call, Mapping[K, V | None]]) -> dict[Call, dict[K, V]]:
    """What was found, less all of an observation in which something is missing: the rest is compared like with like.

    Raises:
        OutOfScope: nothing is left of a function.
    """
    gaps = {key for own in found.values() for key, value in own.items() if value is None}
    known: dict[Call, dict[K, V]] = {}
    for call, own in found.items():
        known[call] = {key: value for key, value in own.items() if value is not None and key not in gaps}
        if not known[call]:
            alone = all(value is None for value in own.values())
            why = EMPTY.get(call.function, "nothing was measured") if alone else "where it has a value another has none"
            raise OutOfScope(f"{call.function}, column {call.at}: {why}")
    return known


def measure_shares(asked: Sequence[Call], study: Study, cells: Sequence[Cell], minimum: int) -> Measured:
    """Shares of variance: the means over models, each resampled by itself."""
    import numpy as np

    def shares(call: Call) -> dict[str, Share | None]:
        bound = bind(call)
        arguments = arguments_of(bound, study)
        groups = grouped(selected(call, bound.selectors, cells), lambda cell: cell.model)
        return {
            model: SHARES[call.function](group, **arguments, seed=study.models.index(model))
            for model, group in groups.items()
        }

    found = _known({call: shares(call) for call in asked})
    each = {call: list(own.values()) for call, own in found.items()}
    models = dict.fromkeys(model for own in found.values() for model in own)
    count = min(sum(share.cells for share in own) for own in each.values())
    _enough(count, minimum)
    return Measured(
        by_model={m: {call: own[m].value for call, own in found.items() if m in own} for m in models},
        values={call: fmean(share.value for share in own) for call, own in each.items()},
        drawn={call: np.mean([share.drawn for share in own], axis=0) for call, own in each.items()},
        count=count,
        df=min(sum(share.left for share in own) for own in each.values()),
        wider=1.0,
        what="cells",
    )


def _enough(count: int, minimum: int) -> None:
    if count < minimum:
        raise OutOfScope(f"{count} observations, the claim asks for {minimum} at least")


def interval(effect: Node, measured: Measured, alpha: float) -> tuple[float, float]:
    """The expanded percentile interval of the resampled effect; without bounds where resamples have no value."""
    import numpy as np
    from scipy.stats import t

    if measured.df < 1:
        return -math.inf, math.inf
    with np.errstate(all="ignore"):
        drawn = np.asarray(arithmetic(effect, measured.drawn))
    drawn = drawn[np.isfinite(drawn)]
    resamples = len(next(iter(measured.drawn.values())))
    if len(drawn) < (1 - alpha / 2) * resamples:
        return -math.inf, math.inf
    tail = NormalDist().cdf(-measured.wider * float(t.isf(alpha / 2, measured.df)))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
