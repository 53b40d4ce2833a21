"""Second-order cost of removing layers together, from gates (2026, "Block removal for LLMs through constrained binary
optimization", arXiv 2602.00161).

A gate a_l scales what layer l adds to the stream: x^(l+1) = x^(l) + a_l (layer(x^(l)) - x^(l)); at 1 it is the dense
model, at 0 the layer is gone.

    A_sl = d NLL_s / d a_l at a = 1 = <gradient at the output of layer l, x^(l+1) - x^(l)>
    H = A'A / m,  over m sequences

Removing layers x then costs about x'Hx: an empirical Fisher matrix in place of the Hessian; the first-order term and the
factor 1/2 are left out, as in the paper. A layer's own score is H_ll. All of it from one forward and backward pass.

The paper gates a layer's attention and MLP each, with one a_l for both. A gate around the whole layer needs no knowledge
of the architecture; its end points are the same two models, the slope at 1 is not: the paper's gate on attention also
changes what the MLP is given.
"""

from __future__ import annotations

from collections.abc import Iterable

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack


class Gates(Scorer[Options]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        import torch

        slopes = [
            float((each.hidden.double() * (each.leaving.double() - each.entering.double())).sum())
            for batch in calibration.batches()
            for each in stack.gradients(batch)
        ]
        by_sequence = torch.tensor(slopes, dtype=torch.float64).reshape(-1, stack.layers).flip(1)  # last layer first
        fisher = by_sequence.T @ by_sequence / len(by_sequence)
        return LayerScores(tuple(fisher.diagonal().tolist()), interaction=tuple(map(tuple, fisher.tolist())))


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "gates",
        "How the loss changes with a gate on each layer; how layers interact when removed",
        f"{__name__}:Gates",
        reference="https://arxiv.org/abs/2602.00161",
    )
