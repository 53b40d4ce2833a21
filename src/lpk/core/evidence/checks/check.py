"""Claims that run: a claim's check, evaluated on a finished pruning study.

A check is an expression such as ``jaccard(masks, within="objective") > jaccard(masks, within="searcher")``; its
language is in ``docs/claims.md``. It is parsed (``expressions.py``), never run as code.

A function of the study is a number for each *observation*, a model pruned by one budget on one calibration draw, and
its value their mean. Searchers and objectives are compared within an observation; observations are what is drawn again
(a cluster bootstrap), the same for every function of a comparison. The interval is the expanded percentile interval of
Hesterberg (https://arxiv.org/abs/1411.5279): with few observations a percentile interval is too narrow, so its tails
are taken where it would be right for the mean of normal values. Variance shares are of a whole model's cells: there,
what their main effects leave is drawn again, as a study's own statistics do.
"""

from __future__ import annotations

import fnmatch
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any, TypeVar

from lpk.core.errors import EnvironmentMissing, UsageError, did_you_mean
from lpk.core.evidence.checks.expressions import (
    Call,
    Comparison,
    Every,
    Negative,
    Node,
    Number,
    Operation,
    Word,
    calls,
    parse,
    within,
    wrong,
)
from lpk.core.evidence.checks.functions import EMPTY, FACTORS, FUNCTIONS, SAME, SHARES, Column, OutOfScope, Share, Value
from lpk.core.evidence.checks.tables import Cell, Study, grouped, read_study
from lpk.core.evidence.records import Check, Claim, Replication

#: How often an interval misses, of one comparison; claims that join several share it among them.
ALPHA = 0.05
#: Resamples of observations: of six, the tails of the expanded interval are the lowest and highest 24 of these.
RESAMPLES = 9_999
#: Numbers of them held at once.
AT_ONCE = 2_000_000
#: Characters of a reason: a study may have thousands of names.
REASON = 1_000

K = TypeVar("K")
V = TypeVar("V")


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
            _bound(call)
        shares = [call for call in found if call.function in SHARES]
        if shares and len(shares) < len(found):
            raise wrong(shares[0].at, f"{shares[0].function} is of a model's cells, the others of single observations")
        effect, _, _ = _sides(comparison)
        _arithmetic(effect, dict.fromkeys(found, 1.0))
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
    cells = tuple(c for c in study.cells if not about.models or _like(c.model, about.models))
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
# What a call asks for
# ---------------------------------------------------------------------------------------------------------------------

#: What an argument may be where it is no column.
WORDS = {"masks": ("masks",), "within": ("objective", "searcher"), "across": ("objective",), "factor": FACTORS}
#: Every function takes these too: which cells it is about.
SELECTORS = ("model", "objective", "searcher", "budget", "drop", "upto", "draw")


@dataclass(frozen=True)
class _Bound:
    """A call with its arguments by parameter, and its selectors."""

    arguments: Mapping[str, Node]
    selectors: Mapping[str, Node]


def _bound(call: Call) -> _Bound:
    """A call's arguments, checked as far as they can be without a study.

    Raises:
        UsageError: the function is unknown, or its arguments are not what it takes.
    """
    if call.function not in FUNCTIONS:
        raise wrong(call.at, f"unknown function {call.function!r}{did_you_mean(call.function, FUNCTIONS)}")
    parameters = _parameters(call.function)
    if len(call.arguments) > len(parameters):
        takes = ", ".join(parameters) or "nothing"
        raise wrong(call.arguments[len(parameters)].at, f"{call.function} takes {takes}, and selectors by name")
    arguments = dict(zip(parameters, call.arguments, strict=False))
    selectors: dict[str, Node] = {}
    for at, name, value in call.named:
        if name in arguments:
            raise wrong(at, f"{call.function} has its {name} already")
        if name not in parameters and name not in SELECTORS:
            raise wrong(at, f"{call.function} takes no {name!r}{did_you_mean(name, [*parameters, *SELECTORS])}")
        (arguments if name in parameters else selectors)[name] = value
    if "searcher" in arguments:
        selectors["searcher"] = arguments.pop("searcher")
    for name, parameter in parameters.items():
        if name not in arguments and parameter.default is parameter.empty:
            raise wrong(call.at, f"{call.function} needs {name}")
    for name, value in (*arguments.items(), *selectors.items()):
        _check_argument(call, name, value)
    if call.function == "jaccard" and len(arguments) != 2:
        raise wrong(call.at, 'jaccard needs within="objective", within="searcher" or across="objective"')
    return _Bound(arguments, selectors)


