"""Drives a searcher: gives it losses for masks, keeps what it asked for, and knows the best."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lpk.core.contracts import LayerScores, Problem, Searcher
from lpk.core.errors import PluginError
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
    searcher: Searcher,  # type: ignore[type-arg]
    problem: Problem,
    losses_of: Callable[[Sequence[LayerMask]], Sequence[float]],
    on_best: Callable[[Trial], None] = lambda trial: None,
) -> Outcome:
    """Run a search to its end.

    Raises:
        PluginError: the searcher asked for what is no mask of this problem, or never for one of the budget.
    """
    name = type(searcher).__name__
    trials: list[Trial] = []
    best: Trial | None = None
    search = searcher.search(problem)
    masks = next(search, None)
    step = 0
    while masks is not None:
        _check(name, problem, masks)
        losses = list(losses_of(masks))
        for mask, loss in zip(masks, losses, strict=True):
            trials.append(Trial(step, mask, loss))
            if problem.accepts(mask) and (best is None or loss < best.loss):
                best = trials[-1]
                on_best(best)
        step += 1
        try:
            masks = search.send(losses)
        except StopIteration:
            masks = None
    if best is None:
        raise PluginError(f"searcher {name} ended without trying one mask that removes exactly {problem.budget} layers")
    return Outcome(tuple(trials), best)


def _check(name: str, problem: Problem, masks: Sequence[LayerMask]) -> None:
    if not masks:
        raise PluginError(f"searcher {name} asked for an empty batch of masks")
    for mask in masks:
        if not isinstance(mask, LayerMask) or mask.layers != problem.layers:
            raise PluginError(f"searcher {name} asked for {mask!r}, which is no mask of {problem.layers} layers")
        if not problem.protected.isdisjoint(mask.removed):
            raise PluginError(f"searcher {name} removes a protected layer: {mask}")
        if not mask.kept:
            raise PluginError(f"searcher {name} removes every layer")


def made_up_scores(layers: int) -> LayerScores:
    """Scores of no meaning, for planning what has no scores yet."""
    upto = list(itertools.accumulate((1 + math.sin(12.9898 * layer) for layer in range(layers)), initial=0.0))
    return LayerScores.from_pairs([[abs(end - begin) for end in upto] for begin in upto])


def forecast(searcher: Searcher, problem: Problem, sequences: int, tokens: int) -> Cost:  # type: ignore[type-arg]
    """What a search will cost, by running it on made-up losses.

    Exact for a searcher whose masks do not depend on the losses; for the others the masks, and so what they share,
    differ a little. The made-up loss of a mask is the sum of its layers' made-up scores, so that searches behave.
    """
    cost = Cost()
    seen: set[LayerMask] = set()
    scores = made_up_scores(problem.layers).layers

    def losses_of(masks: Sequence[LayerMask]) -> list[float]:
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
        drive(searcher, replace(problem, workspace=Path(scratch)), losses_of)
    return cost
