"""Held-out perplexity against layer-forwards: our searches, from the cheapest on, beside what others have reached.

    python benchmarks/frontier.py --calibration tests/data/smollm2_calib_16x512.npy --held-out tests/data/smollm2_eval_32x512.npy

The baseline is the peers' figures, measured once with their own code on SmolLM2-135M: 8 of 30 layers removed, calibrated on
16 x 512 tokens of WikiText-2's training text, perplexity in float32 on 32 x 512 tokens of its test text: the two files above. On
other tokens they are no baseline, and are left out. Ours take those, or fewer and shorter sequences of them; a layer-forward is 512 tokens
through a layer. EvoPress's schedule was cut down to what could be run: 16 random masks, 30 generations of 16 offspring,
and in the last stage 4 of the 16 sequences, where the paper takes all.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch
from common import report
from searching import Bench, add_confidence, search_arguments

#: Method: layer-forwards (a layer on 512 tokens), held-out perplexity.
PEERS = {
    "block influence (ShortGPT)": (480, 124.48),
    "angular distance, n = 8 (PruneMe)": (480, 368.11),
    "Taylor+ (Shortened LLaMA), as many backward": (480, 179.39),
    "ReplaceMe, its linear map": (960, 264.31),
    "Prune&Comp, its head untied": (6_784, 109.04),
    "Prune&Comp, its mask alone": (6_784, 115.88),
    "PPL (Shortened LLaMA)": (13_920, 131.96),
    "PPL+ (Shortened LLaMA)": (13_920, 135.55),
    "EvoPress, 30 generations of 16, last stage on 4 sequences": (19_686, 110.61),
    "SLEB": (80_640, 106.75),
}
#: The fingerprints of what they were calibrated on, and of what their answers were measured on.
THEIRS = (
    "f27a9ef7e525ff63d7b203d7f70046590fffb2ee8cf9b9f8a2bf64718340a02b",
    "6a2c4b5b5673c8886c761d35fd31edf6a9da56039fb7c1a0687afa667eed27a1",
)
#: Searcher, scorer, calibration sequences and their tokens, at most.
OURS = [
    ("one-shot", "block-influence", 2, 512),
    ("lazy-greedy", None, 2, 512),
    ("lazy-greedy", None, 8, 128),
    ("lazy-greedy", None, 16, 128),
    ("lazy-greedy", None, 8, 256),
    ("evolutionary", "block-influence", 8, 128),
    ("evolutionary", "block-influence", 16, 128),
    ("lazy-greedy", None, 16, 512),
    ("evolutionary", "block-influence", 16, 512),
]


def main() -> None:
    parser = search_arguments(__doc__ or "")
    add_confidence(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    same = (given.model, given.remove) == ("demo", 8) and (
        bench.calibration.fingerprint,
        bench.held_out.fingerprint,
    ) == THEIRS
    peers = {name: {"layer_forwards": cost, "perplexity": value} for name, (cost, value) in PEERS.items() if same}
    show(bench, given, {**peers, **measured(bench, given)})
    if not same:
        print("The peers are left out: they removed 8 layers, calibrated and measured on the files that --help names.")


def measured(bench: Bench, given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """A point for each of our searches."""
    whole, problem = bench.calibration, bench.problem
    points = {}
    for searcher, scorer, sequences, length in OURS:
        bench.calibration = replace(whole, ids=tuple(part[:length] for part in whole.ids[:sequences]))
        bench.problem = replace(problem, sequences=len(bench.calibration.ids))
        options = {"confidence": given.confidence} if searcher == "lazy-greedy" else {}
        found = bench.search(searcher, options, scorer)
        mask = found.outcome.best.mask
        how, tokens = scorer or f"confidence {given.confidence}", len(bench.calibration.ids[0])
        points[f"lpk: {searcher}, {how}, {bench.problem.sequences} x {tokens} tokens"] = {
            "layer_forwards": found.cost.layer_forwards * tokens // 512,
            "perplexity": bench.perplexity(mask),
            "removed": list(mask.removed),
        }
    return points


def show(bench: Bench, given: argparse.Namespace, points: dict[str, dict[str, Any]]) -> None:
    """The cheapest first."""
    rows: list[list[Any]] = []
    for name, point in sorted(points.items(), key=lambda pair: pair[1]["layer_forwards"]):
        removed = str(bench.problem.mask(point["removed"])) if "removed" in point else ""
        rows.append([name, f"{point['layer_forwards']:,}", f"{point['perplexity']:.2f}", removed])
    columns = ["", "layer-forwards", "held-out perplexity", "removed"]
    report({"points": points}, f"{given.remove} of {bench.stack.layers} layers", columns, rows, given.out)


if __name__ == "__main__":
    main()