def _parameters(function: str) -> dict[str, inspect.Parameter]:
    """What a function takes beside cells."""
    every = list(inspect.signature(FUNCTIONS[function]).parameters.values())[1:]
    return {each.name: each for each in every if each.kind is not each.KEYWORD_ONLY}


def _check_argument(call: Call, name: str, value: Node) -> None:
    if inner := next(within(value, Call), None):
        raise wrong(inner.at, f"no function within {call.function}: its arguments are of single cells")
    if name in WORDS and not (isinstance(value, Word) and value.text in WORDS[name]):
        raise wrong(value.at, f"{name} of {call.function} is {' or '.join(WORDS[name])}")
    if name in ("model", "objective", "searcher") and not isinstance(value, Word):
        raise wrong(value.at, f'{name} is a text, e.g. {name}="{"greedy, beam" if name == "searcher" else "*"}"')
    if name in ("budget", "drop", "upto", "draw") and (
        any(word.text != "n" for word in within(value, Word)) or any(within(value, Comparison))
    ):
        raise wrong(value.at, f"{name} is a number{'' if name == 'draw' else ' of layers, such as 7 or n/4'}")
    if name == "condition" and not isinstance(value, Comparison | Every):
        raise wrong(value.at, "rate needs a condition, such as regret <= 0.01")
    if name in ("column", "x", "y", "of") and isinstance(value, Comparison | Every):
        raise wrong(value.at, f"{call.function} needs a column; the share of cells where this holds is rate(...)")


def _like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)


def _patterns(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _divide(a: Any, b: Any) -> Any:
    return math.nan if isinstance(b, float) and b == 0 else a / b


_SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
}


#: Comparisons of a cell's values, which are the same within SAME.
_CONDITIONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b - SAME,
    "<=": lambda a, b: a <= b + SAME,
    ">": lambda a, b: a > b + SAME,
    ">=": lambda a, b: a >= b - SAME,
    "==": lambda a, b: abs(a - b) <= SAME,
}


def _column(node: Node, study: Study | None) -> Column:
    """What a column, or arithmetic or a condition on columns, is for a cell; without a study the only column is ``n``.

    Raises:
        UsageError: there is no such column.
    """
    if isinstance(node, Number):
        return lambda cell: node.value
    if isinstance(node, Word):
        if study is not None and node.text not in study.columns:
            hint = did_you_mean(node.text, study.columns)
            raise wrong(node.at, f"the study has no column or measure {node.text!r}{hint}")
        return lambda cell: cell.values.get(node.text)
    if isinstance(node, Negative):
        of = _column(node.of, study)
        return lambda cell: None if (value := of(cell)) is None else -value
    if isinstance(node, Every):
        parts = [_column(part, study) for part in node.parts]

        def every(cell: Cell) -> Value:
            held = [part(cell) for part in parts]
            return None if None in held else float(all(held))

        return every
    assert isinstance(node, Operation | Comparison)
    left, right, sign = _column(node.left, study), _column(node.right, study), node.sign
    apply = _SIGNS[sign] if isinstance(node, Operation) else _CONDITIONS[sign]

    def both(cell: Cell) -> Value:
        a, b = left(cell), right(cell)
        if a is None or b is None or (sign == "/" and b == 0):
            return None
        value = float(apply(a, b))
        return value if math.isfinite(value) else None

    return both


def _holds(sign: str, value: float, bound: float, tolerance: float) -> bool:
    """Whether a comparison holds, its bound being moved by the tolerance."""
    if sign == "==":
        return abs(value - bound) <= tolerance
    if sign in (">", ">="):
        return value > bound - tolerance or (sign == ">=" and value == bound - tolerance)
    return value < bound + tolerance or (sign == "<=" and value == bound + tolerance)


def _selected(call: Call, selectors: Mapping[str, Node], cells: Sequence[Cell]) -> list[Cell]:
    """The cells that a call is about.

    Raises:
        OutOfScope: there are none.
    """
    kept = list(cells)
    for name, node in selectors.items():
        before = kept
        if isinstance(node, Word) and name in ("model", "objective", "searcher"):
            kept = [cell for cell in kept if _like(getattr(cell, name), _patterns(node.text))]
            names = sorted({getattr(cell, name) for cell in before})
            said = f"has no {name} {node.text!r}{did_you_mean(node.text, names)}"
        else:
            asked = _column(node, None)
            kept = [cell for cell in kept if _chosen(name, asked(cell), cell)]
            pairs = sorted({(cell.budget, cell.layers) for cell in before})
            has = ", ".join(f"{budget} of {layers}" for budget, layers in pairs[:8])
            said = f"has no cell of that {name}; layers removed: {has}" if name != "draw" else "has no such draw"
        if not kept:
            raise OutOfScope(f"{call.function}, column {node.at}: the study {said}")
    return kept


