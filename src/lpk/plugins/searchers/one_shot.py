"""One-shot: score every layer once, remove the ``budget`` lowest.

Without a scorer a layer's score is the loss of the model without that layer alone (the one-shot of Shortened LLaMA and
of "Rethinking Layer Redundancy"). How removals interact is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher


class OneShot(Searcher[Options]):
    scores = "optional"

    def search(self, problem: Problem) -> Search:
        if problem.scores:
            yield [problem.lowest(problem.scores.layers)]
        else:
            losses = yield [problem.dense.drop(layer) for layer in problem.candidates]
            alone = dict(zip(problem.candidates, losses, strict=True))
            yield [problem.lowest([alone.get(layer, 0.0) for layer in range(problem.layers)])]


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "one-shot",
        "The layers with the lowest scores; without a scorer, with the lowest loss when removed alone",
        f"{__name__}:OneShot",
        reference="https://arxiv.org/abs/2402.02834",
    )
