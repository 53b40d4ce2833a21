"""Searches by how alike layers are: clusters, segments, and what is taken from each."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpk.core.contracts import LayerScores, Loss, Problem
from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.search import drive
from lpk.core.registry import installed
from lpk.plugins.searchers.locality import eigengap_clusters, locality_score, spectral_clusters
from lpk.plugins.searchers.segmentation import optimal_segments

Similarity = tuple[tuple[float, ...], ...]


def blocks(labels: Sequence[int], within: float, across: float, noise: float = 0.0, seed: int = 0) -> Similarity:
    """A similarity with these clusters."""
    draw = random.Random(seed)
    matrix = [[1.0] * len(labels) for _ in labels]
    for a, b in itertools.combinations(range(len(labels)), 2):
        alike = (within if labels[a] == labels[b] else across) + draw.uniform(-noise, noise)
        matrix[a][b] = matrix[b][a] = alike
    return tuple(map(tuple, matrix))


def falling(layers: int, seed: int, per_step: float = 0.08) -> Similarity:
    """As a real model's: layers are less alike the further apart they are, by more at some depths than at others."""
    draw = random.Random(seed)
    depth = list(itertools.accumulate(draw.uniform(0, 2 * per_step) for _ in range(layers)))
    return tuple(tuple(math.exp(-abs(a - b)) for b in depth) for a in depth)


def masks(name: str, problem: Problem, **options: Any) -> list[LayerMask]:
    """What a search asks for."""

    def losses_of(asked: Sequence[LayerMask], sequences: int) -> list[Loss]:
        return [Loss.mean([float(sum(mask.removed))], [1.0]) for mask in asked]

    searcher: Any = installed().find("searcher", name).create(options)
    return [trial.mask for trial in drive(searcher, problem, losses_of).trials]


def problem(
    similarity: Similarity, budget: int, protected: Iterable[int] = (), scores: Sequence[float] = ()
) -> Problem:
    layers = len(similarity)
    given = LayerScores(tuple(scores) or tuple(map(float, range(layers))), similarity=similarity)
    return Problem(layers, budget, frozenset(protected), given, workspace=Path())


def partitions(layers: int, clusters: int) -> Iterator[list[list[int]]]:
    """Every way to put layers in this many clusters, in the order of their first layers."""
    for labels in itertools.product(range(clusters), repeat=layers):
        if list(dict.fromkeys(labels)) == list(range(clusters)):
            yield [[layer for layer in range(layers) if labels[layer] == cluster] for cluster in range(clusters)]


def normalised_cut(similarity: Similarity, clusters: Sequence[Sequence[int]]) -> float:
    """Shi & Malik 2000, with no edge from a layer to itself."""
    layers = range(len(similarity))

    def weight(here: Iterable[int], there: Iterable[int]) -> float:
        return sum((similarity[a][b] + 1) / 2 for a in here for b in there if a != b)

    return sum(1 - weight(here, here) / weight(here, layers) for here in clusters)


# Clusters ------------------------------------------------------------------------------------------------------------


def test_clear_clusters_are_found_and_numbered_by_depth() -> None:
    labels = [0, 0, 1, 1, 0, 2, 2, 1, 2, 0, 2, 1]
    found = spectral_clusters(blocks(labels, 0.9, 0.2), 3, 20, random.Random(0))
    assert found == [[0, 1, 4, 9], [2, 3, 7, 11], [5, 6, 8, 10]]


@settings(max_examples=60)
@given(
    labels=st.lists(st.integers(0, 2), min_size=5, max_size=8).filter(
        lambda labels: min(map(labels.count, labels)) > 1
    ),
    seed=st.integers(0, 1000),
)
def test_clusters_are_the_least_normalised_cut_where_they_are_clear(labels: list[int], seed: int) -> None:
    clusters = len(set(labels))
    similarity = blocks(labels, 0.9, 0.1, 0.08, seed)
    exact = min(partitions(len(labels), clusters), key=lambda found: normalised_cut(similarity, found))
    assert spectral_clusters(similarity, clusters, 20, random.Random(0)) == exact


@settings(max_examples=60)
@given(layers=st.integers(5, 8), clusters=st.integers(2, 3), seed=st.integers(0, 10_000))
def test_clusters_of_a_model_like_matrix_cut_little_more_than_the_least(layers: int, clusters: int, seed: int) -> None:
    similarity = falling(layers, seed)
    exact = min(normalised_cut(similarity, found) for found in partitions(layers, clusters))
    found = spectral_clusters(similarity, clusters, 20, random.Random(0))
    assert sorted(itertools.chain(*found)) == list(range(layers))
    assert exact - 1e-12 <= normalised_cut(similarity, found) <= 1.01 * exact


