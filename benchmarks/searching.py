"""What the benchmarks of searches share: the model, its sequences, and a search counted as if nothing had been known."""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from common import arguments

from lpk import __version__
from lpk.core.contracts import LayerScores, Loss, Problem
from lpk.core.memory import available_memory
from lpk.core.progress import Progress
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Sequences
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost, Memo
from lpk.core.pruning.models import ModelSpec, fingerprint
from lpk.core.pruning.precision import Precision
from lpk.core.pruning.search import Outcome, Tally, Trial, drive
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed
from lpk.plugins.searchers.lazy_greedy import LazyGreedyOptions


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


def add_confidence(parser: argparse.ArgumentParser) -> None:
    """``--confidence``, by default lazy-greedy's own."""
    default = LazyGreedyOptions().confidence
    parser.add_argument("--confidence", type=float, default=default, help="of races")


@dataclass
class Found:
    """A search, its answer, and what it would cost where nothing is known yet.

    Attributes:
        seconds: of the processor.
        path: whenever a better mask was known: the cost until then, and its trial.
    """

    outcome: Outcome
    cost: Cost
    seconds: float
    path: list[tuple[Cost, Trial]]


class Bench:
    """A model and its data, and searches over it.

    Attributes:
        packed_bytes: what packed copies of weights take.
    """

    def __init__(self, given: argparse.Namespace, dtype: str = "float32", *, packed: bool = True) -> None:
        """Load the model in this precision, with its weights packed where a run would do so, or never."""
        spec = ModelSpec(given.model, dtype)
        spec.pull(Progress())
        self.stack = LayerStack(spec.load(), products=Precision.decide(dtype, "cpu").head)
        self.packed_bytes = self.stack.pack(available_memory() // 4) if packed else 0
        tokenizer = spec.tokenizer()
        self.calibration = _first(
            Corpus.read(given.calibration).draw(tokenizer, given.sequences, given.length, 0), given
        )
        self.held_out = Corpus.read(given.held_out).held_out(tokenizer, 32, given.length, whole=False)
        self.dtype, self.memo, self._weights = dtype, given.memo, fingerprint(self.stack.model)
        self._perplexities: dict[LayerMask, float] = {}
        self.problem = Problem(
            self.stack.layers, given.remove, frozenset({0, self.stack.layers - 1}), sequences=len(self.calibration.ids)
        )

    @contextmanager
    def evaluator(self, objective: str = "perplexity", sequences: Sequences | None = None) -> Iterator[Evaluator]:
        """Without ``--memo`` it begins with nothing, and its seconds are true."""
        made: Any = installed().find("objective", objective).create()
        context = f"{objective} {self._weights} by lpk {__version__}"
        with (
            tempfile.TemporaryDirectory(prefix="lpk-benchmark-") as folder,
            closing(Memo(self.memo or Path(folder) / "memo.sqlite")) as memo,
        ):
            yield Evaluator(self.stack, made, sequences or self.calibration, memo, context)

    def search(
        self, name: str, options: dict[str, Any] | None = None, scorer: str | None = None, seed: int = 0
    ) -> Found:
        """Run a searcher; what its scorer runs counts."""
        made: Any = installed().find("searcher", name).create(options or {})
        tally, path = Tally(), list[tuple[Cost, Trial]]()
        scores, passed = scored(self.stack, self.calibration, scorer) if scorer else (None, 0)
        tally.cost += Cost(passed, passed, measurements=passed // self.stack.layers)

        with self.evaluator() as measure, tempfile.TemporaryDirectory() as folder:

            def losses_of(masks: Sequence[LayerMask], sequences: int) -> list[Loss]:
                tally.add(masks, sequences)
                return measure.losses(masks, sequences)

            begin = time.process_time()
            problem = replace(self.problem, scores=scores, seed=seed, workspace=Path(folder))
            outcome = drive(made, problem, losses_of, lambda trial: path.append((replace(tally.cost), trial)))
            seconds = time.process_time() - begin
        return Found(outcome, tally.cost, seconds, path)

    def perplexity(self, mask: LayerMask) -> float:
        """On held-out text."""
        if mask not in self._perplexities:
            with self.evaluator(sequences=self.held_out) as measure:
                self._perplexities[mask] = math.exp(measure.losses([mask])[0])
        return self._perplexities[mask]


def scored(stack: LayerStack, sequences: Sequences, scorer: str) -> tuple[LayerScores, int]:
    """A scorer's scores, and the layer-forwards that they took."""
    made: Any = installed().find("scorer", scorer).create()
    before = stack.layer_forwards
    with torch.inference_mode():
        scores = made.score(stack, sequences)
    return scores, stack.layer_forwards - before


def _first(sequences: Sequences, given: argparse.Namespace) -> Sequences:
    """So many sequences, cut to the length: of ready ids too."""
    ids = tuple(part[: given.length] for part in sequences.ids[: given.sequences])
    return Sequences(sequences.source, ids)
