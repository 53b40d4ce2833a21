"""One dense forward, watched: which modules of a model are its layers.

They are a chain: what one returns is the very tensor that the next is given. Nothing is known of any architecture.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Batch
from lpk.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


@dataclass
class Watched:
    """What one dense forward showed.

    Attributes:
        batch: what it was a forward of.
        logits: (sequences, tokens, vocabulary).
        path: where the list of layers is, e.g. ``"model.layers"``.
        gives_tuple: whether a layer returns its hidden state as the first of several things.
        states: the input of each layer, and the output of the last.
    """

    batch: Batch
    logits: Tensor
    path: str = ""
    gives_tuple: bool = False
    states: list[Tensor] = field(default_factory=list)


def watch(model: PreTrainedModel, batch: Batch) -> Watched:
    """Run the dense model once and find its longest chain of layers.

    Raises:
        UsageError: there is no chain of two or more.
    """
    import torch
    from torch import nn

    lists = {
        name: list(m.children()) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) > 1
    }
    seen: dict[nn.Module, list[tuple[Tensor, Any]]] = {}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        entering = args[0] if args else kwargs.get("hidden_states")
        seen.setdefault(module, []).append((entering, output))  # type: ignore[arg-type]

    with ExitStack() as hooks, torch.inference_mode():
        for member in {module for members in lists.values() for module in members}:
            hooks.callback(member.register_forward_hook(note, with_kwargs=True).remove)
        logits = model(batch.ids, use_cache=False).logits
    chains = {path: states for path, members in lists.items() if (states := _chain(members, seen))}
    if not chains:
        kind = type(model).__name__
        raise UsageError(
            f"{kind} has no stack of layers that hand a hidden state from one to the next; lpk cannot prune it"
        )
    path = max(chains, key=lambda name: len(chains[name]))
    gives_tuple = isinstance(seen[lists[path][0]][0][1], tuple)
    return Watched(batch, logits, path, gives_tuple, chains[path])


def _chain(members: list[nn.Module], seen: dict[nn.Module, list[tuple[Tensor, Any]]]) -> list[Tensor]:
    """The hidden states along these modules if each was called once, on what the one before returned; else empty."""
    states: list[Tensor] = []
    for module in members:
        if len(seen.get(module, ())) != 1:
            return []
        entering, output = seen[module][0]
        leaving = output[0] if isinstance(output, tuple) else output
        if states and entering is not states[-1]:
            return []
        states += [leaving] if states else [entering, leaving]
    return states
