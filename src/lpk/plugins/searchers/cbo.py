"""Constrained binary optimisation (2026): the masks that a quadratic model of the loss says are best, then measured.

    min x'Qx  over x in {0, 1}^n with sum x = budget;  x_i = 1 removes layer i

``gradient`` is the paper's: Q = A'A / m, A the gradients of m sequences' losses by a gate on each layer. A scorer has to
give it (``interaction``); nothing is measured but the answers. ``pairwise`` needs no scorer: it measures each layer and
each pair of layers removed, n + n (n - 1) / 2 masks, and takes

    Q_ii = D_i,  Q_ij = (D_ij - D_i - D_j) / 2;  D the rise of the loss

which is exact for a loss that is quadratic in x. "Rethinking Layer Redundancy" seems to have run this one: its CBO took as
long as 475 evaluations, where 30 layers have 465 such masks.

The paper enumerates all sets, on a GPU. Here ``auto`` does so up to ``limit`` of them, then has HiGHS prove the best ones
(:mod:`lpk.core.pruning.quadratic`), and anneals where that takes too many nodes or there are more than 50 layers. The model is only a model, and the paper
found a better mask at its 17th lowest energy than at its lowest: so the best ``solutions`` are measured. On six tiny models
(benchmarks/regret.py) the best of 20 was 0.3 standard deviations above the optimum, the first 1.9. ``solver.json`` says who
solved it, whether that is proven, and the energies.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from itertools import combinations
from typing import Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Loss, Options, Problem, Search, Searcher
from lpk.core.errors import UsageError
from lpk.core.files import write_json
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.quadratic import Chosen, Matrix, annealed, energies, enumerated, proven

#: More layers are not left to branch and bound unasked. Gram matrices, all solved at the root: the five best of 46 items took
#: 2 s, of 62 items 30 s, of 78 more than 5 minutes. Nodes do not bound that, and seconds would not give the same answer twice.
PROVABLE = 50
#: Where it is said in the searcher's workspace how the quadratic problem was solved.
SOLVER = "solver.json"


class CBOOptions(Options):
    variant: Literal["pairwise", "gradient"] = Field(
        "pairwise", description="where Q is from: measured pairs, or a scorer that gives interactions (gates)"
    )
    solver: Literal["auto", "enumerate", "milp", "annealing"] = Field("auto", description="of the quadratic problem")
    limit: int = Field(5_000_000, ge=1, description="enumerate no more sets than this")
    nodes: int = Field(100, ge=1, description="branch-and-bound nodes that HiGHS may take for each solution")
    solutions: int = Field(20, ge=1, description="how many of the lowest energies are measured")


class CBO(Searcher[CBOOptions]):
    scores = "optional"

    def search(self, problem: Problem) -> Search:
        if self.options.variant == "gradient":
            matrix = _given(problem)
        else:
            matrix = yield from _measured(problem)
        solver, found = self._solved(matrix, problem)
        masks = [problem.mask(problem.candidates[i] for i in chosen) for chosen in found]
        lowest = energies(matrix, found, problem.budget).tolist()
        solutions = [{"removed": mask.removed, "energy": energy} for mask, energy in zip(masks, lowest, strict=True)]
        told = {"schema_version": 1, "solver": solver, "proven": solver != "annealing", "solutions": solutions}
        write_json(problem.workspace / SOLVER, told)
        yield masks

    def _solved(self, matrix: Matrix, problem: Problem) -> tuple[str, list[Chosen]]:
        """Which solver found the sets of lowest energy, and these."""
        options, size = self.options, problem.budget
        sets = math.comb(len(matrix), size)
        solver, wanted = options.solver, min(options.solutions, sets)
        if solver == "enumerate" and sets > options.limit:
            raise UsageError(f"searcher 'cbo': {sets:,} sets; its limit is {options.limit:,}: -O limit={sets}")
        if problem.rehearsed:  # for as many sets as there will be; a solver may take minutes
            return "annealing", annealed(matrix, size, wanted, problem.random(), restarts=1)
        if solver == "enumerate" or (solver == "auto" and sets <= options.limit):
            return "enumerate", enumerated(matrix, size, wanted)
        if solver == "milp" or (solver == "auto" and len(matrix) <= PROVABLE):
            best = proven(matrix, size, wanted, options.nodes)
            if best:
                return "milp", best
            if solver == "milp":
                more = f"-O nodes={10 * options.nodes}, or -O solver=annealing"
                raise UsageError(f"searcher 'cbo': no proof within {options.nodes} nodes; {more}")
        return "annealing", annealed(matrix, size, wanted, problem.random())


def _given(problem: Problem) -> Matrix:
    """The scorer's interactions of the layers that may be removed."""
    if problem.scores is None or not problem.scores.interaction:
        raise UsageError("searcher 'cbo': variant=gradient needs a scorer of interactions between layers: gates")
    every = problem.scores.interaction
    return [[every[one][other] for other in problem.candidates] for one in problem.candidates]


def _measured(problem: Problem) -> Generator[Sequence[LayerMask], Sequence[Loss], Matrix]:
    """What each layer and each pair costs. All are asked for together, so that they share layers.

    At a fixed budget the dense model's loss adds the same to every mask; the lowest measured stands for it.
    """
    layers = problem.candidates
    alone = [(layer,) for layer in layers]
    pairs = list(combinations(layers, 2)) if problem.budget > 1 else []
    losses = yield [problem.mask(removed) for removed in (*alone, *pairs)]
    rise = {removed: loss - min(losses) for removed, loss in zip((*alone, *pairs), losses, strict=True)}
    for one, other in pairs:
        rise[one, other] -= rise[one,] + rise[other,]

    def entry(one: int, other: int) -> float:
        return rise[one,] if one == other else rise.get((min(one, other), max(one, other)), 0.0) / 2

    return [[entry(one, other) for other in layers] for one in layers]


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "cbo",
        "The lowest energies of a quadratic model of the loss, measured",
        f"{__name__}:CBO",
        reference="https://arxiv.org/abs/2602.00161",
        options=CBOOptions,
    )
