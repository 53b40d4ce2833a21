"""Evolution by level switches (Sieberling et al. 2024, "EvoPress"): one parent, many offspring, the best goes on.

An offspring is its parent with a few layers switched: one put back for each one removed, so the budget stays. The paper
draws them uniformly, starts from the best of 64 random masks, and selects in stages: on 1/16 of the tokens, which two
offspring survive, and then on all, with the parent. Here a scorer's best layers are the first parent and layers are
drawn by their rank in its order, no mask is tried twice, and ``selection=race`` takes the stages' place: offspring are
stopped when they are shown to be worse, not when their number is too high. With ``scorer: none``,
``selection=stages`` and ``patience`` at the number of generations it is the paper's; but its stages draw new text each time,
and here they look at the same. ``confidence=1`` measures every offspring in full.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from random import Random
from typing import Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Loss, Probe, Problem, Search, Searcher
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.proposals import drawn, swapped
from lpk.core.pruning.racing import Racing

#: Of the sequences, what the published first stage looks at (2,048 of 32,768 tokens), and how many offspring survive it.
STAGE, SURVIVORS = 16, 2


class EvolutionaryOptions(Racing):
    selection: Literal["race", "stages"] = Field(
        "race", description="how offspring are chosen among: by a race, or in the two published stages"
    )
    confidence: float = Field(
        0.9, gt=0.5, le=1, description="stop an offspring early once it is worse with this probability; 1 never does"
    )
    offspring: int = Field(32, ge=1, description="new masks in a generation")
    generations: int = Field(
        0, ge=0, description="at most so many; 0 for budget x (layers - budget) / 1.5, as published"
    )
    patience: int = Field(5, ge=1, description="end after so many generations without a better mask")
    switches: int = Field(3, ge=1, description="layers switched at once, at most; the lower of two draws counts")
    initial: int = Field(64, ge=1, description="random masks to choose the first parent from, without a scorer")

    @property
    def races(self) -> bool:
        return self.selection == "race" and super().races


class Evolutionary(Searcher[EvolutionaryOptions]):
    scores = "optional"

    def search(self, problem: Problem) -> Search:
        options, random = self.options, problem.random()
        generations = options.generations or int(problem.budget * (problem.layers - problem.budget) / 1.5)
        first = self._first(problem, random)
        parent = yield from self._select(problem, [], first)
        (loss,) = yield [parent]
        tried, waited = set(first), 0
        for _ in range(generations):
            offspring = self._offspring(problem, parent, tried, random)
            if waited == options.patience or not offspring:
                return
            tried.update(offspring)
            best = yield from self._select(problem, [parent], offspring)
            (its_loss,) = yield [best]  # the race may have ended before all sequences
            waited += 1
            if its_loss < loss:
                parent, loss, waited = best, its_loss, 0

    def _first(self, problem: Problem, random: Random) -> list[LayerMask]:
        if problem.scores:
            return [problem.lowest(problem.scores.layers)]
        return list(dict.fromkeys(drawn(problem, random) for _ in range(self.options.initial)))

    def _select(
        self, problem: Problem, parents: Sequence[LayerMask], offspring: Sequence[LayerMask]
    ) -> Generator[Sequence[LayerMask] | Probe, Sequence[Loss], LayerMask]:
        """The best of them all; in stages the parents join the last one only."""
        if self.options.selection == "stages":
            look = Probe(offspring, max(1, problem.sequences // STAGE))
            losses = yield look
            places = sorted(range(len(offspring)), key=lambda place: losses[place])
            survivors = [offspring[place] for place in places[:SURVIVORS]]
            look.stopped.update(set(offspring) - set(survivors))
            finalists = [*parents, *survivors]
            losses = yield finalists
            return finalists[losses.index(min(losses))]
        (best, _), *_ = yield from self.options.race(problem, [*parents, *offspring])
        return best

    def _offspring(self, problem: Problem, parent: LayerMask, tried: set[LayerMask], random: Random) -> list[LayerMask]:
        """New masks a few switches from the parent; fewer where hardly any are left."""
        found: dict[LayerMask, None] = {}
        for _ in range(20 * self.options.offspring):
            mask = parent
            for _ in range(min(random.randint(1, self.options.switches) for _ in range(2))):
                mask = _switched(problem, mask, random)
            if mask not in tried:
                found[mask] = None
            if len(found) == self.options.offspring:
                break
        return list(found)


def _switched(problem: Problem, mask: LayerMask, random: Random) -> LayerMask:
    """One removed layer for one kept. With scores, the layer of rank r is 1 / r times as likely as the first."""
    if problem.scores is None or not problem.removable(mask):
        return swapped(problem, mask, random)
    scores = problem.scores.layers
    back = sorted(mask.removed, key=lambda layer: -scores[layer])
    out = sorted(problem.removable(mask), key=lambda layer: scores[layer])
    ranks = [1 / rank for rank in range(1, problem.layers + 1)]
    (restored,), (dropped,) = (random.choices(order, ranks[: len(order)]) for order in (back, out))
    return mask.restore(restored).drop(dropped)


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "evolutionary",
        "Switch a few layers of the best mask so far, race the results, keep the best",
        f"{__name__}:Evolutionary",
        reference="https://arxiv.org/abs/2410.14649",
        options=EvolutionaryOptions,
    )
