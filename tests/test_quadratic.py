"""Quadratic energies: three solvers against every set, looked at one by one."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpk.core.pruning.quadratic import Chosen, Matrix, annealed, enumerated, proven

Case = tuple[list[list[float]], int, int]


def energy(matrix: Matrix, chosen: Chosen) -> float:
    return sum(matrix[i][j] for i in chosen for j in chosen)


def brute_force(matrix: Matrix, size: int, count: int) -> list[float]:
    """The lowest energies there are."""
    every = itertools.combinations(range(len(matrix)), size)
    return sorted(energy(matrix, chosen) for chosen in every)[:count]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A symmetric matrix, how many items to choose, how many solutions to ask for; zeros and ties among them."""
    items = draw(st.integers(1, 8))
    numbers = draw(st.sampled_from([st.floats(-3, 3, width=16), st.integers(-2, 2), st.floats(0, 1, width=32)]))
    matrix = [[0.0] * items for _ in range(items)]
    for i, j in itertools.combinations_with_replacement(range(items), 2):
        matrix[i][j] = matrix[j][i] = float(draw(numbers))
    return matrix, draw(st.integers(1, items)), draw(st.integers(1, 6))


@settings(max_examples=150)
@given(cases(), st.integers(0, 9))
def test_every_solver_finds_the_best_and_the_next_best(case: Case, seed: int) -> None:
    matrix, size, count = case
    expected = brute_force(matrix, size, count)
    solved = proven(matrix, size, count)
    assert solved is not None
    for found in (enumerated(matrix, size, count), solved, annealed(matrix, size, count, random.Random(seed))):
        assert len(set(found)) == len(found) == len(expected)
        assert all(len(set(chosen)) == size and list(chosen) == sorted(chosen) for chosen in found)
        # HiGHS stops within 1e-6 of the optimum; the matrix is scaled to 1 for it.
        assert [energy(matrix, chosen) for chosen in found] == pytest.approx(expected, abs=1e-5)


def test_of_equals_the_first_in_order() -> None:
    assert enumerated([[1.0] * 4] * 4, 2, 3) == [(0, 1), (0, 2), (0, 3)]


def test_more_sets_than_a_chunk_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(2).normal(size=(12, 12))
    matrix = (draw + draw.T).tolist()
    whole = enumerated(matrix, 5, 7)
    monkeypatch.setattr("lpk.core.pruning.quadratic.CHUNK", 10)
    assert enumerated(matrix, 5, 7) == whole
    assert [energy(matrix, chosen) for chosen in whole] == pytest.approx(brute_force(matrix, 5, 7))


def test_a_large_problem_is_proven_and_annealing_agrees() -> None:
    """30 items, 15 chosen, has 155 million sets. A Gram matrix, as gradients give it."""
    rows = np.random.default_rng(0).normal(size=(200, 30)) * np.random.default_rng(1).gamma(1, size=30)
    matrix = (rows.T @ rows / 200).tolist()
    best = proven(matrix, 15, 3)
    assert best is not None
    assert annealed(matrix, 15, 3, random.Random(0)) == best


def test_what_takes_too_many_nodes_is_not_called_proven() -> None:
    draw = np.random.default_rng(0).normal(size=(24, 24))
    assert proven((draw + draw.T).tolist(), 12, nodes=1) is None


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_the_unit_does_not_matter(scale: float) -> None:
    draw = np.random.default_rng(3).normal(size=(9, 9))
    matrix = draw + draw.T
    scaled = (matrix * scale).tolist()
    best = enumerated(matrix.tolist(), 4, 4)
    assert enumerated(scaled, 4, 4) == proven(scaled, 4, 4) == annealed(scaled, 4, 4, random.Random(0)) == best
