"""One cell of a study: search, and measure what the search returned.

Everything that is measured goes through the study's memo, so cells share what they have in common, and a cell that was
killed goes on where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Batch, LayerScores, Loss, Objective, Probe, Problem
from lpk.core.errors import blaming
from lpk.core.files import room
from lpk.core.memory import available_memory
from lpk.core.progress import Progress
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Items, Joined, Together
from lpk.core.pruning.joint import JointEvaluator
from lpk.core.pruning.loading import gathered, held, left_for_states, load_stack
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.parts import REPORTED, MadeOf, Parts, context, described, inputs
from lpk.core.pruning.precision import EXACT
from lpk.core.pruning.search import LossesOf, Outcome, Tally, check_scores, drive
from lpk.core.registry import Registry
from lpk.core.study.data import Data
from lpk.core.study.provenance import Provenance
from lpk.core.study.recipe import CellRecipe, StudyRecipe
from lpk.core.study.tables import DENSE, Cell, Front, Measure, Trial

if TYPE_CHECKING:
    from lpk.core.pruning.stack import LayerStack


class Workbench:
    """One model of a study, loaded, with the data that it is measured on.

    Attributes:
        stack: the model in the precision that searches run in.
        exact: the model in the precision that what they return is measured in.
    """

    def __init__(
        self,
        study: StudyRecipe,
        first: CellRecipe,
        provenance: Provenance,
        registry: Registry,
        memo: Memo,
        progress: Progress,
        *,
        stream: str = "auto",
        memory: int | None = None,
    ) -> None:
        """Load the model.

        Args:
            study: the study.
            first: a cell of this model.
            provenance: on which device, in which precision and by which versions it is measured.
            registry: the plugins.
            memo: where measurements are kept.
            progress: told how the work goes on.
            stream: whether layers' weights stay on the disk: ``always``, ``never``, or ``auto``.
            memory: bytes that may be taken; by default what the device has left.

        Raises:
            LpkError: the model or its data cannot be used.
        """
        self.study, self.registry, self.memo, self.progress = study, registry, memo, progress
        self.spec, self.precision, self.versions = provenance.spec, provenance.precision, provenance.versions
        self.parts = first.parts(registry)
        progress.stage(f"Loading {first.model}")
        self.spec.pull(progress)
        tokenizer = self.spec.tokenizer()
        memory, tell = memory or available_memory(self.spec.device), progress.note
        spec = replace(self.spec, dtype=self.precision.dtype)
        self.stack = self.exact = load_stack(spec, self.precision.head, stream, memory, tell)
        if not (self.precision.exact or study.measured == "as-searched"):
            left = max(0, memory - held(self.stack))
            self.exact = load_stack(replace(spec, dtype=EXACT), EXACT, stream, left, tell)
        self.stack.pack(left_for_states(memory, *{self.stack, self.exact}))  # of what both leave
        self._states = left_for_states(memory, *{self.stack, self.exact})
        self.spec.check_depth(first.layers, self.stack.layers)
        self._scores: dict[tuple[Any, ...], tuple[LayerScores, list[Probe], int]] = {}
        self.data = Data(study.calibrations(registry), tokenizer, self.stack.model.config, self.spec.device)

    def release(self) -> None:
        """Take no memory any more; nothing can be measured afterwards."""
        for stack in {self.stack, self.exact}:
            stack.release()

    # -- the search ---------------------------------------------------------------------------------------------------

    def search(self, cell: CellRecipe, workspace: Path) -> tuple[Cell, list[Trial], list[Front]]:
        """Run the cell's search.

        Args:
            cell: the cell.
            workspace: a folder for what the searcher leaves behind; there only if it left something.

        Raises:
            LpkError: it cannot be done.
        """
        begin, parts = time.perf_counter(), cell.parts(self.registry)
        items = self._items(cell, parts)
        outcome, tally, passed = self._outcome(cell, parts, items, workspace)
        (loss,) = self._evaluator_of(parts, items, self.exact).losses([outcome.best.mask])
        rows, cost = items.sequences / len(items), tally.cost
        found = Cell(
            model=cell.model,
            layers=cell.layers,
            objective=cell.objective,
            searcher=cell.searcher,
            scorer=parts.described["scorer"]["name"].removeprefix("lpk/") if parts.scorer else "",
            budget=cell.problem.budget,
            seed=cell.seed,
            status="done",
            error="",
            removed=outcome.best.mask.removed,
            calibration_loss=float(loss),
            masks=len(tally.masks),
            measurements=cost.measurements,
            layer_forwards=round(rows * cost.layer_forwards) + passed,
            naive_layer_forwards=round(rows * cost.naive_layer_forwards) + passed,
            seconds=round(time.perf_counter() - begin, 2),
        )
        return found, list(_trials(found, outcome)), list(_front(found, outcome, parts.part_names))

    def _outcome(self, cell: CellRecipe, parts: Parts, items: Joined, workspace: Path) -> tuple[Outcome, Tally, int]:
        """What the search tried and found, what that cost, and the layer-forwards of the scorer's other looks."""
        tally, passed, evaluator = Tally(), 0, self._evaluator_of(parts, items, self.stack)
        problem = replace(cell.problem, sequences=len(items), workspace=workspace)

        def losses_of(masks: Sequence[LayerMask], sequences: int) -> list[Loss]:
            losses = evaluator.losses(masks, sequences)
            tally.add(masks, len(losses[0].items))  # of several data one sequence of each at least
            self.progress.advance(0, f"{len(tally.masks)} masks")
            return losses

        if parts.scorer is not None:
            batched = gathered(items, self.stack, self._states)
            scores, asked, passed = self._score(cell, parts, _Looked(batched, len(items), evaluator.losses))
            problem = replace(problem, scores=scores)
            for look in asked:
                tally.add(look.masks, look.sequences)
        return _drive(parts, problem, losses_of), tally, passed

    def _score(self, cell: CellRecipe, parts: Parts, calibration: _Looked) -> tuple[LayerScores, list[Probe], int]:
        """The scores, made once, and what that took, which counts for each cell: masks, and layer-forwards of other looks."""
        import torch

        assert parts.scorer is not None
        about = parts.described["scorer"]
        key = (repr(about), cell.objective, cell.seed)
        if key not in self._scores:
            before = self.stack.layer_forwards
            with torch.inference_mode(), blaming(f"scorer {about['name']}"):
                scores = parts.scorer.score(self.stack, calibration)
            check_scores(about["name"], scores, self.stack.layers)
            self._scores[key] = scores, calibration.asked, self.stack.layer_forwards - before
        return self._scores[key]

    # -- what is measured of its answer -------------------------------------------------------------------------------

    def measures(self, cell: CellRecipe, mask: LayerMask) -> Iterator[Measure]:
        """Everything that the study asks about a mask: each objective on this cell's draw, texts, tasks."""
        for objective in self.study.objectives:
            values = {"objective": objective.choice, "calibration": self.study.calibration_of(objective)}
            asked = replace(cell, objective=objective.called, recipe=cell.recipe.model_copy(update=values))
            parts = asked.parts(self.registry)
            (loss,) = self._evaluator_of(parts, self._items(asked, parts), self.exact).losses([mask])
            yield self._measure(cell, mask, objective.called, "calibration", float(loss), loss)
        for text in self.study.texts:
            loss = self._log_loss(mask, self.data.text(text))
            yield self._measure(cell, mask, text.name, "perplexity", math.exp(min(float(loss), 700.0)), loss)
        for task in self.study.tasks:
            plain, normalised = self._accuracy(mask, self.data.questions(task))
            for kind, loss in (("accuracy", plain), ("accuracy-normalised", normalised)):
                yield self._measure(cell, mask, task.name, kind, 1 - float(loss), loss)

    def _measure(self, cell: CellRecipe, mask: LayerMask, name: str, kind: str, value: float, loss: Loss) -> Measure:
        dense, error = not mask.removed, _error(loss)
        return Measure(
            model=cell.model,
            objective="" if dense else cell.objective,
            searcher=DENSE if dense else cell.searcher,
            budget=len(mask),
            seed=cell.seed if kind == "calibration" or not dense else 0,
            measure=name,
            kind=kind,
            value=value,
            standard_error=value * error if error is not None and kind == "perplexity" else error,
            items=len(loss.items),
        )

    def _log_loss(self, mask: LayerMask, items: Items) -> Loss:
        """The logarithm of the perplexity."""
        entry = self.registry.find("objective", REPORTED.name)
        made: Any = entry.create({})
        (loss,) = self._evaluator(made, described(entry, made), items, self.exact).losses([mask])
        return loss

    def _accuracy(self, mask: LayerMask, items: Items) -> tuple[Loss, Loss]:
        """The share of wrong answers, by log-likelihood and by log-likelihood per byte, in one pass."""
        entry = self.registry.find("objective", "lpk/choice-accuracy")
        plain, normalised = (entry.create({"per": per}) for per in ("answer", "byte"))
        assert isinstance(plain, Objective)
        assert isinstance(normalised, Objective)
        about = described(entry, normalised)
        evaluator = self._evaluator(plain, described(entry, plain), items, self.exact, ((about, normalised),))
        (loss,) = evaluator.losses([mask])
        ((beside,),) = evaluator.losses_beside([mask]).values()
        return loss, beside

    # -- measuring ----------------------------------------------------------------------------------------------------

    def _items(self, cell: CellRecipe, parts: Parts) -> Joined:
        """The calibration items of a cell's draw."""
        return Joined.of(self.data.drawn(term, cell.seed) for term in parts.terms)

    def _evaluator_of(self, parts: Parts, items: Joined, stack: LayerStack) -> JointEvaluator:
        """Measures a cell's objective, and beside it those that it is made of."""
        pairs = zip(parts.terms, items.groups, strict=True)
        terms = [self._evaluator(term.objective, term.described, group, stack, term.made_of) for term, group in pairs]
        return JointEvaluator(items, terms, parts.places)

    def _evaluator(
        self, objective: Any, about: dict[str, Any], items: Items, stack: LayerStack, made_of: MadeOf = ()
    ) -> Evaluator:
        return Evaluator(
            stack,
            objective,
            items,
            self.memo,
            self._context(about, stack),
            self._states,
            on_cost=lambda cost: self.progress.advance(cost.layer_forwards),
            executor=self.parts.executor,
            beside={self._context(each, stack): part for each, part in made_of},
        )

    def _context(self, about: dict[str, Any], stack: LayerStack) -> str:
        searched = self.precision.dtype, self.precision.head
        dtype, head = searched if stack is self.stack else (EXACT, EXACT)
        given = inputs(stack.fingerprint, dtype, head, self.spec.device, self.versions)
        return context(given, about, self.parts.described["executor"])


