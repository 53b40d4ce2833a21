"""The statistics of a study, against published figures, closed forms and enumeration."""

from __future__ import annotations

import json
import math
import random
from itertools import combinations, permutations
from statistics import fmean

import made_up_study
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lpk.core.errors import UsageError
from lpk.core.study import inference
from lpk.core.study import statistics as study
from lpk.core.study.tables import Cell, Measure, Trial, read_csv, write_csv, write_parquet

SEARCHERS = ("one-shot", "greedy", "beam", "ga", "bo", "cbo", "fast-block-select")
#: arXiv 2604.24938v1, Table 1: mean accuracy over six tasks of models pruned for the task margin.
ACCURACY = {
    ("L3", 7): (57.99, 60.69, 60.12, 57.63, 60.90, 59.93, 57.99),
    ("L3", 9): (52.51, 54.43, 52.73, 54.49, 54.08, 53.85, 52.51),
    ("L3.1", 7): (62.47, 60.98, 58.62, 59.45, 57.66, 58.43, 62.47),
    ("L3.1", 9): (56.26, 56.58, 55.43, 53.64, 56.20, 56.67, 56.26),
    ("Q3", 7): (55.39, 60.99, 60.99, 57.03, 59.83, 60.65, 55.39),
    ("Q3", 9): (53.30, 60.11, 60.11, 53.11, 60.62, 54.98, 53.30),
}
#: Its last column: the margin; less is better.
MARGIN = {
    ("L3", 7): (-0.312, -0.408, -0.887, -0.106, -0.218, -0.210, -0.312),
    ("L3", 9): (0.007, -0.168, -0.271, -0.089, 0.054, 0.006, 0.007),
    ("L3.1", 7): (-0.347, -0.849, -0.652, -0.385, -0.543, -0.469, -0.347),
    ("L3.1", 9): (-0.173, -0.610, -0.546, 0.033, -0.520, -0.252, -0.173),
    ("Q3", 7): (-1.630, -2.410, -2.410, -1.863, -0.992, -0.898, -1.630),
    ("Q3", 9): (-2.536, -1.915, -1.915, -1.127, -0.301, -0.650, -2.536),
}
#: Table 2: mean perplexity over three texts of models pruned for perplexity.
PERPLEXITY = {
    ("L3", 7): (19.35, 19.90, 19.90, 19.65, 19.35, 19.61, 22.55),
    ("L3", 9): (28.46, 28.42, 26.16, 25.77, 26.16, 32.17, 46.27),
    ("L3.1", 7): (21.02, 19.77, 19.77, 19.77, 19.59, 19.68, 20.22),
    ("L3.1", 9): (28.19, 49.92, 25.51, 26.03, 33.10, 34.88, 35.63),
    ("Q3", 7): (25.42, 23.06, 23.06, 23.31, 22.90, 53.42, 25.86),
    ("Q3", 9): (32.42, 27.56, 27.56, 29.72, 27.58, 120.44, 32.42),
}
#: Fig. 2, read off the picture.
RHOS = (-0.78, -0.08, -0.13, -0.42, -0.46, 0.11)
#: Table 3: seconds of L3, 7 removed, for the task margin.
SECONDS = (550.52, 3222.51, 13869.36, 3543.53, 4233.40, 8172.51, 428.54)


def cell(searcher="greedy", objective="kl", budget=2, seed=0, removed=None, loss=1.0, model="m", cost=10):
    removed = tuple(range(1, budget + 1)) if removed is None else removed
    return Cell(model, 12, objective, searcher, "", budget, seed, "done", "", removed, loss, 1, 1, cost, cost, 1.0)


def measure(of: Cell, name: str, kind: str, value: float, error: float | None = None) -> Measure:
    return Measure(of.model, of.objective, of.searcher, of.budget, of.seed, name, kind, value, error, 100)


def published(table, name: str, kind: str, scale: float = 1.0) -> list[study.Outcome]:
    cells, measures = [], []
    for (model, budget), values in table.items():
        for searcher, value in zip(SEARCHERS, values, strict=True):
            cells.append(cell(searcher, budget=budget, model=model))
            measures.append(measure(cells[-1], name, kind, value * scale))
    return study.outcomes(cells, measures)