def test_the_order_of_layers_does_not_matter_to_clusters() -> None:
    labels = [0, 0, 1, 1, 2, 2, 2, 0, 1]
    similarity = blocks(labels, 0.8, 0.2, 0.1, 5)
    order = random.Random(1).sample(range(9), 9)
    shuffled = tuple(tuple(similarity[a][b] for b in order) for a in order)
    back = sorted(
        sorted(order[layer] for layer in found) for found in spectral_clusters(shuffled, 3, 20, random.Random(0))
    )
    assert back == sorted(spectral_clusters(similarity, 3, 20, random.Random(0)))


# Their number --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "clusters"), [(1.149, 2), (0.941, 3), (0.926, 3), (0.685, 4), (0.644, 4), (1.0, 2), (0.7, 3)]
)
def test_the_locality_score_gives_the_published_number_of_clusters(published: float, clusters: int) -> None:
    """Llama-3.1-8B, OLMo-3-7B, Mistral-Nemo-12B, Qwen3-8B, Qwen3-14B (LoRP's table 1), and the thresholds."""
    labels = [layer % clusters for layer in range(12)]
    across = 0.2
    pairs = [labels[a] == labels[b] for a, b in itertools.combinations(range(12), 2)]
    within = (2**-published - across * (1 - fmean(pairs))) / fmean(pairs)
    similarity = blocks(labels, within - 1e-9, across)  # a hair above a threshold, not below
    assert locality_score(similarity) == pytest.approx(published, abs=1e-6)
    asked = masks("locality", problem(similarity, clusters))
    assert asked == masks("locality", problem(similarity, clusters), clusters=clusters)
    assert sorted(labels[layer] for layer in asked[0].removed) == list(range(clusters))


def test_layers_that_are_not_alike_are_as_local_as_can_be() -> None:
    assert locality_score(blocks([0, 1, 2], 0, -0.1)) == math.inf


@pytest.mark.parametrize("size", [3, 6])
def test_eigengaps_of_two_blocks_are_their_closed_form(size: int) -> None:
    from lpk.plugins.searchers.locality import _gaps

    within, across = 0.8, 0.1
    high, low = (within + 1) / 2, (across + 1) / 2
    degree = 1 + (size - 1) * high + size * low
    second = 1 - (1 + (size - 1) * high - size * low) / degree
    others = 1 - (1 - high) / degree
    gaps = _gaps(np.array(blocks([0] * size + [1] * size, within, across)))
    assert gaps == pytest.approx([others - second, 0], abs=1e-12)


def test_eigengaps_choose_coarse_or_fine() -> None:
    assert eigengap_clusters(blocks([0] * 6 + [1] * 6, 0.8, 0.1)) == 2
    # Three clusters, so the gap after the third eigenvalue is the one that stands out.
    assert eigengap_clusters(blocks([0] * 4 + [1] * 4 + [2] * 4, 0.8, 0.1)) == 4
    # Depth alone, with the clusters it seems to make, says nothing: K = 2.
    toeplitz = tuple(tuple(math.exp(-0.2 * abs(a - b)) for b in range(12)) for a in range(12))
    assert eigengap_clusters(toeplitz) == 2


@settings(max_examples=40)
@given(layers=st.integers(4, 12), seed=st.integers(0, 10_000))
def test_eigengaps_agree_with_the_formula_written_out(layers: int, seed: int) -> None:
    similarity = falling(layers, seed)

    def eigenvalues(alike: Sequence[Sequence[float]]) -> list[float]:
        affinity = np.array([[1.0 if a == b else (alike[a][b] + 1) / 2 for b in range(layers)] for a in range(layers)])
        delta = np.diag(affinity.sum(1) ** -0.5)
        return sorted(np.linalg.eigvals(np.eye(layers) - delta @ affinity @ delta).real)

    pairs = list(itertools.product(range(layers), repeat=2))
    by_distance = [fmean(similarity[a][b] for a, b in pairs if abs(a - b) == d) for d in range(layers)]
    ours, null = (
        eigenvalues(similarity),
        eigenvalues([[by_distance[abs(a - b)] for b in range(layers)] for a in range(layers)]),
    )
    e2, e3 = (max(ours[j] - ours[j - 1] - (null[j] - null[j - 1]), 0) for j in (2, 3))
    rho = e2 / (e2 + e3) if e2 + e3 > 1e-12 else 1
    assert eigengap_clusters(similarity) == (2 if rho >= 0.5 else 4)


