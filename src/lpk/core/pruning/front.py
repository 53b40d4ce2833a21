"""The Pareto front: of several points those that no other one beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from lpk.core.pruning.mask import LayerMask

#: What has a point: a mask, or the layers that it removes.
MaskT = TypeVar("MaskT", LayerMask, tuple[int, ...])


def front(points: Mapping[MaskT, Sequence[float]]) -> list[MaskT]:
    """The masks than which no other one is as good in every part and better in one, from the best first part on.

    In this order nothing is beaten by what comes later, so each is held against those that are already on the front.
    """
    best: list[MaskT] = []
    for mask in sorted(points, key=lambda mask: (tuple(points[mask]), mask)):
        if not any(_beats(points[other], points[mask]) for other in best):
            best.append(mask)
    return best


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(here <= there for here, there in zip(one, other, strict=True)) and tuple(one) != tuple(other)