def _chosen(selector: str, asked: Value, cell: Cell) -> bool:
    if asked is None:
        return False
    if selector == "draw":
        return cell.draw == asked
    layers = math.floor(asked + SAME)  # of a share of layers never more are removed than was said
    return cell.budget <= layers if selector == "upto" else cell.budget == layers


def _arguments(bound: _Bound, study: Study) -> dict[str, Any]:
    """A call's arguments as its function takes them."""

    def value(name: str, node: Node) -> Any:
        if isinstance(node, Word) and (name in WORDS or (name == "of" and node.text == "masks")):
            return None if node.text == "masks" else node.text
        return _column(node, study)

    return {name: value(name, node) for name, node in bound.arguments.items()}


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


@dataclass(frozen=True)
class _Measured:
    """The functions of a comparison, measured.

    Attributes:
        by_model: the value of each in each model that has it.
        values: the value of each.
        drawn: its resamples.
        count: the observations that it rests on, of the function with the fewest.
        df: degrees of freedom of the interval.
        wider: what resampled deviations are too small by.
        what: what an observation is.
    """

    by_model: Mapping[str, Mapping[Call, float]]
    values: Mapping[Call, float]
    drawn: Mapping[Call, Any]
    count: int
    df: int
    wider: float
    what: str


def _compare(comparison: Comparison, about: Check, study: Study, cells: Sequence[Cell], alpha: float) -> _Outcome:
    effect, sign, bound = _sides(comparison)
    asked = tuple(dict.fromkeys(calls(effect)))
    shares = asked[0].function in SHARES
    measured = (_measure_shares if shares else _measure)(asked, study, cells, about.minimum)
    value = float(_arithmetic(effect, measured.values))
    if not math.isfinite(value):
        raise OutOfScope(f"column {comparison.at}: what is compared is no number here, it divides by zero")
    low, high = _interval(effect, measured, alpha)
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
    bound = float(_arithmetic(right, {}))
    if not math.isfinite(bound):
        raise wrong(right.at, "no finite number")
    return left, sign, bound


def _arithmetic(node: Node, values: Mapping[Call, Any]) -> Any:
    """The value of an expression, given those of its calls; numbers or resamples alike."""
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Call):
        return values[node]
    if isinstance(node, Negative):
        return -_arithmetic(node.of, values)
    if isinstance(node, Operation):
        left, right = _arithmetic(node.left, values), _arithmetic(node.right, values)
        if node.sign == "/" and not any(calls(node.right)) and right == 0:
            raise wrong(node.right.at, "division by zero")
        return _SIGNS[node.sign](left, right)
    assert isinstance(node, Word)
    raise wrong(node.at, f"{node.text!r} is a value of single cells: write e.g. mean({node.text})")


def _measure(asked: Sequence[Call], study: Study, cells: Sequence[Cell], minimum: int) -> _Measured:
    """Functions of single observations, and their resamples: the same observations are drawn for all of them."""
    import numpy as np

    found = _known({call: _observations(call, study, cells) for call in asked})
    units = sorted({unit for own in found.values() for unit in own})
    count = min(map(len, found.values()))
    _enough(count, minimum)
    value = np.array([[found[call].get(unit, math.nan) for call in asked] for unit in units])
    known = np.isfinite(value)
    sums, generator = np.where(known, value, 0.0), np.random.default_rng(0)
    drawn, step = [], max(1, AT_ONCE // len(units))
    for begin in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - begin)
        times = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), size=size)
        with np.errstate(invalid="ignore"):
            drawn.append((times @ sums) / (times @ known))

    def means(model: str) -> dict[Call, float]:
        own = {call: [value for unit, value in found[call].items() if unit[0] == model] for call in asked}
        return {call: fmean(values) for call, values in own.items() if values}

    return _Measured(
        by_model={model: means(model) for model in dict.fromkeys(unit[0] for unit in units)},
        values={call: fmean(found[call].values()) for call in asked},
        drawn=dict(zip(asked, np.concatenate(drawn).T, strict=True)),
        count=count,
        df=count - 1,
        wider=math.sqrt(count / (count - 1)) if count > 1 else math.inf,
        what="observations (model x budget x draw)",
    )


