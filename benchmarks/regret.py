"""Every installed searcher against exhaustive search: how far above the optimum its answer is, and what it took.

    python benchmarks/regret.py

The baseline is the optimum itself, known from every mask there is. The models are tiny random ones of real architectures,
``--rounds`` of each architecture with other weights, tokens and seeds, the first and last layer protected: searches with
races and surrogates meet real losses, whose landscape is not that of a trained model. Regret is the loss above the
optimum's in standard deviations of all masks' losses; a mask drawn at random has that of the last row. Layer-forwards
count each search as if nothing had been known, and what its scorer runs.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from common import arguments, report
from searching import add_confidence, scored

from lpk.core.contracts import LayerScores, Loss, Problem
from lpk.core.errors import UsageError
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost, Memo
from lpk.core.pruning.search import Tally, drive
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed
from lpk.testing import random_sequences, tiny_model

#: With which options a searcher uses a scorer that it otherwise does without.
SCORED = {"cbo": {"variant": "gradient"}, "swap": {"start": "scores"}}


@dataclass
class World:
    """A tiny model of which every mask's loss is known.

    Attributes:
        scores: of each scorer, and the layer-forwards that they took.
    """

    name: str
    evaluator: Evaluator
    problem: Problem
    scores: dict[str, tuple[LayerScores, int]]
    losses: Sequence[float]

    @classmethod
    def make(cls, architecture: str, seed: int, given: argparse.Namespace, folder: Path) -> World:
        stack = LayerStack(tiny_model(architecture, given.layers, seed))
        sequences = random_sequences(given.sequences, 24, seed)
        objective: Any = installed().find("objective", given.objective).create()
        evaluator = Evaluator(stack, objective, sequences, Memo(folder / f"{architecture}-{seed}"), "regret")
        ends = frozenset({0, given.layers - 1})
        problem = Problem(given.layers, given.remove, ends, sequences=given.sequences, seed=seed)
        scores = {name: scored(stack, sequences, name) for name in given.scorer}
        every = itertools.combinations(problem.candidates, problem.budget)
        losses = evaluator.losses([problem.mask(removed) for removed in every])
        return cls(f"{architecture}, seed {seed}", evaluator, problem, scores, list(map(float, losses)))

    def regret(self, loss: float) -> float:
        """In standard deviations of all masks' losses."""
        return (loss - min(self.losses)) / statistics.pstdev(self.losses)

    def search(self, searcher: Any, scorer: str | None) -> dict[str, Any]:
        """What a search finds, and what it takes."""
        tally = Tally()
        scores, passed = self.scores[scorer] if scorer else (None, 0)
        tally.cost += Cost(passed, passed)

        def losses_of(masks: Sequence[LayerMask], sequences: int) -> list[Loss]:
            tally.add(masks, sequences)
            return self.evaluator.losses(masks, sequences)

        with tempfile.TemporaryDirectory() as folder:
            problem = replace(self.problem, scores=scores, workspace=Path(folder))
            best = drive(searcher, problem, losses_of).best
        return {
            "world": self.name,
            "removed": list(best.mask.removed),
            "regret": self.regret(best.loss),
            "masks": len(tally.masks),
            "layer_forwards": tally.cost.layer_forwards,
        }


def searches(given: argparse.Namespace) -> Iterator[tuple[str, Any, str | None]]:
    """Every installed searcher, without a scorer and with each that it can use: title, searcher, scorer."""
    plain = {
        "exhaustive": {"limit": math.comb(given.layers - 2, given.remove)},
        "lazy-greedy": {"confidence": given.confidence},
    }
    for entry in installed().entries:
        if entry.kind != "searcher":
            continue
        searcher: Any = entry.create(plain.get(entry.name, {}))
        if searcher.scores != "required":
            yield entry.name, searcher, None
        if searcher.scores != "ignored":
            options = SCORED.get(entry.name, {})
            told = " ".join([entry.name, *(f"{key}={value}" for key, value in options.items())])
            yield from ((f"{told}, {scorer}", entry.create(options), scorer) for scorer in given.scorer)


def main() -> None:
    parser = arguments(__doc__ or "", rounds=5)
    parser.add_argument("--architectures", nargs="+", default=["llama", "qwen3", "gpt2"])
    parser.add_argument("--layers", type=int, default=14)
    parser.add_argument("--remove", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--objective", default="perplexity")
    parser.add_argument("--scorer", nargs="*", default=["block-influence"], help="for searchers that use one")
    add_confidence(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        drawn = itertools.product(given.architectures, range(given.rounds))
        worlds = [World.make(architecture, seed, given, Path(folder)) for architecture, seed in drawn]
        figures: dict[str, Any] = {}
        for title, searcher, scorer in searches(given):
            try:
                figures[title] = summary([world.search(searcher, scorer) for world in worlds])
            except UsageError as error:  # of a scorer without runs, or without interactions
                figures[title] = {"refused": str(error)}
    blind = statistics.mean(world.regret(statistics.mean(world.losses)) for world in worlds)
    show(given, worlds, figures, blind)


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all worlds."""
    return {
        "mean_regret": statistics.mean(one["regret"] for one in found),
        "worst_regret": max(one["regret"] for one in found),
        "share_of_optima_found": statistics.mean(one["regret"] == 0 for one in found),
        "masks": statistics.mean(one["masks"] for one in found),
        "layer_forwards": statistics.mean(one["layer_forwards"] for one in found),
        "each": found,
    }


def show(given: argparse.Namespace, worlds: Sequence[World], figures: dict[str, Any], blind: float) -> None:
    """The least regret first; of equals the cheaper."""
    rows: list[list[Any]] = []
    done = {title: part for title, part in figures.items() if "refused" not in part}
    for title, part in sorted(done.items(), key=lambda pair: (pair[1]["mean_regret"], pair[1]["layer_forwards"])):
        rows.append(
            [
                title,
                f"{part['mean_regret']:.3f}",
                f"{part['worst_regret']:.3f}",
                f"{part['share_of_optima_found']:.0%}",
                f"{part['masks']:,.0f}",
                f"{part['layer_forwards']:,.0f}",
            ]
        )
    rows.append(["a random mask", f"{blind:.3f}", "", f"{1 / len(worlds[0].losses):.1%}", "1", ""])
    masks = math.comb(given.layers - 2, given.remove)
    title = f"{given.remove} of {given.layers} layers, {masks:,} masks, tiny models: {len(worlds)}, {given.objective}"
    columns = ["", "mean regret", "worst", "optimum found", "masks", "layer-forwards"]
    facts = {"mean_regret_of_a_random_mask": blind, "confidence_of_lazy_greedy": given.confidence}
    report({**facts, "searches": figures}, title, columns, rows, given.out)
    for part in figures.values():
        if "refused" in part:
            print(part["refused"])


if __name__ == "__main__":
    main()
