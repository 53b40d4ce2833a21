"""In which order a batch of masks is evaluated: which layer runs on which hidden state, and how long a state is kept.

Masks that keep the same first layers share their hidden states. They are laid in a trie, a node for each distinct run
of kept layers, and a schedule walks it: a list of three instructions, which the evaluator follows and a plan counts.

:func:`depth_first` is for a model in memory. A branching point's state is kept while its lighter branches are walked
and handed on to the heaviest, so at most log2(masks) states are kept, however many layers there are (it is the
Strahler number of the trie: greedy's 28 candidates need one). :func:`layer_by_layer` is for a model whose layers come
one after the other from a disk: every state that needs a layer passes through it while it is there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lpk.core.pruning.mask import LayerMask


@dataclass(eq=False)
class Trie:
    """What follows some first kept layers; to a schedule, the hidden state after them.

    Attributes:
        mask: the mask whose last kept layer this is, if there is one.
        children: the next kept layer, and what follows it.
    """

    mask: LayerMask | None = None
    children: dict[int, Trie] = field(default_factory=dict)

    @classmethod
    def of(cls, masks: Sequence[LayerMask]) -> Trie:
        """Lay masks in a trie by their kept layers."""
        root = cls()
        for mask in masks:
            node = root
            for layer in mask.kept:
                node = node.children.setdefault(layer, cls())
            node.mask = mask
        return root

    def edges(self) -> int:
        """How many layers a walk runs, if none is run twice."""
        return sum(1 + child.edges() for child in self.children.values())


@dataclass(frozen=True)
class Run:
    """Run a layer on some states; afterwards they are there, and what came of each."""

    layer: int
    pairs: tuple[tuple[Trie, Trie], ...]


@dataclass(frozen=True)
class Measure:
    """Measure the mask that ends in this state."""

    state: Trie


@dataclass(frozen=True)
class Drop:
    """This state is not needed any more."""

    state: Trie


Schedule = Iterator[Run | Measure | Drop]


def depth_first(root: Trie, kept: int) -> Schedule:
    """Walk a trie with at most ``kept`` states kept at branching points; where there are more, they are run again.

    Beside those, the root's state is there, the state in hand, and while a layer runs the one that comes of it.
    """
    needs = _needs(root)

    def visit(node: Trie, path: list[tuple[int, Trie]], free: int) -> Schedule:
        # ``path`` leads here from the nearest kept state; a node that it does not begin with is ours to drop.
        if node.mask is not None:
            yield Measure(node)
        children = sorted(node.children.items(), key=lambda item: needs[item[1]])
        keeps = len(children) > 1 and free > 0
        for index, (layer, child) in enumerate(children):
            if keeps and index < len(children) - 1:
                yield Run(layer, ((node, child),))
                yield from visit(child, [(-1, node), (layer, child)], free - 1)
                continue
            if index > 0 and not keeps:
                yield from _again(path)
            yield Run(layer, ((node, child),))
            if len(path) > 1:
                yield Drop(node)
            yield from visit(child, [*path, (layer, child)], free)
        if not children and len(path) > 1:
            yield Drop(node)

    yield from visit(root, [(-1, root)], kept)


def _needs(root: Trie) -> dict[Trie, int]:
    """How many states must be kept below each node for nothing to be run twice: its Strahler number."""
    needs: dict[Trie, int] = {}

    def visit(node: Trie) -> int:
        below = sorted(map(visit, node.children.values()))
        needs[node] = max([0, *below[-1:], *(1 + need for need in below[-2:-1])])
        return needs[node]

    visit(root)
    return needs


def _again(path: Sequence[tuple[int, Trie]]) -> Schedule:
    """Run from a kept state to the end of a path once more."""
    for (_, state), (layer, result) in itertools.pairwise(path):
        yield Run(layer, ((state, result),))
        if state is not path[0][1]:
            yield Drop(state)


def layer_by_layer(root: Trie, layers: int, at_once: int = 1) -> Schedule:
    """Walk a trie so that each layer is needed once: every state that needs it passes through before the next.

    Args:
        root: the masks.
        layers: how many the model has.
        at_once: how many states go through a layer in one run, at most.
    """
    waiting = [root] if root.children else []
    if root.mask is not None:
        yield Measure(root)
    for layer in range(layers):
        here = [(node, node.children[layer]) for node in waiting if layer in node.children]
        for begin in range(0, len(here), at_once):
            pairs = tuple(here[begin : begin + at_once])
            yield Run(layer, pairs)
            for node, child in pairs:
                if child.mask is not None:
                    yield Measure(child)
                if not child.children:
                    yield Drop(child)
                if layer == max(node.children):
                    yield Drop(node)
        ended = {node for node, _ in here if layer == max(node.children)}
        waiting = [node for node in waiting if node not in ended] + [child for _, child in here if child.children]


@dataclass
class Size:
    """What a schedule takes, for one sequence.

    Attributes:
        layer_forwards: layers run.
        states: hidden states alive at once, at most.
    """

    layer_forwards: int = 0
    states: int = 1

    @classmethod
    def of(cls, schedule: Iterable[Run | Measure | Drop]) -> Size:
        """Count, without running anything."""
        size, alive = cls(), 1
        for step in schedule:
            if isinstance(step, Run):
                size.layer_forwards += len(step.pairs)
                alive += len(step.pairs)
                size.states = max(size.states, alive)
            elif isinstance(step, Drop):
                alive -= 1
        return size
