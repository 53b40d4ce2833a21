"""Shapley values of layers (Shapley 1953; "Pruning as a Cooperative Game", 2026).

    phi_l = mean over s of the mean over sets S of s other layers of v(S + l) - v(S),  s = 0 ... largest - 1

v(S) being the damage done by removing S: what the loss rises by. A layer is judged in the company in which it would go.
If ``largest`` is all layers, these are the Shapley values, which sum to v(all); a model without half its layers is broken
in any case, so by default S stays small (the paper removes up to 14 of 32). Two estimates:

``permutation``: layers are removed one after the other in a random order, and each step counts for the layer it removes.
An order goes with all its rotations, so each layer comes at each place equally often (a Latin square), and the values sum
to ``layers / largest`` times the mean damage of the largest sets tried.

``surrogate``: the v of masks of every size, as many of one as of another, is fitted by a sum over removed layers. Sizes
weigh as in KernelSHAP (Lundberg & Lee 2017, arXiv 1705.07874), (n - 1) / (s (n - s)), the dense model is met exactly, and
so is v(all) where it is measured: with every mask of every size the fit is the Shapley values. The paper fits a network
to 8,000 masks and averages its marginals; a sum needs hundreds. ``value=ratio`` is the paper's damage, 1 - e^(dense loss -
loss) (perplexities divided), which cannot be more than 1.

300 masks are few: on SmolLM2-135M, two sequences of 256 tokens, the two estimates agree on the layers that are needed and
rank all layers with a correlation of 0.71 to each other.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Probe, Scorer, Stack
from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask


class ShapleyOptions(Options):
    estimator: Literal["permutation", "surrogate"] = Field("surrogate", description="how the values are estimated")
    value: Literal["loss", "ratio"] = Field(
        "loss", description="damage: what the loss rises by, or 1 less the ratio of perplexities"
    )
    masks: int = Field(
        300, ge=1, description="how many masks are measured; permutation: about, one order and its rotations at least"
    )
    largest: int = Field(0, ge=0, description="the most layers removed together; 0 for a third")
    sequences: int = Field(4, ge=0, description="how many sequences are looked at, the first ones; 0 for all")
    seed: int = Field(0, ge=0, description="draws the masks")


class Shapley(Scorer[ShapleyOptions]):
    looks_at = "nothing"

    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        dense = LayerMask(stack.layers)
        orders, masks = self._drawn(dense)
        damage = self._damage(dense, masks, calibration)
        return LayerScores(mean_marginals(dense, orders, damage) if orders else fitted(masks, damage))

    def asks(self, layers: int, sequences: int) -> Sequence[Probe]:
        dense = LayerMask(layers)
        _, masks = self._drawn(dense)
        return [Probe([dense, *masks], self.options.sequences or sequences)]

    def _drawn(self, dense: LayerMask) -> tuple[list[list[int]], list[LayerMask]]:
        """The orders that layers are removed in, none for the surrogate, and the masks to measure."""
        largest = self.options.largest or max(1, dense.layers // 3)
        if largest > dense.layers:
            raise UsageError(f"scorer shapley: largest is {largest}; the model has {dense.layers} layers")
        draw = random.Random(self.options.seed)
        if self.options.estimator == "surrogate":
            return [], stratified(dense, largest, self.options.masks, draw)
        orders = rotations(dense.layers, largest, self.options.masks, draw)
        return orders, [dense.drop(*order[:size]) for order in orders for size in range(1, largest + 1)]

    def _damage(self, dense: LayerMask, masks: list[LayerMask], calibration: Calibration) -> dict[LayerMask, float]:
        masks = list(dict.fromkeys([dense, *masks]))
        losses = calibration.losses(masks, self.options.sequences or None)
        rises = [loss - losses[0] for loss in losses]
        if self.options.value == "ratio":
            rises = [-math.expm1(-rise) for rise in rises]
        return dict(zip(masks, rises, strict=True))


def rotations(layers: int, largest: int, masks: int, draw: random.Random) -> list[list[int]]:
    """The beginnings of random orders and of all their rotations, as many as come nearest to so many masks."""
    orders = []
    for _ in range(max(1, round(masks / (layers * largest)))):
        order = draw.sample(range(layers), layers)
        orders += [(order[first:] + order[:first])[:largest] for first in range(layers)]
    return orders


def mean_marginals(
    dense: LayerMask, orders: Sequence[Sequence[int]], damage: Mapping[LayerMask, float]
) -> tuple[float, ...]:
    """What removing each layer added, on average over the orders it is in."""
    added: list[list[float]] = [[] for _ in range(dense.layers)]
    for order in orders:
        mask = dense
        for layer in order:
            mask, before = mask.drop(layer), mask
            added[layer].append(damage[mask] - damage[before])
    return tuple(math.fsum(each) / len(each) for each in added)


def stratified(dense: LayerMask, largest: int, masks: int, draw: random.Random) -> list[LayerMask]:
    """Different masks, as many of each size from 1 on as there are, or as leaves the same for each larger size."""
    found: list[LayerMask] = []
    for size in range(1, largest + 1):
        share = (masks - len(found)) // (largest - size + 1)
        if math.comb(dense.layers, size) <= share:
            found += [dense.drop(*removed) for removed in itertools.combinations(range(dense.layers), size)]
            continue
        drawn: dict[LayerMask, None] = {}
        while len(drawn) < share:
            drawn[dense.drop(*draw.sample(range(dense.layers), size))] = None
        found += drawn
    return found


def fitted(masks: Sequence[LayerMask], damage: Mapping[LayerMask, float]) -> tuple[float, ...]:
    """The sum over removed layers that is nearest to the damage of these masks.

    Raises:
        UsageError: the masks cannot tell all layers apart.
    """
    import numpy as np

    layers = masks[0].layers
    full = LayerMask(layers, tuple(range(layers)))
    masks = [mask for mask in masks if mask != full]
    removed = np.array([[layer in mask.removed for layer in range(layers)] for mask in masks], dtype=float)
    if not masks or np.linalg.matrix_rank(removed) < layers:
        raise UsageError(
            f"scorer shapley: {len(masks)} masks do not tell {layers} layers apart; give more: masks={4 * layers}"
        )
    count = Counter(map(len, masks))
    weights = np.array([(layers - 1) / (len(m) * (layers - len(m)) * count[len(m)]) for m in masks])
    normal = removed.T * weights @ removed
    values = np.linalg.solve(normal, removed.T @ (weights * [damage[mask] for mask in masks]))
    if full in damage:  # exactly: what is missing is spread as costs least in the fit
        spread = np.linalg.solve(normal, np.ones(layers))
        values += spread * (damage[full] - values.sum()) / spread.sum()
    return tuple(values.tolist())


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "shapley",
        "What a layer's removal costs on average, with others removed too",
        f"{__name__}:Shapley",
        reference="https://arxiv.org/abs/2602.07804",
        options=ShapleyOptions,
    )