# What goes from each -------------------------------------------------------------------------------------------------


def slow_locality(
    similarity: Similarity, clusters: list[list[int]], budget: int, fixed: set[int], paper: bool
) -> set[int]:
    """LoRP's section 4.3, or its released code, with sets and no queues."""

    def r(layer: int) -> float:
        (members,) = (members for members in clusters if layer in members)
        others = [similarity[layer][other] for other in members if other != layer]
        return sum(others) / len(others) if others else -math.inf

    def mu(members: set[int]) -> float:
        pairs = [similarity[a][b] for a in members for b in members if a < b]
        return sum(pairs) / len(pairs) if pairs else -math.inf

    gone: set[int] = set()
    first = [
        max(set(members) - fixed, key=lambda layer: (r(layer), -layer)) for members in clusters if set(members) - fixed
    ]
    if paper:
        first = sorted(first, key=r, reverse=True)
    gone |= set(first[:budget])
    while len(gone) < budget:
        best: tuple[float, int] | None = None
        for members in clusters:
            eligible = set(members) - fixed - gone
            if eligible:
                value = mu(eligible if paper else set(members) - gone)
                if best is None or value > best[0]:
                    best = (value, max(eligible, key=lambda layer: (r(layer), -layer)))
        assert best is not None
        gone.add(best[1])
    return gone


