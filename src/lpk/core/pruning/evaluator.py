"""Measures masks: the loss of each on each calibration sequence, nothing computed twice.

In which order layers run is a schedule's business, how many states go through one at once the executor's; here the two
meet the memo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Executor, Loss, Objective, Options, Outputs
from lpk.core.errors import PluginError, blaming
from lpk.core.pruning.layout import Layout, layouts, starts
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost, Memo
from lpk.core.pruning.schedule import Drop, Run, Schedule, Size, Trie, depth_first, layer_by_layer
from lpk.core.pruning.stack import LayerStack, Start

if TYPE_CHECKING:
    from torch import Tensor

    from lpk.core.pruning.items import Items

#: Bytes of hidden states, unless another budget is given.
MEMORY = 2**30


@dataclass
class Plan:
    """What measuring some masks would take now.

    Attributes:
        peak_state_bytes: hidden states alive at once, at most, with what layers are called with beside them (masks may be
            as large) and what is kept of the dense model to compare with.
            Within the budget, but for the least that can be done: two states and the embedding's output.
    """

    cost: Cost = field(default_factory=Cost)
    peak_state_bytes: int = 0


class Evaluator:
    """The losses of masks under one objective on some sequences, remembered in a memo.

    Attributes:
        context: the fingerprint of everything but mask and sequence that a loss depends on.
        memory: how many bytes of hidden states may be alive at once; if they are too few, layers run again.
        executor: runs the layers.
        beside: other objectives, by their context, that are measured in the same pass: those that ``objective`` is made
            of, or more that is to be known of the same outputs.
        on_cost: called with each increment of cost, as it is spent.
    """

    def __init__(
        self,
        stack: LayerStack,
        objective: Objective[Any],
        sequences: Items,
        memo: Memo,
        context: str,
        memory: int = MEMORY,
        on_cost: Callable[[Cost], None] = lambda cost: None,
        executor: Executor[Any] | None = None,
        beside: Mapping[str, Objective[Any]] | None = None,
    ) -> None:
        self.beside = dict(beside or {})
        self._measured = {context: objective, **self.beside}
        self.needs_dense = any(each.needs_dense for each in self._measured.values())
        self.stack, self.objective, self.sequences = stack, objective, sequences
        self.memo, self.context, self.executor = memo, context, executor or Executor(Options())
        self.memory, self.on_cost = memory, on_cost
        batches = list(sequences.batches())
        self._weights = {
            context: [float(each.weights(batch).sum()) for batch in batches] for context, each in self._measured.items()
        }
        self._predicted = [int(batch.predicted().sum()) for batch in batches]
        self._layouts = layouts(stack, sequences, self.executor)
        # Whether all states should pass through a layer before the next.
        many = stack.streams or any(layout.together > 1 for layout in self._layouts)
        self._by_layer = stack.shares_prefixes and many
        self._dense_outputs: dict[int, Outputs] = {}

    def losses(self, masks: Sequence[LayerMask], sequences: int | None = None) -> list[Loss]:
        """The loss of each mask over the first ``sequences`` sequences, by default all.

        Raises:
            PluginError: the objective gave something that is no number.
        """
        import torch

        with torch.inference_mode():
            for items, missing in self._work(masks, sequences):
                self._measure(items, missing)
        (_, losses), *others = [(context, self._known(context, masks, sequences)) for context in self._measured]
        for place, loss in enumerate(losses):
            loss.parts = tuple(float(part[place]) for _, part in others)
        return losses

    def _known(self, context: str, masks: Sequence[LayerMask], sequences: int | None) -> list[Loss]:
        keys, weights = self.sequences.keys[:sequences], self._weights[context][:sequences]
        known = self.memo.known(context, masks, keys)
        return [Loss.mean((known[mask][key] for key in keys), weights) for mask in masks]

    def losses_beside(self, masks: Sequence[LayerMask]) -> dict[str, list[Loss]]:
        """The loss of each mask over all items under each objective of ``beside``, by its context."""
        self.losses(masks)
        return {context: self._known(context, masks, None) for context in self.beside}

    def plan(self, masks: Sequence[LayerMask], sequences: int | None = None) -> Plan:
        """What :meth:`losses` would take now, the dense model's forwards for comparison included. Nothing is run for it."""
        plan, dense = Plan(), set(self._dense_outputs)
        sizes: dict[tuple[int, int, int, int, tuple[LayerMask, ...]], Size] = {}
        for items, missing in self._work(masks, sequences):
            rows = sum(self.sequences.shape(item)[0] for item in items)
            tokens = sum(self._layouts[item].tokens for item in items)
            naive = sum(len(mask.kept) for mask in missing)
            longest = self._longest(items)
            key = longest.tokens, longest.together, self._fit(items), len(items), tuple(missing)
            if key not in sizes:
                walked = self.stack.shares_prefixes
                sizes[key] = Size.of(self._schedule(Trie.of(missing), items)) if walked else Size(naive)
            plan.cost += Cost(
                layer_forwards=rows * sizes[key].layer_forwards,
                naive_layer_forwards=rows * naive,
                head_tokens=len(missing) * sum(self._predicted[item] for item in items),
                measurements=len(items) * len(missing),
            )
            alive = sizes[key].states * tokens * self.stack.token_bytes + self._call_bytes(items)
            plan.peak_state_bytes = max(plan.peak_state_bytes, alive)
            if self.needs_dense:
                new = set(items) - dense
                plan.cost += Cost(sum(self.sequences.shape(item)[0] for item in new) * self.stack.layers)
                dense |= new if self.stack.ends_in_head else set()
        if plan.cost.measurements:
            plan.peak_state_bytes += self._kept_bytes(dense)
        return plan

    def _kept_bytes(self, items: Iterable[int]) -> int:
        """What the dense model's outputs take once they have been compared with, at most.

        For each token the last hidden state and what the norm makes of it, in the model's precision; and for KL, of the
        distribution, the log-partition in float64 and the expectation in float32.
        """
        tokens = sum(math.prod(self.sequences.shape(item)) for item in items)
        width: int = self.stack.token_bytes // self.stack.model.dtype.itemsize
        return tokens * (2 * self.stack.token_bytes + 8 + 4 * width)

    # -- what to measure together -------------------------------------------------------------------------------------

    def _work(self, masks: Sequence[LayerMask], sequences: int | None) -> Iterator[tuple[list[int], list[LayerMask]]]:
        """The masks not yet measured, with the sequences to measure them on together.

        Depth first that is one sequence at a time. Layer by layer it is as many as the budget holds states of: the more,
        the larger an executor's calls, and the seldomer a streamed model's layers are read.
        """
        groups: dict[tuple[LayerMask, ...], list[int]] = {}
        for item, missing in self._missing(masks, sequences):
            groups.setdefault(tuple(missing), []).append(item)
        for together, items in groups.items():
            if self._by_layer:
                yield from self._fitting(items, list(together))
            else:
                yield from (([item], list(together)) for item in items)

    def _missing(self, masks: Sequence[LayerMask], sequences: int | None) -> Iterator[tuple[int, list[LayerMask]]]:
        """For each sequence the distinct masks not yet measured on it. Two sequences of the same tokens are one."""
        keys = self.sequences.keys[:sequences]
        known = [self.memo.known(context, masks, keys) for context in self._measured]
        places: dict[str, int] = {}
        for item, key in enumerate(keys):
            places.setdefault(key, item)
        for key, item in places.items():
            missing = [mask for mask in known[0] if any(key not in losses[mask] for losses in known)]
            if missing:
                yield item, missing

    def _longest(self, items: list[int]) -> Layout:
        """That of the one with the most tokens."""
        return max((self._layouts[item] for item in items), key=lambda layout: layout.tokens)

    def _fit(self, items: list[int]) -> int:
        """How many hidden states of the longest of these items the budget holds, beside what layers are called with."""
        return max(0, self._room - self._call_bytes(items)) // (self._longest(items).tokens * self.stack.token_bytes)

    @cached_property
    def _room(self) -> int:
        """The budget, but for what is kept of the dense model."""
        return self.memory - self.kept_bytes

    @cached_property
    def kept_bytes(self) -> int:
        """What is kept of the dense model once all items have been measured."""
        return self._kept_bytes(range(len(self.sequences))) if self.needs_dense else 0

    @property
    def weights(self) -> list[float]:
        """What each item counts for."""
        return self._weights[self.context]

    def _calls(self, items: list[int]) -> tuple[int, list[int]]:
        """Bytes that layers are called with beside the states of these items: for all of a shape, and for each prompt."""
        found = [self._layouts[item] for item in items]
        shapes = {layout.shape: layout.call_bytes for layout in found if layout.prompt is None}
        return sum(shapes.values()), [layout.call_bytes for layout in found if layout.prompt is not None]

    def _call_bytes(self, items: list[int]) -> int:
        shared, apart = self._calls(items)
        return shared + sum(apart)

    def _fitting(self, items: list[int], masks: list[LayerMask]) -> Iterator[tuple[list[int], list[LayerMask]]]:
        """Split into groups whose states fit into memory: by sequences, which shares as much; by masks if it must be."""
        longest, states = self._longest(items), self._states(Trie.of(masks))
        state = longest.tokens * self.stack.token_bytes
        shared, apart = self._calls(items)
        room = max(0, self._room - shared)
        # A call takes half of the budget at most: a large one saves less than masks share.
        call = max(1, min(longest.together, room // state // 2))
        at_once = (room - (call - 1) * state) // (states * state + max(apart, default=0))
        if at_once < 1 and len(masks) > 1:
            masks = sorted(masks, key=lambda mask: mask.kept)
            for half in (masks[: len(masks) // 2], masks[len(masks) // 2 :]):
                yield from self._fitting(items, half)
            return
        at_once = max(1, at_once)
        yield from ((items[begin : begin + at_once], masks) for begin in range(0, len(items), at_once))

    def _schedule(self, root: Trie, items: list[int]) -> Schedule:
        """The order of work for these masks on these sequences."""
        if self._by_layer:
            spare = self._fit(items) // len(items) - self._states(root) + 1
            at_once = min(self._longest(items).together // len(items), spare)
            return layer_by_layer(root, self.stack.layers, max(1, at_once))
        # Beside the states kept at branching points: the embedding's output, and a layer's input and output.
        return depth_first(root, max(0, self._fit(items) - 3))

    def _states(self, root: Trie) -> int:
        """How many states are alive at once, of each sequence, where one goes through a layer after the other."""
        return Size.of(layer_by_layer(root, self.stack.layers)).states

    # -- measuring ----------------------------------------------------------------------------------------------------

    def _measure(self, items: list[int], masks: list[LayerMask]) -> None:
        dense = self._dense(items) if self.needs_dense else dict.fromkeys(items)
        for item, mask, outputs, layer_forwards in self._outputs(items, masks):
            rows, _ = self.sequences.shape(item)
            spent = Cost(layer_forwards, rows * len(mask.kept), self._predicted[item], 1)
            losses = {
                context: self._loss(each, outputs, dense[item] if each.needs_dense else None, f"{mask}, on item {item}")
                for context, each in self._measured.items()
            }
            # The objective's own last: with it in the memo the others are, too.
            for context, loss in reversed(losses.items()):
                paid = spent if context == self.context else Cost()
                self.memo.add(context, mask, self.sequences.keys[item], loss, paid)
            self.on_cost(spent)
            del outputs  # which hold a hidden state, before the next are made

    def _loss(self, objective: Objective[Any], outputs: Outputs, dense: Outputs | None, where: str) -> float:
        with blaming(f"objective {objective.name}"):
            loss = float(objective.item_loss(outputs, dense).squeeze(0))
        if not math.isfinite(loss):
            hint = "" if self.stack.model.dtype.itemsize > 2 else "; numbers may overflow, try --dtype float32"
            raise PluginError(f"objective {objective.name} gave {loss} without layers {where}{hint}")
        return loss

    def _dense(self, items: list[int]) -> dict[int, Outputs]:
        """The dense model's outputs. They stay in memory, unless they are as large as the vocabulary."""
        kept = self._dense_outputs if self.stack.ends_in_head else {}
        new = [item for item in items if item not in kept]
        for item, _, outputs, layer_forwards in self._outputs(new, [LayerMask(self.stack.layers)]) if new else ():
            kept[item] = outputs
            spent = Cost(layer_forwards=layer_forwards)
            self.memo.spend(spent)
            self.on_cost(spent)
        return {item: kept[item] for item in items}

    def _outputs(self, items: list[int], masks: list[LayerMask]) -> Iterator[tuple[int, LayerMask, Outputs, int]]:
        """The outputs of each mask on each sequence, and how many layers ran since those of the one before."""
        if not self.stack.shares_prefixes:
            for item in items:
                batch = self.sequences.batch(item)
                for mask in masks:
                    yield item, mask, self.stack.masked_outputs(batch, mask), len(batch.ids) * len(mask.kept)
            return
        root = Trie.of(masks)
        given = starts(self.stack, map(self.sequences.batch, items), (self._layouts[item].prompt for item in items))
        states = {root: [start.hidden for start in given]}
        given = [replace(start, hidden=start.hidden.new_empty(0)) for start in given]  # the schedule says what is kept
        ran = 0
        with self.stack.running(sorted({layer for mask in masks for layer in mask.kept})):
            for step in self._schedule(root, items):
                if isinstance(step, Run):
                    self._run(step, states, given)
                    ran += sum(len(start.batch.ids) for start in given) * len(step.pairs)
                elif isinstance(step, Drop):
                    del states[step.state]
                elif step.state.mask is not None:
                    for place, (item, start) in enumerate(zip(items, given, strict=True)):
                        # Named, the state would be alive until the next mask is measured.
                        outputs = self.stack.outputs
                        yield item, step.state.mask, outputs(start.batch, start.apart(states[step.state][place])), ran
                        ran = 0

    def _run(self, step: Run, states: dict[Trie, list[Tensor]], given: list[Start]) -> None:
        """Run a layer on the states of all items, and keep what comes of them."""
        entering = [hidden for state, _ in step.pairs for hidden in states[state]]
        leaving = self.executor.run(self.stack, step.layer, entering, given * len(step.pairs))
        for place, (_, result) in enumerate(step.pairs):
            states[result] = leaving[place * len(given) : (place + 1) * len(given)]
