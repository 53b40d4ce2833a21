"""Magnitude of a layer's weights (Kim et al. 2024, "Shortened LLaMA"): a layer of small weights does little.

    score_l = sum over the weight matrices W of layer l of sum_ij |W_ij|

No data is looked at. The released code counts the norms' weights too (``count=all``; that takes biases as well, where
there are any), and offers squares (``order=2``). The paper's Mag+ never removes the first four layers and the last two:
``protect=true``.
"""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Scorer, Stack
from lpk.core.pruning.salience import Weighed


class Magnitude(Scorer[Weighed]):
    looks_at = "nothing"

    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        chosen = self.options
        return chosen.scores([chosen.total(chosen.counted(stack.weights(i)).values()) for i in range(stack.layers)])


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "magnitude",
        "The sum of a layer's absolute weights",
        f"{__name__}:Magnitude",
        reference="https://arxiv.org/abs/2402.02834",
        options=Weighed,
    )
