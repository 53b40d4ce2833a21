"""Linear centred kernel alignment between depths (Kornblith et al. 2019, "Similarity of Neural Network Representations").

    CKA(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)),  HSIC(X, Y) = |X'Y|^2 (the sum of squares)

X and Y being the states before and after a run of layers at the same tokens, (tokens, hidden), each feature centred. The
score is 1 - CKA. Unlike a cosine it is blind to rotations and to one scale, and sees how tokens lie to each other. Long
states count most: after layer 11 of SmolLM2-135M that is the first token, 150 times as long as others. 1 - CKA is 0.96 for
layer 11, which makes it so, and below 0.001 for layers 12 to 27.

``unbiased`` takes the unbiased HSIC (Song et al. 2012; with it Nguyen et al. 2020, arXiv 2010.15327): the plain one tends
to 1 as tokens become few for the width. With q_i = |x_i|^2 and r_i = |y_i|^2 of the n centred tokens it is, but for a
factor that cancels,

    |X'Y|^2 - n/(n - 2) q'r + (sum q)(sum r) / ((n - 1)(n - 2))

No matrix of tokens x tokens is made. Of the states some tokens are kept, and one hidden x hidden product at a time; sums
over all tokens would need such a matrix for every two depths: 1.3 GB for 30 layers of 576.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack
from lpk.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


class CkaOptions(Options):
    unbiased: bool = Field(
        True, description="the unbiased HSIC; false for the plain one, which is higher on few tokens"
    )
    tokens: int = Field(2048, ge=4, description="how many tokens are looked at, drawn from all")
    seed: int = Field(0, ge=0, description="draws the tokens")


class Cka(Scorer[CkaOptions]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        from lpk.core.pruning.similarity import sampled_states

        states = sampled_states(stack, calibration, self.options.tokens, self.options.seed)
        if len(states[0]) < 4:
            raise UsageError(f"scorer cka: {len(states[0])} tokens in all; it needs 4")
        alike = cka(states, self.options.unbiased)
        return LayerScores.from_pairs((1 - alike).tolist(), alike.tolist())


def cka(states: list[Tensor], unbiased: bool) -> Tensor:
    """CKA of every two states at the same tokens: (tokens, hidden) each -> (depths, depths), float64."""
    import torch

    together = torch.zeros(len(states), len(states), dtype=torch.float64)
    for a, one in enumerate(states):
        x = _centred(one)
        for b, other in enumerate(states[: a + 1]):
            together[a, b] = together[b, a] = _hsic(x, _centred(other), unbiased)
    scale = together.diagonal().sqrt()
    return together / scale[:, None] / scale[None, :]


def _hsic(x: Tensor, y: Tensor, unbiased: bool) -> Tensor:
    plain = (x.T @ y).square().sum()
    if not unbiased:
        return plain
    n, q, r = len(x), x.square().sum(1), y.square().sum(1)
    return plain - n / (n - 2) * (q @ r) + q.sum() * r.sum() / ((n - 1) * (n - 2))


def _centred(state: Tensor) -> Tensor:
    state = state.double()
    return state - state.mean(0)


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "cka",
        "One minus the linear centred kernel alignment between the states before and after layers",
        f"{__name__}:Cka",
        reference="https://arxiv.org/abs/1905.00414",
        options=CkaOptions,
    )
