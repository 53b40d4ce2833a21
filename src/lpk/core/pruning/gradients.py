"""Gradients layer by layer, from the head down: the memory of one layer's graph, whatever the depth.

A forward without a graph keeps each layer's input; then every layer is run once more, by itself, for its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lpk.core.contracts import Batch, LayerGradient
from lpk.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from lpk.core.pruning.stack import LayerStack, Start


def gradients(stack: LayerStack, batch: Batch) -> Iterator[LayerGradient]:
    """See :meth:`lpk.core.contracts.Stack.gradients`."""
    if not stack.shares_prefixes:
        raise UsageError(f"{type(stack.model).__name__}: gradients need layers that can be run one by one")
    asked = list(batch.rows())
    if batch.question is not None:  # of a question, the right answer's likelihood
        asked = [asked[batch.question.gold]]
    for row in asked:
        start, states = _forward(stack, row)
        slope = _head_slope(stack, start.batch, states[-1])
        tokens = int(row.predicted().sum())
        backwards = range(stack.layers)[::-1]
        with stack.running(backwards):
            for index in backwards:
                slope_after = slope
                slope, weights = _slopes(stack, index, states[index], start, slope_after)
                stack.layer_forwards += 1
                yield LayerGradient(index, states[index], states.pop(), slope_after, weights, tokens)


def _forward(stack: LayerStack, row: Batch) -> tuple[Start, list[Tensor]]:
    """A sequence's start, the input of each layer, and the output of the last: tensors that autograd takes."""
    import torch

    with torch.inference_mode(False), torch.no_grad():  # autograd takes no tensor of inference mode
        scored = None if row.scored is None else row.scored.clone()
        start = stack.start(Batch(row.ids.clone(), row.lengths.clone(), scored))
        states = [start.hidden]
        for index in range(stack.layers):
            states.append(stack.layer(index, states[-1], start))
    stack.layer_forwards += stack.layers
    return start, states


def _head_slope(stack: LayerStack, row: Batch, last: Tensor) -> Tensor:
    """The gradient of the mean negative log-likelihood at a last hidden state."""
    import torch
    from torch.nn.functional import cross_entropy

    with torch.inference_mode(False), torch.enable_grad():
        last = last.detach().requires_grad_()
        logits = stack.logits(row, last, slice(0, -1)).float()
        targets = row.ids[:, 1:].where(row.predicted(), -100)
        (slope,) = torch.autograd.grad(cross_entropy(logits[0], targets[0], ignore_index=-100), last)
    return slope


def _slopes(
    stack: LayerStack, index: int, entering: Tensor, start: Start, after: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradients at a layer's input and of its parameters, from that at its output."""
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        hidden = entering.detach().requires_grad_()
        # Tensors of our own over the same memory: a streamed layer's parameters ask for no gradient.
        held = {name: w.requires_grad_() for name, w in stack.weights(index).items() if w.is_floating_point()}
        output = stack.layer_holding(held, index, hidden, start.calls[index])
        slope, *slopes = torch.autograd.grad(output, [hidden, *held.values()], after, allow_unused=True)
    return slope, {
        name: w.new_zeros(()).expand_as(w) if s is None else s
        for (name, w), s in zip(held.items(), slopes, strict=True)
    }
