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
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, permutations
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any, TypeVar

from lpk.core.errors import EnvironmentMissing, UsageError, did_you_mean
from lpk.core.evidence.expressions import (
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
    wrong,
)
from lpk.core.evidence.records import Check, Claim, Replication
from lpk.core.evidence.study_tables import Cell, Study, grouped, read_study

#: How often an interval misses, of one comparison; claims that join several share it among them.
ALPHA = 0.05
#: Resamples of observations: of six, the tails of the expanded interval are the lowest and highest 24 of these.
RESAMPLES = 9_999
#: Resamples of what a model of variances leaves.
RESIDUAL_RESAMPLES = 1_999
#: Numbers of a bootstrap held at once.
AT_ONCE = 2_000_000
#: Outcomes of a variance share, times the levels of its factors; 120 masks of 30 layers and 21 levels are 76,000.
WORK = 5_000_000
#: Characters of a reason: a study may have thousands of names.
REASON = 1_000
#: Values of cells that are closer are the same.
SAME = 1e-9

T = TypeVar("T")
Unit = tuple[str, int, int]
Value = float | None
Column = Callable[[Cell], Value]


class _OutOfScope(Exception):
    """The study cannot speak about the claim; why."""


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
        raise EnvironmentMissing('checks need scipy: pip install "lpk[checks]"') from None
    cells = tuple(c for c in study.cells if not about.models or _like(c.model, about.models))
    models = tuple(dict.fromkeys(cell.model for cell in cells))

    def replication(verdict: str, **found: Any) -> Replication:
        known = {"claim": claim, "expression": about.expression, "study": study.sha256, "title": study.title}
        return Replication.model_validate({**known, "models": models, "verdict": verdict, **found})

    try:
        _preconditions(about, study, cells)
        alpha = ALPHA / len(comparisons)
        outcomes = [_compare(each, about, study, cells, alpha) for each in comparisons]
    except _OutOfScope as reason:
        return replication("out of scope", reason=str(reason)[:REASON])
    decisive = min(outcomes, key=lambda outcome: _DECIDES.index(outcome.verdict))  # of equals, the first
    return replication(
        decisive.verdict,
        effect=decisive.effect,
        low=decisive.low,
        high=decisive.high,
        count=decisive.count,
        needed=max((o.needed or 0 for o in outcomes), default=0) or None if decisive.verdict == INCONCLUSIVE else None,
        reason="; ".join(outcome.reason for outcome in outcomes)[:REASON],
    )


def _preconditions(about: Check, study: Study, cells: Sequence[Cell]) -> None:
    if not study.cells:
        raise _OutOfScope("no search of the study succeeded")
    if not cells:
        raise _OutOfScope(f"about {', '.join(about.models)}; the study has {', '.join(study.models)}")
    if about.measure and not any(about.measure in cell.values for cell in cells):
        near = did_you_mean(about.measure, study.measures)
        raise _OutOfScope(f"the study has no {about.measure!r} of these models{near}")


# ---------------------------------------------------------------------------------------------------------------------
# Functions: a number for one observation's cells
# ---------------------------------------------------------------------------------------------------------------------


def _mean(cells: Sequence[Cell], column: Column) -> Value:
    return _known_mean(map(column, cells))


def _spread(cells: Sequence[Cell], column: Column) -> Value:
    """Within one objective, the largest value less the smallest."""

    def of(group: Sequence[Cell]) -> Value:
        known = [value for value in map(column, group) if value is not None]
        return max(known) - min(known) if len(known) > 1 else None

    return _known_mean(map(of, _by_objective(cells)))


def _spearman(cells: Sequence[Cell], x: Column, y: Column) -> Value:
    """Within one objective, Pearson's correlation of the ranks over searchers, ties sharing their mean rank."""
    from scipy.stats import rankdata

    return _known_mean(_correlation(group, x, y, rankdata) for group in _by_objective(cells))


def _kendall(cells: Sequence[Cell], x: Column, y: Column) -> Value:
    """Within one objective, Kendall's tau-b over searchers: the correlation of the signs of all differences."""
    import numpy as np

    def signs(values: Any) -> Any:
        return np.sign(np.subtract.outer(values, values)).ravel()

    return _known_mean(_correlation(group, x, y, signs) for group in _by_objective(cells))


def _correlation(cells: Sequence[Cell], x: Column, y: Column, of: Callable[[Any], Any]) -> Value:
    """The correlation of something made of two columns; None of fewer than 3 searchers or of equal values."""
    import numpy as np

    known = [(a, b) for cell in cells if (a := x(cell)) is not None and (b := y(cell)) is not None]
    if len(known) < 3:
        return None
    a, b = (of(np.array(side)) for side in zip(*known, strict=True))
    a, b = a - a.mean(), b - b.mean()
    length = math.sqrt((a @ a) * (b @ b))
    return float(np.clip((a @ b) / length, -1, 1)) if length > SAME else None


