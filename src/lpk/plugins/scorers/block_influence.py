"""Block Influence (Men et al. 2024, "ShortGPT").

    BI_l = 1 - mean over tokens of cos(x^(l), x^(l+1)),  x^(l) the input of layer l

over every real token. The last layer is scored on its output before the final norm; ``hidden_states[-1]`` of
transformers is after it. For a run of n layers the same between x^(l) and x^(l+n), all from one pass.
"""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack


class BlockInfluence(Scorer[Options]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        from lpk.core.pruning.similarity import mean_cosines

        alike = mean_cosines(stack, calibration)
        return LayerScores.from_pairs((1 - alike).tolist(), alike.tolist())


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "block-influence",
        "One minus the cosine between a layer's input and output, over all tokens",
        f"{__name__}:BlockInfluence",
        reference="https://arxiv.org/abs/2403.03853",
    )
