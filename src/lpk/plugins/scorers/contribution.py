"""Relative contribution: how far a layer moves the residual stream.

    score_l = mean over tokens of ||x^(l+1) - x^(l)|| / ||x^(l)||,  x^(l) the input of layer l

over every real token. EvoPress's baseline (Sieberling et al. 2024) divides by the output's norm instead:
``relative_to=output``. The stream grows with depth, so the plain norm, ``relative_to=nothing``, favours late layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import fsum
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack

if TYPE_CHECKING:
    from torch import Tensor


class ContributionOptions(Options):
    relative_to: Literal["input", "output", "nothing"] = Field(
        "input", description="whose norm the norm of a layer's update is divided by, token by token"
    )


class Contribution(Scorer[ContributionOptions]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        sums: list[list[float]] = [[] for _ in range(stack.layers)]
        tokens = 0
        for batch in calibration.batches():
            real = batch.real()
            for of_layer, (entering, leaving) in zip(sums, pairwise(stack.states(batch)), strict=True):
                for row, here in enumerate(real):  # each sequence by itself: no sum depends on what is beside it
                    of_layer.append(float(self._moved(entering[row, here], leaving[row, here]).sum()))
            tokens += int(real.sum())
        return LayerScores(tuple(fsum(of_layer) / tokens for of_layer in sums))

    def _moved(self, entering: Tensor, leaving: Tensor) -> Tensor:
        """(tokens, hidden) twice -> (tokens,), float64."""
        from torch import finfo, float32
        from torch.linalg import vector_norm

        entering, leaving = entering.double(), leaving.double()
        moved: Tensor = vector_norm(leaving - entering, dim=-1)
        if self.options.relative_to == "nothing":
            return moved
        stream: Tensor = vector_norm(entering if self.options.relative_to == "input" else leaving, dim=-1)
        return moved / stream.clamp_min(finfo(float32).tiny)


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "contribution",
        "The norm of a layer's update of the residual stream, relative to the stream",
        f"{__name__}:Contribution",
        reference="https://arxiv.org/abs/2410.14649",
        options=ContributionOptions,
    )