class _Looked:
    """A cell's items as a scorer sees them.

    Attributes:
        asked: the masks whose losses it asked for, each time with on how many items.
    """

    def __init__(self, items: Items | Together, count: int, measure: LossesOf) -> None:
        self.items, self._count, self._measure = items, count, measure
        self.asked: list[Probe] = []

    def batches(self) -> Iterator[Batch]:
        return self.items.batches()

    def losses(self, masks: Sequence[LayerMask], sequences: int | None = None) -> Sequence[Loss]:
        look = Probe(masks, min(sequences or self._count, self._count))
        self.asked.append(look)
        return self._measure(look.masks, look.sequences)


def _drive(parts: Parts, problem: Problem, losses_of: LossesOf) -> Outcome:
    with room(problem.workspace):
        problem.workspace.mkdir(exist_ok=True)
        try:
            return drive(parts.searcher, problem, losses_of)
        finally:
            with suppress(OSError):  # not empty: an Optuna study
                problem.workspace.rmdir()


def _trials(cell: Cell, outcome: Outcome) -> Iterator[Trial]:
    for trial in outcome.trials:
        yield Trial(
            model=cell.model,
            objective=cell.objective,
            searcher=cell.searcher,
            budget=cell.budget,
            seed=cell.seed,
            step=trial.step,
            removed=trial.mask.removed,
            sequences=trial.sequences,
            loss=float(trial.loss),
            stopped=trial.stopped,
        )


def _front(cell: Cell, outcome: Outcome, parts: Sequence[str]) -> Iterator[Front]:
    for trial in outcome.front:
        for part, loss in zip(parts, trial.loss.parts, strict=True):
            yield Front(
                model=cell.model,
                objective=cell.objective,
                searcher=cell.searcher,
                budget=cell.budget,
                seed=cell.seed,
                removed=trial.mask.removed,
                part=part,
                loss=loss,
            )


def _error(loss: Loss) -> float | None:
    """The standard error of a weighted mean over items; of shares it is sqrt(p (1 - p) / (n - 1)).

    Of a sum over several data it is that of independent means.
    """
    if loss.terms:
        errors = [_error(term) for term in loss.terms]
        return None if None in errors else math.hypot(*filter(None, errors))
    count = len(loss.items)
    if count < 2:
        return None
    whole = math.fsum(loss.weights)
    squares = math.fsum((w / whole * (x - loss)) ** 2 for w, x in zip(loss.weights, loss.items, strict=True))
    return math.sqrt(squares * count / (count - 1))
