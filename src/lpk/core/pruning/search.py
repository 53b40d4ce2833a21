"""Drives a searcher: gives it losses for masks, keeps what it asked for, and knows the best."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lpk.core.contracts import LayerScores, Problem, Searcher
from lpk.core.errors import PluginError, blaming
from lpk.core.pruning.evaluator import Trie
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost


@dataclass(frozen=True)
class Trial:
    """One mask that a searcher asked for, in its ``step``-th batch."""

    step: int
    mask: LayerMask
    loss: float


@dataclass(frozen=True)
class Outcome:
    """All that a search asked for, and its answer: the lowest loss at the budget, of equals the first."""

    trials: tuple[Trial, ...]
    best: Trial


def drive(
    searcher: Searcher[Any],
    problem: Problem,
    losses_of: Callable[[Sequence[LayerMask]], Sequence[float]],
    on_best: Callable[[Trial], None] = lambda trial: None,
) -> Outcome:
    """Run a search to its end.

    Raises:
        PluginError: the searcher asked for what is no mask of this problem, or never for one of the budget.
    """
    trials: list[Trial] = []
    best: Trial | None = None
    with blaming(f"searcher {searcher.name}"):
        search = searcher.search(problem)
        masks = next(search, None)
    while masks is not None:
        _check(searcher.name, problem, masks)
        losses = list(losses_of(masks))
        step = trials[-1].step + 1 if trials else 0
        for mask, loss in zip(masks, losses, strict=True):
            trials.append(Trial(step, mask, loss))
            if problem.accepts(mask) and (best is None or loss < best.loss):
                best = trials[-1]
                on_best(best)
        with blaming(f"searcher {searcher.name}"):
            try:
                masks = search.send(losses)
            except StopIteration:
                masks = None
    if best is None:
        tried = f"one mask that removes exactly {problem.budget} layers"
        raise PluginError(f"searcher {searcher.name} ended without trying {tried}")
    return Outcome(tuple(trials), best)


def _check(name: str, problem: Problem, masks: Sequence[LayerMask]) -> None:
    if not masks:
        raise PluginError(f"searcher {name} asked for an empty batch of masks")
    for mask in masks:
        if not isinstance(mask, LayerMask) or mask.layers != problem.layers:
            raise PluginError(f"searcher {name} asked for {mask!r}, which is no mask of {problem.layers} layers")
        if not problem.protected.isdisjoint(mask.removed):
            raise PluginError(f"searcher {name} removes a protected layer: {mask}")
        if len(mask) > problem.budget:
            raise PluginError(f"searcher {name} removes {len(mask)} layers ({mask}), more than {problem.budget}")


def made_up_scores(layers: int) -> LayerScores:
    """Scores of no meaning, for planning what has no scores yet."""
    upto = list(itertools.accumulate((1 + math.sin(12.9898 * layer) for layer in range(layers)), initial=0.0))
    return LayerScores.from_pairs([[abs(end - begin) for end in upto] for begin in upto])


def forecast(searcher: Searcher[Any], problem: Problem, sequences: int, tokens: int, patience: float) -> Cost | None:
    """What a search will cost, by running it on made-up losses; None if that takes more than ``patience`` seconds.

    Exact for a searcher whose masks do not depend on the losses; for the others the masks, and so what they share,
    differ a little. The made-up loss of a mask is the sum of its layers' made-up scores, so that searches behave.
    """
    cost = Cost()
    seen: set[LayerMask] = set()
    scores = made_up_scores(problem.layers).layers
    end = time.monotonic() + patience

    def losses_of(masks: Sequence[LayerMask]) -> list[float]:
        if time.monotonic() > end:
            raise _OutOfPatience
        new = [mask for mask in dict.fromkeys(masks) if mask not in seen]
        seen.update(new)
        nonlocal cost
        cost += Cost(
            layer_forwards=sequences * Trie.of(new).edges(),
            naive_layer_forwards=sequences * sum(len(mask.kept) for mask in new),
            head_tokens=len(new) * (tokens - sequences),
            measurements=sequences * len(new),
        )
        return [sum(scores[layer] for layer in mask.removed) for mask in masks]

    with tempfile.TemporaryDirectory() as scratch:
        try:
            drive(searcher, replace(problem, workspace=Path(scratch)), losses_of)
        except _OutOfPatience:
            return None
    return cost


class _OutOfPatience(Exception):
    pass