def test_figure_3_is_reproduced() -> None:
    found = {
        (row["model"], row["budget"], row["outcome"]): round(row["over_searchers"]["population"], 2)
        for row in study.spread(published(ACCURACY, "six", "accuracy", 0.01))
        + study.spread(published(PERPLEXITY, "three", "perplexity"))
    }
    assert [found[model, budget, "accuracy"] for model, budget in ACCURACY] == [1.68, 0.69, 3.33, 0.96, 5.74, 11.05]
    printed = [1.09, 45.72, 0.22, 60.55, 107.72, 1015.74]
    assert [found[model, budget, "perplexity"] for model, budget in PERPLEXITY] == printed


def test_the_ranges_are_wider_than_claimed() -> None:
    """The paper says 1 to 3 points; its Table 1 says up to 7.5."""
    rows = study.spread(published(ACCURACY, "six", "accuracy", 0.01))
    assert [round(row["over_searchers"]["range"], 2) for row in rows] == [3.27, 1.98, 4.81, 3.03, 5.60, 7.51]


def test_figure_2_holds_no_correction() -> None:
    """A rho of 0.79 at n = 7 has an exact p of 0.048; the six published ones are no evidence together."""
    strongest = next(y for y in permutations(range(7)) if round(inference.spearman(range(7), y) or 0, 2) == -0.79)
    assert inference.spearman_p(range(7), strongest) == pytest.approx(0.048, abs=5e-4)
    every = [inference.spearman(range(7), y) for y in permutations(range(7))]
    ps = [sum(abs(rho or 0) >= abs(one) - 0.0075 for rho in every) / len(every) for one in RHOS]
    assert min(ps) == pytest.approx(0.048, abs=5e-4)
    assert [inference.verdict(p) for p in inference.holm(ps)] == ["not significant"] * 6


def test_the_margin_does_not_rank_accuracy_either() -> None:
    found = [inference.spearman([-m for m in MARGIN[key]], ACCURACY[key]) for key in ACCURACY]
    assert [round(rho or 0, 2) for rho in found] == [0.42, 0.31, -0.53, 0.31, 0.41, -0.44]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_rho_is_scipys(pairs) -> None:
    x, y = zip(*pairs, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert inference.spearman(x, y) is None
    else:
        assert inference.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=5))
def test_exact_p_counts_every_order(pairs) -> None:
    x, y = zip(*pairs, strict=True)
    observed = inference.spearman(x, y)
    if observed is None:
        assert inference.spearman_p(x, y) is None
        return
    every = [inference.spearman(x, order) or 0 for order in permutations(y)]
    assert inference.spearman_p(x, y) == pytest.approx(fmean(abs(rho) >= abs(observed) - 1e-9 for rho in every))
    assert (inference.smallest_p(x, y) or 0) <= (inference.spearman_p(x, y) or 0) + 1e-12


def test_no_p_is_below_the_smallest_that_there_could_be() -> None:
    """The strongest agreement that ties allow, in orders that are equally strong: each p counts its own sample of orders."""
    x = [0] * 5 + [1] * 5
    for zeros in combinations(range(5), 2):
        y = [float(place not in zeros) for place in range(10)]
        assert (inference.smallest_p(x, y) or 1) <= (inference.spearman_p(x, y) or 0)


def test_the_masks_of_many_searchers_have_no_p_below_the_smallest() -> None:
    """9 searchers on 2 draws have 2^18 orders of the labels: they are sampled, and none is as extreme as the observed one."""
    masks = {"kl": (1, 2), "perplexity": (3, 4)}
    cells = [
        cell(f"s{s}", o, seed=seed, removed=mask) for s in range(9) for seed in (0, 1) for o, mask in masks.items()
    ]
    (row,) = study.overlap(study.outcomes(cells, []), lambda one: 10)
    assert row["smallest_p"] == row["p"] == 1 / 10_000


