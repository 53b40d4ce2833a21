"""Masks and problems: the laws they keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpk.core.contracts import LayerScores, Problem
from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask, ranges
from lpk.core.pruning.recipe import Recipe


@st.composite
def masks(draw: st.DrawFn) -> LayerMask:
    layers = draw(st.integers(1, 40))
    return LayerMask(layers, tuple(draw(st.sets(st.integers(0, layers - 1)))))


@given(masks())
def test_kept_and_removed_part_the_layers(mask: LayerMask) -> None:
    assert sorted(mask.kept + mask.removed) == list(range(mask.layers))
    assert len(mask) == len(mask.removed)


@given(masks())
def test_drop_and_restore_undo_each_other(mask: LayerMask) -> None:
    assert mask.restore(*mask.removed).drop(*reversed(mask.removed)) == mask


@given(masks())
def test_ranges_can_be_read_back(mask: LayerMask) -> None:
    read = []
    for run in ranges(mask.removed).split():
        first, _, last = run.partition("-")
        read += range(int(first), int(last or first) + 1)
    assert tuple(read) == mask.removed


@pytest.mark.parametrize("removed", [(3,), (-1,), (1, 1)])
def test_a_mask_of_layers_that_are_not_there_is_refused(removed: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="layer"):
        LayerMask(3, removed)


def test_scores_of_runs_come_from_pairs() -> None:
    scores = LayerScores.from_pairs([[abs(a - b) ** 2 for b in range(4)] for a in range(4)])
    assert scores.layers == (1, 1, 1)
    assert scores.runs == ((1, 4, 9), (1, 4), (1,))
    assert scores.run(1, 2) == 4
    assert scores.similarity == ()
    alike = [[10 * min(a, b) + max(a, b) for b in range(4)] for a in range(4)]
    assert LayerScores.from_pairs(alike, alike).similarity == ((0, 1, 2), (1, 11, 12), (2, 12, 22))


def test_windows_keep_clear_of_protected_layers() -> None:
    windows = Problem(6, 2, frozenset({0, 3})).windows()
    assert [window.removed for window in windows] == [(1, 2), (4, 5)]


def test_lowest_breaks_ties_towards_the_earlier_layer() -> None:
    assert Problem(5, 2, frozenset({0})).lowest([0, 1, 0.5, 0.5, 0.5]).removed == (2, 3)


@pytest.mark.parametrize(
    ("remove", "layers", "budget"),
    [
        ("25%", 30, 7),
        ("25%", 32, 8),
        ("25 %", 8, 2),
        ("33.4%", 30, 10),
        ("8", 30, 8),
        (8, 30, 8),
        ("10%", 30, 3),
        ("70%", 10, 7),
    ],
)
def test_budgets(remove: int | str, layers: int, budget: int) -> None:
    assert Recipe(remove=remove).problem(layers).budget == budget


@pytest.mark.parametrize("remove", [0, 30, 31, 29, "200%", "100%", "1%", "-3", "many", "8.5", ""])
def test_impossible_budgets_are_refused(remove: int | str) -> None:
    with pytest.raises(UsageError, match="--remove"):
        Recipe(remove=remove).problem(30)


def test_everything_but_one_layer_can_go() -> None:
    assert Recipe(remove=29, protect=()).problem(30).budget == 29


def test_protected_layers_count_from_either_end() -> None:
    assert Recipe(protect="0,-1,5").problem(30).protected == {0, 29, 5}
    assert Recipe(protect="none").problem(30).protected == frozenset()


@pytest.mark.parametrize("protect", ["30", "-31", ",".join(map(str, range(30)))])
def test_impossible_protection_is_refused(protect: str) -> None:
    with pytest.raises(UsageError, match="--protect"):
        Recipe(protect=protect).problem(30)
