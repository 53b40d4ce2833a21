"""What the loss rises by when one layer is left out (Kim et al. 2024, "Shortened LLaMA", its PPL criterion).

    score_l = loss(all layers but l) - loss(all layers)

in the run's own objective. With ``runs`` the same for every run of layers, n (n + 1) / 2 masks of n layers; one of all
layers is the head on the embedding alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Probe, Scorer, Stack
from lpk.core.pruning.mask import LayerMask


class LossDropOptions(Options):
    sequences: int = Field(0, ge=0, description="how many sequences are looked at, the first ones; 0 for all")
    runs: bool = Field(False, description="leave out every run of neighbouring layers too")


class LossDrop(Scorer[LossDropOptions]):
    looks_at = "nothing"

    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        dense, runs = LayerMask(stack.layers), self._runs(stack.layers)
        masks = [dense, *chain(*runs)]
        losses = dict(zip(masks, calibration.losses(masks, self.options.sequences or None), strict=True))
        rises = tuple(tuple(float(losses[mask] - losses[dense]) for mask in run) for run in runs)
        return LayerScores(tuple(run[0] for run in rises), rises if self.options.runs else ())

    def asks(self, layers: int, sequences: int) -> Sequence[Probe]:
        return [Probe([LayerMask(layers), *chain(*self._runs(layers))], self.options.sequences or sequences)]

    def _runs(self, layers: int) -> list[list[LayerMask]]:
        """``runs[start][length - 1]`` leaves out the layers from ``start`` on."""
        dense, longest = LayerMask(layers), layers if self.options.runs else 1
        return [
            [dense.drop(*range(start, end)) for end in range(start + 1, min(start + longest, layers) + 1)]
            for start in range(layers)
        ]


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "loss-drop",
        "What the loss rises by when a layer is left out",
        f"{__name__}:LossDrop",
        reference="https://arxiv.org/abs/2402.02834",
        options=LossDropOptions,
    )
