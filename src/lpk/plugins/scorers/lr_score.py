"""Layer redundancy (Dumitru et al. 2024, "Change Is the Only Constant: Dynamic LLM Slicing based on Layer Redundancy").

    LR_l = 1 - (BI_l - min BI) / (max BI - min BI),  BI_l the block influence; 1 is the most redundant layer

A scorer's lowest goes first, so the score is 1 - LR_l: block influence from 0 to 1, which ranks layers as
``block-influence`` does. What it adds is a common scale: :func:`slices` makes of LR how much of each layer to slice off,
at the same mean for every model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack


class LayerRedundancy(Scorer[Options]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        from lpk.core.pruning.similarity import mean_cosines

        influence = (1 - mean_cosines(stack, calibration).diagonal(1)).tolist()
        return LayerScores(tuple(1 - value for value in redundancy(influence)))


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
    )