@settings(max_examples=60)
@given(
    layers=st.integers(6, 14),
    clusters=st.integers(1, 5),
    share=st.floats(0.1, 1),
    paper=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_locality_is_the_plain_loop(layers: int, clusters: int, share: float, paper: bool, seed: int) -> None:
    similarity, fixed = falling(layers, seed), {0, layers - 1}
    budget = max(1, int(share * (layers - 2)))
    (mask,) = masks(
        "locality", problem(similarity, budget, fixed), clusters=clusters, allocation="paper" if paper else "code"
    )
    found = spectral_clusters(similarity, clusters, 20, random.Random(0))
    assert set(mask.removed) == slow_locality(similarity, found, budget, fixed, paper)


#: Two clusters: 0-3, where 0 is protected and like nobody, and 4-7.
UNEVEN = [
    [1.0, 0.3, 0.3, 0.3, 0.0, 0.0, 0.0, 0.0],
    [0.3, 1.0, 0.9, 0.8, 0.0, 0.0, 0.0, 0.0],
    [0.3, 0.9, 1.0, 0.8, 0.0, 0.0, 0.0, 0.0],
    [0.3, 0.8, 0.8, 1.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0, 1.0, 0.7, 0.6, 0.6],
    [0.0, 0.0, 0.0, 0.0, 0.7, 1.0, 0.6, 0.6],
    [0.0, 0.0, 0.0, 0.0, 0.6, 0.6, 1.0, 0.6],
    [0.0, 0.0, 0.0, 0.0, 0.6, 0.6, 0.6, 1.0],
]


def test_paper_and_code_differ_in_who_counts_as_remaining() -> None:
    """After 1 and 4: of 2-3 the mean is 0.8, with the protected 0 it is 0.47; of 5-7 it is 0.6."""
    given = problem(tuple(map(tuple, UNEVEN)), 3, {0})
    assert masks("locality", given, clusters=2)[0].removed == (1, 2, 4)
    assert masks("locality", given, clusters=2, allocation="code")[0].removed == (1, 4, 5)


def test_a_budget_below_the_clusters_goes_to_the_most_redundant() -> None:
    """Layer 1 is like its cluster by 2.0 / 3, layer 4 by 1.9 / 3; the other way round once 1-3 are less alike."""
    given = problem(tuple(map(tuple, UNEVEN)), 1, {0})
    assert masks("locality", given, clusters=2)[0].removed == (1,)
    less = tuple(tuple(0.5 if value in (0.9, 0.8) else value for value in row) for row in UNEVEN)
    assert masks("locality", problem(less, 1, {0}), clusters=2)[0].removed == (4,)
    assert masks("locality", problem(less, 1, {0}), clusters=2, allocation="code")[0].removed == (1,)


# Segments ------------------------------------------------------------------------------------------------------------


def diameter(similarity: Similarity, part: Sequence[int]) -> float:
    """The sum of squared distances from the mean, in the space whose inner product is the similarity."""
    inner = np.array(similarity)[np.ix_(part, part)]
    centred = inner - inner.mean(0) - inner.mean(1)[:, None] + inner.mean()
    return float(centred.trace())


@settings(max_examples=60)
@given(layers=st.integers(1, 9), segments=st.integers(1, 9), seed=st.integers(0, 10_000))
def test_segments_are_the_best_of_all_ways_to_cut(layers: int, segments: int, seed: int) -> None:
    segments, similarity = min(segments, layers), falling(layers, seed)
    found = optimal_segments(similarity, segments)
    assert len(found) == segments
    assert [layer for part in found for layer in part] == list(range(layers))
    ways = [
        [range(a, b) for a, b in itertools.pairwise((0, *cuts, layers))]
        for cuts in itertools.combinations(range(1, layers), segments - 1)
    ]
    total = sum(diameter(similarity, part) for part in found)
    assert total == pytest.approx(min(sum(diameter(similarity, part) for part in way) for way in ways), abs=1e-9)


def test_segments_are_cut_between_clear_blocks() -> None:
    similarity = blocks([0] * 5 + [1] * 3 + [2] * 8, 0.9, 0.5)
    assert optimal_segments(similarity, 3) == [range(5), range(5, 8), range(8, 16)]


def test_removals_are_proportional_to_a_segments_removable_layers() -> None:
    """Segments of 2, 4 and 6, of which 2, 4 and 5 may go: Sainte-Lague's order is 2 1 0 2 1 2 1 2."""
    similarity = blocks([0] * 2 + [1] * 4 + [2] * 6, 0.9, 0.1)
    scores = [5, 6, 1, 2, 3, 4, 9, 8, 7, 6, 5, 0]
    removed = [masks("segmentation", problem(similarity, b, {11}, scores), segments=3)[0].removed for b in (1, 3, 5, 8)]
    assert removed == [(10,), (0, 2, 10), (0, 2, 3, 9, 10), (0, 2, 3, 4, 7, 8, 9, 10)]


def test_a_segment_keeps_a_layer_while_others_can_lose_one() -> None:
    similarity = blocks([0] + [1] * 5, 0.9, 0.1)
    assert masks("segmentation", problem(similarity, 4), segments=2)[0].removed == (1, 2, 3, 4)
    assert masks("segmentation", problem(similarity, 5), segments=2)[0].removed == (0, 1, 2, 3, 4)


def test_redundant_segments_lose_more() -> None:
    similarity = tuple(
        tuple(1.0 if a == b else 0.0 if a // 4 != b // 4 else (0.9, 0.25)[a // 4] for b in range(8)) for a in range(8)
    )
    assert masks("segmentation", problem(similarity, 4), segments=2)[0].removed == (0, 1, 4, 5)
    removed = masks("segmentation", problem(similarity, 4), segments=2, allocation="redundancy")[0].removed
    assert removed == (0, 1, 2, 4)  # 0.9 against 0.25: 0.9, 0.3, 0.25, then 0.18 against 0.083


# Both ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "option"), [("locality", "clusters"), ("segmentation", "segments")])
def test_neighbours_are_tried_in_one_batch_and_the_best_wins(name: str, option: str) -> None:
    given = problem(falling(16, 3), 5, {0, 15}, [math.sin(layer) for layer in range(16)])
    alone = {count: masks(name, given, **{option: count})[0] for count in range(1, 7)}
    assert masks(name, given, **{option: 3}, neighbours=2) == list(
        dict.fromkeys([alone[3], *(alone[n] for n in range(1, 6))])
    )
    assert masks(name, given, **{option: 1}, neighbours=1) == list(dict.fromkeys([alone[1], alone[2]]))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("locality", {"clusters": 7}, "clusters=7; there are 6 layers"),
        ("segmentation", {"segments": 7}, "segments=7; there are 6 layers"),
        ("locality", {"clusters": 0}, "clusters"),
        ("locality", {"clusters": "some"}, "clusters"),
    ],
)
def test_impossible_numbers_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        masks(name, problem(falling(6, 0), 2), **options)


@pytest.mark.parametrize("name", ["locality", "segmentation"])
def test_a_scorer_without_similarity_is_refused(name: str) -> None:
    for scores in (None, LayerScores((1.0,) * 6)):
        with pytest.raises(UsageError, match=f"searcher '{name}' needs a scorer of how alike layers are"):
            masks(name, Problem(6, 2, scores=scores, workspace=Path()))


def test_eigengaps_need_four_layers() -> None:
    with pytest.raises(UsageError, match="needs 4 layers; there are 3"):
        masks("locality", problem(falling(3, 0), 1), clusters="eigengap")
