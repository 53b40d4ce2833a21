"""How each item goes through the layers: found out once, before anything is planned or measured.

Finding out may run the model: whether it takes the options of a question as one sequence, how many states fill a device.
A plan then runs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Executor
from lpk.core.pruning.prompts import SharedPrompt, laid_out

if TYPE_CHECKING:
    from lpk.core.pruning.items import Items
    from lpk.core.pruning.stack import LayerStack


@dataclass(frozen=True, eq=False)
class Layout:
    """How one item goes through the layers.

    Attributes:
        prompt: where its options are, if they go through as one sequence.
        shape: the sequences and tokens of its hidden state.
        together: how many states of this shape the executor takes at once.
    """

    prompt: SharedPrompt | None
    shape: tuple[int, int]
    together: int

    @property
    def tokens(self) -> int:
        """Tokens of its hidden state, padding included."""
        return math.prod(self.shape)


def layouts(stack: LayerStack, items: Items, executor: Executor[Any]) -> list[Layout]:
    """How each item goes through the layers; the executor is asked about one item of each shape."""
    import torch

    together: dict[tuple[int, int], int] = {}
    found = []
    batches = list(items.batches())
    with torch.inference_mode():
        for batch, prompt in zip(batches, laid_out(stack, batches), strict=True):
            rows, tokens = (batch if prompt is None else prompt).ids.shape
            shape = (rows, tokens)
            if shape not in together:
                start = stack.start(batch, prompt) if stack.shares_prefixes else None
                together[shape] = executor.at_once(stack, start.hidden, start) if start else 1
            found.append(Layout(prompt, shape, together[shape]))
    return found
