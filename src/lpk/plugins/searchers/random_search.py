"""Random search: distinct masks drawn uniformly. The baseline that every search must beat."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.proposals import count, drawn


class RandomOptions(Options):
    trials: int = Field(20, ge=1, description="how many masks to try")


class RandomSearch(Searcher[RandomOptions]):
    def search(self, problem: Problem) -> Search:
        random = problem.random()
        masks: dict[LayerMask, None] = {}
        while len(masks) < min(self.options.trials, count(problem)):
            masks[drawn(problem, random)] = None
        yield list(masks)


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component("random", "The best of masks drawn uniformly", f"{__name__}:RandomSearch", options=RandomOptions)
