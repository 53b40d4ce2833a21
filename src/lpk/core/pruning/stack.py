"""A causal language model taken apart by watching it work: embedding, layers, head.

Nothing here knows an architecture. One dense forward shows which modules are the layers (a chain: what one returns is
the very tensor that the next is given) and what else each of them is called with. Afterwards a layer can be run alone,
and the embedding and the head are the model's own forward with the layers stubbed out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Batch, LayerGradient, Outputs
from lpk.core.errors import UsageError
from lpk.core.pruning.gradients import gradients
from lpk.core.pruning.head import ChunkedOutputs, LinearHead, LinearOutputs, WholeOutputs
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.packing import pack
from lpk.core.pruning.probing import check_causal, gives_logits, probe, replays, takes_several
from lpk.core.pruning.prompts import SharedPrompt, agrees, masked
from lpk.core.pruning.watching import Watched, watch

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from lpk.core.pruning.streaming import Streamed

#: A layer call other than its first argument, the hidden state.
Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Start:
    """A batch after the embedding: what enters layer 0, and what else each layer is called with.

    Attributes:
        prompt: there if the batch goes through the layers as one sequence, see :mod:`lpk.core.pruning.prompts`.
    """

    batch: Batch
    hidden: Tensor
    calls: tuple[Call, ...]
    prompt: SharedPrompt | None = None

    def apart(self, hidden: Tensor) -> Tensor:
        """The state of each sequence of the batch."""
        return hidden if self.prompt is None else self.prompt.apart(hidden)


class LayerStack:
    """The layers of a causal language model, each of which can be run alone.

    Attributes:
        model: the dense model, in eval mode; nothing here changes its parameters.
        path: where its list of layers is, e.g. ``"model.layers"``.
        streamed: where the layers' weights come from, if they are not in memory.
        shares_prefixes: whether layers can be replayed one by one. Where they share state that replay cannot carry
            (keys and values of another layer, say), masks are evaluated by whole-model forwards instead.
        ends_in_head: whether the head is a function of the last layer's output, which then is all that is kept of a
            forward. Elsewhere that is the logits.
        streams: whether layers are read from the disk one after the other.
        token_bytes: what one token's hidden state takes.
        head: what makes losses of a last hidden state without whole logits, where the model's head is a linear one.
        packed_bytes: what packed copies of weights take.
        layer_forwards: layers run on one sequence by :meth:`states` and :meth:`gradients` so far, as scorers ask for
            them. For a gradient each layer runs twice; backward passes are not counted.
    """

    packed_bytes = layer_forwards = 0

    def __init__(self, model: PreTrainedModel, streamed: Streamed | None = None, products: str = "float32") -> None:
        """Watch one dense forward of a short probe and check that replaying it gives the same bits.

        Args:
            model: the dense model.
            streamed: where its layers come from, if not all are in memory.
            products: the precision of a linear head's products.

        Raises:
            UsageError: no chain of layers can be found, or the model is not causal.
        """
        self.model, self.streamed, self.products = model.eval(), streamed, products
        self._takes_positions = "logits_to_keep" in inspect.signature(model.forward).parameters
        watched = watch(model, probe(model))
        self.path = watched.path
        self.modules: list[nn.Module] = list(model.get_submodule(watched.path).children())
        self._gives_tuple = watched.gives_tuple
        self.token_bytes: int = watched.states[0].shape[-1] * watched.states[0].element_size()
        self.streams = streamed is not None
        self.shares_prefixes = replays(self, watched)
        if not self.shares_prefixes:
            check_causal(model, watched)
        self.ends_in_head = self.shares_prefixes or gives_logits(self, watched)
        self.head = self._linear_head(watched, products) if self.ends_in_head else None
        self._sharing: dict[tuple[int, ...], bool] = {}
        self._seeing: dict[int, bool] = {}

    @cached_property
    def fingerprint(self) -> str:
        """That of the weights in this precision, and of the configuration."""
        from lpk.core.pruning.models import fingerprint

        return self.streamed.fingerprint if self.streamed else fingerprint(self.model)

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.modules)

    def release(self) -> None:
        """Take no memory any more, whoever still refers to the model; nothing can be computed with it afterwards."""
        if self.streamed:
            self.streamed.release()
        else:
            self.model._apply(lambda tensor: tensor.to("meta"))

    def start(self, batch: Batch, prompt: SharedPrompt | None = None) -> Start:
        """Run the embedding alone and note what each layer would be called with; with a prompt, in its layout."""
        calls: list[Call] = [((), {})] * self.layers
        entering: list[Tensor] = []

        def note(layer: int, hidden: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
            calls[layer] = (args, kwargs)
            if layer == 0:
                entering.append(hidden)
            if layer == self.layers - 1:
                raise _Enough
            return hidden

        with self._stubbed(note), suppress(_Enough):
            if prompt is None:
                self._forward(batch.ids, slice(0, 1))
            else:
                self._forward(prompt.ids, slice(0, 1), position_ids=prompt.positions, attention_mask=prompt.mask())
        return Start(batch, entering[0], tuple(calls), prompt)

    def layer(self, index: int, hidden: Tensor, start: Start) -> Tensor:
        """The output of one layer: (sequences, tokens, hidden) in and out."""
        args, kwargs = start.calls[index]
        output = self.modules[index](hidden, *args, **kwargs)
        return output[0] if self._gives_tuple else output  # type: ignore[no-any-return]

    def layer_in_float32(self, index: int, hidden: Tensor, start: Start) -> Tensor:
        """The same in float32 whatever the model's precision: its weights, and all that it is called with, are widened."""
        import torch
        from torch.utils._pytree import tree_map

        def widened(value: Any) -> Any:
            return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

        held = {**self.weights(index), **dict(self.modules[index].named_buffers())}
        return self.layer_holding(tree_map(widened, held), index, hidden, tree_map(widened, start.calls[index]))

    def layer_holding(self, held: dict[str, Tensor], index: int, hidden: Tensor, call: Call) -> Tensor:
        """The output of one layer that has these parameters and buffers, by name, in place of its own."""
        import torch

        args, kwargs = call
        output = torch.func.functional_call(self.modules[index], held, (hidden, *args), kwargs)
        return output[0] if self._gives_tuple else output  # type: ignore[no-any-return]

    def layer_at_once(self, index: int, states: Sequence[Tensor], starts: Sequence[Start]) -> list[Tensor]:
        """The outputs of one layer for several batches of one length, in one call.

        Right where :attr:`batches` is true, but not bit for bit those of :meth:`layer`: a product of more rows may go
        through other code. Each question has a call of its own: it is its prompt that its layers are called with.

        Each output has memory of its own: as a part of what its call gave, one that is kept would keep all the others.
        """
        import torch

        if len(states) == 1:
            return [self.layer(index, states[0], starts[0])]
        outputs = list(states)
        calls: dict[int, list[int]] = {}
        for place, start in enumerate(starts):
            calls.setdefault(0 if start.prompt is None else id(start), []).append(place)
        for places in calls.values():
            together = self.layer(index, torch.cat([states[place] for place in places]), starts[places[0]])
            parts = torch.split(together, [len(states[place]) for place in places])
            for place, part in zip(places, parts, strict=True):
                outputs[place] = part.clone() if len(places) > 1 else part
        return outputs

    def pack(self, room: int) -> int:
        """Lay out bfloat16 weights as the processor's matrix unit reads them, in copies of at most so many bytes.

        Only where bfloat16 products are the faster ones. A streamed model's weights come and go, and stay as they are.

        Returns:
            The bytes that the copies take; losses are the same with and without them.
        """
        if self.streamed is None and self.products == "bfloat16":
            self.packed_bytes = pack(self.modules, room)
            if self.head is not None and self.packed_bytes:
                self.head, taken = self.head.packed(room - self.packed_bytes)
                self.packed_bytes += taken
        return self.packed_bytes

    def sees_all_before(self, batch: Batch) -> bool:
        """Whether a token sees every one before it in sequences this long: no layer is called with a mask, of a window say.

        Where attention is computed without :func:`scaled_dot_product_attention`, it is always called with one.
        """
        import torch

        tokens = batch.ids.shape[1]
        if tokens not in self._seeing:
            with torch.inference_mode():
                self._seeing[tokens] = not any(map(masked, self.start(batch).calls))
        return self._seeing[tokens]

    def shares_prompts(self, batch: Batch, prompt: SharedPrompt) -> bool:
        """Whether questions up to this one may go through the layers with their prompt once: found out, once a shape."""
        shape = (*batch.ids.shape, prompt.ids.shape[1])
        if shape not in self._sharing:
            self._sharing[shape] = agrees(self, batch, prompt)
        return self._sharing[shape]

    @cached_property
    def batches(self) -> bool:
        """Whether a layer can be called with several sequences as it is with one: found out on two short ones."""
        return takes_several(self)

    @contextmanager
    def running(self, order: Sequence[int]) -> Iterator[None]:
        """Within this context these layers are run, in this order, over and over: a streamed model reads ahead by it."""
        if self.streamed is None:
            yield
            return
        window = self.streamed.window
        before, window.order = window.order, order
        try:
            yield
        finally:
            window.order = before

    def states(self, batch: Batch) -> Iterator[Tensor]:
        """See :meth:`lpk.core.contracts.Stack.states`.

        Each sequence goes through a layer by itself, cut to its length: its states do not depend on what is beside it.
        """
        if not self.shares_prefixes:
            self.layer_forwards += len(batch.ids) * self.layers
            yield from watch(self.model, batch).states
            return
        starts = [self.start(row) for row in batch.rows()]
        rows = [start.hidden for start in starts]
        width = batch.ids.shape[1]
        yield _padded(rows, width)
        for index in range(self.layers):
            rows = [self.layer(index, hidden, start) for hidden, start in zip(rows, starts, strict=True)]
            self.layer_forwards += len(rows)
            yield _padded(rows, width)

    def weights(self, layer: int) -> Mapping[str, Tensor]:
        """See :meth:`lpk.core.contracts.Stack.weights`."""
        if self.streamed is not None:
            self.streamed.window.hold(layer)
        return {name: parameter.detach() for name, parameter in self.modules[layer].named_parameters()}

    def gradients(self, batch: Batch) -> Iterator[LayerGradient]:
        """See :meth:`lpk.core.contracts.Stack.gradients`."""
        return gradients(self, batch)

    def logits(self, batch: Batch, hidden: Tensor, positions: slice) -> Tensor:
        """What the model's own head makes of a state before the final norm: (sequences, positions, vocabulary)."""

        def skip(layer: int, entering: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
            return hidden if layer == 0 else entering

        with self._stubbed(skip):
            return self._forward(batch.ids, positions)

    def outputs(self, batch: Batch, hidden: Tensor) -> Outputs:
        """The predictions that a last hidden state, before the final norm, makes."""
        if self.head is not None:
            return LinearOutputs(self.head, batch, hidden)
        return ChunkedOutputs(batch, lambda positions: self.logits(batch, hidden, positions), hidden)

    def masked_logits(self, batch: Batch, mask: LayerMask) -> Tensor:
        """A whole-model forward that skips the removed layers: (sequences, tokens, vocabulary).

        Raises:
            UsageError: the model cannot run without one of those layers.
        """
        return self._masked(batch, mask, slice(0, None))

    def masked_outputs(self, batch: Batch, mask: LayerMask) -> Outputs:
        """The predictions of such a forward; where they are a function of its last hidden state, the head is not run.

        Raises:
            UsageError: as :meth:`masked_logits`.
        """
        if not self.ends_in_head:
            return WholeOutputs(batch, self.masked_logits(batch, mask))
        leaving: list[Tensor] = []

        def end(_layer: nn.Module, _args: Any, output: Any) -> None:
            leaving.append(output[0] if self._gives_tuple else output)
            raise _Enough

        hook = self.modules[-1].register_forward_hook(end)
        try:
            with suppress(_Enough):
                self._masked(batch, mask, slice(0, 1))
        finally:
            hook.remove()
        return self.outputs(batch, leaving[0])

    def _masked(self, batch: Batch, mask: LayerMask, positions: slice) -> Tensor:
        with self.running(mask.kept), self._stubbed(lambda _index, hidden, _args, _kwargs: hidden, mask.removed):
            try:
                return self._forward(batch.ids, positions)
            except (KeyError, IndexError, AttributeError) as error:
                message = f"this model cannot run without layers {mask}: others need what they compute ({error!r})"
                raise UsageError(message) from error

    def _forward(self, ids: Tensor, positions: slice, **inputs: Tensor) -> Tensor:
        if not self._takes_positions:
            return self.model(ids, use_cache=False, **inputs).logits[:, positions]  # type: ignore[no-any-return]
        import torch

        keep = torch.arange(ids.shape[1], device=ids.device)[positions]
        return self.model(ids, use_cache=False, logits_to_keep=keep, **inputs).logits  # type: ignore[no-any-return]

    @contextmanager
    def _stubbed(
        self,
        stub: Callable[[int, Tensor, tuple[Any, ...], dict[str, Any]], Tensor],
        which: tuple[int, ...] | None = None,
    ) -> Iterator[None]:
        """Within this context these layers (all of them by default) do what the stub does, and nothing else."""

        def stand_in(index: int) -> Callable[..., Any]:
            def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
                output = stub(index, hidden_states, args, kwargs)
                return (output,) if self._gives_tuple else output

            return forward

        with ExitStack() as undo:
            for index in range(self.layers) if which is None else which:
                # An attribute of the instance hides the class's method; without it the method is back.
                attributes = self.modules[index].__dict__
                if "forward" in attributes:
                    undo.callback(attributes.__setitem__, "forward", attributes["forward"])
                else:
                    undo.callback(attributes.pop, "forward")
                attributes["forward"] = stand_in(index)
            yield

    def _linear_head(self, watched: Watched, products: str) -> LinearHead | None:
        import torch

        with torch.inference_mode():
            everywhere = slice(0, None)
            return LinearHead.found(
                self.model, watched.states[-1], lambda last: self.logits(watched.batch, last, everywhere), products
            )


class _Enough(Exception):
    """Ends a forward whose rest nobody needs."""


def _padded(rows: Sequence[Tensor], width: int) -> Tensor:
    """Sequences of (1, tokens, hidden) as one tensor, zeros to the right of those shorter than ``width``."""
    import torch
    from torch.nn.functional import pad

    if len(rows) == 1 and rows[0].shape[1] == width:
        return rows[0]
    return torch.cat([pad(row, (0, 0, 0, width - row.shape[1])) for row in rows])
