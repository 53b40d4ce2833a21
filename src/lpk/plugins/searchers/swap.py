"""Local search to a certified optimum: it ends only when no swap of one removed layer for a kept one is better.

The current mask is always the best that was measured on all sequences, so none of those is asked for again. With racing,
races look for a better neighbour; that there is none is then shown on all sequences, without a race.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from random import Random
from typing import Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Loss, Probe, Problem, Search, Searcher
from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.proposals import drawn, swaps
from lpk.core.pruning.racing import Racing

Known = dict[LayerMask, Loss]
Mask = Generator[Sequence[LayerMask] | Probe, Sequence[Loss], LayerMask]
BetterMask = Generator[Sequence[LayerMask] | Probe, Sequence[Loss], LayerMask | None]


class SwapOptions(Racing):
    start: Literal["greedy", "scores", "random"] = Field(
        "greedy", description="the first mask: greedy deletion's, the scorer's lowest layers, or a random one"
    )
    improvement: Literal["best", "first"] = Field(
        "best",
        description="go on with the best of all swaps, or with the best of the first batch that has a better one",
    )
    batch: int = Field(16, ge=1, description="swaps measured at once for the first improvement, in random order")


class Swap(Searcher[SwapOptions]):
    scores = "optional"

    def search(self, problem: Problem) -> Search:
        random, known = problem.random(), Known()
        mask = yield from self._start(problem, known, random)
        if mask not in known:
            (known[mask],) = yield [mask]
        better: LayerMask | None = mask
        while better:
            mask = better
            better = yield from self._better(problem, mask, known, self.options, random)
            if better is None and self.options.races:
                better = yield from self._better(problem, mask, known, Racing(), random)

    def _better(self, problem: Problem, mask: LayerMask, known: Known, look: Racing, random: Random) -> BetterMask:
        """A better neighbour; None if there is none, or a race has found none. What is known is not better."""
        new = [neighbour for neighbour in swaps(problem, mask) if neighbour not in known]
        size = max(1, len(new))
        if self.options.improvement == "first":
            random.shuffle(new)
            size = self.options.batch
        for begin in range(0, len(new), size):
            batch = new[begin : begin + size]
            if look.races:
                (winner, _), *_ = yield from look.race(problem, [mask, *batch])
                batch = [winner]
            fresh = [neighbour for neighbour in batch if neighbour not in known]
            if fresh:
                known.update(zip(fresh, (yield fresh), strict=True))
            winner = min(batch, key=lambda neighbour: known[neighbour])
            if known[winner] < known[mask]:
                return winner
        return None

    def _start(self, problem: Problem, known: Known, random: Random) -> Mask:
        if self.options.start == "random":
            return drawn(problem, random)
        if self.options.start == "scores":
            if problem.scores is None:
                raise UsageError("searcher 'swap': start=scores needs a scorer; or -O start=greedy, -O start=random")
            return problem.lowest(problem.scores.layers)
        mask = problem.dense
        for _ in range(problem.budget):
            candidates = [mask.drop(layer) for layer in problem.removable(mask)]
            ranked = yield from self.options.race(problem, candidates)
            (mask, _), *_ = ranked
        known.update((mask, loss) for mask, loss in ranked if len(loss.items) == problem.sequences)
        return mask


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "swap",
        "From greedy's mask by swaps of two layers until none is better",
        f"{__name__}:Swap",
        options=SwapOptions,
    )
