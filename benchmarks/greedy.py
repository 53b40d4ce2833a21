"""Greedy deletion against the naive loop: processor seconds, layer-forwards, and whether it removes the same layers.

    python benchmarks/greedy.py

The baseline is the loop that SLEB and its peers run: for each candidate a whole forward of the model without it, on each
sequence, with transformers' own loss; in float32, and in bfloat16. By default that is 80,640 layer-forwards, an hour on
two cores for each precision: ``--sequences 2 --remove 4`` is a quick look. ``--sample 1`` runs the loops that race
nothing on one sequence alone, along the path that a race has found, and multiplies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from common import report
from searching import Bench, search_arguments

from lpk.core.pruning.checkpoint import without_layers
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.search import Outcome, Tally

LossesOf = Callable[[Sequence[LayerMask]], Sequence[float]]


def naive(bench: Bench, sample: int) -> LossesOf:
    """Losses as the peers make them."""

    def losses_of(masks: Sequence[LayerMask]) -> list[float]:
        return [loss_of(mask) for mask in masks]

    def loss_of(mask: LayerMask) -> float:
        total, tokens = 0.0, 0
        with without_layers(bench.stack, mask) as model, torch.inference_mode():
            for ids in bench.calibration.ids[:sample]:
                tensor = torch.from_numpy(ids.astype("int64"))[None]
                total += model(tensor, labels=tensor, use_cache=False).loss.item() * (len(ids) - 1)
                tokens += len(ids) - 1
        return total / tokens

    return losses_of


def loop(bench: Bench, losses_of: LossesOf, path: Sequence[int]) -> tuple[list[int], list[float], float]:
    """The layers in the order of their removal, the losses of all candidates, and seconds; a path is followed."""
    mask, order, every = bench.problem.dense, [], []
    begin = time.process_time()
    for step in range(bench.problem.budget):
        layers = bench.problem.removable(mask)
        losses = losses_of([mask.drop(layer) for layer in layers])
        order.append(path[step] if path else layers[losses.index(min(losses))])
        mask, every = mask.drop(order[-1]), [*every, *losses]
    return order, every, time.process_time() - begin


def main() -> None:
    parser = search_arguments(__doc__ or "")
    parser.add_argument("--sample", type=int, help="run the loops that race nothing on so many sequences, and multiply")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    count = bench.problem.sequences
    sample = given.sample or count
    searches = {
        "lpk: greedy, confidence 0.9": bench.search("greedy", {"confidence": 0.9}),
        "lpk: lazy-greedy, defaults": bench.search("lazy-greedy"),
    }
    path = order_of(searches["lpk: greedy, confidence 0.9"].outcome) if sample < count else []
    measure = bench.evaluator()
    narrow = Bench(given, "bfloat16")
    searches["lpk: lazy-greedy, bfloat16"] = narrow.search("lazy-greedy")
    loops = {
        "naive loop, float32": loop(bench, naive(bench, sample), path),
        "naive loop, bfloat16": loop(narrow, naive(narrow, sample), path),
        "lpk: greedy, racing off": loop(bench, lambda masks: measure.losses(masks, sample), path),
    }
    figures: dict[str, Any] = {}
    for name, (order, _, seconds) in loops.items():
        cost = cost_of(bench, order)
        figures[name] = {
            "order": order,
            "removed": sorted(order),
            "seconds": seconds * count / sample,
            "layer_forwards": cost.naive_layer_forwards if "naive" in name else cost.layer_forwards,
        }
    for name, found in searches.items():
        figures[name] = {
            "removed": list(found.outcome.best.mask.removed),
            "seconds": found.seconds,
            "layer_forwards": found.cost.layer_forwards,
        }
    base, exact = (loops[name][1] for name in ("naive loop, float32", "lpk: greedy, racing off"))
    difference = max(abs(a - b) for a, b in zip(base, exact, strict=True))
    show(bench, given, figures, {"sequences_sampled": sample, "largest_difference_of_losses": difference})


def order_of(outcome: Outcome) -> list[int]:
    """The layers of greedy's mask in the order in which they went: its candidates of one size share all but one."""
    order: list[int] = []
    for size in range(2, len(outcome.best.mask) + 2):
        candidates = [set(t.mask.removed) for t in outcome.trials if len(t.mask) == size] or [
            set(outcome.best.mask.removed)
        ]
        order += set.intersection(*candidates) - set(order)
    return order


def cost_of(bench: Bench, order: Sequence[int]) -> Any:
    """What plain greedy along this path takes, on all sequences."""
    tally, mask = Tally(), bench.problem.dense
    for layer in order:
        tally.add([mask.drop(other) for other in bench.problem.removable(mask)], bench.problem.sequences)
        mask = mask.drop(layer)
    return tally.cost


def show(bench: Bench, given: Any, figures: dict[str, Any], facts: dict[str, Any]) -> None:
    """Each against the naive loop of its precision's own, and of float32."""
    base, narrow = figures["naive loop, float32"], figures["naive loop, bfloat16"]
    rows = []
    for name, part in figures.items():
        part["held_out_perplexity"] = bench.perplexity(bench.problem.mask(part["removed"]))
        part["times_fewer_layer_forwards"] = base["layer_forwards"] / part["layer_forwards"]
        part["times_faster_than_float32"] = base["seconds"] / part["seconds"]
        part["times_faster_than_bfloat16"] = narrow["seconds"] / part["seconds"]
        rows.append(
            [
                name,
                str(bench.problem.mask(part["removed"])),
                f"{part['layer_forwards']:,}",
                f"{part['times_fewer_layer_forwards']:.2f}x",
                f"{part['seconds']:.0f}",
                f"{part['times_faster_than_float32']:.2f}x",
                f"{part['times_faster_than_bfloat16']:.2f}x",
                f"{part['held_out_perplexity']:.2f}",
            ]
        )
    columns = ["", "removed", "layer-forwards", "fewer", "CPU s", "faster than float32", "than bfloat16", "perplexity"]
    title = f"{given.remove} of {bench.stack.layers}, {bench.problem.sequences} x {given.length} tokens"
    report({**facts, **figures}, title, columns, rows, given.out)
    print(f"losses of all candidates differ by {facts['largest_difference_of_losses']:.1e} nats at most")


if __name__ == "__main__":
    main()
