"""Many states at once, for a card that one sequence cannot fill.

States of all masks and sequences that need a layer go through it in few large calls. How many tokens make a call is
found by timing a layer with twice as many again and again, until twice as many are hardly faster. Losses then depend on
what they were computed beside, by rounding: within ``1e-4`` nats of those of ``local`` in float32 on the models of
``lpk.testing``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Executor, Layers, Options

if TYPE_CHECKING:
    from torch import Tensor

#: Twice the tokens must take less than this of the time per token for the call to be doubled.
PAYS = 0.9


class CudaOptions(Options):
    tokens: int = Field(0, ge=0, description="tokens in one call of a layer; 0 for what is found to fill the device")
    most: int = Field(65536, ge=1, description="tokens in one call, at most, when that is found out")


class Cuda(Executor[CudaOptions]):
    def __init__(self, options: CudaOptions) -> None:
        super().__init__(options)
        self._tokens = options.tokens

    def at_once(self, layers: Layers, state: Tensor, start: Any) -> int:
        if not layers.batches:
            return 1
        if not self._tokens:
            self._tokens = self._filling(layers, state, start)
        return max(1, self._tokens // (state.shape[0] * state.shape[1]))

    def run(self, layers: Layers, index: int, states: Sequence[Tensor], starts: Sequence[Any]) -> list[Tensor]:
        done: list[Tensor] = [states[0]] * len(states)
        for places in self._calls([(state.shape[0], state.shape[1]) for state in states]):
            outputs = layers.layer_at_once(index, [states[p] for p in places], [starts[p] for p in places])
            for place, output in zip(places, outputs, strict=True):
                done[place] = output
        return done

    def _calls(self, shapes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
        """The places of the states of each call: all of one length, and no more tokens than fill the device.

        The options of a question, several sequences in one state, are called as they are: what their layers are called
        with may be of as many rows.
        """
        order = sorted(range(len(shapes)), key=shapes.__getitem__)
        for (rows, length), group in groupby(order, key=shapes.__getitem__):
            places = list(group)
            size = max(1, self._tokens // length) if rows == 1 else 1
            yield from (places[begin : begin + size] for begin in range(0, len(places), size))

    def _filling(self, layers: Layers, state: Tensor, start: Any) -> int:
        """The tokens of a call from which on more are hardly faster."""

        def seconds(rows: int) -> float:
            return _seconds(lambda: layers.layer_at_once(0, [state] * rows, [start] * rows), state)

        rows, best, tokens = 1, seconds(1), int(state.shape[1])
        while 2 * rows * tokens <= self.options.most and (twice := seconds(2 * rows)) <= 2 * best * PAYS:
            rows, best = 2 * rows, twice
        return rows * tokens


def _seconds(work: Callable[[], object], state: Tensor) -> float:
    """The least of a few rounds, the first of which warms up."""
    import torch

    def once() -> float:
        begin = time.perf_counter()
        work()
        if state.is_cuda:
            torch.cuda.synchronize(state.device)
        return time.perf_counter() - begin

    once()
    return min(once() for _ in range(3))


@hookimpl
def lpk_executors() -> Iterable[Component]:
    yield Component(
        "cuda",
        "Many states through a layer at once, as many as fill the card",
        f"{__name__}:Cuda",
        options=CudaOptions,
    )
