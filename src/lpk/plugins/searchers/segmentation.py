"""Fisher's optimal segmentation: consecutive layers that are alike form segments, the budget is spread over them.

The layer pruning of Lu et al. 2024, made for networks that recognise signal modulations, with a scorer's similarity S of
layers and its scores in place of theirs. The depth is cut into consecutive segments such that the sum of their diameters
is as small as can be, by dynamic programming (Fisher 1958). With n layers in segment G

    diameter(G) = 2 / n * sum over i < j in G of (1 - S_ij),

the sum of squared distances from the segment's mean where S is an inner product of unit vectors, as a mean cosine is.

Removals are given out one by one, each to the segment with the highest weight / (2 * removals so far + 1) that can lose
a layer and keep one (Sainte-Lague: proportional, and never more than a segment has). A segment's weight is how many
removable layers it has, or with ``allocation=redundancy`` that times the mean of S over its pairs. Within a segment the
layers with the lowest scores go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations, pairwise
from statistics import fmean
from typing import Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, LayerScores, Options, Problem, Search, Searcher
from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask


class SegmentationOptions(Options):
    segments: int = Field(4, ge=1, description="how many")
    neighbours: int = Field(0, ge=0, description="also try up to so many segments more and fewer; the lowest loss wins")
    allocation: Literal["size", "redundancy"] = Field(
        "size",
        description="what a segment's removals are proportional to: its removable layers, or how alike they are too",
    )


class Segmentation(Searcher[SegmentationOptions]):
    scores = "required"

    def search(self, problem: Problem) -> Search:
        scores, count, more = problem.scores, self.options.segments, self.options.neighbours
        if scores is None or not scores.similarity:
            raise UsageError(
                "searcher 'segmentation' needs a scorer of how alike layers are: locality, cka or weight-redundancy"
            )
        if count > problem.layers:
            raise UsageError(f"searcher 'segmentation': segments={count}; there are {problem.layers} layers")
        counts = [count, *range(max(1, count - more), min(problem.layers, count + more) + 1)]
        masks = [
            self._allocate(problem, optimal_segments(scores.similarity, segments), scores)
            for segments in dict.fromkeys(counts)
        ]
        yield list(dict.fromkeys(masks))

    def _allocate(self, problem: Problem, segments: Sequence[range], scores: LayerScores) -> LayerMask:
        candidates = set(problem.candidates)
        queues = [
            sorted(candidates.intersection(part), key=lambda layer: (scores.layers[layer], layer)) for part in segments
        ]
        weights = [len(queue) * self._alike(part, scores) for queue, part in zip(queues, segments, strict=True)]
        taken = [0] * len(segments)
        for _ in range(problem.budget):
            some = [part for part, queue in enumerate(queues) if taken[part] < len(queue)]
            keeping = [part for part in some if taken[part] + 1 < len(segments[part])]
            taken[max(keeping or some, key=lambda part: weights[part] / (2 * taken[part] + 1))] += 1
        return problem.mask(layer for queue, count in zip(queues, taken, strict=True) for layer in queue[:count])

    def _alike(self, part: range, scores: LayerScores) -> float:
        if self.options.allocation == "size":
            return 1.0
        pairs = [scores.similarity[a][b] for a, b in combinations(part, 2)]
        return max(0.0, fmean(pairs)) if pairs else 0.0


def optimal_segments(similarity: Sequence[Sequence[float]], segments: int) -> list[range]:
    """The consecutive segments of least total diameter; of equals those that begin earlier."""

    @cache
    def apart(start: int, end: int) -> float:
        """The sum of 1 - S over the pairs of layers from ``start`` to before ``end``."""
        if end - start < 2:
            return 0.0
        return apart(start, end - 1) + sum(1 - similarity[layer][end - 1] for layer in range(start, end - 1))

    @cache
    def best(end: int, parts: int) -> tuple[float, tuple[int, ...]]:
        """The least total diameter of the first ``end`` layers in so many segments, and where these begin."""
        if parts == 1:
            return 2 / end * apart(0, end), (0,)
        return min(
            (before + 2 / (end - start) * apart(start, end), (*starts, start))
            for start in range(parts - 1, end)
            for before, starts in [best(start, parts - 1)]
        )

    layers = len(similarity)
    return [range(start, end) for start, end in pairwise((*best(layers, segments)[1], layers))]


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "segmentation",
        "The lowest-scored layers of each segment of the depth, cut where neighbouring layers differ most",
        f"{__name__}:Segmentation",
        reference="https://arxiv.org/abs/2406.07929",
        options=SegmentationOptions,
    )
