"""What the benchmarks of searches share: the model, its sequences, and a search counted as if nothing had been known."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from common import arguments

from lpk.core.contracts import LayerScores, Loss, Problem
from lpk.core.memory import available_memory
from lpk.core.progress import Progress
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.catalog import CATALOG
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Sequences
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost, Memo
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.precision import Precision
from lpk.core.pruning.search import Outcome, Tally, Trial, drive
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed


def search_arguments(description: str) -> argparse.ArgumentParser:
    """``--model``, ``--remove`` and the data, beside what every benchmark has."""
    parser = arguments(description)
    parser.add_argument("--model", default="demo", help="demo, or a folder")
    parser.add_argument("--remove", type=int, default=8, help="layers")
    parser.add_argument("--calibration", default="wikitext2", help="a text, or token ids as .npy")
    parser.add_argument("--held-out", default="wikitext2", help="a text, of which the last quarter is taken, or ids")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--memo", type=Path, help="keep measurements in this file; counts are as if it had been empty")
    return parser


@dataclass
class Found:
    """A search, its answer, and what it would cost where nothing is known yet.

    Attributes:
        seconds: of the processor.
        path: whenever a better mask was known: the cost until then, and its trial.
    """

    name: str
    outcome: Outcome
    cost: Cost
    seconds: float
    path: list[tuple[Cost, Trial]]


class Bench:
    """A model and its data, and searches over it."""

    def __init__(self, given: argparse.Namespace, dtype: str = "float32") -> None:
        if given.model in CATALOG:
            CATALOG[given.model].pull(Progress())
        spec = ModelSpec(given.model, dtype)
        self.stack = LayerStack(spec.load(), products=Precision.decide(dtype, "cpu").head)
        self.stack.pack(available_memory() // 4)
        tokenizer = spec.tokenizer()
        self.calibration = _first(
            Corpus.read(given.calibration).draw(tokenizer, given.sequences, given.length, 0), given
        )
        self.held_out = Corpus.read(given.held_out).held_out(tokenizer, 32, given.length, whole=False)
        self.memo, self.folder = given.memo, tempfile.mkdtemp(prefix="lpk-benchmark-")
        self._perplexities: dict[LayerMask, float] = {}
        self.problem = Problem(
            self.stack.layers, given.remove, frozenset({0, self.stack.layers - 1}), sequences=len(self.calibration.ids)
        )

    def evaluator(self, objective: str = "perplexity", sequences: Sequences | None = None) -> Evaluator:
        made: Any = installed().find("objective", objective).create()
        # Without --memo each evaluator begins with nothing, and its seconds are true.
        memo = Memo(self.memo or Path(tempfile.mkdtemp(dir=self.folder)) / "memo.sqlite")
        context = f"{objective} {self.stack.model.dtype}"
        return Evaluator(self.stack, made, sequences or self.calibration, memo, context)

    def scores(self, scorer: str) -> LayerScores:
        made: Any = installed().find("scorer", scorer).create()
        with torch.inference_mode():
            return made.score(self.stack, self.calibration)  # type: ignore[no-any-return]

    def search(
        self, name: str, options: dict[str, Any] | None = None, scores: LayerScores | None = None, seed: int = 0
    ) -> Found:
        """Run a searcher; the forward of its scorer counts."""
        made: Any = installed().find("searcher", name).create(options or {})
        measure, path = self.evaluator(), list[tuple[Cost, Trial]]()
        tally = Tally()
        if scores:
            passed = self.problem.sequences * self.stack.layers
            tally.cost += Cost(passed, passed)

        def losses_of(masks: Sequence[LayerMask], sequences: int) -> list[Loss]:
            tally.add(masks, sequences)
            return measure.losses(masks, sequences)

        begin = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            problem = replace(self.problem, scores=scores, seed=seed, workspace=Path(folder))
            outcome = drive(made, problem, losses_of, lambda trial: path.append((replace(tally.cost), trial)))
        return Found(name, outcome, tally.cost, time.process_time() - begin, path)

    def perplexity(self, mask: LayerMask) -> float:
        """On held-out text."""
        if mask not in self._perplexities:
            self._perplexities[mask] = math.exp(self.evaluator(sequences=self.held_out).losses([mask])[0])
        return self._perplexities[mask]


def _first(sequences: Sequences, given: argparse.Namespace) -> Sequences:
    """So many sequences, cut to the length: of ready ids too."""
    ids = tuple(part[: given.length] for part in sequences.ids[: given.sequences])
    return Sequences(sequences.source, ids)
