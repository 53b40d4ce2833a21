"""Mutual information between what enters and what leaves a layer (Zhang et al. 2026, "MI-PRUN").

    score_l = -I(x^(l); x^(l+1)),  x^(l) the input of layer l at one token

A layer whose output tells much about its input is redundant. For a run of n layers the same between x^(l) and x^(l+n);
by the data processing inequality it is no more than that of any layer within.

The paper does not say how it estimates I. Here each feature's values are first replaced by the normal quantiles of their
ranks (a Gaussian copula, Ince et al. 2017), which leaves I as it is, as any increasing function of a feature does. Without
that the first token would make most correlations: in the middle of SmolLM2-135M its state is 150 times as long as others'.
Then

``gaussian``, as if they were jointly normal, from the canonical correlations rho of the two states:

    I = -1/2 sum_i log(1 - rho_i^2) = -1/2 log det(1 - C C'),  C = R_x^(-1/2) R_xy R_y^(-1/2)

with the joint correlation matrix R shrunk towards the identity, (1 - shrinkage) R + shrinkage: hidden states have about
as many features as there are tokens, and without it every rho would be 1. With 2,048 tokens of 576 features 0.1 puts
layers 26, 25, 3, 28, 17 of SmolLM2-135M first, 0.01 those at the end.

``ksg`` (Kraskov, Stoegbauer & Grassberger 2004, arXiv cond-mat/0305641, first estimator), without that assumption, on
the first principal components of each state, scaled to variance 1:

    I = psi(k) + psi(N) - mean of psi(n_x + 1) + psi(n_y + 1)

n_x and n_y being how many tokens lie nearer in x, and in y, than the k-th neighbour in both (maximum norm).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack
from lpk.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Points = np.ndarray[tuple[int, int], np.dtype[np.float64]]


class MutualInformationOptions(Options):
    estimator: Literal["gaussian", "ksg"] = Field("gaussian", description="how mutual information is estimated")
    shrinkage: float = Field(0.1, gt=0, lt=1, description="gaussian: the identity's share of the correlation matrix")
    neighbours: int = Field(3, ge=1, description="ksg: which neighbour's distance is looked at (k)")
    components: int = Field(3, ge=1, description="ksg: how many principal components of a state are kept")
    tokens: int = Field(2048, ge=8, description="how many tokens are looked at, drawn from all")
    seed: int = Field(0, ge=0, description="draws the tokens")


class MutualInformation(Scorer[MutualInformationOptions]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        from lpk.core.pruning.similarity import sampled_states

        states = sampled_states(stack, calibration, self.options.tokens, self.options.seed)
        if len(states[0]) <= self.options.neighbours:
            raise UsageError(
                f"scorer mutual-information: {len(states[0])} tokens have no {self.options.neighbours} neighbours each; "
                "give more text, or fewer: neighbours"
            )
        if self.options.estimator == "gaussian":
            information = gaussian(states, self.options.shrinkage)
        else:
            points = [principal(state, self.options.components).cpu().numpy() for state in states]
            information = ksg(points, self.options.neighbours)
        return LayerScores.from_pairs([[-value for value in row] for row in information])


def gaussian(states: list[Tensor], shrinkage: float) -> list[list[float]]:
    """In nats, for every two states at the same tokens, at [earlier][later]; 0 elsewhere."""
    import torch

    white = [_whitened(state, shrinkage) for state in states]
    information = [[0.0] * len(states) for _ in states]
    for a, one in enumerate(white):
        for b, other in enumerate(white[a + 1 :], a + 1):
            cross = one.T @ other
            rest = torch.eye(len(cross), dtype=cross.dtype, device=cross.device) - cross @ cross.T
            information[a][b] = -float(torch.linalg.slogdet(rest).logabsdet) / 2
    return information


def _whitened(state: Tensor, shrinkage: float) -> Tensor:
    """Features whose products with another state's are C."""
    import torch

    features = _normal_scores(state)
    correlation = (1 - shrinkage) * (features.T @ features)
    correlation.diagonal().add_(shrinkage)
    factor = torch.linalg.cholesky(correlation)
    white: Tensor = torch.linalg.solve_triangular(factor, features.T, upper=False).T
    return white * math.sqrt(1 - shrinkage)


def principal(state: Tensor, components: int) -> Tensor:
    """The first principal components of a state's normal scores, each of variance 1: (tokens, components)."""
    import torch

    features = _normal_scores(state)
    variances, axes = torch.linalg.eigh(features.T @ features)
    variances, axes = variances.flip(0)[:components], axes.flip(1)[:, :components]
    scale = (len(features) / variances.clamp_min(torch.finfo(variances.dtype).tiny)).sqrt()
    found: Tensor = features @ axes * scale
    return found


def _normal_scores(state: Tensor) -> Tensor:
    """Each feature's ranks as normal quantiles, with mean 0 and sum of squares 1, a constant one 0; ties share a rank."""
    import torch

    features = state.double().T.contiguous()
    ordered = features.sort(1).values
    below, upto = (torch.searchsorted(ordered, features, right=right) for right in (False, True))
    scores = torch.special.ndtri((below + upto + 1).double() / (2 * features.shape[1] + 2)).T
    scores = scores - scores.mean(0)
    normal: Tensor = scores / scores.square().sum(0).sqrt().clamp_min(torch.finfo(scores.dtype).tiny)
    return normal


def ksg(states: list[Points], neighbours: int) -> list[list[float]]:
    """In nats, for every two states at the same tokens, at [earlier][later]; 0 elsewhere."""
    from scipy.spatial import cKDTree

    trees = [cKDTree(points) for points in states]
    information = [[0.0] * len(states) for _ in states]
    for a, one in enumerate(trees):
        for b, other in enumerate(trees[a + 1 :], a + 1):
            information[a][b] = _ksg(one, other, neighbours)
    return information


def _ksg(x: Any, y: Any, k: int) -> float:
    import numpy as np
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    both = np.hstack([x.data, y.data])
    distance = cKDTree(both).query(both, k + 1, p=np.inf)[0][:, -1]  # the nearest is the point itself
    # Strictly nearer, itself not counted. Where k others have the very same state there is none.
    nearer = np.nextafter(distance, -1)
    counts = [np.maximum(tree.query_ball_point(tree.data, nearer, p=np.inf, return_length=True), 1) for tree in (x, y)]
    return float(digamma(k) + digamma(len(both)) - np.mean(digamma(counts[0]) + digamma(counts[1])))


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "mutual-information",
        "Minus the mutual information between the states before and after layers",
        f"{__name__}:MutualInformation",
        reference="https://arxiv.org/abs/2601.07212",
        options=MutualInformationOptions,
    )
