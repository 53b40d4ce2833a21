"""How alike the residual stream is at two depths: what several scorers are made of."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lpk.core.contracts import Calibration, Stack

#: Positions whose states are compared at a time: of 31 depths 576 wide 4.6 MB in float64, three times as fast as all.
POSITIONS = 32


def cosines(states: Iterable[Tensor], positions: Tensor) -> Iterator[Tensor]:
    """Cosine similarity of every two states at the chosen positions, from one pass over the layers.

    In float64: the arc cosine of a float32 cosine near 1 is off by up to 3e-4, more than neighbouring layers differ. The
    states themselves are kept as they come, in the model's precision. Each sequence has its own result, which does not
    depend on what it is beside: one position alone is multiplied by other code than several, and the last bit differs.

    Args:
        states: tensors of (sequences, tokens, hidden), one for each depth.
        positions: which positions count, (sequences, tokens), bool.

    Yields:
        For each sequence (depths, depths, its chosen positions), float64, within -1 and 1.
    """
    import torch

    kept = [[state[row, here] for row, here in enumerate(positions)] for state in states]
    for depths in zip(*kept, strict=True):
        blocks = zip(*(torch.split(state, POSITIONS) for state in depths), strict=True)
        yield torch.cat([_cosines(torch.stack(block, 1).double()) for block in blocks]).permute(1, 2, 0)


def mean_cosines(stack: Stack, calibration: Calibration) -> Tensor:
    """Cosine similarity of every two states, the mean over all real tokens: (depths, depths), float64."""
    import torch

    sums, tokens = [], 0
    for batch in calibration.batches():
        sums += [each.sum(-1) for each in cosines(stack.states(batch), batch.real())]
        tokens += int(batch.lengths.sum())
    return torch.stack(sums).sum(0) / tokens


def sampled_states(stack: Stack, calibration: Calibration, tokens: int, seed: int) -> list[Tensor]:
    """The states after each depth at the same few real tokens: (tokens, hidden) each, in the model's precision.

    For what needs all depths at once, and grows with hidden x hidden or tokens x tokens. The draw depends on the real
    tokens and the seed alone, not on how sequences are put together; with fewer tokens than asked for it is all of them.
    """
    import torch

    total = sum(int(batch.lengths.sum()) for batch in calibration.batches())
    drawn = torch.zeros(total, dtype=torch.bool)
    drawn[random.Random(seed).sample(range(total), min(tokens, total))] = True
    kept = []
    for batch in calibration.batches():
        real = batch.real()
        here, drawn = drawn[: int(real.sum())], drawn[int(real.sum()) :]
        positions = real.masked_scatter(real, here.to(real.device))
        if here.any():
            kept.append([state[positions] for state in stack.states(batch)])
    return [torch.cat(depth) for depth in zip(*kept, strict=True)]


def _cosines(states: Tensor) -> Tensor:
    """(positions, depths, hidden) -> (positions, depths, depths)."""
    import torch

    products = states @ states.mT
    lengths = products.diagonal(dim1=1, dim2=2).sqrt().clamp_min(torch.finfo(products.dtype).tiny)
    return (products / lengths[:, :, None] / lengths[:, None, :]).clamp_(-1, 1)