def test_searchers_that_found_one_mask_are_one_piece_of_evidence() -> None:
    """Each answer found by two more searchers: neither rho nor how sure it is changes; on one of two draws alike is another."""
    generator = random.Random(2)
    cells, measures = [], []
    for place, searcher in enumerate(SEARCHERS):
        values = {seed: (generator.gauss(20, 3), generator.gauss(0.5, 0.1)) for seed in (0, 1)}
        for copy in ("", "-too", "-again"):
            for seed, (perplexity, accuracy) in values.items():
                cells.append(cell(searcher + copy, seed=seed, removed=(place + 1, place + 2 + seed)))
                measures.append(measure(cells[-1], "wikitext", "perplexity", perplexity))
                measures.append(measure(cells[-1], "piqa", "accuracy", accuracy))
    alone = [row for row in cells if row.searcher in SEARCHERS]
    (row,) = study.rank_agreement(study.outcomes(cells, measures))
    (once,) = study.rank_agreement(study.outcomes(alone, [one for one in measures if one.searcher in SEARCHERS]))
    assert (row.pop("n"), once.pop("n"), row["different_masks"]) == (21, 7, 7)
    points = {point["searcher"]: point for point in row.pop("points")}
    for point in once.pop("points"):
        for copy in ("", "-too", "-again"):
            assert points[point["searcher"] + copy] == {**point, "searcher": point["searcher"] + copy}
    assert row == once


def test_budgets_of_a_draw_are_one_unit_of_the_sign_test() -> None:
    """Better on the whole in 5 of 6 draws, of 12 cells: 7 of 64 outcomes are as extreme either way."""
    cells = [cell("one-shot", budget=budget, seed=seed, loss=2.0) for budget in (2, 3) for seed in range(6)]
    cells += [cell("greedy", budget=2, seed=seed, loss=2.1) for seed in range(6)]
    cells += [cell("greedy", budget=3, seed=seed, loss=1.5 if seed else 2.0) for seed in range(6)]
    (row,) = study.against_baseline(study.outcomes(cells, []))
    assert [row[name] for name in ("n", "better", "same", "worse")] == [12, 5, 1, 6]
    assert [row[name] for name in ("draws", "won", "lost")] == [6, 5, 1]
    assert (row["p"], row["smallest_p"]) == (2 * 7 / 64, 2 / 64)


def test_sampled_p_is_near_students() -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(size=30)
    y = x + generator.normal(size=30) * 2.5
    assert inference.spearman_p(x, y) == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.01)


def test_the_interval_covers() -> None:
    """Rho of 40 pairs of a normal with correlation 0.5 is 0.48 on average (6 / pi asin(r / 2)): 95% intervals hold it."""
    generator, inside = np.random.default_rng(0), 0
    for _ in range(60):
        x, y = generator.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], size=40).T
        low, high = inference.spearman_interval(x, y) or (1, -1)
        inside += low <= 6 / math.pi * math.asin(0.25) <= high
    assert 52 <= inside <= 60


def test_holm() -> None:
    """Holm's own order: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, each at least the one before."""
    assert inference.holm([0.04, 0.01, None, 0.03, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])


def test_sign_test_is_scipys() -> None:
    for wins, losses in ((5, 0), (3, 4), (10, 2), (1, 1)):
        assert inference.sign_p(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)
    assert inference.sign_p(0, 0) is None


@pytest.mark.parametrize(("candidates", "budget"), [(6, 2), (7, 3), (5, 5), (4, 0)])
def test_random_overlap_by_enumeration(candidates: int, budget: int) -> None:
    masks = list(combinations(range(candidates), budget))
    assert inference.random_jaccard(candidates, budget) == pytest.approx(
        fmean(inference.jaccard(a, b) for a in masks for b in masks)
    )