def _observations(call: Call, study: Study, cells: Sequence[Cell]) -> dict[tuple[str, int, int], Value]:
    """A function's value in each observation that it is about; None where it has none."""
    bound = _bound(call)
    arguments, function = _arguments(bound, study), FUNCTIONS[call.function]
    of_units = {name: node for name, node in bound.selectors.items() if name not in ("objective", "searcher")}
    units = dict.fromkeys(cell.unit for cell in _selected(call, of_units, cells))
    groups = grouped(_selected(call, bound.selectors, cells), lambda cell: cell.unit)
    return {unit: function(groups[unit], **arguments) if unit in groups else None for unit in units}


def _known(found: Mapping[Call, Mapping[K, V | None]]) -> dict[Call, dict[K, V]]:
    """What was found, less all of an observation in which something is missing: the rest is compared like with like.

    Raises:
        OutOfScope: nothing is left of a function.
    """
    gaps = {key for own in found.values() for key, value in own.items() if value is None}
    known: dict[Call, dict[K, V]] = {}
    for call, own in found.items():
        known[call] = {key: value for key, value in own.items() if value is not None and key not in gaps}
        if not known[call]:
            alone = all(value is None for value in own.values())
            why = EMPTY.get(call.function, "nothing was measured") if alone else "where it has a value another has none"
            raise OutOfScope(f"{call.function}, column {call.at}: {why}")
    return known


def _measure_shares(asked: Sequence[Call], study: Study, cells: Sequence[Cell], minimum: int) -> _Measured:
    """Shares of variance: the means over models, each resampled by itself."""
    import numpy as np

    def shares(call: Call) -> dict[str, Share | None]:
        bound = _bound(call)
        arguments = _arguments(bound, study)
        groups = grouped(_selected(call, bound.selectors, cells), lambda cell: cell.model)
        return {
            model: SHARES[call.function](group, **arguments, seed=study.models.index(model))
            for model, group in groups.items()
        }

    found = _known({call: shares(call) for call in asked})
    each = {call: list(own.values()) for call, own in found.items()}
    models = dict.fromkeys(model for own in found.values() for model in own)
    count = min(sum(share.cells for share in own) for own in each.values())
    _enough(count, minimum)
    return _Measured(
        by_model={m: {call: own[m].value for call, own in found.items() if m in own} for m in models},
        values={call: fmean(share.value for share in own) for call, own in each.items()},
        drawn={call: np.mean([share.drawn for share in own], axis=0) for call, own in each.items()},
        count=count,
        df=min(sum(share.left for share in own) for own in each.values()),
        wider=1.0,
        what="cells",
    )


def _enough(count: int, minimum: int) -> None:
    if count < minimum:
        raise OutOfScope(f"{count} observations, the claim asks for {minimum} at least")


def _interval(effect: Node, measured: _Measured, alpha: float) -> tuple[float, float]:
    """The expanded percentile interval of the resampled effect; without bounds where resamples have no value."""
    import numpy as np
    from scipy.stats import t

    if measured.df < 1:
        return -math.inf, math.inf
    with np.errstate(all="ignore"):
        drawn = np.asarray(_arithmetic(effect, measured.drawn))
    drawn = drawn[np.isfinite(drawn)]
    resamples = len(next(iter(measured.drawn.values())))
    if len(drawn) < (1 - alpha / 2) * resamples:
        return -math.inf, math.inf
    tail = NormalDist().cdf(-measured.wider * float(t.isf(alpha / 2, measured.df)))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _decide(
    sign: str, bound: float, tolerance: float, value: float, low: float, high: float, measured: _Measured, alpha: float
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


def _by_model(effect: Node, sign: str, bound: float, tolerance: float, measured: _Measured) -> str:
    """In which models the comparison holds by itself: what an interval over all of them may hide."""
    asked = set(calls(effect))
    own = {model: values for model, values in measured.by_model.items() if asked <= set(values)}
    if len(own) < 2:
        return ""
    held = {m: _holds(sign, float(_arithmetic(effect, values)), bound, tolerance) for m, values in own.items()}
    missing = ", ".join(model for model, holds in held.items() if not holds)
    if not any(held.values()):
        return f"; it holds in none of {len(own)} models"
    return f"; of {len(own)} models it holds in {sum(held.values())}{missing and f', not in {missing}'}"


def _rounded(value: float) -> float:
    """Without the last bits, in which machines differ."""
    return float(f"{value:.12g}")
