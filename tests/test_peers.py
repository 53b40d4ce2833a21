"""What others published or what their released code chose, found again or computed with.

On ``smollm2_calib_16x512.npy`` and SmolLM2-135M-Instruct (see tests/data/README.md) also: Block Influence's order and the
blocks of angular distance in test_demo.py, Taylor's order in test_scorers_weights.py, and in test_evaluator.py the 80,640
layer-forwards that the released greedy search (SLEB) takes for 8 of 30 layers, whose order is here.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from lpk.core.contracts import LayerScores, Loss, Problem
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.salience import raised
from lpk.core.pruning.search import drive
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed
from lpk.core.study import statistics
from lpk.core.study.tables import Cell

DATA = Path(__file__).parent / "data"
PUBLISHED = json.loads((DATA / "published_orders.json").read_text())
ORDERS: dict[str, list[int]] = PUBLISHED["shortened-llama"]["orders"]


def lowest(order: list[int], budget: int, protect: bool = False) -> set[int]:
    """What one-shot removes by scores that put layers in this order; layers that it does not name come last."""
    layers = PUBLISHED["shortened-llama"]["layers"]
    scores = [float(order.index(layer) if layer in order else layers) for layer in range(layers)]
    if protect:
        scores = raised(scores, (0, 1, 2, 3, layers - 2, layers - 1))
    searcher: Any = installed().find("searcher", "one-shot").create()
    problem = Problem(layers, budget, scores=LayerScores(tuple(scores)))
    return set(
        drive(searcher, problem, lambda masks, sequences=None: [Loss.mean([0.0], [1.0])] * len(masks)).best.mask.removed
    )


@pytest.mark.parametrize("name", ORDERS)
def test_one_shot_removes_what_a_published_order_names_first(name: str) -> None:
    for budget in range(1, len(ORDERS[name])):
        assert lowest(ORDERS[name], budget) == set(ORDERS[name][:budget])


@pytest.mark.parametrize("name", ORDERS)
def test_their_plus_leaves_the_same_order_without_the_ends(name: str) -> None:
    """Taylor's first layer of Llama-2 is layer 0, without which nothing is left of a model: so the "+" spares the ends."""
    spared = [layer for layer in ORDERS[name] if layer not in (0, 1, 2, 3, 30, 31)]
    for budget in range(1, len(spared)):
        assert lowest(ORDERS[name], budget, protect=True) == set(spared[:budget])
    assert (ORDERS[name][0] == 0) == (name == "Llama-2-7B, Taylor")


def test_puddings_sets_depend_on_task_and_loss_alike() -> None:
    """Ten published sets of 7 layers, five tasks (here as searchers) by two losses (as objectives).

    Two sets of one task by two losses share 0.27, of two tasks by one loss 0.26, at random 0.14; that sets of one loss
    are more alike than sets of two losses is not significant.
    """
    sets = {
        (loss, task): removed
        for loss in ("likelihood", "margin")
        for task, removed in PUBLISHED["pudding"][loss].items()
    }
    cells = [
        Cell("m", 32, loss, task, "", 7, 0, "done", "", tuple(sorted(removed)), 0.0, 1, 1, 1, 1, 0.0)
        for (loss, task), removed in sets.items()
    ]
    (row,) = statistics.overlap(statistics.outcomes(cells, []), lambda cell: 30)

    def shared(one: tuple[str, str], other: tuple[str, str]) -> float:
        a, b = set(sets[one]), set(sets[other])
        return len(a & b) / len(a | b)

    pairs = list(combinations(sets, 2))
    assert row["changed"]["objective"] == pytest.approx(fmean(shared(a, b) for a, b in pairs if a[1] == b[1]))
    assert row["within"] == pytest.approx(fmean(shared(a, b) for a, b in pairs if a[0] == b[0]))
    assert [round(row["changed"][name], 2) for name in ("objective", "searcher")] == [0.27, 0.26]
    assert round(row["random"], 2) == 0.14
    assert row["verdict"] == "not significant"


@pytest.mark.slow
def test_the_released_one_shot_order_of_perplexity_is_found_again(demo: Path, memo: Memo) -> None:
    """Shortened LLaMA's code on the same tokens: 17, 14, 12, 26, 13, 3, 5, 4; with its "+" 5, 4, 7 come last.

    It ranks layers by the perplexity without each, the mean over all tokens: the order of the loss. Theirs ran in float32;
    here bfloat16 takes a third of the time, and no two neighbours of the nine are nearer than 0.0046 nats.
    """
    stack = LayerStack(ModelSpec("demo", dtype="bfloat16").load())
    sequences = Corpus.read(str(DATA / "smollm2_calib_16x512.npy")).draw(None, 0, 0, 0)
    objective: Any = installed().find("objective", "perplexity").create()
    evaluator = Evaluator(stack, objective, sequences, memo, "demo")
    losses = evaluator.losses([LayerMask(30).drop(layer) for layer in range(30)])
    for spared, order in (((), [17, 14, 12, 26, 13, 3, 5, 4]), ((0, 1, 2, 3, 28, 29), [17, 14, 12, 26, 13, 5, 4, 7])):
        scores = raised(losses, spared)
        assert sorted(range(30), key=lambda layer: scores[layer])[:8] == order


@pytest.mark.slow
def test_the_released_greedy_order_is_right_where_it_is_close_but_for_its_tie(demo: Path, memo: Memo) -> None:
    """SLEB's code on the same tokens: 17, 14, 13, 26, 12, 15, 16, 18.

    It adds up losses in bfloat16, where each sequence's is a multiple of 1/64 nat: at its sixth step 15 and 16 came to the
    same sum, and the lower index went first. In float32 it is 16, by 0.0014 nats.
    """
    stack = LayerStack(ModelSpec("demo").load())
    sequences = Corpus.read(str(DATA / "smollm2_calib_16x512.npy")).draw(None, 0, 0, 0)
    objective: Any = installed().find("objective", "perplexity").create()
    evaluator = Evaluator(stack, objective, sequences, memo, "demo")
    steps = [((17,), 14, 13), ((13, 14, 17, 26), 12, 16), ((12, 13, 14, 17, 26), 16, 15)]
    masks = [LayerMask(30, tuple(sorted((*before, layer)))) for before, *pair in steps for layer in pair]
    losses = evaluator.losses(masks)
    second, fifth, sixth = (losses[place + 1] - losses[place] for place in range(0, 6, 2))
    assert second > 0.005
    assert fifth == pytest.approx(0.0295, abs=1e-3)
    assert sixth == pytest.approx(0.0014, abs=2e-4)
