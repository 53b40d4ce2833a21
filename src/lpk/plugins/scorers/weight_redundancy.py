"""Weight redundancy (Yun & Lim 2026, "Forward-free LLM depth pruning via weight redundancy"): no data, no forward pass.

    S = (S_proj + S_scale) / 2,  S_ll = 1

S_proj: linear CKA of what two layers write to the residual stream with, the mean over attention's and the MLP's output
projections W (hidden, inputs): with Wc = W less the mean of each column and G = Wc Wc', <G_i, G_j> / (||G_i|| ||G_j||).
S_scale: cosine of two layers' profiles f, the Frobenius norms of all their matrices, less the mean over layers.

    score_l = 1 - mean over other layers m of S_lm

is LoRP's redundancy r(l) with all layers as one cluster, low for a layer that is like the others. The paper itself
removes layers cluster by cluster, which takes the whole of S (``LayerScores.similarity``).

The paper's profile has seven norms (q, k, v, o, gate, up, down); a layer of other matrices has as many as it has matrices.
The projections of experts count as one, side by side. The memory is hidden x hidden floats for each layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from lpk import hookimpl
from lpk.core.contracts import Calibration, Component, LayerScores, Options, Scorer, Stack
from lpk.core.errors import UsageError
from lpk.core.pruning.salience import ATTENTION, MLP, projections

if TYPE_CHECKING:
    from torch import Tensor

#: Rows of all layers' matrices that are in float64 at a time: of 32 layers 4,096 wide 67 MB.
ROWS: Final = 64


class WeightRedundancy(Scorer[Options]):
    looks_at = "nothing"

    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        written = (_alike(stack, ATTENTION) + _alike(stack, MLP)) / 2
        similarity = ((written + _alike_in_scale(stack)) / 2).fill_diagonal_(1)
        redundancy = (similarity.sum(1) - 1) / (stack.layers - 1)
        return LayerScores(tuple((1 - redundancy).tolist()), similarity=tuple(map(tuple, similarity.tolist())))


def _alike(stack: Stack, names: tuple[str, ...]) -> Tensor:
    """Linear CKA of every two layers' projections of these names."""
    import torch

    products = []
    for layer in range(stack.layers):
        weights = stack.weights(layer)
        projection = torch.cat(list(_matrices(weights, names)), 1).float()
        centred = projection - projection.mean(0)
        products.append(centred @ centred.T)
    return _cosines(products)


def _alike_in_scale(stack: Stack) -> Tensor:
    """Cosine of every two layers' norms of matrices."""
    import torch

    profiles = [
        {name: float(torch.linalg.vector_norm(w.float())) for name, w in stack.weights(layer).items() if w.dim() > 1}
        for layer in range(stack.layers)
    ]
    names = sorted(set().union(*profiles))  # where layers differ, 0 for a matrix that one has not
    norms = torch.tensor([[profile.get(name, 0.0) for name in names] for profile in profiles], dtype=torch.float64)
    return _cosines(list(norms - norms.mean(0)))


def _cosines(tensors: Sequence[Tensor]) -> Tensor:
    """Cosine of every two tensors of one shape, in float64; one of zeros is like none."""
    import torch

    products = torch.zeros(len(tensors), len(tensors), dtype=torch.float64, device=tensors[0].device)
    for rows in zip(*(torch.split(tensor, ROWS) for tensor in tensors), strict=True):
        part = torch.stack(rows).flatten(1).double()
        products += part @ part.T
    lengths = products.diagonal().sqrt().clamp_min(torch.finfo(products.dtype).tiny)
    return (products / lengths[:, None] / lengths).cpu()


def _matrices(weights: Mapping[str, Tensor], names: tuple[str, ...]) -> Iterator[Tensor]:
    """A layer's projections of these names, each (hidden, inputs).

    Raises:
        UsageError: there is none, or which of its dimensions is the hidden one cannot be told.
    """
    for name in projections(weights, names):
        matrix = weights[name]
        if matrix.dim() == 3:
            yield _side_by_side(matrix, len(next(_matrices(weights, ATTENTION))), name)
        else:
            yield matrix.T if _inputs_first(weights) else matrix


def _side_by_side(experts: Tensor, hidden: int, name: str) -> Tensor:
    """The projections of all experts as one, (hidden, experts x inputs). Architectures store them either way round."""
    _, rows, columns = experts.shape
    if rows == columns or hidden not in (rows, columns):
        shape = tuple(experts.shape)
        raise UsageError(f"scorer weight-redundancy: which dimension of {name} {shape} is the output cannot be told")
    return (experts if rows == hidden else experts.mT).transpose(0, 1).reshape(hidden, -1)


def _inputs_first(weights: Mapping[str, Tensor]) -> bool:
    """Whether matrices are stored (inputs, outputs), as GPT-2's ``Conv1D`` does: a bias is as long as the outputs."""
    pairs = [(w, weights.get(name.removesuffix("weight") + "bias")) for name, w in weights.items() if w.dim() == 2]
    return any(bias is not None and len(bias) != len(matrix) for matrix, bias in pairs)


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "weight-redundancy",
        "How alike a layer's output projections and norms of weights are to other layers'; no data",
        f"{__name__}:WeightRedundancy",
        reference="https://arxiv.org/abs/2609.09883",
    )
