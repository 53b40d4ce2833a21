"""How alike the residual stream is at two depths: what several scorers are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cosines(states: Iterable[Tensor], positions: Tensor) -> Tensor:
    """Cosine similarity of every two states at the chosen positions, from one pass over the layers.

    In float64: the arc cosine of a float32 cosine near 1 is off by up to 3e-4, more than neighbouring layers differ.

    Args:
        states: tensors of (sequences, tokens, hidden), one for each depth.
        positions: which positions count, (sequences, tokens), bool.

    Returns:
        (depths, depths, chosen positions), float64, within -1 and 1.
    """
    import torch
    from torch.nn.functional import normalize

    directions = torch.stack([normalize(state[positions].double(), dim=-1) for state in states])
    return torch.einsum("aph,bph->abp", directions, directions).clamp(-1, 1)
