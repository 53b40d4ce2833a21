"""Accelerated greedy deletion (Minoux 1978): greedy, without measuring again what cannot have become the best.

As layers go, removing another one rarely comes to cost less than it did before. So what a layer cost when it was last
measured bounds what it costs now: candidates are measured in the order of that bound, a few at a time, until the bound
of the next is above the best of them. The bound holds exactly for a supermodular loss, and a language model's is not
quite: ``slack`` says by how much a layer may have become cheaper.

Candidates race, and one that was stopped early is known on a few sequences only: its bound is then lower by what that
estimate may be off, at the confidence of the race. With bounds that were the estimates themselves, 20 orders of 16 x 128
tokens ended at plain greedy's mask in 60 %, and 0.017 nats above it on average; with these all did, for 22 % more
layer-forwards (4 of 30 layers, at 0.95).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Loss, Problem, Search, Searcher
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.racing import Racing, difference, quantile


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
            known: dict[LayerMask, Loss] = {}  # of each candidate, on the most sequences that it was measured on
            least, size = math.inf, self.options.batch if step else len(queue)
            while queue and bounds[queue[0]] <= least + self.options.slack:
                layers, queue = queue[:size], queue[size:]
                ranked = yield from self.options.race(problem, best + [mask.drop(layer) for layer in layers])
                for candidate, its_loss in ranked:
                    known[candidate] = max(known.get(candidate, its_loss), its_loss, key=lambda one: len(one.items))
                    (layer,) = set(candidate.removed) - set(mask.removed)
                    bounds[layer] = self._bound(problem, known[candidate], loss)
                winner, _ = ranked[0]
                best, least = [winner], difference(known[winner], loss)[0]
            mask, loss = winner, known[winner]
        yield [mask]  # the last race may have ended before all sequences

    def _bound(self, problem: Problem, loss: Loss, before: Loss) -> float:
        """What removing a layer costs on all sequences, at the least, with this confidence."""
        rise, error = difference(loss, before)
        count = min(len(loss.items), len(before.items))
        if count == problem.sequences:
            return rise
        # Of all sequences a part was seen, without replacement: the more of them, the less is left to be off by.
        return rise - quantile(count, self.options.confidence) * error * math.sqrt(1 - count / problem.sequences)


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "lazy-greedy",
        "Greedy that measures only candidates which may have become the best, and races those",
        f"{__name__}:LazyGreedy",
        reference="https://doi.org/10.1007/BFb0006528",
        options=LazyGreedyOptions,
    )
