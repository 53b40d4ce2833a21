"""Claims that run: a claim's check, evaluated on a finished pruning study.

A check is an expression such as ``jaccard(masks, within="objective") > jaccard(masks, within="searcher")``; its
language is in ``docs/claims.md``. It is parsed (``expressions.py``), never run as code.

A function of the study is a number for each *observation*, a model pruned by one budget on one calibration draw, and
its value their mean. Searchers and objectives are compared within an observation; observations are what is drawn again
(a cluster bootstrap), the same for every function of a comparison (``measured.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lpk.core.errors import EnvironmentMissing, UsageError, did_you_mean
from lpk.core.evidence.checks.arguments import arithmetic, bind, like
from lpk.core.evidence.checks.expressions import Comparison, Node, Operation, calls, parse, wrong
from lpk.core.evidence.checks.functions import FUNCTIONS, SAME, SHARES, OutOfScope
from lpk.core.evidence.checks.measured import Measured, interval, measure, measure_shares
from lpk.core.evidence.checks.tables import Cell, Study, read_study
from lpk.core.evidence.records import Check, Claim, Replication

#: How often an interval misses, of one comparison; claims that join several share it among them.
ALPHA = 0.05
#: Characters of a reason: a study may have thousands of names.
REASON = 1_000


def check(claim: Claim, study: Path) -> Replication:
    """Evaluate a claim's check on a study's folder.

    Raises:
        UsageError: the claim has no check, its expression is wrong, or the folder holds no finished study.
        EnvironmentMissing: numpy or scipy is not installed.
    """
    if claim.check is None:
        raise UsageError(f"claim {claim.id} has no check")
    return evaluate(claim.id, claim.check, read_study(study))


def validate(expression: str) -> tuple[Comparison, ...]:
    """The comparisons of an expression, of which all is right that can be seen without a study.

    Raises:
        UsageError: where it is wrong, and how.
    """
    comparisons = parse(expression)
    for comparison in comparisons:
        found = list(calls(comparison))
        if not found:
            raise wrong(comparison.at, f"it compares no function of a study; functions: {', '.join(sorted(FUNCTIONS))}")
        for call in found:
            bind(call)
        shares = [call for call in found if call.function in SHARES]
        if shares and len(shares) < len(found):
            raise wrong(shares[0].at, f"{shares[0].function} is of a model's cells, the others of single observations")
        effect, _, _ = _sides(comparison)
        arithmetic(effect, dict.fromkeys(found, 1.0))
    return comparisons


def evaluate(claim: str, about: Check, study: Study) -> Replication:
    """Evaluate a check on a study that was read.

    Raises:
        UsageError: the expression asks for what no study has.
        EnvironmentMissing: numpy or scipy is not installed.
    """
    comparisons = validate(about.expression)
    try:
        import scipy  # noqa: F401
    except ModuleNotFoundError:
        raise EnvironmentMissing('checks need scipy: pip install "lpk[evidence]"') from None
    cells = tuple(c for c in study.cells if not about.models or like(c.model, about.models))
    models = tuple(dict.fromkeys(cell.model for cell in cells))

    def replication(verdict: str, **found: Any) -> Replication:
        known = {"claim": claim, "expression": about.expression, "study": study.sha256, "title": study.title}
        return Replication.model_validate({**known, "models": models, "verdict": verdict, **found})

    try:
        _preconditions(about, study, cells)
        alpha = ALPHA / len(comparisons)
        outcomes = [_compare(each, about, study, cells, alpha) for each in comparisons]
    except OutOfScope as reason:
        return replication("out of scope", reason=str(reason)[:REASON])
    needed = max((outcome.needed for outcome in outcomes if outcome.needed), default=None)
    decisive = min(outcomes, key=lambda outcome: _DECIDES.index(outcome.verdict))  # of equals, the first
    return replication(
        decisive.verdict,
        effect=decisive.effect,
        low=decisive.low,
        high=decisive.high,
        count=decisive.count,
        needed=needed if decisive.verdict == INCONCLUSIVE else None,
        reason="; ".join(outcome.reason for outcome in outcomes)[:REASON],
    )


def _preconditions(about: Check, study: Study, cells: Sequence[Cell]) -> None:
    if not study.cells:
        raise OutOfScope("no search of the study succeeded")
    if not cells:
        raise OutOfScope(f"about {', '.join(about.models)}; the study has {', '.join(study.models)}")
    if about.measure and not any(about.measure in cell.values for cell in cells):
        near = did_you_mean(about.measure, study.measures)
        raise OutOfScope(f"the study has no {about.measure!r} of these models{near}")


# ---------------------------------------------------------------------------------------------------------------------
# One comparison
# ---------------------------------------------------------------------------------------------------------------------

REPLICATED, CONTRARY, INCONCLUSIVE = "replicated", "not replicated", "inconclusive"
_DECIDES = (CONTRARY, INCONCLUSIVE, REPLICATED)


@dataclass(frozen=True)
class _Outcome:
    verdict: str
    effect: float
    low: float | None
    high: float | None
    count: int
    needed: int | None
    reason: str


def _compare(comparison: Comparison, about: Check, study: Study, cells: Sequence[Cell], alpha: float) -> _Outcome:
    effect, sign, bound = _sides(comparison)
    asked = tuple(dict.fromkeys(calls(effect)))
    shares = asked[0].function in SHARES
    measured = (measure_shares if shares else measure)(asked, study, cells, about.minimum)
    value = float(arithmetic(effect, measured.values))
    if not math.isfinite(value):
        raise OutOfScope(f"column {comparison.at}: what is compared is no number here, it divides by zero")
    low, high = interval(effect, measured, alpha)
    if len(asked) == 1 and effect is asked[0] and asked[0].function == "rate" and value in (0, 1):
        # No exception was seen, and resampling shows none: the rule of three, exactly.
        unseen = 1 - (alpha / 2) ** (1 / measured.count)
        low, high = (0.0, unseen) if value == 0 else (1 - unseen, 1.0)
    verdict, needed, said = _decide(sign, bound, about.tolerance, value, low, high, measured, alpha)
    return _Outcome(
        verdict,
        _rounded(value),
        _rounded(low) if math.isfinite(low) else None,
        _rounded(high) if math.isfinite(high) else None,
        measured.count,
        needed,
        said + _by_model(effect, sign, bound, about.tolerance, measured),
    )


def _sides(comparison: Comparison) -> tuple[Node, str, float]:
    """What is measured, and what it is compared with: the side that is a number, or 0 for the sides' difference."""
    turned = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "=="}
    left, right, sign = comparison.left, comparison.right, comparison.sign
    if any(calls(left)) and any(calls(right)):
        return Operation(comparison.at, "-", left, right), sign, 0.0
    if any(calls(right)):
        left, right, sign = right, left, turned[sign]
    bound = float(arithmetic(right, {}))
    if not math.isfinite(bound):
        raise wrong(right.at, "no finite number")
    return left, sign, bound


