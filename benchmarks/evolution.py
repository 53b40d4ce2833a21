"""Our searches against EvoPress's schedule run naively: layer-forwards to a loss as good as its answer's.

    python benchmarks/evolution.py

The baseline is EvoPress's loop (arXiv 2410.14649) over whole blocks: the best of random masks, then generations of
offspring by uniform level switches, selected first on few tokens and then on many, the parent among the last. Its
published schedule is 64 random masks, 32 offspring, 2 survivors, 1/16 of the tokens and then all, and
budget x (layers - budget) / 1.5 generations: for 8 of 30 layers 207,328 layer-forwards on 16 sequences, 829,312 on the 64
that were published. ``--generations``, ``--offspring``, ``--initial`` and ``--last`` scale it down. "Naively" means a whole
forward for every mask and sequence. It is counted so; it is run with the trie and the memo, which change no loss. One thing
is not as published: its first stages look at the same first sequences each time, where EvoPress draws new ones.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from random import Random
from typing import Any

import torch
from common import report
from searching import Bench, add_confidence, search_arguments

from lpk.core.contracts import Problem
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost


def evopress(bench: Bench, given: argparse.Namespace, seed: int) -> tuple[LayerMask, Cost]:
    """The last parent, and what a whole forward for every mask and sequence takes."""
    random, problem, cost = Random(seed), bench.problem, Cost()
    few, many = max(1, problem.sequences // 16), min(given.last or problem.sequences, problem.sequences)

    with bench.evaluator(given.objective) as measure:

        def best(masks: Iterable[LayerMask], sequences: int, keep: int) -> list[LayerMask]:
            asked = list(masks)
            # Its stages forget what the ones before measured: every look is paid in full.
            cost.naive_layer_forwards += sequences * sum(len(mask.kept) for mask in asked)
            cost.measurements += sequences * len(asked)
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
            (parent,) = best([*survivors, parent], many, 1)
    return parent, cost


def switched(problem: Problem, mask: LayerMask, random: Random) -> LayerMask:
    """One to three level switches, fewer more likely."""
    for _ in range(min(random.randint(1, 3), random.randint(1, 3))):
        mask = mask.restore(random.choice(mask.removed))
        mask = mask.drop(random.choice(problem.removable(mask)))
    return mask


def main() -> None:
    parser = search_arguments(__doc__ or "")
    add_confidence(parser)
    parser.add_argument("--objective", default="perplexity", help="of the baseline; the published one is kl")
    parser.add_argument("--generations", type=int, default=30)
    parser.add_argument("--offspring", type=int, default=16)
    parser.add_argument("--initial", type=int, default=64, help="random masks to begin with")
    parser.add_argument("--last", type=int, help="sequences of a generation's last stage; the published one takes all")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    figures: dict[str, dict[str, Any]] = {}
    for seed in range(given.seeds):
        figures |= {f"{name}, seed {seed}": part for name, part in measured(bench, given, seed).items()}
    show(bench, given, figures)


def measured(bench: Bench, given: argparse.Namespace, seed: int) -> dict[str, dict[str, Any]]:
    """EvoPress's answer, and what ours take until theirs is as good."""
    parent, cost = evopress(bench, given, seed)
    with bench.evaluator() as measure:
        (bar,) = measure.losses([parent])
    ours = {
        "evolutionary, block-influence": bench.search("evolutionary", scorer="block-influence", seed=seed),
        f"lazy-greedy, confidence {given.confidence}": bench.search(
            "lazy-greedy", {"confidence": given.confidence}, seed=seed
        ),
    }
    answers = {"evopress, naive": (parent, bar, cost.naive_layer_forwards, cost)}
    for name, found in ours.items():
        best = found.outcome.best
        answers[name] = (best.mask, best.loss, found.cost.layer_forwards, found.cost)
    figures: dict[str, dict[str, Any]] = {
        name: {
            "removed": list(mask.removed),
            "loss": float(loss),
            "layer_forwards": forwards,
            "tokens": spent.measurements * given.length,
            "held_out_perplexity": bench.perplexity(mask),
        }
        for name, (mask, loss, forwards, spent) in answers.items()
    }
    for name, found in ours.items():
        reached = next((spent for spent, trial in found.path if trial.loss <= bar), None)
        figures[name] |= {
            "layer_forwards_to_that_loss": reached and reached.layer_forwards,
            "tokens_to_that_loss": reached and reached.measurements * given.length,
            "times_fewer_to_that_loss": reached and cost.naive_layer_forwards / reached.layer_forwards,
        }
    return figures


def show(bench: Bench, given: argparse.Namespace, figures: dict[str, dict[str, Any]]) -> None:
    """One row for each search and seed."""
    rows = []
    for name, part in figures.items():
        reached, tokens, fewer = (
            part.get(f"{what}_to_that_loss") for what in ("layer_forwards", "tokens", "times_fewer")
        )
        until = f"{reached:,}, {fewer:.1f}x fewer; {tokens:,} tokens" if reached else "not reached"
        rows.append(
            [
                name,
                str(bench.problem.mask(part["removed"])),
                f"{part['loss']:.4f}",
                f"{part['layer_forwards']:,}",
                until if "layer_forwards_to_that_loss" in part else "",
                f"{part['held_out_perplexity']:.2f}",
            ]
        )
    columns = ["", "removed", "calibration loss", "layer-forwards", "until as good", "held-out perplexity"]
    title = f"{given.remove} of {bench.stack.layers}, {bench.problem.sequences} x {given.length} tokens, {given.generations} generations"
    report(figures, title, columns, rows, given.out)


if __name__ == "__main__":
    main()
