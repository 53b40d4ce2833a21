"""Greedy deletion against the naive loop: processor seconds, layer-forwards, and whether it removes the same layers.

    python benchmarks/greedy.py

The baseline is the loop that SLEB and its peers run: for each candidate a whole forward of the model without it, for
each sequence, with transformers' own loss; in float32, and in bfloat16. The naive loop is long (80,640 layer-forwards
by default, an hour on two cores): ``--sequences 2`` is a quick look. ``--naive-sequences`` runs it on the first so many
alone and multiplies its seconds; the order of removal is then not compared.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch
from common import report
from searching import Bench, search_arguments

from lpk.core.pruning.checkpoint import without_layers
from lpk.core.pruning.mask import LayerMask


def naive(bench: Bench, path: list[LayerMask] | None, sequences: int) -> tuple[list[int], float, int]:
    """The layers in the order of their removal, seconds, and layer-forwards; the path, if given, is followed."""
    mask, order, forwards = LayerMask(bench.stack.layers), [], 0
    begin = time.process_time()
    for step in range(bench.problem.budget):
        totals: dict[LayerMask, float] = {}
        for layer in bench.problem.removable(mask):
            candidate = mask.drop(layer)
            totals[candidate] = 0.0
            with without_layers(bench.stack, candidate) as model, torch.inference_mode():
                for ids in bench.calibration.ids[:sequences]:
                    tensor = torch.from_numpy(ids.astype("int64"))[None]
                    totals[candidate] += model(tensor, labels=tensor, use_cache=False).loss.item() * (len(ids) - 1)
                    forwards += len(candidate.kept)
        best = path[step] if path else min(totals, key=lambda candidate: totals[candidate])
        order += set(best.removed) - set(mask.removed)
        mask = best
    return order, time.process_time() - begin, forwards


def order_of(found: Any) -> list[LayerMask]:
    """Greedy's mask after each step."""
    best = {}
    for trial in found.outcome.trials:
        if trial.mask not in best or trial.sequences == found.outcome.best.sequences:
            best.setdefault(len(trial.mask), []).append(trial)
    return [min(trials, key=lambda trial: trial.loss).mask for _, trials in sorted(best.items())]


def main() -> None:
    parser = search_arguments(__doc__ or "")
    parser.add_argument("--naive-sequences", type=int, help="run the naive loop on so many, and multiply")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    figures: dict[str, Any] = {}
    bench = Bench(given)
    plain = bench.search("greedy")
    path = order_of(plain)
    ours = {
        "greedy, racing off": plain,
        "greedy, confidence 0.9": bench.search("greedy", {"confidence": 0.9}),
        "lazy-greedy, defaults": bench.search("lazy-greedy"),
    }
    count = len(bench.calibration.ids)
    sample = given.naive_sequences or count
    for dtype in ("float32", "bfloat16"):
        loop = bench if dtype == "float32" else Bench(given, dtype)
        order, seconds, forwards = naive(loop, path if sample < count else None, sample)
        figures[f"naive loop, {dtype}"] = {
            "order": order,
            "removed": sorted(order),
            "seconds": seconds * count / sample,
            "layer_forwards": forwards * count // sample,
            "sequences_run": sample,
        }
    for name, found in ours.items():
        mask = found.outcome.best.mask
        figures[name] = {
            "removed": list(mask.removed),
            "seconds": found.seconds,
            "layer_forwards": found.cost.layer_forwards,
            "measurements": found.cost.measurements,
        }
    steps = itertools.pairwise([bench.problem.dense, *path])
    figures["greedy, racing off"]["order"] = [
        (set(after.removed) - set(before.removed)).pop() for before, after in steps
    ]
    base = figures["naive loop, float32"]
    rows = []
    for name, part in figures.items():
        part["held_out_perplexity"] = bench.perplexity(bench.problem.mask(part["removed"]))
        part["times_fewer_layer_forwards"] = base["layer_forwards"] / part["layer_forwards"]
        part["times_faster"] = base["seconds"] / part["seconds"]
        rows.append(
            [
                name,
                str(LayerMask(bench.stack.layers, tuple(part["removed"]))),
                f"{part['layer_forwards']:,}",
                f"{part['times_fewer_layer_forwards']:.2f}x",
                f"{part['seconds']:.0f}",
                f"{part['times_faster']:.2f}x",
                f"{part['held_out_perplexity']:.2f}",
            ]
        )
    columns = ["", "removed", "layer-forwards", "fewer", "CPU s", "faster", "held-out perplexity"]
    report(
        figures, f"{given.remove} of {bench.stack.layers}, {count} x {given.length} tokens", columns, rows, given.out
    )


if __name__ == "__main__":
    main()
