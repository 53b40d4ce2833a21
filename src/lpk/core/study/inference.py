"""What a study's statistics are made of: exact and resampled inference for a handful of numbers.

A study compares seven searchers, not seven hundred people: no p-value here rests on a normal approximation. Tests are
permutation tests, exact where all permutations can be counted; intervals are percentile bootstraps; p-values of one
family are corrected by Holm's step-down method. Everything random is seeded, so the same numbers give the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from itertools import permutations
from typing import Any

#: Below this a corrected p-value is called significant.
ALPHA = 0.05
#: Resamples where not all can be counted; the smallest p is then 1 / 10,000.
RESAMPLES = 9_999
SMALLEST_P = 1 / (RESAMPLES + 1)
#: Samples of a percentile bootstrap.
BOOTSTRAPS = 1_999
#: Up to here all permutations are counted: 8! is 40,320.
EXACT = 50_000
#: What two equal statistics may differ by after rounding.
TINY = 1e-9


def correlation(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Spearman's rho with its interval, its p, and the smallest p that there could have been."""
    return {
        "rho": spearman(x, y),
        "interval": spearman_interval(x, y),
        "p": spearman_p(x, y),
        "smallest_p": smallest_p(x, y),
    }


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rho: Pearson's correlation of the ranks, ties sharing their mean rank. None where one side is constant."""
    a, b = _standard_ranks(x), _standard_ranks(y)
    return None if a is None or b is None else _clip(float(a @ b))


