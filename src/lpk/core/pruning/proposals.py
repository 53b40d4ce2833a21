"""Masks to try: those that a search can begin with, and the neighbours of one."""

from __future__ import annotations

import math
from random import Random

from lpk.core.contracts import Problem
from lpk.core.pruning.mask import LayerMask


def count(problem: Problem) -> int:
    """How many masks of the budget there are."""
    return math.comb(len(problem.candidates), problem.budget)


def swaps(problem: Problem, mask: LayerMask) -> list[LayerMask]:
    """Every mask with one removed layer put back and another removed in its place: k (n - k) of them."""
    return [mask.restore(back).drop(out) for back in mask.removed for out in problem.removable(mask)]


def swapped(problem: Problem, mask: LayerMask, random: Random) -> LayerMask:
    """One of them, drawn uniformly; the mask itself where there is none."""
    if not problem.removable(mask):
        return mask
    return mask.restore(random.choice(mask.removed)).drop(random.choice(problem.removable(mask)))


def drawn(problem: Problem, random: Random) -> LayerMask:
    """A mask of the budget, drawn uniformly."""
    return problem.mask(random.sample(problem.candidates, problem.budget))


def seeds(problem: Problem, wanted: int, noise: float, random: Random) -> list[LayerMask]:
    """Different masks to begin with: ``wanted`` of them, or all there are.

    With a scorer: its lowest layers, its three best runs, and then its ranking, from 0 to 1, with normal ``noise``.
    Without one, or where the noise finds no other, masks drawn uniformly.
    """
    wanted = min(wanted, count(problem))
    found: dict[LayerMask, None] = {}
    if problem.scores:
        scores, runs = problem.scores.layers, problem.scores.runs
        found[problem.lowest(scores)] = None
        if runs:
            windows = sorted(problem.windows(), key=lambda mask: runs[mask.removed[0]][problem.budget - 1])
            found.update(dict.fromkeys(windows[:3]))
        order = sorted(problem.candidates, key=lambda layer: (scores[layer], layer))
        for _ in range(20 * wanted):
            if len(found) >= wanted:
                break
            keys = {layer: place / len(order) + random.gauss(0, noise) for place, layer in enumerate(order)}
            found[problem.lowest([keys.get(layer, 0.0) for layer in range(problem.layers)])] = None
    while len(found) < wanted:
        found[drawn(problem, random)] = None
    return list(found)[:wanted]