def _jaccard(cells: Sequence[Cell], masks: None, within: str = "", across: str = "") -> Value:
    """The mean over pairs of masks of the layers that both remove over those that either does."""
    bits = [(cell, sum(1 << layer for layer in cell.removed)) for cell in cells]
    return _known_mean(
        (a & b).bit_count() / (a | b).bit_count()
        for (one, a), (other, b) in combinations(bits, 2)
        if (one.objective == other.objective) == (within == "objective")
        and (one.searcher == other.searcher) == (within == "searcher")
        and a | b
    )


def _depth(cells: Sequence[Cell], masks: None) -> Value:
    return _known_mean(cell.values.get("depth") for cell in cells)


def _delta(cells: Sequence[Cell], column: Column) -> Value:
    """The pruned model's value less the dense model's."""

    def of(cell: Cell) -> Value:
        dense = column(replace(cell, values=cell.dense))
        pruned = column(cell)
        return None if dense is None or pruned is None else pruned - dense

    return _known_mean(map(of, cells))


def _regret(cells: Sequence[Cell], searcher: str = "*") -> Value:
    """The mean of a column; ``searcher`` is a selector that needs no name here."""
    return _known_mean(cell.values.get("regret") for cell in cells)


def _rate(cells: Sequence[Cell], condition: Column) -> Value:
    """The share of cells in which a condition holds."""
    return _known_mean(map(condition, cells))


def _by_objective(cells: Iterable[Cell]) -> list[list[Cell]]:
    return list(grouped(cells, lambda cell: cell.objective).values())


def _known_mean(values: Iterable[Value]) -> Value:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


# ---------------------------------------------------------------------------------------------------------------------
# Variance shares: a number for a model's cells
# ---------------------------------------------------------------------------------------------------------------------

FACTORS = ("objective", "searcher", "budget", "draw")


class _Decomposition:
    """Linear models of the factors that vary, for one model's outcomes: one column, or one for each layer of its masks.

    A draw belongs to its objective, for the same seed is other data under another.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.n = len(cells)
        self._levels: dict[str, list[Hashable]] = {
            "objective": [cell.objective for cell in cells],
            "searcher": [cell.searcher for cell in cells],
            "budget": [cell.budget for cell in cells],
            "draw": [(cell.objective, cell.draw) for cell in cells],
        }
        varied = {name: len(set(levels)) > 1 for name, levels in self._levels.items()}
        varied["draw"] = len({cell.draw for cell in cells}) > 1
        self.factors = tuple(name for name in FACTORS if varied[name])
        self.every = frozenset(self.factors)
        self.size = sum(len(set(self._levels[name])) for name in self.factors)
        self._bases: dict[frozenset[str], Any] = {}

    def basis(self, factors: frozenset[str]) -> Any:
        """An orthonormal basis of what factors span beside the mean, (cells, degrees of freedom)."""
        import numpy as np
        from scipy.linalg import orth

        if factors not in self._bases:
            levels = [(name, each) for name in sorted(factors) for each in dict.fromkeys(self._levels[name])]
            columns = [[float(level == each) for level in self._levels[name]] for name, each in levels]
            dummies = np.array(columns).reshape(-1, self.n).T
            self._bases[factors] = orth(dummies - dummies.mean(axis=0), rcond=SAME) if columns else dummies
        return self._bases[factors]

    def lmg(self, worth: Callable[[frozenset[str]], Any]) -> dict[str, Any]:
        """What each factor adds to ``worth``, averaged over the orders of adding them (Lindeman, Merenda, Gold 1980)."""
        known = cache(worth)
        orders = [
            order
            for order in permutations(self.factors)
            if not {"objective", "draw"} <= self.every or order.index("objective") < order.index("draw")
        ]

        def gain(order: tuple[str, ...], name: str) -> Any:
            place = order.index(name)
            return known(frozenset(order[: place + 1])) - known(frozenset(order[:place]))

        return {name: sum(gain(order, name) for order in orders) / len(orders) for name in self.factors}

    def shares(self, y: Any, adjusted: bool) -> dict[str, Any]:
        """Each factor's share of the variance of outcomes, (cells, resamples, columns); columns are taken together.

        Adjusted for what noise gives to a factor of so many levels, it is epsilon squared: share - df (1 - R^2) / (df of
        the rest).
        """
        import numpy as np

        centred = (y - y.mean(axis=0)).reshape(self.n, -1)

        def squares(values: Any) -> Any:
            return np.sum(values.reshape(-1, *y.shape[1:]) ** 2, axis=(0, 2))

        whole = squares(centred)

        @cache
        def explained(factors: frozenset[str]) -> Any:
            return squares(self.basis(factors).T @ centred) / whole

        share = self.lmg(explained)
        if not adjusted:
            return share
        df, noise = self.lmg(self.df), (1 - explained(self.every)) / self.left
        return {name: share[name] - df[name] * noise for name in self.factors}

    def df(self, factors: frozenset[str]) -> int:
        """Degrees of freedom that factors take."""
        return int(self.basis(factors).shape[1])

    @property
    def left(self) -> int:
        """Degrees of freedom that the main effects leave."""
        return self.n - 1 - self.df(self.every)

    def resampled(self, y: Any, seed: int) -> Iterator[Any]:
        """Outcomes with what main effects leave drawn again, all columns of a cell together; some resamples at a time."""
        import numpy as np

        basis = self.basis(self.every)
        fitted = y.mean(axis=0) + basis @ (basis.T @ (y - y.mean(axis=0)))
        residuals = (y - fitted) * math.sqrt(self.n / self.left)
        drawn = np.random.default_rng(seed).integers(self.n, size=(self.n, RESIDUAL_RESAMPLES))
        step = max(1, AT_ONCE // y.size)
        for begin in range(0, RESIDUAL_RESAMPLES, step):
            yield fitted[:, None, :] + residuals[drawn[:, begin : begin + step]]


@dataclass(frozen=True)
class _Share:
    """A share in one model, its resamples, the cells it rests on, and the degrees of freedom that are left."""

    value: float
    drawn: Any
    cells: int
    left: int


def _share(cells: Sequence[Cell], factor: str, of: Column | None, seed: int, adjusted: bool) -> _Share | None:
    """A factor's share in one model; None where there is nothing to explain."""
    import numpy as np

    if of is None:
        y = np.array([[float(layer in cell.removed) for layer in range(cell.layers)] for cell in cells])
    else:
        cells = [cell for cell in cells if of(cell) is not None]
        y = np.array([of(cell) for cell in cells], dtype=float)[:, None]
    model = _Decomposition(cells)
    if y.size * model.size > WORK:
        raise _OutOfScope(f"{len(cells):,} cells of {model.size:,} levels are more than a variance share can be had of")
    if factor not in model.factors or model.left < 1 or np.ptp(y, axis=0).max() <= SAME:
        return None
    value = float(model.shares(y[:, None, :], adjusted)[factor][0])
    drawn = np.concatenate([model.shares(each, adjusted)[factor] for each in model.resampled(y, seed)])
    return _Share(value, drawn - drawn.mean() + value, len(cells), model.left)


