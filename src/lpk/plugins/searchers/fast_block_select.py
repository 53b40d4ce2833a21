"""Fast-Block-Select (Zhang et al. 2026, "MI-PRUN"): move runs of layers to where they cost less.

The layers with the lowest scores by themselves are the pool P to prune, the next ones the pool A of alternatives. For each
run of neighbouring layers in P, the longest first, the runs of the same length within P and A are the candidates: they are
ranked by the sum of their layers' scores, the first few of them by the score of the whole run, and the lowest that shares
no layer with those chosen before takes the run's place. So P is chosen anew, until it does not change.

The paper's score of a run is minus the mutual information between its input and its output. "Rethinking Layer Redundancy"
(arXiv 2604.24938) runs the same search on the loss, and so does this one where the scorer has no scores of runs: the loss
without the run alone.

The paper leaves open how runs that conflict are chosen among, how large A is, and whether P must settle. Here the longest
run chooses first; a run that fits nowhere any more is chosen as one layer less and a single layer; A is as large as P;
and a P that was there before ends the search. Every P is measured, so the answer is never worse than the first, one-shot's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Loss, Options, Problem, Search, Searcher
from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask

Scores = dict[LayerMask, float]
Asking = Generator[Sequence[LayerMask], Sequence[Loss], None]


class FastBlockSelectOptions(Options):
    segments: Literal["auto", "runs", "losses"] = Field(
        "auto", description="what runs of layers are judged by: the scorer's runs, or losses; auto is runs if there are"
    )
    alternatives: int = Field(0, ge=0, description="layers in the pool of alternatives; 0 for as many as the budget")
    top: int = Field(5, ge=1, description="runs of a length whose whole score is looked at")


class FastBlockSelect(Searcher[FastBlockSelectOptions]):
    scores = "optional"

    def search(self, problem: Problem) -> Search:
        scores: Scores = {}
        singles = {layer: problem.mask([layer]) for layer in problem.candidates}
        yield from self._score(problem, list(singles.values()), scores)
        order = sorted(problem.candidates, key=lambda layer: (scores[singles[layer]], layer))
        alone = {layer: scores[mask] for layer, mask in singles.items()}
        pruned, seen = problem.mask(order[: problem.budget]), set[LayerMask]()
        while pruned not in seen:
            seen.add(pruned)
            yield [pruned]
            others = [layer for layer in order if layer not in pruned.removed]
            pool = {*pruned.removed, *others[: self.options.alternatives or problem.budget]}
            pruned = yield from self._select(problem, pruned, pool, alone, scores)

    def _select(
        self, problem: Problem, pruned: LayerMask, pool: set[int], alone: Mapping[int, float], scores: Scores
    ) -> Generator[Sequence[LayerMask], Sequence[Loss], LayerMask]:
        """As many layers of the pool in runs as long as those of ``pruned``, each run where it scores lowest."""
        chosen: set[int] = set()
        lengths = _lengths(pruned)
        while lengths:
            length = lengths.pop()
            starts = (range(start, start + length) for start in sorted(pool))
            runs = [problem.mask(run) for run in starts if pool.issuperset(run) and chosen.isdisjoint(run)]
            if not runs:
                lengths = sorted([*lengths, length - 1, 1])
                continue
            runs = sorted(runs, key=lambda run: sum(alone[layer] for layer in run.removed))[: self.options.top]
            yield from self._score(problem, runs, scores)
            chosen.update(min(runs, key=lambda run: scores[run]).removed)
        return problem.mask(chosen)

    def _score(self, problem: Problem, runs: Sequence[LayerMask], scores: Scores) -> Asking:
        """Add the scores of runs of layers that are not there yet."""
        given = problem.scores.runs if problem.scores and self.options.segments != "losses" else ()
        if self.options.segments == "runs" and not given:
            raise UsageError("searcher 'fast-block-select': segments=runs needs a scorer of runs of layers")
        new = [run for run in runs if run not in scores]
        if given:
            scores.update((run, given[run.removed[0]][len(run) - 1]) for run in new)
        elif new:
            scores.update(zip(new, (yield new), strict=True))


def _lengths(mask: LayerMask) -> list[int]:
    """How long its runs of neighbouring layers are, in ascending order."""
    runs = groupby(enumerate(mask.removed), key=lambda pair: pair[1] - pair[0])
    return sorted(len(list(run)) for _, run in runs)


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "fast-block-select",
        "Move runs of layers to where they cost less, until nothing moves",
        f"{__name__}:FastBlockSelect",
        reference="https://arxiv.org/abs/2601.07212",
        options=FastBlockSelectOptions,
    )
