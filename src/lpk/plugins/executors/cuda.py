"""Many states at once, for a card that one sequence cannot fill.

States of all masks and sequences that need a layer go through it in few large calls. How many tokens make a call is
found by timing a layer with twice as many again and again, until twice as many are hardly faster or memory has no room
for them. Losses then depend on what they were computed beside, by rounding: within ``1e-4`` nats of those of ``local``
in float32 on the models of ``lpk.testing``.
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
    #: ``found`` holds the tokens of a call for each precision: float32 takes other products than 16 bits.

    def at_once(self, layers: Layers, state: Tensor, start: Any) -> int:
        if len(state) > 1 or not layers.batches:
            return 1
        precision = str(state.dtype)
        if precision not in self.found:
            self.found[precision] = self.options.tokens or self._filling(layers, state, start)
        return max(1, self.found[precision] // state.shape[1])

    def run(self, layers: Layers, index: int, states: Sequence[Tensor], starts: Sequence[Any]) -> list[Tensor]:
        done: list[Tensor] = [states[0]] * len(states)
        for places in self._calls(layers, states):
            outputs = self._call(layers, index, [states[p] for p in places], [starts[p] for p in places])
            for place, output in zip(places, outputs, strict=True):
                done[place] = output
        return done

    def _calls(self, layers: Layers, states: Sequence[Tensor]) -> Iterator[list[int]]:
        """The places of the states of each call: all of one length, and no more tokens than fill the device.

        The options of a question, several sequences in one state, are called as they are: what their layers are called
        with may be of as many rows.
        """

        def shape(place: int) -> tuple[int, ...]:
            return tuple(states[place].shape)

        for _, group in groupby(sorted(range(len(states)), key=shape), key=shape):
            places = list(group)
            state = states[places[0]]
            together = len(state) == 1 and layers.batches
            while places:  # a call that met the end of memory makes those after it smaller
                size = max(1, self.found.get(str(state.dtype), 0) // state.shape[1]) if together else 1
                yield places[:size]
                places = places[size:]

    def _call(self, layers: Layers, index: int, states: Sequence[Tensor], starts: Sequence[Any]) -> list[Tensor]:
        """One call; where memory has no room for it, two of half as many states, and so are all that follow."""
        import torch

        try:
            return layers.layer_at_once(index, states, starts)
        except torch.OutOfMemoryError:
            if len(states) == 1:
                raise
        half = len(states) // 2  # out here the error is gone, and with it what it kept alive
        self.found[str(states[0].dtype)] = half * states[0].shape[1]
        parts = slice(0, half), slice(half, None)
        return [output for part in parts for output in self._call(layers, index, states[part], starts[part])]

    def _filling(self, layers: Layers, state: Tensor, start: Any) -> int:
        """The tokens of a call from which on more are hardly faster, or too many for the memory."""
        import torch

        def seconds(rows: int) -> float:
            return _seconds(lambda: layers.layer_at_once(0, [state] * rows, [start] * rows), state)

        rows, tokens = 1, int(state.shape[1])
        with torch.inference_mode():
            best = seconds(1)
            while 2 * rows * tokens <= self.options.most:
                try:
                    twice = seconds(2 * rows)
                except torch.OutOfMemoryError:
                    break
                if twice > 2 * best * PAYS:
                    break
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
