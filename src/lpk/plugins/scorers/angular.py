"""Angular distance between depths (Gromov et al. 2024, "The Unreasonable Ineffectiveness of the Deeper Layers").

    d(x^(l), x^(l+n)) = arccos(cos(x^(l), x^(l+n))) / pi,  x^(l) the input of layer l at the last token

averaged over sequences; in [0, 1]. One pass gives it for every l and n. The input of "layer N" is the last layer's
output before the final norm. With 16 sequences the last token is 16 samples; ``tokens=all`` takes every real token.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import pi
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Batch, Calibration, Component, LayerScores, Options, Scorer, Stack

if TYPE_CHECKING:
    from torch import Tensor


class AngularOptions(Options):
    tokens: Literal["last", "all"] = Field("last", description="which tokens of a sequence count; padding never does")


class Angular(Scorer[AngularOptions]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        import torch

        from lpk.core.pruning.similarity import cosines

        sums, tokens = [], 0
        for batch in calibration.batches():
            positions = self._positions(batch)
            sums += [each.arccos().sum(-1) / pi for each in cosines(stack.states(batch), positions)]
            tokens += int(positions.sum())
        angles = torch.stack(sums).sum(0) / tokens
        return LayerScores.from_pairs(angles.tolist(), (1 - angles).tolist())

    def _positions(self, batch: Batch) -> Tensor:
        """(sequences, tokens), bool."""
        real = batch.real()
        if self.options.tokens == "all":
            return real
        last = real.new_zeros(real.shape)
        last[range(len(batch.lengths)), batch.lengths - 1] = True
        return last


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "angular",
        "Angle between the inputs of layers l and l+n at the last token",
        f"{__name__}:Angular",
        reference="https://arxiv.org/abs/2403.17887",
        options=AngularOptions,
    )
