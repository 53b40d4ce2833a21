"""Drives a searcher: gives it losses for masks, keeps what it asked for, and knows the best."""

from __future__ import annotations

import itertools
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lpk.core.contracts import LayerScores, Loss, Probe, Problem, Searcher
from lpk.core.errors import PluginError, blaming
from lpk.core.pruning.front import front
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost
from lpk.core.pruning.schedule import Trie


@dataclass(frozen=True)
class Trial:
    """One mask that a searcher asked for, in its ``step``-th batch, on the first ``sequences`` sequences.

    Attributes:
        stopped: whether what this look showed ruled it out, so that it was measured on no more.
    """

    step: int
    mask: LayerMask
    loss: Loss
    sequences: int
    stopped: bool = False


@dataclass(frozen=True)
class Outcome:
    """All that a search asked for, and its answer: the lowest loss at the budget on all sequences, of equals the first."""

    trials: tuple[Trial, ...]
    best: Trial

    @property
    def front(self) -> tuple[Trial, ...]:
        """Of the masks that could have been the answer those that no other one beats in every part of the objective.

        Empty where it has no two parts. Whoever searched for whatever, the losses under the parts were measured: so each
        search has a front, and a searcher that is after it (NSGA-II) is one that finds more of it. A loss that is not
        finite is left out.
        """
        whole = {
            trial.mask: trial
            for trial in self.trials
            if len(trial.mask) == len(self.best.mask)
            and trial.sequences == self.best.sequences
            and all(map(math.isfinite, trial.loss.parts))
        }
        several = len(self.best.loss.parts) > 1
        return tuple(
            whole[mask] for mask in front({mask: trial.loss.parts for mask, trial in whole.items() if several})
        )


#: Gives the losses of masks on the first so many sequences.
LossesOf = Callable[[Sequence[LayerMask], int], Sequence[Loss]]


def drive(
    searcher: Searcher[Any],
    problem: Problem,
    losses_of: LossesOf,
    on_best: Callable[[Trial], None] = lambda trial: None,
) -> Outcome:
    """Run a search to its end.

    Raises:
        PluginError: the searcher asked for what is no mask of this problem, or never for one of the budget.
    """
    trials: list[Trial] = []
    best: Trial | None = None
    with blaming(f"searcher {searcher.name}"):
        search = searcher.search(problem)
        asked = next(search, None)
    for step in itertools.count():
        if asked is None:
            break
        look = asked if isinstance(asked, Probe) else Probe(asked, problem.sequences)
        _check(searcher.name, problem, look.masks, look.sequences)
        losses = list(losses_of(look.masks, look.sequences))
        # Of several data one sequence of each is measured at least, which may be more than were asked for.
        counts = [max(look.sequences, len(loss.items)) for loss in losses]
        looked = [Trial(step, *each) for each in zip(look.masks, losses, counts, strict=True)]
        for trial in looked:
            whole = trial.sequences == problem.sequences and problem.accepts(trial.mask)
            if whole and (best is None or trial.loss < best.loss):
                best = trial
                on_best(best)
        with blaming(f"searcher {searcher.name}"):
            try:
                asked = search.send(losses)
            except StopIteration:
                asked = None
        ruled_out = look.stopped if min(counts) < problem.sequences else ()  # on all, nothing is left to be spared
        trials += [replace(trial, stopped=trial.mask in ruled_out) for trial in looked]
    if best is None:
        tried = f"one mask that removes exactly {problem.budget} layers, on all {problem.sequences} sequences"
        raise PluginError(f"searcher {searcher.name} ended without trying {tried}")
    return Outcome(tuple(trials), best)


def _check(name: str, problem: Problem, masks: Sequence[LayerMask], sequences: int) -> None:
    if not masks:
        raise PluginError(f"searcher {name} asked for an empty batch of masks")
    if not 1 <= sequences <= problem.sequences:
        raise PluginError(f"searcher {name} asked for losses on {sequences} sequences; there are {problem.sequences}")
    for mask in masks:
        if not isinstance(mask, LayerMask) or mask.layers != problem.layers:
            raise PluginError(f"searcher {name} asked for {mask!r}, which is no mask of {problem.layers} layers")
        if not problem.protected.isdisjoint(mask.removed):
            raise PluginError(f"searcher {name} removes a protected layer: {mask}")
        if len(mask) > problem.budget:
            raise PluginError(f"searcher {name} removes {len(mask)} layers ({mask}), more than {problem.budget}")


def made_up_scores(layers: int, sign: int = 1) -> LayerScores:
    """Scores of no meaning, for planning what has no scores yet; with ``sign`` -1 layers rank the other way round."""
    upto = list(itertools.accumulate((1 + sign * math.sin(12.9898 * layer) for layer in range(layers)), initial=0.0))
    scores = LayerScores.from_pairs([[abs(end - begin) for end in upto] for begin in upto])
    near = tuple(tuple(1 / (1 + abs(one - other)) for other in upto[:-1]) for one in upto[:-1])
    interaction = tuple(tuple(a * b for b in scores.layers) for a in scores.layers)
    return replace(scores, similarity=near, interaction=interaction)


