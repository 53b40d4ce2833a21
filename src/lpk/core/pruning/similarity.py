"""How alike the residual stream is at two depths: what several scorers are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: Positions whose states are compared at once: 33 depths of 64 positions, 4,096 wide, are 69 MB in float64.
POSITIONS = 64


def cosines(states: Iterable[Tensor], positions: Tensor) -> Tensor:
    """Cosine similarity of every two states at the chosen positions, from one pass over the layers.

    In float64: the arc cosine of a float32 cosine near 1 is off by up to 3e-4, more than neighbouring layers differ.
    Each sequence by itself: one position alone is multiplied by other code than several, and the last bit differs.

    Args:
        states: tensors of (sequences, tokens, hidden), one for each depth.
        positions: which positions count, (sequences, tokens), bool.

    Returns:
        (depths, depths, chosen positions), float64, within -1 and 1; the positions of the first sequence first.
    """
    import torch

    chosen = [[state[row, here] for row, here in enumerate(positions)] for state in states]
    return torch.cat([part for depths in zip(*chosen, strict=True) for part in _cosines(depths)], -1)


def _cosines(depths: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Of (positions, hidden) for each depth: (depths, depths, some positions), again and again."""
    import torch
    from torch.nn.functional import normalize

    for parts in zip(*(torch.split(state, POSITIONS) for state in depths), strict=True):
        directions = torch.stack([normalize(part.double(), dim=-1) for part in parts])
        yield torch.einsum("aph,bph->abp", directions, directions).clamp(-1, 1)
