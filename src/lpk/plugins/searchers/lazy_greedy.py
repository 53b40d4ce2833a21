"""Accelerated greedy deletion (Minoux 1978): greedy, without measuring again what cannot have become the best.

As layers go, removing another one rarely comes to cost less than it did before. So what a layer cost when it was last
measured bounds what it costs now: candidates are measured in the order of that bound, a few at a time, until the bound
of the next is above the best of them. The bound holds exactly for a supermodular loss, and a language model's is not
quite: ``slack`` says by how much a layer may have become cheaper.

Candidates race. A wrong removal changes all that come after it, and each step has dozens of comparisons, so the confidence
of each is 0.95: at 0.9 one order of the sequences in ten ended at another mask than plain greedy's, and in a sample of five
four did; 0.95, at 20 % more layer-forwards, missed none of those five.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Loss, Problem, Search, Searcher
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.racing import Racing


class LazyGreedyOptions(Racing):
    confidence: float = Field(
        0.95, gt=0.5, le=1, description="stop a candidate early once it is worse with this probability; 1 never does"
    )
    batch: int = Field(4, ge=1, description="candidates measured at once, in the order of their bounds")
    slack: float = Field(0.02, ge=0, description="how much cheaper a layer may have become, in the objective's unit")


class LazyGreedy(Searcher[LazyGreedyOptions]):
    def search(self, problem: Problem) -> Search:
        mask, bounds = problem.dense, dict.fromkeys(problem.candidates, 0.0)
        (loss,) = yield [mask]
        for step in range(problem.budget):
            queue = sorted(problem.removable(mask), key=lambda layer: bounds[layer])
            best: list[LayerMask] = []
            least, size = math.inf, self.options.batch if step else len(queue)
            while queue and bounds[queue[0]] <= least + self.options.slack:
                layers, queue = queue[:size], queue[size:]
                ranked = yield from self.options.race(problem, best + [mask.drop(layer) for layer in layers])
                for candidate, its_loss in ranked:
                    (layer,) = set(candidate.removed) - set(mask.removed)
                    bounds[layer] = _rise(loss, its_loss)
                (winner, winners_loss), *_ = ranked
                best, least = [winner], _rise(loss, winners_loss)
            mask, loss = winner, winners_loss
        yield [mask]  # the last race may have ended before all sequences


def _rise(before: Loss, after: Loss) -> float:
    """From one loss to the other, over the sequences that both were measured on."""
    common = min(len(before.items), len(after.items))
    first, last = (Loss.mean(loss.items[:common], loss.weights[:common]) for loss in (before, after))
    return last - first


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "lazy-greedy",
        "Greedy that measures only candidates which may have become the best, and races those",
        f"{__name__}:LazyGreedy",
        reference="https://doi.org/10.1007/BFb0006528",
        options=LazyGreedyOptions,
    )
