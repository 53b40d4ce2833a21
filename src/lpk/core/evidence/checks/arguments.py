"""What a call of a check asks for: its arguments, the cells that it is about, and arithmetic on columns and results."""

from __future__ import annotations

import fnmatch
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lpk.core.errors import did_you_mean
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
    within,
    wrong,
)
from lpk.core.evidence.checks.functions import FACTORS, FUNCTIONS, SAME, Column, OutOfScope, Value
from lpk.core.evidence.checks.tables import Cell, Study

#: What an argument may be where it is no column.
WORDS = {"masks": ("masks",), "within": ("objective", "searcher"), "across": ("objective",), "factor": FACTORS}
#: Every function takes these too: which cells it is about.
SELECTORS = ("model", "objective", "searcher", "budget", "drop", "upto", "draw")


@dataclass(frozen=True)
class Bound:
    """A call with its arguments by parameter, and its selectors."""

    arguments: Mapping[str, Node]
    selectors: Mapping[str, Node]


def bind(call: Call) -> Bound:
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
    return Bound(arguments, selectors)


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


def like(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is like one of some patterns, whatever their case."""
    return any(fnmatch.fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)


def _patterns(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _divide(a: Any, b: Any) -> Any:
    return math.nan if isinstance(b, float) and b == 0 else a / b


SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
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
    apply = SIGNS[sign] if isinstance(node, Operation) else _CONDITIONS[sign]

    def both(cell: Cell) -> Value:
        a, b = left(cell), right(cell)
        if a is None or b is None or (sign == "/" and b == 0):
            return None
        value = float(apply(a, b))
        return value if math.isfinite(value) else None

    return both


def selected(call: Call, selectors: Mapping[str, Node], cells: Sequence[Cell]) -> list[Cell]:
    """The cells that a call is about.

    Raises:
        OutOfScope: there are none.
    """
    kept = list(cells)
    for name, node in selectors.items():
        before = kept
        if isinstance(node, Word) and name in ("model", "objective", "searcher"):
            kept = [cell for cell in kept if like(getattr(cell, name), _patterns(node.text))]
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


def arguments_of(bound: Bound, study: Study) -> dict[str, Any]:
    """A call's arguments as its function takes them."""

    def value(name: str, node: Node) -> Any:
        if isinstance(node, Word) and (name in WORDS or (name == "of" and node.text == "masks")):
            return None if node.text == "masks" else node.text
        return _column(node, study)

    return {name: value(name, node) for name, node in bound.arguments.items()}


def arithmetic(node: Node, values: Mapping[Call, Any]) -> Any:
    """The value of an expression, given those of its calls; numbers or resamples alike."""
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Call):
        return values[node]
    if isinstance(node, Negative):
        return -arithmetic(node.of, values)
    if isinstance(node, Operation):
        left, right = arithmetic(node.left, values), arithmetic(node.right, values)
        if node.sign == "/" and not any(calls(node.right)) and right == 0:
            raise wrong(node.right.at, "division by zero")
        return SIGNS[node.sign](left, right)
    assert isinstance(node, Word)
    raise wrong(node.at, f"{node.text!r} is a value of single cells: write e.g. mean({node.text})")
