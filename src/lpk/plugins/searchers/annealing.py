"""Simulated annealing (Kirkpatrick, Gelatt & Vecchi 1983) by swaps of one removed layer for a kept one.

A mask that is worse by d replaces the current one with probability exp(-d / T). T falls geometrically from ``hot`` to
``cold`` times the spread of losses, which is measured at the start: the standard deviation over the first mask (the
scorer's lowest layers, else a random mask) and ``probes`` random swaps of it. With ``batch`` several proposals are measured
at once, so that they share layers; the first accepted is taken and the others are forgone, though measured. No mask is
measured twice.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher
from lpk.core.pruning.proposals import drawn, swapped


class AnnealingOptions(Options):
    steps: int = Field(160, ge=0, description="how many swaps to propose after the start")
    hot: float = Field(1.0, gt=0, description="the first temperature, in spreads of the losses at the start")
    cold: float = Field(0.01, gt=0, description="the last temperature, in the same unit")
    batch: int = Field(1, ge=1, description="how many proposals to measure at once")
    probes: int = Field(8, ge=1, description="how many swaps of the first mask to measure the spread on")


class Annealing(Searcher[AnnealingOptions]):
    scores = "optional"

    def search(self, problem: Problem) -> Search:
        options, random = self.options, problem.random()
        mask = problem.lowest(problem.scores.layers) if problem.scores else drawn(problem, random)
        first = list(dict.fromkeys([mask, *(swapped(problem, mask, random) for _ in range(options.probes))]))
        known = dict(zip(first, (yield first), strict=True))
        spread = statistics.pstdev(map(float, known.values()))
        for step in range(0, options.steps, options.batch):
            temperature = spread * options.hot * (options.cold / options.hot) ** (step / options.steps)
            proposals = [swapped(problem, mask, random) for _ in range(min(options.batch, options.steps - step))]
            new = [proposal for proposal in dict.fromkeys(proposals) if proposal not in known]
            if new:
                known.update(zip(new, (yield new), strict=True))
            for proposal in proposals:
                worse = known[proposal] - known[mask]
                if worse <= 0 or (temperature and random.random() < math.exp(-worse / temperature)):
                    mask = proposal
                    break


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "annealing",
        "Swap layers at random, taking what is worse ever more rarely",
        f"{__name__}:Annealing",
        reference="https://doi.org/10.1126/science.220.4598.671",
        options=AnnealingOptions,
    )
