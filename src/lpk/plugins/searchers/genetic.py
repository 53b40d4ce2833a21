"""A genetic algorithm over masks of exactly the budget ("prior-guided GA" of "Rethinking Layer Redundancy", 2026).

The best fifth of a generation lives on. Each child has the layers that both parents remove, and of those that only one
does as many as the budget wants, drawn uniformly; with a probability of 0.15 one layer is then swapped. Population 16,
elitism 0.2, mutation 0.15 and 10 generations are the paper's. It says neither how the prior guides the search, nor how
parents are chosen and what mutates. Here the scorer's lowest layers, its three best runs and noisy copies of its
ranking are the first generation (without a scorer, random masks); a parent is the better of two drawn uniformly.

No mask is measured twice: a child that is known already is swapped on until it is new. Where they race, those of a
generation are stopped that will not be among the best fifth; as parents they rank by what was seen of them.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from random import Random

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Loss, Probe, Problem, Search, Searcher
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.proposals import count, seeds, swapped
from lpk.core.pruning.racing import Racing

#: A mask, and the loss that it ranks by.
Ranked = tuple[LayerMask, Loss]


class GeneticOptions(Racing):
    population: int = Field(16, ge=2, description="masks of a generation")
    elitism: float = Field(0.2, ge=0, lt=1, description="which share of them lives on, rounded down; one at least")
    mutation: float = Field(0.15, ge=0, le=1, description="how likely a child has one layer swapped")
    generations: int = Field(10, ge=0, description="how many after the first")
    noise: float = Field(0.2, ge=0, description="standard deviation of the noise on the scorer's ranking, 0 to 1")


class Genetic(Searcher[GeneticOptions]):
    scores = "optional"

    def search(self, problem: Problem) -> Search:
        options, random = self.options, problem.random()
        elite = max(1, int(options.elitism * options.population))
        first = seeds(problem, options.population, options.noise, random)
        known, population = set(first), (yield from self._ranked(problem, [], first, elite))
        for _ in range(options.generations):
            masks = [mask for mask, _ in population]
            children = self._children(problem, masks, known, options.population - elite, random)
            if not children:  # every mask there is has been measured
                break
            known.update(children)
            population = yield from self._ranked(problem, population[:elite], children, elite)
        if options.races:  # the last ones may have ended before all sequences
            yield [mask for mask, _ in population[:elite]]

    def _ranked(
        self, problem: Problem, elite: Sequence[Ranked], new: Sequence[LayerMask], keep: int
    ) -> Generator[Sequence[LayerMask] | Probe, Sequence[Loss], list[Ranked]]:
        """A generation, best first. Where it races, the elite does so too; else it has been measured."""
        if self.options.races:
            masks = [mask for mask, _ in elite]
            return (yield from self.options.race(problem, [*masks, *new], keep))
        losses = yield new
        return sorted([*elite, *zip(new, losses, strict=True)], key=lambda pair: pair[1])

    def _children(
        self, problem: Problem, population: Sequence[LayerMask], known: Collection[LayerMask], size: int, random: Random
    ) -> list[LayerMask]:
        """New masks by crossover and mutation; fewer where hardly any are left."""
        found: dict[LayerMask, None] = {}
        while len(found) < min(size, count(problem) - len(known)):
            one, other = (population[min(random.choices(range(len(population)), k=2))] for _ in range(2))
            child = _crossed(problem, one, other, random)
            if random.random() < self.options.mutation:
                child = swapped(problem, child, random)
            while child in known or child in found:
                child = swapped(problem, child, random)
            found[child] = None
        return list(found)


def _crossed(problem: Problem, one: LayerMask, other: LayerMask, random: Random) -> LayerMask:
    both = set(one.removed) & set(other.removed)
    either = sorted(set(one.removed) ^ set(other.removed))
    return problem.mask([*both, *random.sample(either, problem.budget - len(both))])


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "genetic",
        "Cross and mutate the best masks, seeded with the scorer's",
        f"{__name__}:Genetic",
        reference="https://arxiv.org/abs/2604.24938",
        options=GeneticOptions,
    )
