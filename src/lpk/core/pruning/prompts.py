"""The options of a question as one sequence: the prompt that all begin with once, then what each goes on with.

An option's own tokens see the prompt and each other, never another option's, and stand at the positions that they would
stand at alone. So each layer runs on the tokens that differ and on the prompt once, where a batch of options, padded to the
longest, runs the prompt for each of them: of the questions of ARC-Easy that is a third of the positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lpk.core.contracts import Batch
from lpk.core.pruning.probing import attempting

if TYPE_CHECKING:
    from torch import Tensor

    from lpk.core.pruning.stack import Call, LayerStack

#: How far a state behind a shared prompt may be off that of the option by itself, in roundings of its norm in float32.
#: Measured over the layers of SmolLM2-135M: 4.7 at most.
ROUNDINGS = 16


@dataclass(frozen=True)
class SharedPrompt:
    """Where the tokens of a batch of options are in one sequence that holds their common beginning once.

    Attributes:
        ids: token ids of that sequence, (1, tokens).
        positions: where each of them stands in its option, (1, tokens).
        option: whose token each is, (tokens,); -1 if it is everybody's.
        where: the place of each position of the options, (options, longest); of padding, place 0.
    """

    ids: Tensor
    positions: Tensor
    option: Tensor
    where: Tensor

    @classmethod
    def of(cls, batch: Batch) -> SharedPrompt | None:
        """Lay out the options of a question; None if the batch is no question's, or they begin differently."""
        import torch

        if batch.question is None or len(batch.ids) < 2:
            return None
        real = batch.real()
        common = int(((batch.ids == batch.ids[0]) & real).all(0).long().cumprod(0).sum())
        if not common:
            return None
        at = torch.arange(batch.ids.shape[1], device=batch.ids.device).expand_as(batch.ids)
        own = real & (at >= common)
        where = at.where(at < common, 0)
        where[own] = common + torch.arange(int(own.sum()), device=at.device)
        positions = torch.cat([at[0, :common], at[own]])
        option = torch.arange(len(at), device=at.device)[:, None].expand_as(at)[own]
        ids = torch.cat([batch.ids[0, :common], batch.ids[own]])
        return cls(ids[None], positions[None], torch.cat([option.new_full((common,), -1), option]), where)

    def mask(self) -> Tensor:
        """Which tokens (columns) each token (row) may look at: (1, 1, tokens, tokens), bool."""
        import torch

        at = torch.arange(len(self.option), device=self.option.device)
        seen = (self.option == -1) | (self.option == self.option[:, None])
        return (seen & (at <= at[:, None]))[None, None]

    def apart(self, hidden: Tensor) -> Tensor:
        """The hidden states of the options: (1, tokens, hidden) -> (options, longest, hidden)."""
        return hidden[0, self.where]

    def together(self, hidden: Tensor) -> Tensor:
        """The other way round: (options, longest, hidden) -> (1, tokens, hidden)."""
        return hidden[self.option.clamp(min=0), self.positions[0]][None]


def laid_out(stack: LayerStack, batches: Iterable[Batch]) -> list[SharedPrompt | None]:
    """How each batch goes through the layers: None for as it is, which all do where the model does not take the layout.

    So do single questions that are longer than a sliding window: it is by itself that each is laid out, or not, whatever
    it is measured beside.
    """
    given = list(batches)
    prompts = [SharedPrompt.of(batch) for batch in given]
    if not stack.shares_prefixes or not any(prompts):
        return [None] * len(given)
    prompts = [p and (p if stack.sees_all_before(b) else None) for b, p in zip(given, prompts, strict=True)]
    asked = [(batch, prompt) for batch, prompt in zip(given, prompts, strict=True) if prompt is not None]
    # What a model does by place, not by position, shows where most places are.
    longest = max(asked, key=lambda pair: pair[1].ids.shape[1], default=None)
    return prompts if longest and stack.shares_prompts(*longest) else [None] * len(given)


def agrees(stack: LayerStack, batch: Batch, prompt: SharedPrompt) -> bool:
    """Whether the options of a question come out of every layer as they do by themselves, and layers take the mask.

    Found out in float32 whatever the model's precision: beside a large residual stream, what a layer adds to it would be
    lost in the roundings of 16 bits, and with it what is wrong.
    """
    import torch

    with attempting(), torch.inference_mode():
        alone, shared = stack.start(batch), stack.start(batch, prompt)
        if not all(map(masked, shared.calls)) or not torch.equal(shared.hidden, prompt.together(alone.hidden)):
            return False
        real, state = batch.real(), alone.hidden.float()
        with stack.running(range(stack.layers)):
            for index in range(stack.layers):
                behind = prompt.apart(stack.layer_in_float32(index, prompt.together(state), shared))[real]
                state = stack.layer_in_float32(index, state, alone)
                apart = (behind - state[real]).norm(dim=-1) / state[real].norm(dim=-1)
                if not apart.max() <= ROUNDINGS * torch.finfo(torch.float32).eps:
                    return False
        return True
    return False


def masked(call: Call) -> bool:
    """Whether a layer is called with a mask, one for all heads or each: (sequences, heads, tokens, tokens)."""
    args, kwargs = call
    shapes = [tuple(getattr(value, "shape", ())) for value in (*args, *kwargs.values())]
    return any(len(shape) == 4 and len(set(shape[2:])) == 1 for shape in shapes)
