"""Random search: distinct masks drawn uniformly. The baseline that every search must beat."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher
from lpk.core.pruning.mask import LayerMask


class RandomOptions(Options):
    trials: int = Field(20, ge=1, description="how many masks to try")


class RandomSearch(Searcher[RandomOptions]):
    def search(self, problem: Problem) -> Search:
        random = problem.random()
        all_there_are = math.comb(len(problem.candidates), problem.budget)
        drawn: dict[LayerMask, None] = {}
        while len(drawn) < min(self.options.trials, all_there_are):
            drawn[problem.mask(random.sample(problem.candidates, problem.budget))] = None
        yield list(drawn)


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component("random", "The best of masks drawn uniformly", f"{__name__}:RandomSearch", options=RandomOptions)
