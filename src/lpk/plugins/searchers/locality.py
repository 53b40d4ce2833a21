"""Locality-aware redundancy pruning (Yun et al. 2026, "LoRP"): alike layers form clusters, the budget is spread over them.

From a scorer's similarity S of layers, K clusters by spectral clustering of A = (S + 1) / 2. A layer is as redundant as
it is like the others of its cluster, r(l) = mean of S_lm over m in C_k without l. Stage 1: the most redundant removable
layer of each cluster goes, or of those the most redundant ones if the budget is smaller. Stage 2, until the budget is
met: the cluster whose remaining removable layers are most alike on average loses its most redundant one.

K is 2, 3 or 4 by the representation locality score RLS = -log2 of the mean of S_ij over i < j; the thresholds were
fitted to five models. ``clusters=eigengap`` is the rule of WRP (Yun & Lim 2026, arXiv 2609.09883, eq. 4 and 5). With
A's normalised Laplacian's eigenvalues 0 = l_1 <= l_2 <= ..., the gap l_3 - l_2 speaks for two clusters and l_4 - l_3
for more. Layers near each other are alike anyway: from both go the gaps of S with each entry replaced by the mean over
pairs as far apart. K is 2 where what is left of the first is at least what is left of the second, else 4.

The released code differs from LoRP's paper, and WRP's paper does as that code: ``allocation=code`` averages over all
remaining layers of a cluster, protected ones too, and with a budget below K serves the clusters in the order of depth.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from itertools import combinations
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher
from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask

if TYPE_CHECKING:
    from numpy.typing import NDArray

Similarity = Sequence[Sequence[float]]
Clusters = list[list[int]]


class LocalityOptions(Options):
    clusters: Literal["rls", "eigengap"] | Annotated[int, Field(ge=1)] = Field(
        "rls", description="how many: a number; rls, by the locality score; or eigengap, by WRP's rule"
    )
    two_from: float = Field(1.0, description="the locality score from which there are 2 clusters")
    three_from: float = Field(0.7, description="the locality score from which there are 3; below it 4")
    neighbours: int = Field(0, ge=0, description="also try up to so many clusters more and fewer; the lowest loss wins")
    allocation: Literal["paper", "code"] = Field("paper", description="as LoRP's paper has it, or its released code")
    restarts: int = Field(20, ge=1, description="of k-means")


class Locality(Searcher[LocalityOptions]):
    scores = "required"

    def search(self, problem: Problem) -> Search:
        if problem.scores is None or not problem.scores.similarity:
            raise UsageError(
                "searcher 'locality' needs a scorer of how alike layers are: locality, cka or weight-redundancy"
            )
        similarity = problem.scores.similarity
        count, more = self._clusters(similarity), self.options.neighbours
        if count > problem.layers:
            raise UsageError(f"searcher 'locality': clusters={count}; there are {problem.layers} layers")
        counts = [count, *range(max(1, count - more), min(problem.layers, count + more) + 1)]
        masks = []
        for clusters in dict.fromkeys(counts):
            found = spectral_clusters(similarity, clusters, self.options.restarts, problem.random())
            masks.append(self._allocate(problem, found, similarity))
        yield list(dict.fromkeys(masks))

    def _clusters(self, similarity: Similarity) -> int:
        if isinstance(self.options.clusters, int):
            return self.options.clusters
        if self.options.clusters == "eigengap":
            return eigengap_clusters(similarity)
        score = locality_score(similarity)
        return 2 if score >= self.options.two_from else 3 if score >= self.options.three_from else 4

    def _allocate(self, problem: Problem, clusters: Clusters, similarity: Similarity) -> LayerMask:
        paper = self.options.allocation == "paper"
        redundancy = {
            layer: _mean(similarity[layer][other] for other in members if other != layer)
            for members in clusters
            for layer in members
        }
        # Each cluster's removable layers, the most redundant last.
        queues = [
            sorted(set(members) & set(problem.candidates), key=lambda layer: (redundancy[layer], -layer))
            for members in clusters
        ]
        first = [queue.pop() for queue in queues if queue]
        if paper:
            first.sort(key=lambda layer: -redundancy[layer])
        removed = first[: problem.budget]

        def residual(cluster: int) -> float:
            left = queues[cluster] if paper else set(clusters[cluster]) - set(removed)
            return _mean(similarity[a][b] for a, b in combinations(left, 2))

        while len(removed) < problem.budget:
            cluster = max((index for index, queue in enumerate(queues) if queue), key=residual)
            removed.append(queues[cluster].pop())
        return problem.mask(removed)


def _mean(values: Iterable[float]) -> float:
    """Of no values -infinity: a layer alone in its cluster is like no other one."""
    values = list(values)
    return fmean(values) if values else -math.inf


def locality_score(similarity: Similarity) -> float:
    """RLS, in bits; infinite where layers are not alike on average."""
    mean = fmean(similarity[a][b] for a, b in combinations(range(len(similarity)), 2))
    return -math.log2(mean) if mean > 0 else math.inf


def eigengap_clusters(similarity: Similarity) -> int:
    """K by WRP's rule, 2 or 4."""
    import numpy as np

    given = np.array(similarity, dtype=float)
    if len(given) < 4:
        raise UsageError(f"searcher 'locality': clusters=eigengap needs 4 layers; there are {len(given)}")
    reference = np.empty_like(given)
    for distance in range(len(given)):
        for start in range(len(given) - distance):
            reference[start, start + distance] = given.diagonal(distance).mean()
            reference[start + distance, start] = reference[start, start + distance]
    coarse, fine = np.maximum((_gaps(given) - _gaps(reference)).round(12), 0)  # where the two agree, they do to 1e-15
    return 2 if coarse >= fine else 4


def _gaps(similarity: NDArray[Any]) -> NDArray[Any]:
    """The Laplacian's second and third eigengap."""
    import numpy as np

    affinity = (similarity + 1) / 2
    np.fill_diagonal(affinity, 1)
    root = np.sqrt(affinity.sum(1))
    gaps: NDArray[Any] = np.diff(np.linalg.eigvalsh(np.eye(len(root)) - affinity / np.outer(root, root))[1:4])
    return gaps


def spectral_clusters(similarity: Similarity, clusters: int, restarts: int, random: Random) -> Clusters:
    """Layers in this many clusters, from the first layer on; in fewer where hardly any layers differ.

    As scikit-learn does it, which the released code calls: the eigenvectors of the Laplacian's lowest eigenvalues, without
    self-loops and divided by the root of the degree, and k-means over their rows.
    """
    import numpy as np
    from scipy.cluster.vq import kmeans2
    from scipy.sparse.csgraph import laplacian

    affinity = (np.array(similarity, dtype=float) + 1) / 2
    matrix, roots = laplacian(affinity, normed=True, return_diag=True)
    points = np.linalg.eigh(matrix)[1][:, :clusters] / roots[:, None]
    starts = [random.sample(range(len(points)), clusters) for _ in range(restarts)]
    with warnings.catch_warnings(action="ignore"):  # that a cluster has become empty
        runs = [kmeans2(points, points[start], iter=30, minit="matrix") for start in starts]
    _, labels = min(runs, key=lambda run: float(((points - run[0][run[1]]) ** 2).sum()))
    return [np.flatnonzero(labels == label).tolist() for label in dict.fromkeys(labels.tolist())]


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "locality",
        "The most redundant layers of each cluster of layers that are alike",
        f"{__name__}:Locality",
        reference="https://arxiv.org/abs/2605.27786",
        options=LocalityOptions,
    )
