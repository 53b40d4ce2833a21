"""The sets of a given size with the lowest energy: min x'Qx over x in {0, 1}^n with sum x = size, and the next best.

Three ways. ``enumerated`` is exact, and looks at every set. ``proven`` is exact too, by branch and bound: HiGHS on the
products y_ij = x_i x_j, made linear by

    y_ij <= x_i,  y_ij <= x_j,  and for each i  sum over j of y_ij = (size - 1) x_i

(Adams & Sherali 1986; those sums hold because the size is fixed, and make the textbook's y_ij >= x_i + x_j - 1 needless).
They are worth it: of 30 items, 15 chosen, a matrix A'A/m or one of mostly additive costs is solved at the root in 0.2 s,
where there are 155 million sets; a matrix of pure noise is not in 200 nodes. ``annealed`` proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import chain, combinations, islice
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

Matrix = Sequence[Sequence[float]]
Chosen = tuple[int, ...]

#: Sets whose energies are computed at once: 7 of 30 items take 13 MB.
CHUNK = 1 << 15


def energies(matrix: Matrix, sets: Iterable[Chosen], size: int) -> NDArray[Any]:
    """The energy x'Qx of each set."""
    import numpy as np

    chosen = np.fromiter(chain.from_iterable(sets), dtype=np.intp).reshape(-1, size)
    found: NDArray[Any] = np.asarray(matrix, float)[chosen[:, :, None], chosen[:, None, :]].sum((1, 2))
    return found


def enumerated(matrix: Matrix, size: int, count: int = 1) -> list[Chosen]:
    """The ``count`` best sets, best first, from all there are; of equals the first in the order of their items."""
    import numpy as np

    best: list[tuple[float, Chosen]] = []
    every = combinations(range(len(matrix)), size)
    while chunk := list(islice(every, CHUNK)):
        energy = energies(matrix, chunk, size)
        bar = np.partition(energy, count - 1)[count - 1] if count < len(chunk) else np.inf
        best += [(float(energy[at]), chunk[at]) for at in np.flatnonzero(energy <= bar)]
        best = nsmallest(count, best)
    return [chosen for _, chosen in best]


def proven(matrix: Matrix, size: int, count: int = 1, nodes: int = 100) -> list[Chosen] | None:
    """The same by branch and bound, each next best by cutting off those before; None if one takes more than ``nodes``.

    Nodes, not seconds: on a busy machine the answer is the same. Equal to within a millionth of the largest entry, what
    HiGHS takes for equal.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    items = len(matrix)
    scaled = np.asarray(matrix, float) / (np.abs(matrix).max() or 1.0)
    pairs = list(combinations(range(items), 2))
    cost = np.concatenate([scaled.diagonal(), [2 * scaled[pair] for pair in pairs]])
    whole = np.arange(len(cost)) < items
    products = LinearConstraint(*_products(pairs, items, size))
    cuts = [LinearConstraint(whole.astype(float), size, size)]
    best: list[Chosen] = []
    while len(best) < min(count, math.comb(items, size)):
        options = {"node_limit": nodes, "mip_rel_gap": 0.0}
        found = milp(cost, integrality=whole, bounds=Bounds(0, 1), constraints=[products, *cuts], options=options)
        if found.status:
            return None
        best.append(tuple(int(item) for item in np.flatnonzero(found.x[:items] > 0.5)))
        cuts.append(LinearConstraint(np.isin(np.arange(len(cost)), best[-1]).astype(float), -np.inf, size - 1))
    return best


def _products(pairs: Sequence[tuple[int, int]], items: int, size: int) -> tuple[Any, list[float], list[float]]:
    """The constraints on the products of pairs: their matrix, lower and upper bounds."""
    from scipy.sparse import csr_array

    rows: list[list[tuple[int, float]]] = [[(item, 1.0 - size)] for item in range(items)]
    for product, pair in enumerate(pairs, start=items):
        for item in pair:
            rows[item].append((product, 1.0))
            rows.append([(product, 1.0), (item, -1.0)])
    places = [(row, column) for row, terms in enumerate(rows) for column, _ in terms]
    values = [value for terms in rows for _, value in terms]
    upper = [0.0] * len(rows)
    lower = [0.0] * items + [-math.inf] * (len(rows) - items)
    return csr_array((values, tuple(zip(*places, strict=True))), shape=(len(rows), items + len(pairs))), lower, upper


def annealed(matrix: Matrix, size: int, count: int, random: Random, restarts: int = 10) -> list[Chosen]:
    """The best sets that simulated annealing comes by, in ``restarts`` walks from random ones.

    Then the best ``count`` have their every swap tried, until that changes none of them.
    """
    items = range(len(matrix))
    new = {chosen for _ in range(restarts) for chosen in _walk(matrix, random.sample(items, size), random)}
    known: dict[Chosen, float] = {}
    tried: set[Chosen] = set()
    while True:
        fresh = sorted(new - set(known))
        known.update(zip(fresh, map(float, energies(matrix, fresh, size)), strict=True))
        best = nsmallest(count, known, key=lambda chosen: (known[chosen], chosen))
        todo = [chosen for chosen in best if chosen not in tried]
        if not todo:
            return best
        tried.update(todo)
        new = {tuple(sorted({*c, into} - {out})) for c in todo for out in c for into in items if into not in c}


def _walk(matrix: Matrix, start: Sequence[int], random: Random) -> Iterator[Chosen]:
    """The sets of a walk by swaps that takes what is worse by d with probability exp(-d / temperature).

    200 n swaps are proposed; the temperature falls geometrically from a swap's mean change at the start to a thousandth.
    """
    chosen, left = list(start), [item for item in range(len(matrix)) if item not in start]
    field = [math.fsum(row[item] for item in chosen) for row in matrix]  # half the gradient of x'Qx

    def change(out: int, into: int) -> float:
        own = matrix[out][out] + matrix[into][into]
        return own + 2 * (field[into] - field[out] - matrix[out][into])

    yield tuple(sorted(chosen))
    moves = [abs(change(out, into)) for out in chosen for into in left]
    hot = math.fsum(moves) / max(len(moves), 1)
    steps = 200 * len(matrix) if hot else 0
    for step in range(steps):
        here, there = random.randrange(len(chosen)), random.randrange(len(left))
        out, into = chosen[here], left[there]
        rise = change(out, into)
        if rise <= 0 or random.random() < math.exp(-rise / (hot * 0.001 ** (step / steps))):
            chosen[here], left[there] = into, out
            field = [value + row[into] - row[out] for value, row in zip(field, matrix, strict=True)]
            yield tuple(sorted(chosen))