def _holds(sign: str, value: float, bound: float, tolerance: float) -> bool:
    """Whether a comparison holds, its bound being moved by the tolerance."""
    if sign == "==":
        return abs(value - bound) <= tolerance
    if sign in (">", ">="):
        return value > bound - tolerance or (sign == ">=" and value == bound - tolerance)
    return value < bound + tolerance or (sign == "<=" and value == bound + tolerance)


def _decide(
    sign: str, bound: float, tolerance: float, value: float, low: float, high: float, measured: Measured, alpha: float
) -> tuple[str, int | None, str]:
    """Verdict, about how many observations would decide, and why."""
    least = math.ceil(math.log2(2 / alpha))  # if all agree, a sign test's two-sided p is 2 / 2^n
    independent = measured.df + 1
    claimed = f"{sign} {bound:.4g}" + (f" within {tolerance:.4g}" if tolerance else "")
    seen = f"{value:.4g} over {measured.count} {measured.what}"
    if math.isfinite(low):
        seen += f", {100 * (1 - alpha):.3g} % interval {low:.4g} to {high:.4g}"
    holds = [_holds(sign, end, bound, tolerance) for end in (low, high)]
    beyond = high < bound - tolerance or low > bound + tolerance  # between the ends, == may hold though at neither
    if independent >= least and all(holds):
        return REPLICATED, None, f"{seen}: all of it is {claimed}"
    if independent >= least and not any(holds) and (sign != "==" or beyond):
        return CONTRARY, None, f"{seen}: none of it is {claimed}"
    needed = _needed(sign, bound, tolerance, value, low, high, measured.count)
    if independent < least:
        p = f"even if all agree, a sign test has p = {2 / 2**independent:.2g}"
        return INCONCLUSIVE, max(least, needed or 0), f"{seen}; fewer than {least} decide nothing: {p}"
    unit = measured.what.split()[0]
    about = (
        f"about {needed:,} {unit} would decide, if the effect stays" if needed else f"no number of {unit} would decide"
    )
    return INCONCLUSIVE, needed, f"{seen}: only part of it is {claimed}; {about}"


def _needed(sign: str, bound: float, tolerance: float, value: float, low: float, high: float, n: int) -> int | None:
    """About how many observations would decide: the interval's reach towards a bound shrinks as 1 / sqrt(n)."""
    edges = [bound - tolerance] if sign[0] == ">" else [bound + tolerance]
    if sign == "==":
        edges = [bound - tolerance, bound + tolerance]
    crossed = [edge for edge in edges if low <= edge <= high]
    if not math.isfinite(low) or not crossed or min(abs(value - edge) for edge in crossed) <= SAME:
        return None
    times = max(((value - low if edge < value else high - value) / (value - edge)) ** 2 for edge in crossed)
    return max(n + 1, math.ceil(n * times))


def _by_model(effect: Node, sign: str, bound: float, tolerance: float, measured: Measured) -> str:
    """In which models the comparison holds by itself: what an interval over all of them may hide."""
    asked = set(calls(effect))
    own = {model: values for model, values in measured.by_model.items() if asked <= set(values)}
    if len(own) < 2:
        return ""
    held = {m: _holds(sign, float(arithmetic(effect, values)), bound, tolerance) for m, values in own.items()}
    missing = ", ".join(model for model, holds in held.items() if not holds)
    if not any(held.values()):
        return f"; it holds in none of {len(own)} models"
    return f"; of {len(own)} models it holds in {sum(held.values())}{missing and f', not in {missing}'}"


def _rounded(value: float) -> float:
    """Without the last bits, in which machines differ."""
    return float(f"{value:.12g}")
