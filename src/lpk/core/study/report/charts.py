"""What the page's charts are drawn with: axes and markers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Where a value lies between two pixels, and the round values to mark there."""

    low: float
    high: float
    start: float
    stop: float
    log: bool
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float], start: float, stop: float, log: bool = False) -> Axis:
        """An axis that holds these values with a little room around them."""
        low, high = min(values), max(values)
        if log:
            low, high = max(low, 1e-12) / 1.1, max(high, 1e-12) * 1.1
            tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            marks = [digit * 10.0**ten for ten in tens for digit in ((1, 2, 5) if high / low < 100 else (1,))]
        else:
            room = (high - low or abs(high) or 1.0) * 0.08
            low, high = low - room, high + room
        if not log or high / low < 6:  # too few round logarithms lie in less
            step = _round_step((high - low) / 5)
            marks = [round(step * i, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return cls(low, high, start, stop, log, tuple(mark for mark in marks if low <= mark <= high))

    def at(self, value: float) -> float:
        """The pixel of a value."""
        turn = (lambda x: math.log(max(x, 1e-12))) if self.log else float
        share = (turn(value) - turn(self.low)) / (turn(self.high) - turn(self.low))
        return round(self.start + share * (self.stop - self.start), 2)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(digit for digit in (1, 2, 5, 10) if digit * power >= rough) * power


#: A path of about 9 pixels for each of the figures' markers, in their order.
MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.6L4.4 3.4H-4.4z",
    "M0-5L4.4 0 0 5-4.4 0z",
    "M0 4.6L4.4-3.4H-4.4z",
    "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "M-4.4-2.4l2-2L0-2l2.4-2.4 2 2L2 0l2.4 2.4-2 2L0 2l-2.4 2.4-2-2L-2 0z",
    "M0-5l1.3 3.4 3.5.1-2.8 2.3 1 3.6L0 2.4l-3 2 1-3.6-2.8-2.3 3.5-.1z",
    "M0-4.6L4.5-1.4 2.8 3.8H-2.8L-4.5-1.4z",
    "M-4.6 0L3.4-4.4V4.4z",
    "M4.6 0L-3.4-4.4V4.4z",
    "M0-4.8L4.2-2.4V2.4L0 4.8-4.2 2.4V-2.4z",
)
