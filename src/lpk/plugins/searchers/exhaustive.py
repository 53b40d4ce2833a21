"""Every mask there is: the exact optimum of the calibration loss, for small models and as a test's oracle."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher
from lpk.core.errors import UsageError
from lpk.core.pruning.proposals import count


class ExhaustiveOptions(Options):
    limit: int = Field(2_000, ge=1, description="refuse when there are more masks than this")


class Exhaustive(Searcher[ExhaustiveOptions]):
    def search(self, problem: Problem) -> Search:
        there_are = count(problem)
        if there_are > self.options.limit:
            raise UsageError(
                f"searcher 'exhaustive': {there_are:,} masks; its limit is {self.options.limit:,}: -O limit={there_are}"
            )
        yield [problem.mask(removed) for removed in combinations(problem.candidates, problem.budget)]


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component("exhaustive", "Every mask: the exact optimum", f"{__name__}:Exhaustive", options=ExhaustiveOptions)