def _acc(cell: Cell) -> Value:
    return cell.values.get("acc")


def _raw_share(cells: Sequence[Cell], factor: str, of: Column | None = _acc, *, seed: int = 0) -> _Share | None:
    return _share(cells, factor, of, seed, adjusted=False)


def _variance_share(cells: Sequence[Cell], factor: str, of: Column | None = _acc, *, seed: int = 0) -> _Share | None:
    return _share(cells, factor, of, seed, adjusted=True)


#: The plain share flatters a factor with many levels, by df / (n - 1) where there is only noise: in simulations its
#: interval covered a true 0 of seven searchers in 46 % of 200 studies, that of the adjusted share in 99 %.
SHARES: Mapping[str, Callable[..., _Share | None]] = {"variance_share": _variance_share, "raw_share": _raw_share}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "mean": _mean,
    "spread": _spread,
    "spearman": _spearman,
    "kendall": _kendall,
    "jaccard": _jaccard,
    "depth": _depth,
    "delta": _delta,
    "regret": _regret,
    "rate": _rate,
    **SHARES,
}

#: What an argument may be where it is no column.
WORDS = {"masks": ("masks",), "within": ("objective", "searcher"), "across": ("objective",), "factor": FACTORS}
#: Every function takes these too: which cells it is about.
SELECTORS = ("model", "objective", "searcher", "budget", "drop", "upto", "draw")
#: Why a function may have no value.
_EMPTY = {
    "spread": "it needs two searchers under one objective",
    "spearman": "it needs three searchers under one objective, and values that differ",
    "kendall": "it needs three searchers under one objective, and values that differ",
    "jaccard": "there are no two masks to compare: one objective, or one searcher",
    "delta": "the dense model was not measured so",
    "variance_share": "the factor or the outcome does not vary within a model",
    "raw_share": "the factor or the outcome does not vary within a model",
}


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
    if inner := next(_within(value, Call), None):
        raise wrong(inner.at, f"no function within {call.function}: its arguments are of single cells")
    if name in WORDS and not (isinstance(value, Word) and value.text in WORDS[name]):
        raise wrong(value.at, f"{name} of {call.function} is {' or '.join(WORDS[name])}")
    if name in ("model", "objective", "searcher") and not isinstance(value, Word):
        raise wrong(value.at, f'{name} is a text, e.g. {name}="{"greedy, beam" if name == "searcher" else "*"}"')
    if name in ("budget", "drop", "upto", "draw") and (
        any(word.text != "n" for word in _within(value, Word)) or any(_within(value, Comparison))
    ):
        raise wrong(value.at, f"{name} is a number{'' if name == 'draw' else ' of layers, such as 7 or n/4'}")
    if name == "condition" and not isinstance(value, Comparison | Every):
        raise wrong(value.at, "rate needs a condition, such as regret <= 0.01")
    if name in ("column", "x", "y", "of") and isinstance(value, Comparison | Every):
        raise wrong(value.at, f"{call.function} needs a column; the share of cells where this holds is rate(...)")


