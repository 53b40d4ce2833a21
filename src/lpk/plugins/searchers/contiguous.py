"""The run of ``budget`` neighbouring layers with the lowest score (Gromov et al. 2024, eq. 6):

l*(n) = argmin over l of d(x^(l), x^(l+n));  layers l* to l* + n - 1 go.
"""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher
from lpk.core.errors import UsageError


class Contiguous(Searcher[Options]):
    scores = "required"

    def search(self, problem: Problem) -> Search:
        scores = problem.scores
        if scores is None or not scores.runs:
            raise UsageError("searcher 'contiguous' needs a scorer of runs of layers: angular or block-influence")
        windows = problem.windows()
        if not windows:
            raise UsageError(f"there is no run of {problem.budget} layers without a protected one; try --protect none")
        yield [min(windows, key=lambda mask: scores.run(mask.removed[0], problem.budget))]


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "contiguous",
        "The run of neighbouring layers whose two ends are most alike",
        f"{__name__}:Contiguous",
        reference="https://arxiv.org/abs/2403.17887",
    )
