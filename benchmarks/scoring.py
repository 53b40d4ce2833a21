"""Every distance d(l, l+n) from one pass, against one pass for each n.

    python benchmarks/scoring.py

The baseline is how the published script for angular distances works (PruneMe): for each n a forward pass that keeps all
hidden states, then the distances of that n. ``plain forward`` is one pass without the head, the least that any scorer
needs: ``lpk`` must cost under 1.15 of it.
"""

from __future__ import annotations

import argparse
from functools import partial
from math import pi
from typing import Any

import torch
from common import arguments, extra_bytes, in_turns, report

from lpk.core.contracts import LayerScores, Scorer
from lpk.core.memory import available_memory
from lpk.core.progress import Progress
from lpk.core.pruning.items import Sequences
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.precision import Precision
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed

SCORERS = {
    "angular, last token": ("angular", {"tokens": "last"}),
    "angular, all tokens": ("angular", {"tokens": "all"}),
    "block influence": ("block-influence", {}),
}
#: What the baseline is compared with.
TOKENS = {"last": "last token", "all": "all tokens"}


class Baseline:
    """One pass for each n."""

    def __init__(self, stack: LayerStack, sequences: Sequences, most: int) -> None:
        self.stack, self.sequences, self.most = stack, sequences, most

    def angular(self, tokens: str) -> list[list[float]]:
        """``[n - 1][l]``: the mean angle between states l and l + n, of the last token or of all."""
        return [self._of(n, tokens) for n in range(1, self.most + 1)]

    def _of(self, n: int, tokens: str) -> list[float]:
        sums = torch.zeros(self.stack.layers + 1 - n, dtype=torch.float64)
        count = 0
        for batch in self.sequences.batches():
            states = self.stack.model(batch.ids, use_cache=False, output_hidden_states=True).hidden_states
            chosen = [state[0, -1:] if tokens == "last" else state[0] for state in states]
            for layer in range(len(sums)):
                one, other = chosen[layer].double(), chosen[layer + n].double()
                cosine = torch.nn.functional.cosine_similarity(one, other, dim=-1).clamp(-1, 1)
                sums[layer] += (cosine.arccos() / pi).sum()
            count += len(chosen[0])
        return [float(value) for value in sums / count]


class Ours:
    """All distances from one pass, by the plugins."""

    def __init__(self, stack: LayerStack, sequences: Sequences) -> None:
        self.stack, self.sequences = stack, sequences

    def scores(self, name: str) -> LayerScores:
        plugin, options = SCORERS[name]
        scorer = installed().find("scorer", plugin).create(options)
        assert isinstance(scorer, Scorer)
        return scorer.score(self.stack, self.sequences)

    def plain(self) -> None:
        for batch in self.sequences.batches():
            self.stack.model.base_model(batch.ids, use_cache=False)


def main() -> None:
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--most", type=int, default=16, help="the baseline's n goes from 1 to this")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    spec = ModelSpec(given.model, given.dtype)
    spec.pull(Progress())
    stack = LayerStack(spec.load(), products=Precision.decide(given.dtype, "cpu").head)
    stack.pack(available_memory() // 4)  # as a run does: the plain forward is the faster for it, too
    vocabulary = stack.model.config.get_text_config().vocab_size
    ids = torch.randint(0, vocabulary, (given.sequences, given.length), generator=torch.Generator().manual_seed(0))
    sequences = Sequences("random", tuple(ids.int().numpy()))
    with torch.inference_mode():
        figures = measured(Ours(stack, sequences), Baseline(stack, sequences, given.most), given.rounds)
    show(
        {"model": given.model, "dtype": given.dtype, "sequences": given.sequences, "length": given.length, **figures},
        given,
    )


def measured(ours: Ours, theirs: Baseline, rounds: int) -> dict[str, Any]:
    """Seconds and memory of each, and how far the two are apart."""
    plain = {"plain forward": ours.plain}
    work = {**plain, **{f"lpk: {name}": partial(ours.scores, name) for name in SCORERS}}
    title = f"one pass for each n to {theirs.most}: angular, {{}}".format
    baselines = {title(name): partial(theirs.angular, tokens) for tokens, name in TOKENS.items()}
    # The baseline is long, and far away: once is enough.
    seconds = {**in_turns(work, rounds), **in_turns(baselines, 1, warm_up=0)}
    off = {tokens: _apart(theirs.angular(tokens), ours.scores(f"angular, {name}")) for tokens, name in TOKENS.items()}
    theirs.most = 1  # the next n holds no more
    forward = seconds["plain forward"]["cpu"]
    return {
        "seconds": seconds,
        "extra_bytes": {name: extra_bytes(run) for name, run in {**work, **baselines}.items()},
        "largest_difference": off,
        "over_plain_forward": {name: taken["cpu"] / forward for name, taken in seconds.items()},
    }


def _apart(theirs: list[list[float]], ours: LayerScores) -> float:
    """The largest difference, but for the last state: transformers' own has been through the final norm."""
    return max(abs(value - ours.run(layer, n)) for n, of in enumerate(theirs, 1) for layer, value in enumerate(of[:-1]))


def show(figures: dict[str, Any], given: argparse.Namespace) -> None:
    """One row for each way."""
    rows: list[list[Any]] = [
        [
            name,
            taken["cpu"],
            taken["best"],
            f"{figures['over_plain_forward'][name]:.2f}",
            f"{figures['extra_bytes'][name] / 1e6:.0f}",
        ]
        for name, taken in figures["seconds"].items()
    ]
    title = (
        f"{given.model}, {given.dtype}, {given.sequences} x {given.length} tokens, {given.threads} thread(s); "
        f"largest difference {max(figures['largest_difference'].values()):.1e}"
    )
    report(figures, title, ["", "CPU s", "s", "of a plain forward (CPU)", "extra MB"], rows, given.out)


if __name__ == "__main__":
    main()
