"""Beam search over deletions: greedy with the best ``width`` masks of each size, not only the best.

A plain beam can end worse than greedy, when greedy's path falls out of it (it does in "Rethinking Layer Redundancy").
Here that path has a place of its own in the beam, so without racing the answer is never worse than greedy's.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Problem, Search, Searcher
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.racing import Racing


class BeamOptions(Racing):
    width: int = Field(5, ge=1, description="how many masks of each size go on")


class Beam(Searcher[BeamOptions]):
    def search(self, problem: Problem) -> Search:
        def smaller(mask: LayerMask) -> list[LayerMask]:
            return [mask.drop(layer) for layer in problem.removable(mask)]

        greedy, beam = problem.dense, [problem.dense]
        for _ in range(problem.budget):
            candidates = list(dict.fromkeys(child for mask in beam for child in smaller(mask)))
            ranked = yield from self.options.race(problem, candidates, self.options.width)
            (greedy, _), *_ = yield from self.options.race(problem, smaller(greedy))
            beam = [mask for mask, _ in ranked[: self.options.width]]
            if greedy not in beam:
                beam[-1] = greedy
        if self.options.races:  # the last ones may have ended before all sequences
            yield beam


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "beam",
        "Greedy deletion that goes on with the best few masks of each size, greedy's own among them",
        f"{__name__}:Beam",
        reference="https://arxiv.org/abs/2604.24938",
        options=BeamOptions,
    )
