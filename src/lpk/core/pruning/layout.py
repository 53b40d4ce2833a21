"""How each item goes through the layers: found out once, before anything is planned or measured.

Finding out may run the model: whether it takes the options of a question as one sequence, how many states fill a device.
A plan then runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Batch, Executor
from lpk.core.pruning.probing import same_calls
from lpk.core.pruning.prompts import SharedPrompt, laid_out

if TYPE_CHECKING:
    from lpk.core.pruning.items import Items
    from lpk.core.pruning.stack import Call, LayerStack, Start


@dataclass(frozen=True, eq=False)
class Layout:
    """How one item goes through the layers.

    Attributes:
        prompt: where its options are, if they go through as one sequence.
        shape: the sequences and tokens of its hidden state.
        together: how many states of this shape the executor takes at once.
        call_bytes: what its layers are called with beside the state: rotations, and masks that may be as large as it.
    """

    prompt: SharedPrompt | None
    shape: tuple[int, int]
    together: int
    call_bytes: int

    @property
    def tokens(self) -> int:
        """Tokens of its hidden state, padding included."""
        return math.prod(self.shape)


def layouts(stack: LayerStack, items: Items, executor: Executor[Any]) -> list[Layout]:
    """How each item goes through the layers; the executor is asked about one item of each shape."""
    import torch

    known: dict[tuple[int, int, bool], tuple[int, int]] = {}
    found = []
    batches = list(items.batches())
    with torch.inference_mode():
        for batch, prompt in zip(batches, laid_out(stack, batches), strict=True):
            rows, tokens = (batch if prompt is None else prompt).ids.shape
            kind = (rows, tokens, prompt is None)
            if kind not in known:
                start = stack.start(batch, prompt) if stack.shares_prefixes else None
                known[kind] = (executor.at_once(stack, start.hidden, start), _bytes(start.calls)) if start else (1, 0)
            found.append(Layout(prompt, (rows, tokens), *known[kind]))
    return found


def starts(stack: LayerStack, batches: Iterable[Batch], prompts: Iterable[SharedPrompt | None]) -> list[Start]:
    """Batches after the embedding. What layers are called with is held once where it is the same, as for all of a shape."""
    held: dict[tuple[int, ...], tuple[Call, ...]] = {}
    found = []
    for batch, prompt in zip(batches, prompts, strict=True):
        start = stack.start(batch, prompt)
        if prompt is None:
            calls = held.setdefault(tuple(batch.ids.shape), start.calls)
            start = replace(start, calls=calls) if same_calls(start.calls, calls) else start
        found.append(start)
    return found


def _bytes(calls: tuple[Call, ...]) -> int:
    import torch
    from torch.utils._pytree import tree_leaves

    tensors = [value for value in tree_leaves(calls) if isinstance(value, torch.Tensor)]
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())
