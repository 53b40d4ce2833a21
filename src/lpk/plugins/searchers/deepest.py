"""The simple heuristic of Gromov et al. 2024: the deepest layers go, the last one stays."""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher
from lpk.core.errors import UsageError


class Deepest(Searcher[Options]):
    def search(self, problem: Problem) -> Search:
        removable = [layer for layer in problem.candidates if layer != problem.layers - 1]
        if len(removable) < problem.budget:
            raise UsageError(
                f"searcher 'deepest' keeps the last layer; it can remove {len(removable)} layers, not {problem.budget}"
            )
        yield [problem.mask(removable[-problem.budget :])]


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "deepest",
        "The deepest layers but the last",
        f"{__name__}:Deepest",
        reference="https://arxiv.org/abs/2403.17887",
    )
