"""The grammar of a claim's check, and its parser: text to a small tree, never to code.

    claim      = comparison {"and" comparison}
    comparison = sum [("<" | "<=" | ">" | ">=" | "==") sum]
    sum        = product {("+" | "-") product}
    product    = factor {("*" | "/") factor}
    factor     = "-" factor | number | text | name | name "(" [argument {"," argument}] ")" | "(" claim ")"
    argument   = [name "="] claim

Length, nesting and the number of calls are bounded, so parsing any text ends at once, in a tree or in a UsageError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from lpk.core.errors import UsageError

N = TypeVar("N")
LENGTH = 1_000
NESTING = 20
CALLS = 20
COMPARISONS = ("<=", ">=", "==", "<", ">")
_TOKEN = re.compile(
    r"""[ ]*(?:(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)
    |(?P<name>[A-Za-z_][A-Za-z_0-9]*)
    |(?P<text>"[^"]*"|'[^']*')
    |(?P<sign><=|>=|==|[-+*/<>(),=]))""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Node:
    """Part of an expression; ``at`` is the column where it begins, from 1."""

    at: int


@dataclass(frozen=True)
class Number(Node):
    value: float


@dataclass(frozen=True)
class Word(Node):
    """A name, or a name in quotes: that of a column, a measure, a searcher."""

    text: str


@dataclass(frozen=True)
class Negative(Node):
    of: Node


@dataclass(frozen=True)
class Operation(Node):
    """Arithmetic."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Comparison(Node):
    sign: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Every(Node):
    """Comparisons that must all hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Call(Node):
    """A function with its arguments, the named ones as (column of the name, name, value)."""

    function: str
    arguments: tuple[Node, ...]
    named: tuple[tuple[int, str, Node], ...]


def wrong(at: int, what: str) -> UsageError:
    """The error that says where in a check something is wrong."""
    return UsageError(f"check, column {at}: {what}")


def parse(text: str) -> tuple[Comparison, ...]:
    """The comparisons that an expression joins by ``and``.

    Raises:
        UsageError: it is none, or none that this language has; with the column.
    """
    parser = _Parser(text)
    tree = parser.claim()
    if parser.kind != "end":
        raise wrong(parser.at, f"{parser.token!r} does not belong here")
    parts = tree.parts if isinstance(tree, Every) else (tree,)
    comparisons = tuple(part for part in parts if isinstance(part, Comparison))
    if len(comparisons) < len(parts):
        raise wrong(parts[0].at, "a check compares: write e.g. spearman(ppl_rank, acc_rank) < 0.5")
    return comparisons


def calls(node: Node) -> Iterator[Call]:
    """The functions that an expression calls, from left to right; not those within their arguments."""
    if isinstance(node, Call):
        yield node
    elif isinstance(node, Negative):
        yield from calls(node.of)
    elif isinstance(node, Operation | Comparison):
        yield from calls(node.left)
        yield from calls(node.right)


def within(node: Node, kind: type[N]) -> Iterator[N]:
    """The nodes of a kind in a tree, the root and arguments of functions included."""
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
        yield from within(part, kind)


class _Parser:
    """Recursive descent with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        if len(text) > LENGTH:
            raise wrong(LENGTH + 1, f"{len(text):,} characters, {LENGTH:,} at most")
        self._text, self._end, self._depth, self._calls = text, 0, 0, 0
        self._next()

    def _next(self) -> None:
        """Read the token that follows: its kind, text and column."""
        found = _TOKEN.match(self._text, self._end)
        if found is None:
            rest = self._text[self._end :].lstrip(" ")
            self.at = len(self._text) - len(rest) + 1
            if rest:
                said = "a text without its closing quote" if rest[0] in "\"'" else f"unknown character {rest[0]!r}"
                raise wrong(self.at, said)
            self.kind, self.token = "end", "the end"
            return
        self.kind = found.lastgroup or ""
        self.token, self.at, self._end = found[self.kind], found.start(self.kind) + 1, found.end()

    def _takes(self, *signs: str) -> str:
        """The sign that comes next if it is one of these, and go on; else nothing."""
        taken = self.token if self.kind in ("sign", "name") and self.token in signs else ""
        if taken:
            self._next()
        return taken

    def _expect(self, sign: str) -> None:
        at, token = self.at, self.token
        if not self._takes(sign):
            raise wrong(at, f"{sign!r} should come here, not {token!r}")

    def claim(self) -> Node:
        at = self.at
        parts = [self._comparison()]
        while self._takes("and"):
            parts.append(self._comparison())
        flat = [part for each in parts for part in (each.parts if isinstance(each, Every) else (each,))]
        if len(parts) == 1:
            return parts[0]
        for part in flat:
            if not isinstance(part, Comparison):
                raise wrong(part.at, "'and' joins comparisons only")
        return Every(at, tuple(flat))

    def _comparison(self) -> Node:
        left = self._sum()
        if sign := self._takes(*COMPARISONS):
            left = Comparison(left.at, sign, _value(left), _value(self._sum()))
            if self.kind == "sign" and self.token in COMPARISONS:
                raise wrong(self.at, "one comparison at a time: join two by 'and'")
        return left

    def _sum(self) -> Node:
        left = self._product()
        while sign := self._takes("+", "-"):
            left = Operation(left.at, sign, _value(left), _value(self._product()))
        return left

    def _product(self) -> Node:
        left = self._factor()
        while sign := self._takes("*", "/"):
            left = Operation(left.at, sign, _value(left), _value(self._factor()))
        return left

    def _factor(self) -> Node:
        self._depth += 1
        if self._depth > NESTING:
            raise wrong(self.at, f"nested deeper than {NESTING}")
        node = self._atom()
        self._depth -= 1
        return node

    def _atom(self) -> Node:
        at, kind, token = self.at, self.kind, self.token
        if self._takes("-"):
            return Negative(at, _value(self._factor()))
        if self._takes("("):
            inner = self.claim()
            self._expect(")")
            return inner
        if kind not in ("number", "text", "name") or token == "and":
            raise wrong(at, f"a value should come here, not {token!r}")
        self._next()
        if kind == "number":
            if not math.isfinite(float(token)):
                raise wrong(at, "the number is too large")
            return Number(at, float(token))
        if kind == "name" and self._takes("("):
            return self._call(at, token)
        return Word(at, token[1:-1] if kind == "text" else token)

    def _call(self, at: int, function: str) -> Call:
        self._calls += 1
        if self._calls > CALLS:
            raise wrong(at, f"more than {CALLS} functions")
        plain: list[Node] = []
        named: list[tuple[int, str, Node]] = []
        while not self._takes(")"):
            if plain or named:
                self._expect(",")
            begin, value = self.at, self.claim()
            if self.kind == "sign" and self.token == "=":
                if not isinstance(value, Word):
                    raise wrong(begin, "a name should stand before '='")
                self._next()
                if value.text in {name for _, name, _ in named}:
                    raise wrong(begin, f"{value.text!r} is given twice")
                named.append((begin, value.text, self.claim()))
            elif named:
                raise wrong(begin, "arguments without a name come first")
            else:
                plain.append(value)
        return Call(at, function, tuple(plain), tuple(named))


def _value(node: Node) -> Node:
    """A node that stands where a number must."""
    if isinstance(node, Comparison | Every):
        raise wrong(node.at, "a comparison is no number")
    return node
