"""First-order Taylor estimate of the loss without each weight (Kim et al. 2024, "Shortened LLaMA").

    score_l = sum over the weight matrices W of layer l of sum_ij |W_ij * dL/dW_ij|

L is the negative log-likelihood of all calibration tokens (of questions the right answers'), whatever the objective: gradients are added up over sequences first, then comes the
absolute value. The released code counts the norms' weights too (``count=all``; that takes biases as well, where there
are any), and offers squares (``order=2``). The paper's Taylor+ never removes the first four layers and the last two,
``protect=true``: without it the first layer to go from Llama-2-7B is layer 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Scorer, Stack
from lpk.core.pruning.salience import Weighed, mean_gradients


class Taylor(Scorer[Weighed]):
    looks_at = "gradients"

    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        totals = []
        for layer, gradients in enumerate(mean_gradients(stack, calibration, self.options)):
            weights = stack.weights(layer)
            totals.append(self.options.total(weights[name] * slope for name, slope in gradients.items()))
        return self.options.scores(totals)


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "taylor",
        "The sum over a layer's weights of |weight x gradient|",
        f"{__name__}:Taylor",
        reference="https://arxiv.org/abs/2402.02834",
        options=Weighed,
    )
