"""Mean similarity to the other layers ("LoRP", 2026).

    S_ij = mean over tokens of cos(x^(i), x^(j)),  x^(l) the input of layer l
    score_l = 1 - r(l),  r(l) = mean of S_lm over m != l

A layer whose input is like that of many others goes first. In the paper m is a layer of the same cluster, and clusters
take turns; that is the searcher's part, which has ``similarity`` = S for it (as has ``block-influence``). How strongly a
model's layers are clustered is RLS = -log2(mean of S_ij over i < j): 1.15 in Llama-3.1-8B, 0.69 in Qwen3-8B.
"""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack


class Locality(Scorer[Options]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        from lpk.core.pruning.similarity import mean_cosines

        alike = mean_cosines(stack, calibration)[:-1, :-1]
        others = alike.clone().fill_diagonal_(0).sum(1) / max(1, len(alike) - 1)
        return LayerScores(tuple((1 - others).tolist()), similarity=tuple(map(tuple, alike.tolist())))


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "locality",
        "One minus the mean cosine between a layer's input and those of all others",
        f"{__name__}:Locality",
        reference="https://arxiv.org/abs/2605.27786",
    )