def test_every_order_within_strata() -> None:
    orders, exact = inference.permuted_within(["a", "b", "a", "b", "b"])
    assert exact
    assert len({tuple(order) for order in orders}) == len(orders) == 2 * 6
    assert all({order[0], order[2]} == {0, 2} for order in orders)
    many, exact = inference.permuted_within([i // 2 for i in range(40)])
    assert not exact
    assert all(sorted(order) == list(range(40)) and {i // 2 for i in order[:2]} == {0} for order in many[:50])


def grid(value, searchers=SEARCHERS, budgets=(2, 3), seeds=(0, 1), loss=None):
    """A balanced design whose accuracy is ``value(objective, searcher, budget, seed)`` as indices."""
    cells, measures = [], []
    for o, objective in enumerate(("kl", "perplexity")):
        for s, searcher in enumerate(searchers):
            for b, budget in enumerate(budgets):
                for seed in seeds:
                    cells.append(cell(searcher, objective, budget, seed))
                    measures.append(measure(cells[-1], "piqa", "accuracy", value(o, s, b, seed) / 100))
    return study.outcomes(cells, measures)


def of_accuracy(rows):
    (row,) = [row for row in rows if row["outcome"] == "accuracy"]
    return row


def shares(rows) -> dict[str, float]:
    return {factor["factor"]: factor["share"] for factor in of_accuracy(rows)["factors"]}


def test_an_additive_design_has_known_shares() -> None:
    """With y = 3 o + s + 2 b: the variances are 9/4, (49 - 1) / 12 = 4 and 1; draws and interactions explain nothing."""
    rows = study.decomposition(grid(lambda o, s, b, seed: 50 + 3 * o + s + 2 * b))
    assert shares(rows) == pytest.approx(
        {"objective": 2.25 / 7.25, "searcher": 4 / 7.25, "budget": 1 / 7.25, "draw": 0}
    )
    row = of_accuracy(rows)
    assert row["r2"] == pytest.approx(1)
    assert row["difference"]["value"] == pytest.approx((2.25 - 4) / 7.25)
    assert row["difference"]["interval"] == pytest.approx([(2.25 - 4) / 7.25] * 2)
    assert [pair["share"] for pair in row["interactions"]] == pytest.approx([0] * 5, abs=1e-9)
    assert {f["factor"]: f["verdict"] for f in row["factors"]} == {
        "objective": "significant",
        "searcher": "significant",
        "budget": "significant",
        "draw": "not significant",
    }


def test_an_interaction_is_found() -> None:
    """With y = s + 4 (o - 1/2) (b - 1/2): the product has mean 0 over either, and variance 1."""
    row = of_accuracy(study.decomposition(grid(lambda o, s, b, seed: 50 + s + 4 * (o - 0.5) * (b - 0.5))))
    pair = {pair["pair"]: pair["share"] for pair in row["interactions"]}
    assert pair.pop("objective x budget") == pytest.approx(1 / 5)
    assert all(share == pytest.approx(0, abs=1e-9) for share in pair.values())
    assert row["rest"] == pytest.approx(0, abs=1e-9)


def test_a_draw_belongs_to_its_objective() -> None:
    """Draws that differ under one objective only: y = 4 o seed has means 0 and 2 by objective, and 2^2 / 2 within."""
    found = shares(study.decomposition(grid(lambda o, s, b, seed: 50 + 4 * o * seed)))
    assert found == pytest.approx({"objective": 1 / 3, "searcher": 0, "budget": 0, "draw": 2 / 3}, abs=1e-9)


def test_pure_noise_explains_what_chance_does() -> None:
    """Over 16 designs of noise: shares average df / (n - 1), adjusted shares 0, intervals hold 0, and p-values are uniform.

    Intervals of plain shares never hold 0; of 7 searchers they begin above 2 %.
    """
    generator = random.Random(5)
    rows = [of_accuracy(study.decomposition(grid(lambda *_: generator.gauss(50, 3)))) for _ in range(16)]
    assert sum(row["difference"]["interval"][0] <= 0 <= row["difference"]["interval"][1] for row in rows) >= 14
    for place, name in enumerate(("objective", "searcher", "budget", "draw")):
        factors = [row["factors"][place] for row in rows]
        assert factors[0]["factor"] == name
        assert fmean(factor["share"] for factor in factors) == pytest.approx(factors[0]["chance"], abs=0.03)
        assert fmean(factor["adjusted"] for factor in factors) == pytest.approx(0, abs=0.03)
        assert sum(factor["interval"][0] <= 0 <= factor["interval"][1] for factor in factors) >= 13
        assert 0.3 < fmean(factor["p"] for factor in factors) < 0.7
    assert rows[0]["factors"][1]["chance"] == pytest.approx(6 / 55)


def test_shares_of_an_unbalanced_design_add_up() -> None:
    every = grid(lambda o, s, b, seed: 50 + 3 * o + s + o * b + seed * s)
    row = of_accuracy(study.decomposition([outcome for place, outcome in enumerate(every) if place % 5]))
    assert sum(factor["share"] for factor in row["factors"]) == pytest.approx(row["r2"])
    whole = row["r2"] + sum(pair["share"] for pair in row["interactions"]) + row["rest"]
    assert whole == pytest.approx(1)


@pytest.mark.parametrize(("decides", "difference"), [("objective", 1), ("searcher", -1), ("both", 0)])
def test_which_layers_go_is_an_outcome(decides: str, difference: float) -> None:
    """Of two objectives and two searchers one alone decides the mask, or each decides one of its two layers."""
    masks = {"objective": lambda o, s: (2 + o, 4 + o), "searcher": lambda o, s: (2 + s, 4 + s)}
    of = masks.get(decides, lambda o, s: (2 + o, 4 + s))
    cells = [cell(f"s{s}", f"o{o}", seed=seed, removed=of(o, s)) for o in (0, 1) for s in (0, 1) for seed in (0, 1)]
    (row,) = [row for row in study.decomposition(study.outcomes(cells, [])) if row["outcome"] == "masks"]
    assert row["r2"] == pytest.approx(1)
    assert row["variance"] == pytest.approx(4 * 0.25)  # four layers, each removed in half of the cells
    assert row["difference"]["value"] == pytest.approx(difference, abs=1e-9)
    assert row["difference"]["interval"] == pytest.approx([difference] * 2, abs=1e-9)


def test_masks_of_an_objective_alone() -> None:
    """Masks that only the objective decides: within 1, across 0; of the labels' 2^6 orders, two are as extreme."""
    masks = {"kl": (1, 2), "perplexity": (3, 4)}
    cells = [cell(s, o, removed=mask) for s in SEARCHERS[:6] for o, mask in masks.items()]
    (row,) = study.overlap(study.outcomes(cells, []), lambda one: 10)
    assert (row["within"], row["across"], row["difference"], row["interval"]) == (1, 0, 1, (1, 1))
    assert row["p"] == row["smallest_p"] == 2 / 2**6
    assert row["changed"] == {"searcher": 1, "objective": 0, "draw": None, "draw and searcher": None}
    assert row["random"] == pytest.approx(inference.random_jaccard(10, 2))


def test_masks_that_only_the_data_decide_are_no_more_alike_within_an_objective() -> None:
    """A mask for each objective and draw: within one draw all are the same, over two draws as far apart as two objectives."""
    masks = {("kl", 0): (1, 2), ("kl", 1): (3, 4), ("perplexity", 0): (5, 6), ("perplexity", 1): (7, 8)}
    cells = [cell(s, o, seed=seed, removed=mask) for s in SEARCHERS[:4] for (o, seed), mask in masks.items()]
    (row,) = study.overlap(study.outcomes(cells, []), lambda one: 10)
    assert (row["within"], row["across"], row["verdict"]) == (1, 0, "significant")
    assert row["changed"]["draw and searcher"] == row["across"] == 0
    assert row["pairs"]["draw and searcher"] == 2 * 4 * 3


def test_masks_of_a_searcher_alone() -> None:
    """Masks that only the searcher decides say nothing of the objective: every order of the labels is the same."""
    cells = [cell(s, o, removed=(i, i + 1)) for i, s in enumerate(SEARCHERS) for o in ("kl", "perplexity")]
    (row,) = study.overlap(study.outcomes(cells, []), lambda one: 10)
    assert row["difference"] == pytest.approx(0)
    assert row["p"] == 1
    assert row["changed"]["objective"] == 1


def test_the_objective_test_by_enumeration() -> None:
    generator = random.Random(1)
    masks = {(s, o): tuple(sorted(generator.sample(range(8), 3))) for s in range(4) for o in range(2)}
    cells = [cell(f"s{s}", f"o{o}", 3, removed=mask) for (s, o), mask in masks.items()]

    def difference(swapped) -> float:
        label = {(s, o): o ^ (s in swapped) for s, o in masks}
        pairs = [(a, b) for a, b in combinations(masks, 2) if a[0] != b[0]]
        same = [inference.jaccard(masks[a], masks[b]) for a, b in pairs if label[a] == label[b]]
        other = [inference.jaccard(masks[a], masks[b]) for a, b in pairs if label[a] != label[b]]
        return fmean(same) - fmean(other)

    every = [difference(swapped) for n in range(5) for swapped in combinations(range(4), n)]
    (row,) = study.overlap(study.outcomes(cells, []), lambda one: 8)
    assert row["difference"] == pytest.approx(difference(()))
    assert row["p"] == pytest.approx(fmean(one >= difference(()) - 1e-9 for one in every))


def test_table_3_and_its_front() -> None:
    """Seconds as cost, minus accuracy as loss: fast-block-select, greedy and BO are not beaten. rho is not significant."""
    accuracy = ACCURACY["L3", 7]
    cells = [
        cell(searcher, loss=-high, cost=int(100 * seconds))
        for searcher, high, seconds in zip(SEARCHERS, accuracy, SECONDS, strict=True)
    ]
    (row,) = study.cost(study.outcomes(cells, []))
    assert [one["searcher"] for one in row["searchers"] if one["front"]] == ["bo", "fast-block-select", "greedy"]
    assert row["verdict"] == "not significant"
    assert row["rho"] == pytest.approx(stats.spearmanr(SECONDS, [-high for high in accuracy]).statistic)


def test_regret_is_of_losses_that_searches_looked_at() -> None:
    """Returned masks measured in float32 lose 0.01 less than the same masks searched in bfloat16: that is no regret."""
    searched = {"one-shot": 2.0, "greedy": 1.5, "beam": 1.25, "ga": 2.5}
    cells = [cell(searcher, loss=loss - 0.01) for searcher, loss in searched.items()]
    trials = [
        Trial("m", "kl", searcher, 2, 0, 0, (5, 6 + place), 8, loss, False)
        for place, (searcher, loss) in enumerate(searched.items())
    ]
    name = ("m", "kl", "greedy", 2, 0)
    trials += [
        Trial(*name, 1, (5, 10), 8, 1.75, False),  # no better
        Trial(*name, 2, (5, 7), 4, 1.0, False),  # half the sequences
        Trial(*name, 3, (5, 8), 8, 1.0, True),  # stopped
        Trial(*name, 4, (5,), 8, 0.5, False),  # another budget
    ]
    every = study.outcomes(cells, [])
    found = study.regret(every, trials)
    assert {row["searcher"]: row["regret"] for row in found} == {
        "one-shot": 0.75,
        "greedy": 0.25,
        "beam": 0,
        "ga": 1.25,
    }
    assert {tuple(row["best_removed"]) for row in found} == {(5, 8)}
    assert study.regret(every, []) == []


def test_a_search_against_one_shot() -> None:
    cells = [cell("one-shot", loss=2.0), cell("greedy", loss=1.5), cell("beam", loss=1.5), cell("ga", loss=2.5)]
    every = study.outcomes(cells, [])
    found = {row["searcher"]: (row["better"], row["same"], row["worse"]) for row in study.against_baseline(every)}
    assert found == {"beam": (1, 0, 0), "greedy": (1, 0, 0), "ga": (0, 0, 1)}


def test_the_papers_searchers_against_one_shot() -> None:
    """The margins of Table 1: GA is worse than one-shot on its own loss in 3 of 6, fast-block-select is one-shot."""
    cells = [
        cell(searcher, budget=budget, model=model, loss=loss)
        for (model, budget), losses in MARGIN.items()
        for searcher, loss in zip(SEARCHERS, losses, strict=True)
    ]
    found = {row["searcher"]: row for row in study.against_baseline(study.outcomes(cells, []))}
    assert [found["ga"][word] for word in ("better", "same", "worse")] == [3, 0, 3]
    assert found["fast-block-select"]["same"] == 6
    assert found["fast-block-select"]["verdict"] == "not tested"


def test_averages_are_over_what_all_cells_have() -> None:
    cells = [cell("greedy"), cell("beam")]
    measures = [
        measure(cells[0], "piqa", "accuracy-normalised", 0.9),
        measure(cells[0], "piqa", "accuracy", 0.5, 0.03),
        measure(cells[0], "boolq", "accuracy-normalised", 0.7, 0.04),
        measure(cells[0], "arc-easy", "accuracy", 0.1),
        measure(cells[1], "piqa", "accuracy", 0.6),
        measure(cells[1], "boolq", "accuracy-normalised", 0.6),
        measure(cells[1], "wikitext", "perplexity", math.inf),
        measure(cells[0], "wikitext", "perplexity", 9.0),
    ]
    beam, greedy = study.outcomes(cells, measures)
    assert (greedy.accuracy, beam.accuracy) == (pytest.approx(60), pytest.approx(60))
    assert greedy.accuracy_error == pytest.approx(2.5)  # hypot(3, 4) / 2 points
    assert beam.accuracy_error is None
    assert (greedy.perplexity, beam.perplexity) == (9.0, None)


def test_what_does_not_belong_is_refused() -> None:
    with pytest.raises(UsageError, match="same model"):
        study.outcomes([cell(), cell()], [])
    with pytest.raises(UsageError, match="not there"):
        study.outcomes([cell()], [measure(cell("beam"), "piqa", "accuracy", 0.5)])


def test_tables_come_back(tmp_path) -> None:
    import pyarrow.parquet

    for rows in made_up_study.tables():
        kind = type(rows[0])
        write_csv(tmp_path / "t.csv", rows, kind)
        assert read_csv(tmp_path / "t.csv", kind) == rows
        write_parquet(tmp_path / "t.parquet", rows, kind)
        found = pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist()
        assert found == [
            {name: list(v) if isinstance(v := getattr(row, name), tuple) else v for name in kind.columns()}
            for row in rows
        ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("30,kl", "many,kl"), "row 1: layers 'many' is no int"),
        (("done", "half"), "row 1: status 'half'"),
        (("3 4", "3"), "row 1: 1 layers removed, the budget is 2"),
        (("model,layers", "model,depth"), "'depth', 'layers'"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, change, said) -> None:
    write_csv(tmp_path / "t.csv", [Cell("m", 30, "kl", "g", "", 2, 0, "done", "", (3, 4), 1.0, 1, 1, 1, 1, 1.0)], Cell)
    text = (tmp_path / "t.csv").read_text().replace(*change)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError, match=r"t\.csv") as error:
        read_csv(tmp_path / "t.csv", Cell)
    assert said in str(error.value)


def test_all_of_it_is_json_and_the_same_twice() -> None:
    tables = made_up_study.tables()
    found = study.analyse(*tables)
    text = json.dumps(found, allow_nan=False)
    assert text == json.dumps(study.analyse(*tables))
    assert text == json.dumps(study.analyse(*(list(reversed(rows)) for rows in tables)))
    for family in ("rank_agreement", "overlap", "cost", "against_baseline"):
        assert found[family]
        for row in found[family]:
            assert {"p", "corrected", "verdict", "n"} <= set(row)


def test_no_cells_no_statistics() -> None:
    found = study.analyse([], [], [])
    assert found.pop("cells") == {"done": 0, "failed": 0}
    assert not any(value for name, value in found.items() if name != "alpha")
