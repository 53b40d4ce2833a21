"""Which layers are removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class LayerMask:
    """A set of removed layers of a model with ``layers`` layers; indices are 0-based.

    Raises:
        ValueError: an index is outside ``0 .. layers - 1`` or given twice.
    """

    layers: int
    removed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        removed = tuple(sorted(self.removed))
        if len(set(removed)) != len(removed):
            raise ValueError(f"a layer is removed twice: {removed}")
        if removed and not 0 <= removed[0] <= removed[-1] < self.layers:
            raise ValueError(f"layers are 0 to {self.layers - 1}, not {removed}")
        object.__setattr__(self, "removed", removed)

    @property
    def kept(self) -> tuple[int, ...]:
        """The layers that stay, in order."""
        gone = set(self.removed)
        return tuple(layer for layer in range(self.layers) if layer not in gone)

    def drop(self, *layers: int) -> LayerMask:
        """This mask with more layers removed."""
        return LayerMask(self.layers, self.removed + layers)

    def restore(self, *layers: int) -> LayerMask:
        """This mask with some removed layers put back."""
        return LayerMask(self.layers, tuple(sorted(set(self.removed) - set(layers))))

    def __len__(self) -> int:
        return len(self.removed)

    def __str__(self) -> str:
        return ranges(self.removed) or "none"


def ranges(layers: Iterable[int]) -> str:
    """``(1, 11, 12, 13)`` as ``"1 11-13"``."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
