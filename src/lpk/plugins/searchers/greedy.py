"""Greedy deletion (Song et al. 2024, "SLEB"): remove the layer whose removal costs least, again and again."""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Component, Problem, Search, Searcher
from lpk.core.pruning.racing import Racing


class Greedy(Searcher[Racing]):
    def search(self, problem: Problem) -> Search:
        mask = problem.dense
        for _ in range(problem.budget):
            candidates = [mask.drop(layer) for layer in problem.removable(mask)]
            (mask, _), *_ = yield from self.options.race(problem, candidates)
        if self.options.races:  # the last one may have ended before all sequences
            yield [mask]


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "greedy",
        "Remove the layer whose removal costs least, again and again",
        f"{__name__}:Greedy",
        reference="https://arxiv.org/abs/2402.09025",
        options=Racing,
    )
