"""Second-order cost of removing layers together, from gates (2026, "Block removal for LLMs through constrained binary
optimization", arXiv 2602.00161).

A gate a_l scales what layer l adds to the stream: x^(l+1) = x^(l) + a_l (layer(x^(l)) - x^(l)); at 1 it is the dense
model, at 0 the layer is gone.

    A_sl = d NLL_s / d a_l at a = 1 = <gradient at the output of layer l, x^(l+1) - x^(l)>
    H = A'A / m,  over m sequences

Removing layers x then costs about x'Hx: an empirical Fisher matrix in place of the Hessian; the first-order term and the
factor 1/2 are left out, as in the paper. A layer's own score is H_ll. All of it from one forward and backward pass. The loss
is the calibration's negative log-likelihood, of a question its right answer's, whatever objective the masks are measured by.

With ``gate=layer`` the gate is around the whole layer, which needs no knowledge of its architecture. The paper has one
a_l on what attention adds and on what the MLP adds, ``gate=branches``: the two end points are the same, the slope at 1
is not, as a gate on attention changes what the MLP is given too. A branch that ends in a linear map W is scaled by
scaling W and its bias b, so that

    A_sl = <dNLL_s / dW, W> + <dNLL_s / db, b>, summed over the layer's two output projections.

A norm behind the projection (Gemma 2 and 3, OLMo 2) would undo the scaling; such layers are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerGradient, LayerScores, Options, Scorer, Stack
from lpk.core.errors import UsageError
from lpk.core.pruning.salience import ATTENTION, MLP, projections

if TYPE_CHECKING:
    from torch import Tensor

#: What architectures call a norm between a branch and the residual stream.
NORM_BEHIND: Final = re.compile(r"post_(feedforward|mlp|ffn|moe)")


class GatesOptions(Options):
    gate: Literal["layer", "branches"] = Field(
        "layer",
        description="what a gate scales: all that a layer adds, or its attention's and its MLP's part, as published",
    )


class Gates(Scorer[GatesOptions]):
    looks_at = "gradients"

    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        import torch

        slopes = [
            _layer_slope(each) if self.options.gate == "layer" else _branch_slope(each, stack.weights(each.layer))
            for batch in calibration.batches()
            for each in stack.gradients(batch)
        ]
        by_sequence = torch.tensor(slopes, dtype=torch.float64).reshape(-1, stack.layers).flip(1)  # last layer first
        fisher = by_sequence.T @ by_sequence / len(by_sequence)
        return LayerScores(tuple(fisher.diagonal().tolist()), interaction=tuple(map(tuple, fisher.tolist())))


def _layer_slope(gradient: LayerGradient) -> float:
    added = gradient.leaving.double() - gradient.entering.double()
    return float((gradient.hidden.double() * added).sum())


def _branch_slope(gradient: LayerGradient, weights: Mapping[str, Tensor]) -> float:
    """The slope in a common factor of both output projections.

    Raises:
        UsageError: they cannot be told by their names, or a norm is behind them.
    """
    if any(NORM_BEHIND.search(name) for name in weights):
        raise UsageError("scorer gates: a norm is behind this model's projections; gate=branches cannot scale them")
    last = {*projections(weights, ATTENTION), *projections(weights, MLP)}
    last |= {name.removesuffix("weight") + "bias" for name in last} & set(weights)
    return sum(float((gradient.weights[name].double() * weights[name].double()).sum()) for name in sorted(last))


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "gates",
        "How the loss changes with a gate on each layer; how layers interact when removed",
        f"{__name__}:Gates",
        reference="https://arxiv.org/abs/2602.00161",
        options=GatesOptions,
    )
