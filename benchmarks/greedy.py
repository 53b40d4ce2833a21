"""Greedy deletion against the naive loop: processor seconds, layer-forwards, and whether it removes the same layers.

    python benchmarks/greedy.py

The baseline is the loop that SLEB and its peers run: for each candidate a whole forward of the model without it, on each
sequence, with transformers' own loss; in float32, and in bfloat16 on plain weights, as the peers have them. By default that
is 80,640 layer-forwards, an hour on two cores for each precision: ``--sequences 2 --remove 4`` is a quick look.

``--sample 1`` runs the loops that race nothing on one sequence alone, and multiplies their seconds. Such a loop chooses
nothing: it follows the order in which the race of ``greedy`` removed layers, and its row says so. What it costs is shown
then, and how far its losses are from ours; not what it would remove.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from common import report
from searching import Bench, add_confidence, search_arguments

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


@dataclass
class Loop:
    """A greedy loop that looks at every candidate.

    Attributes:
        order: the layers as they were removed.
        choices: the layer of the least loss at each step; the same, unless a path was followed.
        losses: of the candidates of each step.
        seconds: of the processor.
    """

    order: list[int]
    choices: list[int]
    losses: list[list[float]]
    seconds: float

    @classmethod
    def run(cls, bench: Bench, losses_of: LossesOf, path: Sequence[int]) -> Loop:
        """Remove the layers of the path, or if there is none what costs least."""
        mask, done = bench.problem.dense, cls([], [], [], 0.0)
        begin = time.process_time()
        for step in range(bench.problem.budget):
            layers = bench.problem.removable(mask)
            losses = list(losses_of([mask.drop(layer) for layer in layers]))
            done.losses.append(losses)
            done.choices.append(layers[losses.index(min(losses))])
            done.order.append(path[step] if path else done.choices[-1])
            mask = mask.drop(done.order[-1])
        done.seconds = time.process_time() - begin
        return done


def main() -> None:
    parser = search_arguments(__doc__ or "")
    add_confidence(parser)
    parser.add_argument("--sample", type=int, help="run the loops that race nothing on so many sequences, and multiply")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    fast = Bench(given, "bfloat16")
    searches = {**raced(bench, given.confidence), **raced(fast, given.confidence)}
    sample = min(given.sample or bench.problem.sequences, bench.problem.sequences)
    followed = next(iter(searches)) if sample < bench.problem.sequences else None
    # Plain weights: packed ones, which are lpk's, would make the loop faster than the peers' is.
    naive_on = bench, Bench(given, "bfloat16", packed=False)
    loops, difference = unraced(naive_on, (bench, fast), sample, searches[followed]["order"] if followed else [])
    facts = {"sequences_sampled": sample, "followed": followed, "largest_difference_of_losses": difference}
    show(bench, given, {**loops, **searches}, facts)


def raced(bench: Bench, confidence: float) -> dict[str, dict[str, Any]]:
    """The searches that race; greedy first, with the order in which it removed layers."""
    found = {name: bench.search(name, {"confidence": confidence}) for name in ("greedy", "lazy-greedy")}
    figures: dict[str, dict[str, Any]] = {
        name: {
            "removed": list(one.outcome.best.mask.removed),
            "seconds": one.seconds,
            "layer_forwards": one.cost.layer_forwards,
            "packed_bytes": bench.packed_bytes,
        }
        for name, one in found.items()
    }
    figures["greedy"]["order"] = order_of(found["greedy"].outcome)
    return {f"lpk: {name}, confidence {confidence}, {bench.dtype}": part for name, part in figures.items()}


def unraced(
    naive_on: Sequence[Bench], ours_on: Sequence[Bench], sample: int, path: Sequence[int]
) -> tuple[dict[str, dict[str, Any]], float]:
    """The loops that race nothing, a naive one and ours in each precision; and how far their losses are apart at most.

    Losses are compared while the two remove the same layers.
    """
    figures: dict[str, dict[str, Any]] = {}
    apart = 0.0
    for its, packed in zip(naive_on, ours_on, strict=True):
        with packed.evaluator() as measure:
            theirs = Loop.run(its, naive(its, sample), path)
            ours = Loop.run(packed, lambda masks, measure=measure: measure.losses(masks, sample), path)  # type: ignore[misc]
        for name, bench, part in (("naive loop", its, theirs), ("lpk: greedy, racing off", packed, ours)):
            cost = cost_of(bench, part.order)
            figures[f"{name}, {bench.dtype}"] = {
                "order": part.order,
                "removed": sorted(part.order),
                "followed": bool(path),
                "choices": part.choices,
                "seconds": part.seconds * bench.problem.sequences / sample,
                "layer_forwards": cost.naive_layer_forwards if "naive" in name else cost.layer_forwards,
                "packed_bytes": bench.packed_bytes,
            }
        for step in range(bench.problem.budget):
            if theirs.order[:step] == ours.order[:step]:
                pairs = zip(theirs.losses[step], ours.losses[step], strict=True)
                apart = max(apart, *(abs(one - other) for one, other in pairs))
    return figures, apart


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
        mask, chosen = bench.problem.mask(part["removed"]), not part.get("followed")
        part["held_out_perplexity"] = bench.perplexity(mask) if chosen else None
        part["times_fewer_layer_forwards"] = base["layer_forwards"] / part["layer_forwards"]
        part["times_faster_than_float32"] = base["seconds"] / part["seconds"]
        part["times_faster_than_bfloat16"] = narrow["seconds"] / part["seconds"]
        rows.append(
            [
                name,
                str(mask) if chosen else f"{mask}, followed",
                f"{part['layer_forwards']:,}",
                f"{part['times_fewer_layer_forwards']:.2f}x",
                f"{part['seconds']:.0f}",
                f"{part['times_faster_than_float32']:.2f}x",
                f"{part['times_faster_than_bfloat16']:.2f}x",
                f"{part['held_out_perplexity']:.2f}" if chosen else "",
            ]
        )
    columns = ["", "removed", "layer-forwards", "fewer", "CPU s", "faster than float32", "than bfloat16", "perplexity"]
    title = f"{given.remove} of {bench.stack.layers}, {bench.problem.sequences} x {given.length} tokens"
    report({**facts, **figures}, title, columns, rows, given.out)
    where = f"on {facts['sequences_sampled']} of {bench.problem.sequences} sequences"
    print(f"losses of all candidates differ by {facts['largest_difference_of_losses']:.1e} nats at most, {where}")
    if facts["followed"]:
        print(f"followed: the order of `{facts['followed']}`, given to the loop and not found by it")


if __name__ == "__main__":
    main()
