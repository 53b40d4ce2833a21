"""Layer redundancy (Dumitru et al. 2024, "Change Is the Only Constant: Dynamic LLM Slicing based on Layer Redundancy").

    LR_l = 1 - (BI_l - min BI) / (max BI - min BI),  BI_l the block influence; 1 is the most redundant layer

A scorer's lowest goes first, so the score is 1 - LR_l: block influence from 0 to 1, which ranks layers as
``block-influence`` does. What it adds is a common scale. The paper removes no layer; it makes of LR what to slice off each,
at the same mean whatever the model. With ``mean_cut`` the score is the share of a layer that this leaves, so that a run's
``scores.json`` is the allocation: 1 - :func:`slices`, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack
from lpk.core.errors import UsageError


class LayerRedundancyOptions(Options):
    mean_cut: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="score what is left of each layer when this share of them all is sliced off; 0: 1 - LR",
    )
    amount: float = Field(
        1.0,
        ge=0,
        le=1,
        description="how far slices follow redundancy, as a share of mean_cut: 0 slices all layers alike",
    )


class LayerRedundancy(Scorer[LayerRedundancyOptions]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        from lpk.core.pruning.similarity import mean_cosines

        influence = (1 - mean_cosines(stack, calibration).diagonal(1)).tolist()
        sliced, cut = redundancy(influence), self.options.mean_cut
        if cut:
            sliced = slices(sliced, cut, self.options.amount * cut)
            if max(sliced) > 1:
                raise UsageError(f"scorer 'lr-score': a layer would lose {max(sliced):.0%} of itself; a lower amount")
        return LayerScores(tuple(1 - value for value in sliced))


def redundancy(influence: Sequence[float]) -> list[float]:
    """LR of each layer from its block influence. Layers that are all the same are all 1: none stands out as needed."""
    least, most = min(influence), max(influence)
    return [1 - (value - least) / (most - least) if most > least else 1.0 for value in influence]


def slices(redundancy: Sequence[float], mean_cut: float, amount: float) -> list[float]:
    """The fraction of each layer to slice off; their mean is ``mean_cut`` whatever the ``amount``.

        v_l amount / mean(v) + (mean_cut - amount),  v = LR

    With ``amount`` 0 all layers lose the same (SliceGPT); the paper tries 0 to ``mean_cut`` in steps of 0.02. One that is
    far more redundant than the mean can be given more than 1: the amount is then too much for this model.
    """
    mean = sum(redundancy) / len(redundancy)
    return [value * amount / mean + (mean_cut - amount) for value in redundancy]


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "lr-score",
        "Block influence on a scale from 0, the most redundant layer, to 1",
        f"{__name__}:LayerRedundancy",
        reference="https://arxiv.org/abs/2411.03513",
        options=LayerRedundancyOptions,
    )
