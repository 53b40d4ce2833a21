"""Our searches against EvoPress's schedule run naively: layer-forwards to a loss as good as its answer's.

    python benchmarks/evolution.py

The baseline is EvoPress's loop (arXiv 2410.14649) over whole blocks: the best of random masks, then generations of
offspring by uniform level switches, selected first on few tokens and then on many, the parent among the last. Its
published schedule is 64 random masks, 32 offspring, 2 survivors, 1/16 of the tokens and then all, and
budget x (layers - budget) / 1.5 generations: 800,000 layer-forwards for 8 of 30 layers. ``--generations`` and
``--offspring`` scale it down. "Naively" means a whole forward for every mask and sequence. It is counted so; it is run
with the trie and the memo, which change no loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random
from typing import Any

import torch
from common import report
from searching import Bench, search_arguments

from lpk.core.contracts import Problem
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost


def evopress(bench: Bench, given: Any, seed: int) -> tuple[LayerMask, Cost]:
    """The last parent, and what a whole forward for every mask and sequence takes."""
    random, problem = Random(seed), bench.problem
    measure, cost = bench.evaluator(given.objective), Cost()
    few = max(1, problem.sequences // 16)

    def best(masks: Iterable[LayerMask], sequences: int, keep: int) -> list[LayerMask]:
        asked = list(masks)
        # Its stages forget what the ones before measured: every look is paid in full.
        nonlocal cost
        cost += Cost(0, sequences * sum(len(mask.kept) for mask in asked), 0, sequences * len(asked))
        losses = measure.losses(asked, sequences)
        return [mask for _, mask in sorted(zip(losses, asked, strict=True), key=lambda pair: pair[0])[:keep]]

    first = [problem.mask(random.sample(problem.candidates, problem.budget)) for _ in range(given.initial)]
    (parent,) = best(first, few, 1)
    for _ in range(given.generations):
        offspring: dict[LayerMask, None] = {}
        while len(offspring) < min(given.offspring, math.comb(len(problem.candidates), problem.budget) - 1):
            mask = switched(problem, parent, random)
            if mask != parent:
                offspring[mask] = None
        survivors = best(offspring, few, 2)
        (parent,) = best([*survivors, parent], problem.sequences, 1)
    return parent, cost


def switched(problem: Problem, mask: LayerMask, random: Random) -> LayerMask:
    """One to three level switches, fewer more likely."""
    for _ in range(min(random.randint(1, 3), random.randint(1, 3))):
        mask = mask.restore(random.choice(mask.removed))
        mask = mask.drop(random.choice(problem.removable(mask)))
    return mask


def main() -> None:
    parser = search_arguments(__doc__ or "")
    parser.add_argument("--objective", default="perplexity", help="of the baseline; the published one is kl")
    parser.add_argument("--generations", type=int, default=30)
    parser.add_argument("--offspring", type=int, default=16)
    parser.add_argument("--initial", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    scores = bench.scores("block-influence")
    figures: dict[str, Any] = {}
    rows = []
    measure = bench.evaluator()
    for seed in range(given.seeds):
        parent, cost = evopress(bench, given, seed)
        (bar,) = measure.losses([parent])
        ours = {
            "evolutionary, defaults": bench.search("evolutionary", scores=scores, seed=seed),
            "lazy-greedy, defaults": bench.search("lazy-greedy", seed=seed),
        }
        base = cost.naive_layer_forwards
        figures[f"evopress, seed {seed}"] = part = {
            "removed": list(parent.removed),
            "loss": float(bar),
            "layer_forwards": base,
            "tokens": cost.measurements * given.length,
            "held_out_perplexity": bench.perplexity(parent),
        }
        rows.append(
            [
                f"evopress, naive, seed {seed}",
                str(parent),
                f"{bar:.4f}",
                f"{base:,}",
                "",
                f"{part['held_out_perplexity']:.2f}",
            ]
        )
        for name, found in ours.items():
            reached = next((cost.layer_forwards for cost, trial in found.path if trial.loss <= bar), None)
            best = found.outcome.best
            figures[f"{name}, seed {seed}"] = part = {
                "removed": list(best.mask.removed),
                "loss": float(best.loss),
                "layer_forwards": found.cost.layer_forwards,
                "layer_forwards_to_that_loss": reached,
                "tokens": found.cost.measurements * given.length,
                "held_out_perplexity": bench.perplexity(best.mask),
            }
            fewer = f"{base / reached:.1f}x fewer, {reached:,}" if reached else "not reached"
            rows.append(
                [
                    f"{name}, seed {seed}",
                    str(best.mask),
                    f"{best.loss:.4f}",
                    f"{found.cost.layer_forwards:,}",
                    fewer,
                    f"{part['held_out_perplexity']:.2f}",
                ]
            )
    columns = ["", "removed", "calibration loss", "layer-forwards", "until as good", "held-out perplexity"]
    title = f"{given.remove} of {bench.stack.layers}, {bench.problem.sequences} x {given.length} tokens, {given.generations} generations"
    report(figures, title, columns, rows, given.out)


if __name__ == "__main__":
    main()
