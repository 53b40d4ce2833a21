"""What a short sequence shows of a model: whether its layers can be run one by one, and whether it is causal.

Everything is compared bit for bit with the model's own forward. What does not agree is evaluated by whole forwards; what
is not causal, by nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Batch
from lpk.core.errors import UsageError
from lpk.core.memory import ran_out

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from lpk.core.pruning.stack import LayerStack
    from lpk.core.pruning.watching import Watched

#: Tokens of the sequence.
PROBE = 24


def probe(model: PreTrainedModel) -> Batch:
    """A short sequence of spread-out token ids: (1, 24)."""
    import torch

    vocabulary = _vocabulary(model)
    ids = (torch.arange(PROBE) * (vocabulary // PROBE or 1) + 3) % vocabulary
    return Batch(ids[None].to(model.device), torch.tensor([PROBE], device=model.device))


def replays(stack: LayerStack, watched: Watched) -> bool:
    """Whether every layer is a function of its input: the same bits in order, and in reverse order too.

    In order only, layers that hand each other state behind the scenes would pass and then be wrong in a trie. And each
    must be causal, from which follows that the model is: with another last token, its output before is the same.

    Raises:
        UsageError: a part of the model is not causal.
    """
    import torch

    model, states = stack.model, watched.states
    with attempting(), torch.inference_mode():
        start, other = stack.start(watched.batch), stack.start(_otherwise_ended(model, watched.batch))
        if not torch.equal(start.hidden, states[0]):
            return False
        _check_blind(model, states[0], other.hidden)
        backwards = range(stack.layers)[::-1]
        with stack.running(backwards):
            for index in backwards:
                if not torch.equal(stack.layer(index, states[index], start), states[index + 1]):
                    return False
                ended = torch.cat([states[index][:, :-1], other.hidden[:, -1:]], 1)
                _check_blind(model, states[index + 1], stack.layer(index, ended, other))
        if not gives_logits(stack, watched):
            return False
        ended = torch.cat([states[-1][:, :-1], other.hidden[:, -1:]], 1)
        _check_blind(model, watched.logits, stack.logits(watched.batch, ended, slice(0, None)))
        return True
    return False


def gives_logits(stack: LayerStack, watched: Watched) -> bool:
    """Whether the last layer's output gives the model's logits, bit for bit, whatever the layers share."""
    import torch

    with torch.inference_mode():
        return torch.equal(stack.logits(watched.batch, watched.states[-1], slice(0, None)), watched.logits)


def check_causal(model: PreTrainedModel, watched: Watched) -> None:
    """Change the last token of the whole model: no earlier prediction may know.

    Raises:
        UsageError: one does.
    """
    import torch

    with torch.inference_mode():
        other = _otherwise_ended(model, watched.batch)
        _check_blind(model, watched.logits, model(other.ids, use_cache=False).logits)


def takes_several(stack: LayerStack) -> bool:
    """Whether a layer can be called with several sequences as it is with one: found out on two short ones."""
    import torch

    one = probe(stack.model)
    starts = [stack.start(batch) for batch in (one, Batch(one.ids.flip(1), one.lengths))]
    with attempting(), torch.inference_mode():
        if not same_calls(starts[0].calls, starts[1].calls):  # several are called with what the first is called with
            return False
        states = [start.hidden for start in starts]
        for index in range(stack.layers):
            alone = [stack.layer(index, hidden, start) for hidden, start in zip(states, starts, strict=True)]
            together = stack.layer_at_once(index, states, starts)
            for here, there in zip(alone, together, strict=True):
                tolerance = 64 * torch.finfo(here.dtype).eps * here.abs().max()
                if here.shape != there.shape or not (here - there).abs().max() <= tolerance:
                    return False
            states = alone
        return True
    return False


class attempting(AbstractContextManager["attempting", bool]):
    """Go on after whatever a model raises that does not take what is tried; that memory ran out says nothing of that."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        expected = (LookupError, AttributeError, TypeError, ValueError, RuntimeError)
        return isinstance(error, expected) and not ran_out(error)


def same_calls(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether layers are called with the same beside their states, tensors compared bit for bit.

    Objects of which nothing is known are the same only where they are one.
    """
    import torch
    from torch.utils._pytree import tree_flatten

    (values, shape), (others, its_shape) = tree_flatten(one), tree_flatten(other)
    compared: dict[tuple[int, int], bool] = {}
    for here, there in zip(values, others, strict=False):
        if (id(here), id(there)) not in compared:
            tensors = isinstance(here, torch.Tensor) and isinstance(there, torch.Tensor)
            same = here.dtype == there.dtype and torch.equal(here, there) if tensors else here is there or here == there
            compared[id(here), id(there)] = bool(same)
    return shape == its_shape and all(compared.values())


def _vocabulary(model: PreTrainedModel) -> int:
    size: int = model.config.get_text_config().vocab_size
    return size


def _otherwise_ended(model: PreTrainedModel, batch: Batch) -> Batch:
    ids = batch.ids.clone()
    ids[:, -1] = (ids[:, -1] + 1) % _vocabulary(model)
    return Batch(ids, batch.lengths)


def _check_blind(model: PreTrainedModel, before: Tensor, after: Tensor) -> None:
    """All positions but the last are the same, bit for bit.

    But for experts: they compute a token beside others than before, in another order of sums.
    """
    import torch

    experts = any("expert" in name for name, _ in model.named_modules())
    tolerance = 4 * torch.finfo(before.dtype).eps * before.abs().max() if experts else 0.0
    if not (before - after)[:, :-1].abs().max() <= tolerance:
        kind = type(model).__name__
        raise UsageError(f"{kind} is no causal language model: what it predicts depends on later tokens")