class Tally:
    """What batches of masks cost where nothing was known before: each mask on each sequence once, layers shared in a batch.

    Attributes:
        cost: of all batches so far, but for the head.
        masks: on how many sequences each has been measured.
    """

    def __init__(self, known: Mapping[LayerMask, int] = MappingProxyType({})) -> None:
        """Begin to count; masks that are known have been measured on so many sequences before."""
        self.cost, self.masks = Cost(), dict(known)

    def add(self, masks: Sequence[LayerMask], sequences: int) -> None:
        """Count a batch on the first ``sequences`` sequences."""
        have = {mask: self.masks.get(mask, 0) for mask in masks}
        looked = sorted({count for count in have.values() if count < sequences})
        for begin, end in itertools.pairwise([*looked, sequences]):
            missing = [mask for mask, count in have.items() if count <= begin]
            self.cost += Cost(
                layer_forwards=(end - begin) * Trie.of(missing).edges(),
                naive_layer_forwards=(end - begin) * sum(len(mask.kept) for mask in missing),
                measurements=(end - begin) * len(missing),
            )
        self.masks |= {mask: max(count, sequences) for mask, count in have.items()}


def tally_of(looks: Iterable[Probe]) -> Tally:
    """What some looks cost, one after the other."""
    tally = Tally()
    for look in looks:
        tally.add(look.masks, look.sequences)
    return tally


@dataclass(frozen=True)
class Forecast:
    """What a search takes on made-up losses.

    Attributes:
        cost: of what was not known before, as a tally has it.
        looks: each mask that it asks for, with on how many sequences.
    """

    cost: Cost
    looks: frozenset[tuple[LayerMask, int]]

    @property
    def masks(self) -> frozenset[LayerMask]:
        """Those that it asks for."""
        return frozenset(mask for mask, _ in self.looks)

    def agrees(self, other: Forecast | None) -> bool:
        """Whether one on other losses is the same: the same masks or, of one mask, whichever it is, the same cost."""
        if other is None or self.cost != other.cost:
            return False
        return self.looks == other.looks or len(self.looks) == len(other.looks) == 1


def forecast(
    searcher: Searcher[Any],
    problem: Problem,
    patience: float,
    before: Sequence[Probe] = (),
    *,
    contrary: bool = False,
) -> Forecast | None:
    """What a search will cost, by running it on made-up losses; None if that takes more than ``patience`` seconds.

    Exact for a searcher whose masks do not depend on the losses; for the others the masks, and so what they share,
    differ. The made-up loss of a mask is the sum of its layers' made-up scores, so that searches behave, and differs
    between sequences by a tenth of a score, so that races do.

    Args:
        searcher: the searcher.
        problem: what it is given.
        patience: seconds.
        before: what has been measured before, by a scorer say.
        contrary: rank masks the other way round, and let no race stop one.
    """
    known, looks = tally_of(before), set[tuple[LayerMask, int]]()
    tally = Tally(known.masks)
    scores = made_up_scores(problem.layers, -1 if contrary else 1).layers
    made_up = _undecided_loss if contrary else _made_up_loss
    end = time.monotonic() + patience

    def losses_of(masks: Sequence[LayerMask], sequences: int) -> list[Loss]:
        if time.monotonic() > end:
            raise _OutOfPatience
        tally.add(masks, sequences)
        looks.update((mask, sequences) for mask in masks)
        return [made_up(mask, scores, sequences) for mask in masks]

    with tempfile.TemporaryDirectory() as scratch:
        try:
            drive(searcher, replace(problem, workspace=Path(scratch), rehearsed=True), losses_of)
        except _OutOfPatience:
            return None
    return Forecast(tally.cost, frozenset(looks))


def forecasts(
    searcher: Searcher[Any], problem: Problem, patience: float, before: Sequence[Probe] = (), *, scored: bool
) -> tuple[Forecast | None, Forecast | None]:
    """The forecast, and that on contrary losses: where the two agree, the cost depends on none.

    Args:
        searcher: the searcher.
        problem: what it is given, but for scores.
        patience: seconds for each.
        before: what has been measured before.
        scored: whether there will be scores; they are made up too.
    """

    def told(sign: int) -> Forecast | None:
        given = replace(problem, scores=made_up_scores(problem.layers, sign) if scored else None)
        return forecast(searcher, given, patience, before, contrary=sign < 0)

    found = told(1)
    return found, found and told(-1)


def _made_up_loss(mask: LayerMask, scores: Sequence[float], sequences: int) -> Loss:
    total = sum(scores[layer] for layer in mask.removed)
    noise = random.Random(repr(mask.removed))
    return Loss.mean((total + 0.1 * noise.gauss() for _ in range(sequences)), [1.0] * sequences)


def _undecided_loss(mask: LayerMask, scores: Sequence[float], sequences: int) -> Loss:
    """One that goes up and down from sequence to sequence by so much that it is not shown to be worse than another."""
    total, swing = sum(scores[layer] for layer in mask.removed), 1000 * random.Random(repr(mask.removed)).gauss()
    return Loss.mean((total + swing * (-1) ** item for item in range(sequences)), [1.0] * sequences)


class _OutOfPatience(Exception):
    pass


def check_scores(name: str, scores: LayerScores, layers: int) -> None:
    """Raise PluginError unless a scorer gave a finite number for every layer."""
    if not isinstance(scores, LayerScores) or len(scores.layers) != layers:
        raise PluginError(f"scorer {name} did not give one score for each of {layers} layers")
    rows = (scores.layers, *scores.runs, *scores.similarity, *scores.interaction)
    if not all(math.isfinite(score) for row in rows for score in row):
        raise PluginError(f"scorer {name} gave a score that is no finite number")
