"""Numbers as a page and a paper print them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

#: What is shown for what is not known.
UNKNOWN = "\u2013"


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits, thousands apart; a dash for what is not known."""
    if value is None:
        return UNKNOWN
    if abs(value) < 1e-12 or not math.isfinite(value):
        return f"{value:.0f}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}".replace("-", "\u2212")


def short(value: float | None) -> str:
    """Two digits, as sentences have them."""
    return number(value, 2)


def loss(value: float | None) -> str:
    """Four digits: losses of good masks lie close together."""
    return number(value, 4)


def percent(share: float | None) -> str:
    """A share in percent; below 10% with a decimal."""
    if share is None:
        return UNKNOWN
    return f"{100 * share:.{0 if abs(share) >= 0.0995 else 1}f}%".replace("-", "\u2212")


def p_text(p: float | None) -> str:
    """A p-value as papers print it."""
    if p is None:
        return UNKNOWN
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def interval(ends: Sequence[float] | None, show: Callable[[float], str] = short) -> str:
    """``[low, high]``; nothing where it is not known."""
    return f"[{show(ends[0])}, {show(ends[1])}]" if ends else ""


def rounded(value: Any) -> Any:
    """Floats to 10 digits, however deep: the last bits are the linear algebra library's."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return value