def spearman_p(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Two-sided p of rho: the share of orders of ``y`` with a rho at least as far from 0. Counted in full up to n = 8.

    Ties stay ties in every order, so they need no correction.
    """
    import numpy as np

    a, b = _standard_ranks(x), _standard_ranks(y)
    if a is None or b is None:
        return None
    n = len(a)
    if math.factorial(n) <= EXACT:
        far = np.abs(b[_orders(n)] @ a) >= abs(a @ b) - TINY
        return float(np.mean(far))
    shuffled = np.random.default_rng(0).permuted(np.tile(b, (RESAMPLES, 1)), axis=1)
    return _monte_carlo(int(np.sum(np.abs(shuffled @ a) >= abs(a @ b) - TINY)))


def spearman_interval(x: Sequence[float], y: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """A percentile bootstrap over the pairs; resamples in which one side is constant say nothing and are left out."""
    import numpy as np
    from scipy.stats import rankdata

    n = len(x)
    if n < 4 or spearman(x, y) is None:
        return None
    drawn = np.random.default_rng(0).integers(n, size=(BOOTSTRAPS, n))
    a, b = (rankdata(np.asarray(side, dtype=float)[drawn], axis=1) - (n + 1) / 2 for side in (x, y))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    varied = lengths > TINY
    return interval(np.sum(a * b, axis=1)[varied] / lengths[varied], level)


def smallest_p(x: Sequence[float], y: Sequence[float]) -> float | None:
    """The p that the strongest agreement these ties allow would have: where it is above 0.05, n is too small.

    Never above the p of these pairs, which random orders may put a little lower.
    """
    pairs = [(x, y), (sorted(x), sorted(y)), (sorted(x), sorted(y, reverse=True))]
    return min((p for one, other in pairs if (p := spearman_p(one, other)) is not None), default=None)


def interval(values: Any, level: float = 0.95) -> tuple[float, float] | None:
    """The middle ``level`` of resampled values."""
    import numpy as np

    if not len(values):
        return None
    low, high = np.quantile(np.asarray(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) corrected p-values: the i-th smallest of m times (m - i + 1), made monotone. None is no test."""
    order = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        corrected[place] = highest
    return corrected


def verdict(corrected: float | None) -> str:
    """The plain word for a corrected p-value."""
    if corrected is None:
        return "not tested"
    return "significant" if corrected < ALPHA else "not significant"


def correct(rows: Sequence[dict[str, Any]]) -> None:
    """Give every row of one family its ``corrected`` p and its ``verdict``."""
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row.update(corrected=p, verdict=verdict(p))


def sign_p(wins: int, losses: int) -> float | None:
    """The exact two-sided sign test; ties are left out, as usual."""
    n = wins + losses
    if n == 0:
        return None
    tail = sum(math.comb(n, i) for i in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2.0**n)


def jaccard(one: Sequence[int], other: Sequence[int]) -> float:
    """Shared layers over all layers that either removes; 1 for two empty masks."""
    either = set(one) | set(other)
    return len(set(one) & set(other)) / len(either) if either else 1.0


def random_jaccard(candidates: int, budget: int) -> float:
    """The mean Jaccard index of two masks drawn at random: the overlap j is hypergeometric, the index j / (2k - j)."""
    ways = math.comb(candidates, budget)
    return sum(
        math.comb(budget, j)
        * math.comb(candidates - budget, budget - j)
        / ways
        * (j / (2 * budget - j) if budget else 1.0)
        for j in range(budget + 1)
    )


def permuted_within(strata: Sequence[Hashable]) -> tuple[Any, bool]:
    """Orders of 0 .. n-1 that move nothing out of its stratum, one a row, and whether these are all there are."""
    import numpy as np

    groups: dict[Hashable, list[int]] = {}
    for place, stratum in enumerate(strata):
        groups.setdefault(stratum, []).append(place)
    members = list(groups.values())
    count = math.prod(math.factorial(len(group)) for group in members)
    if count <= EXACT:
        orders, turn = np.tile(np.arange(len(strata)), (count, 1)), np.arange(count)
        for group in members:  # a row's number, read digit by digit in the mixed base of the groups' factorials
            turn, digit = np.divmod(turn, math.factorial(len(group)))
            orders[:, group] = np.array(list(permutations(group)))[digit]
        return orders, True
    generator = np.random.default_rng(0)
    orders = np.tile(np.arange(len(strata)), (RESAMPLES, 1))
    for group in members:
        orders[:, group] = generator.permuted(np.tile(group, (RESAMPLES, 1)), axis=1)
    return orders, False


def p_value(observed: float, resampled: Any, exact: bool) -> float:
    """The share of resampled statistics at least as large; random resamples count the observed one among them."""
    import numpy as np

    as_large = int(np.sum(np.asarray(resampled) >= observed - TINY))
    return as_large / int(np.size(resampled)) if exact else _monte_carlo(as_large)


def shapley(
    names: Sequence[str], worth: Callable[[frozenset[str]], Any], after: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Each name's gain in ``worth``, averaged over the orders in which the names can be added.

    ``after`` says which name may only be added after which: a draw after the objective whose data it draws.
    """
    first = after or {}
    orders = [
        order
        for order in permutations(names)
        if all(order.index(first[name]) < order.index(name) for name in names if first.get(name) in names)
    ]
    known = {frozenset(order[:i]) for order in orders for i in range(len(names) + 1)}
    value = {subset: worth(subset) for subset in sorted(known, key=sorted)}
    return {
        name: sum(
            value[frozenset(order[: order.index(name) + 1])] - value[frozenset(order[: order.index(name)])]
            for order in orders
        )
        / len(orders)
        for name in names
    }


class Lmg:
    """LMG shares: how much of an outcome's variance each factor adds to a linear model (Lindeman, Merenda and Gold 1980).

    The average is over the orders of adding them. What factors explain is a quadratic form of the outcome, and so is a
    share: made once from the design, the forms serve every permutation and resample. An outcome is an array of
    observations x resamples x columns; the columns' variances are taken together.

    Attributes:
        degrees: of each factor the degrees of freedom that it adds, averaged over the same orders.
        left: those that all factors leave.
    """

    def __init__(
        self,
        levels: Mapping[str, Sequence[Hashable]],
        names: Sequence[str],
        after: Mapping[str, str],
        beside: frozenset[str] = frozenset(),
    ) -> None:
        """The shares of some factors.

        Args:
            levels: each factor's level for each observation; an interaction is a factor whose levels are tuples.
            names: the factors that have a share.
            after: which may only be added after which.
            beside: the factors that are in every model.
        """
        import numpy as np

        n = len(next(iter(levels.values())))

        def basis(factors: frozenset[str]) -> Any:
            return _basis([levels[name] for name in sorted(factors | beside)], n)

        def form(factors: frozenset[str]) -> Any:
            part = self._basis.T @ basis(factors)
            return part @ part.T

        self._basis = basis(frozenset(names))

        self._forms = shapley(names, form, after)
        self.degrees = {name: float(np.trace(form)) for name, form in self._forms.items()}
        self.left = n - 1 - self._basis.shape[1]

    def share(self, name: str, y: Any) -> Any:
        """A factor's share of each resample's variance."""
        explained, whole = self._squares(y)
        return self._of(name, explained) / whole

    def adjusted(self, y: Any) -> dict[str, Any]:
        """The shares less what noise gives to as many levels: share - df (1 - R^2) / (df of the rest), epsilon squared."""
        explained, whole = self._squares(y)
        noise = (1 - (explained**2).sum((0, 2)) / whole) / self.left
        return {name: self._of(name, explained) / whole - self.degrees[name] * noise for name in self._forms}

    def r2(self, y: Any) -> Any:
        """What all factors explain."""
        explained, whole = self._squares(y)
        return (explained**2).sum((0, 2)) / whole

    def fitted(self, y: Any) -> Any:
        """The model's prediction of an outcome of observations x columns."""
        return y.mean(axis=0) + self._basis @ (self._basis.T @ (y - y.mean(axis=0)))

    def _squares(self, y: Any) -> tuple[Any, Any]:
        """An outcome in the basis's coordinates, and its sum of squares."""
        import numpy as np

        centred = y - y.mean(axis=0)
        return np.tensordot(self._basis.T, centred, 1), (centred**2).sum((0, 2))

    def _of(self, name: str, explained: Any) -> Any:
        import numpy as np

        return (np.tensordot(self._forms[name], explained, 1) * explained).sum((0, 2))


def _basis(factors: Sequence[Sequence[Hashable]], n: int) -> Any:
    """An orthonormal basis of what factors span beside the constant."""
    import numpy as np

    columns = [[float(value == level) for value in levels] for levels in factors for level in dict.fromkeys(levels)]
    dummies = np.array([[0.0] * n, *columns]).T
    left, singular, _ = np.linalg.svd(dummies - dummies.mean(axis=0), full_matrices=False)
    return left[:, singular > TINY * max(1.0, singular[0])]


def _monte_carlo(as_large: int) -> float:
    return (as_large + 1) / (RESAMPLES + 1)


def _standard_ranks(values: Sequence[float]) -> Any:
    """Mean ranks, centred, of length 1; None where they are all the same."""
    import numpy as np
    from scipy.stats import rankdata

    ranks = rankdata(np.asarray(values, dtype=float)) if len(values) else np.zeros(0)
    centred = ranks - ranks.mean() if len(values) else ranks
    length = float(np.linalg.norm(centred))
    return centred / length if length > TINY else None


@cache
def _orders(n: int) -> Any:
    import numpy as np

    return np.array(list(permutations(range(n))))


def _clip(rho: float) -> float:
    return max(-1.0, min(1.0, round(rho, 12)))  # 1e-17 is no correlation
