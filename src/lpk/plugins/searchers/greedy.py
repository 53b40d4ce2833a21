"""Greedy deletion (Song et al. 2024, "SLEB"): remove the layer whose removal costs least, again and again."""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher


class Greedy(Searcher[Options]):
    def search(self, problem: Problem) -> Search:
        mask = problem.dense
        for _ in range(problem.budget):
            candidates = [mask.drop(layer) for layer in problem.removable(mask)]
            losses = yield candidates
            mask = candidates[losses.index(min(losses))]


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "greedy",
        "Remove the layer whose removal costs least, again and again",
        f"{__name__}:Greedy",
        reference="https://arxiv.org/abs/2402.09025",
    )
