"""Gradient magnitude of a layer, after GradMAP (Liu et al. 2026, arXiv 2602.14649).

    score_l = sum over the parameters p of layer l of ||dL/dp||_1

Known of the paper: a layer's importance is the magnitude of its gradients, from one forward and backward pass over the
calibration for each layer that is removed. Its formulas were not at hand: that the norm is the first, that the norms of
all parameters are added as they are, and that L is the mean over all calibration tokens (of questions the right answers'),
whatever the objective, are this implementation's choice; ``reduction`` offers two others. Here all layers are scored once, on the dense model; the paper removes the lowest
and scores again. Its second stage, a compensation of the largest shift of activations, is no scorer's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack
from lpk.core.pruning.salience import mean_gradients

if TYPE_CHECKING:
    from torch import Tensor


class GradMapOptions(Options):
    reduction: Literal["l1", "l2", "gradient-x-weight"] = Field(
        "l1", description="what is added up over a layer's parameters: a norm of the gradient, or |gradient x weight|"
    )


class GradMap(Scorer[GradMapOptions]):
    looks_at = "gradients"

    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        totals = []
        for layer, gradients in enumerate(mean_gradients(stack, calibration)):
            weights = stack.weights(layer)
            totals.append(sum(self._magnitude(slope, weights[name]) for name, slope in gradients.items()))
        return LayerScores(tuple(totals))

    def _magnitude(self, slope: Tensor, weight: Tensor) -> float:
        import torch

        if self.options.reduction == "l2":
            return float(torch.linalg.vector_norm(slope, dtype=torch.float64))
        each = slope * weight if self.options.reduction == "gradient-x-weight" else slope
        return float(each.abs().sum(dtype=torch.float64))


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "grad-map",
        "The sum of the norms of a layer's parameter gradients",
        f"{__name__}:GradMap",
        reference="https://arxiv.org/abs/2602.14649",
        options=GradMapOptions,
    )
