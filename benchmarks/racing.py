"""How often racing changes the chosen mask, and what it saves.

    python benchmarks/racing.py

The baseline is the same search with every candidate on every sequence; of ``lazy-greedy`` it is plain greedy. A race looks at
the first sequences first, so each search is repeated with the calibration sequences in other orders, the same ones for each;
where nothing races the order changes nothing. The evolutionary searches go other ways, to better masks or worse, as soon as
one candidate is stopped: of them it is the loss that tells.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import report
from searching import Bench, Found, search_arguments

from lpk.core.pruning.items import Sequences

#: Of each search that races its baseline, and how sure of a difference it is to be.
SEARCHES = {
    "greedy": ("greedy", (0.8, 0.9, 0.95, 0.99)),
    "lazy-greedy": ("greedy", (0.8, 0.9, 0.95, 1.0)),
    "beam": ("beam", (0.9,)),
    "evolutionary": ("evolutionary", (0.9,)),
    "genetic": ("genetic", (0.9,)),
    "swap": ("swap", (0.9,)),
}


def main() -> None:
    parser = search_arguments(__doc__ or "")
    parser.set_defaults(remove=4, length=128)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=["greedy", "lazy-greedy"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        given.memo = given.memo or Path(folder) / "memo.sqlite"  # orders share their measurements
        bench = Bench(given)
        plain = {
            baseline: bench.search(baseline, {"confidence": 1.0})
            for baseline in dict.fromkeys(SEARCHES[name][0] for name in given.searches)
        }
        orders = [shuffled(bench.calibration, order) for order in range(given.orders)]  # the same for every row
        figures = {
            f"{name}, confidence {confidence}": compared(bench, plain[SEARCHES[name][0]], orders, name, confidence)
            for name in given.searches
            for confidence in SEARCHES[name][1]
        }
    show(bench, given, plain, figures)


def shuffled(sequences: Sequences, seed: int) -> Sequences:
    """The same sequences in another order."""
    ids = list(sequences.ids)
    random.Random(seed).shuffle(ids)
    return Sequences(sequences.source, tuple(ids))


def compared(bench: Bench, plain: Found, orders: list[Sequences], name: str, confidence: float) -> dict[str, Any]:
    """A search that races, in every order, and what its baseline found."""
    expected, found = plain.outcome.best, []
    for order in orders:
        bench.calibration = order
        found.append(bench.search(name, {"confidence": confidence}))
    best = [one.outcome.best for one in found]
    forwards = statistics.mean(one.cost.layer_forwards for one in found)
    return {
        "same_mask": sum(trial.mask == expected.mask for trial in best) / len(best),
        "mean_loss_above_plain": statistics.mean(trial.loss - expected.loss for trial in best),
        "worst_loss_above_plain": max(trial.loss - expected.loss for trial in best),
        "layer_forwards": forwards,
        "share_of_plain_layer_forwards": forwards / plain.cost.layer_forwards,
        "measurements": statistics.mean(one.cost.measurements for one in found),
    }


def show(bench: Bench, given: argparse.Namespace, plain: dict[str, Found], figures: dict[str, dict[str, Any]]) -> None:
    """One row for each search and confidence."""
    rows: list[list[Any]] = [
        [
            name,
            f"{part['same_mask']:.0%}",
            f"{part['mean_loss_above_plain']:+.4f}",
            f"{part['worst_loss_above_plain']:+.4f}",
            f"{part['layer_forwards']:,.0f}",
            f"{part['share_of_plain_layer_forwards']:.1%}",
        ]
        for name, part in figures.items()
    ]
    columns = ["", "same mask", "loss above its baseline's", "worst", "layer-forwards", "of its baseline's"]
    sequences = f"{bench.problem.sequences} x {given.length} tokens"
    title = f"{given.remove} of {bench.stack.layers}, {sequences}, {given.orders} orders"
    taken = {name: found.cost.layer_forwards for name, found in plain.items()}
    report({"baselines_layer_forwards": taken, **figures}, title, columns, rows, given.out)


if __name__ == "__main__":
    main()