def _within(node: Node, kind: type[T]) -> Iterator[T]:
    """The nodes of a kind in a tree."""
    if isinstance(node, kind):
        yield node
    parts: tuple[Node, ...] = ()
    if isinstance(node, Negative):
        parts = (node.of,)
    elif isinstance(node, Operation | Comparison):
        parts = (node.left, node.right)
    elif isinstance(node, Every):
        parts = node.parts
    elif isinstance(node, Call):
        parts = (*node.arguments, *(value for _, _, value in node.named))
    for part in parts:
        yield from _within(part, kind)


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
        _OutOfScope: there are none.
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
            raise _OutOfScope(f"{call.function}, column {node.at}: the study {said}")
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
        raise _OutOfScope(f"column {comparison.at}: what is compared is no number here, it divides by zero")
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

    found = {call: _observations(call, study, cells) for call in asked}
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
    by_call = np.concatenate(drawn).T

    return _Measured(
        by_model={
            model: {call: fmean(own) for call in asked if (own := [v for u, v in found[call].items() if u[0] == model])}
            for model in dict.fromkeys(unit[0] for unit in units)
        },
        values={call: fmean(found[call].values()) for call in asked},
        drawn=dict(zip(asked, by_call, strict=True)),
        count=count,
        df=count - 1,
        wider=math.sqrt(count / (count - 1)) if count > 1 else math.inf,
        what="observations (model x budget x draw)",
    )


def _observations(call: Call, study: Study, cells: Sequence[Cell]) -> dict[Unit, float]:
    """A function's value in each observation that has one."""
    bound = _bound(call)
    arguments, function = _arguments(bound, study), FUNCTIONS[call.function]
    groups = grouped(_selected(call, bound.selectors, cells), lambda cell: cell.unit)
    values = {unit: function(group, **arguments) for unit, group in groups.items()}
    found = {unit: value for unit, value in values.items() if value is not None and math.isfinite(value)}
    if not found:
        raise _OutOfScope(f"{call.function}, column {call.at}: {_EMPTY.get(call.function, 'nothing was measured')}")
    return found


def _measure_shares(asked: Sequence[Call], study: Study, cells: Sequence[Cell], minimum: int) -> _Measured:
    """Shares of variance: the means over models, each resampled by itself."""
    import numpy as np

    by_model: dict[str, dict[Call, _Share]] = {}
    for call in asked:
        bound = _bound(call)
        arguments = _arguments(bound, study)
        groups = grouped(_selected(call, bound.selectors, cells), lambda cell: cell.model)
        for seed, (model, group) in enumerate(groups.items()):
            if (share := SHARES[call.function](group, **arguments, seed=seed)) is not None:
                by_model.setdefault(model, {})[call] = share
        if not any(call in own for own in by_model.values()):
            raise _OutOfScope(f"{call.function}, column {call.at}: {_EMPTY[call.function]}")
    each = {call: [own[call] for own in by_model.values() if call in own] for call in asked}
    count = min(sum(share.cells for share in own) for own in each.values())
    _enough(count, minimum)
    return _Measured(
        by_model={model: {call: share.value for call, share in own.items()} for model, own in by_model.items()},
        values={call: fmean(share.value for share in own) for call, own in each.items()},
        drawn={call: np.mean([share.drawn for share in own], axis=0) for call, own in each.items()},
        count=count,
        df=min(sum(share.left for share in own) for own in each.values()),
        wider=1.0,
        what="cells",
    )


def _enough(count: int, minimum: int) -> None:
    if count < minimum:
        raise _OutOfScope(f"{count} observations, the claim asks for {minimum} at least")


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
    """Verdict, about how many observations would decide, and why.

    The number is from the interval's width, which shrinks as 1 / sqrt(n), the effect staying as it is.
    """
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
