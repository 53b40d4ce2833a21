"""The checks that every plugin of a kind must pass. Each failure says which promise is broken."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lpk.core.contracts import (
    Batch,
    Executor,
    LayerScores,
    Loss,
    Objective,
    Options,
    Outputs,
    Problem,
    Question,
    Scorer,
    Searcher,
)
from lpk.core.errors import UsageError
from lpk.core.evidence.contracts import Finding, Rule
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.parts import bound
from lpk.core.pruning.search import drive
from lpk.core.registry import Entry, Registry, describe_options, installed
from lpk.testing.sources import source_checks
from lpk.testing.tiny import random_sequences, tiny_model

if TYPE_CHECKING:
    from lpk.core.pruning.stack import LayerStack

#: What importing a plugin's module must not import: ``lpk --help`` and ``lpk plugins list`` import them all.
HEAVY: Final = ("torch", "transformers", "optuna", "pymupdf", "numpy")


@dataclass(frozen=True)
class Check:
    """One promise of one plugin; calling it raises AssertionError, or what the plugin raised, if it is broken."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        self.run()


def checks(
    kind: str, name: str, registry: Registry | None = None, options: Mapping[str, Any] | None = None
) -> list[Check]:
    """Every check for the installed plugin of this kind and (plain or qualified) name.

    Args:
        kind: its kind.
        name: its name.
        registry: where it is looked up, if not among all that is installed.
        options: of a source: with which it finds papers, such as a file, or a server on this machine that replays
            answers. Without them only what it refuses is checked.

    Raises:
        LpkError: there is no such plugin, it is broken, or its kind has no use for options.
    """
    if options and kind != "source":
        raise UsageError(f"a {kind} is checked as it is, without options; a source may need some to find papers")
    entry = (registry or installed()).find(kind, name)
    of_kinds: dict[str, Mapping[str, Callable[[Entry], None]]] = {
        "scorer": _scorer_checks,
        "searcher": _searcher_checks,
        "objective": _objective_checks,
        "executor": _executor_checks,
        "rule": _rule_checks,
        "source": source_checks(options),
    }
    of_kind = of_kinds.get(kind, {})
    found = {"import-is-light": _import_is_light, "options-round-trip": _options_round_trip, **of_kind}
    return [Check(promise, lambda check=check: check(entry)) for promise, check in found.items()]  # type: ignore[misc]


def _import_is_light(entry: Entry) -> None:
    code = f"import sys, {entry.provider.module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"importing {entry.provider.module} fails: {done.stderr.strip().splitlines()[-1:]}"
    assert done.stdout.strip() == "[]", (
        f"importing {entry.provider.module} imports {done.stdout.strip()}; import them where they are used"
    )


def _options_round_trip(entry: Entry) -> None:
    options = entry.component.options
    for described in describe_options(options):
        assert described["help"], f"option {described['name']!r} has no description"
        assert not described["required"], f"option {described['name']!r} has no default"
    made = entry.options({})
    again = entry.options(json.loads(made.model_dump_json()))
    assert made == again, f"options do not survive JSON: {made!r} became {again!r}"
    as_text = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in made.model_dump(mode="json").items()
    }
    assert made == entry.options(as_text), "options do not survive -O name=value"


# Searchers -----------------------------------------------------------------------------------------------------------

#: (layers, budget, protected).
_PROBLEMS: Final = ((6, 1, ()), (6, 3, (0, 5)), (8, 6, (0, 7)), (5, 4, ()))


#: Calibration sequences of each.
_SEQUENCES: Final = 8


def _losses_of(masks: Sequence[LayerMask], sequences: int) -> list[Loss]:
    """Losses with interactions and no ties, that differ a little from sequence to sequence."""
    return [
        Loss.mean((_loss(mask) + 0.01 * math.sin(len(mask) + 7 * item) for item in range(sequences)), [1.0] * sequences)
        for mask in masks
    ]


def _loss(mask: LayerMask) -> float:
    alone = sum(math.sin(3 * i + 1) + 1.5 for i in mask.removed)
    return alone + 0.01 * sum(i * j for i in mask.removed for j in mask.removed)


def _problems(folder: str, seed: int = 0) -> Iterator[Problem]:
    for number, (layers, budget, protected) in enumerate(_PROBLEMS):
        importance = [math.cos(5 * layer) + 2 for layer in range(layers + 1)]
        scores = LayerScores.from_pairs([[sum(importance[a:b]) for b in range(layers + 1)] for a in range(layers + 1)])
        alike = tuple(tuple(math.cos(0.4 * (a - b)) for b in range(layers)) for a in range(layers))
        scores = replace(scores, similarity=alike)
        workspace = Path(folder) / str(number)
        workspace.mkdir(exist_ok=True)
        yield Problem(layers, budget, frozenset(protected), scores, _SEQUENCES, seed, workspace)


def _searches(entry: Entry) -> list[list[tuple[LayerMask, float]]]:
    searcher = entry.create()
    assert isinstance(searcher, Searcher)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [drive(searcher, problem, _losses_of) for problem in _problems(folder)]
        return [[(trial.mask, trial.loss) for trial in outcome.trials] for outcome in outcomes]


def _budget_and_protection(entry: Entry) -> None:
    # drive() refuses a protected layer, an empty batch, and a search that never tries a mask of the budget.
    assert len(_searches(entry)) == len(_PROBLEMS)


def _searcher_is_deterministic(entry: Entry) -> None:
    assert _searches(entry) == _searches(entry), "the same problem, seed and losses gave other masks; resume would fail"


def _declares_scores(entry: Entry) -> None:
    searcher = entry.create()
    assert isinstance(searcher, Searcher)
    assert searcher.scores in ("ignored", "optional", "required"), f"scores is {searcher.scores!r}"
    if searcher.scores != "required":
        with tempfile.TemporaryDirectory() as folder:
            drive(searcher, Problem(6, 2, sequences=_SEQUENCES, workspace=Path(folder)), _losses_of)


_searcher_checks: Final = {
    "budget-and-protection": _budget_and_protection,
    "same-seed-same-masks": _searcher_is_deterministic,
    "works-without-scores": _declares_scores,
}


# Scorers and objectives, on a tiny model -----------------------------------------------------------------------------


def _stack() -> LayerStack:
    from lpk.core.pruning.stack import LayerStack

    return LayerStack(tiny_model())


def _padded(batches: Sequence[Batch], pad: int) -> Batch:
    """Batches of one sequence each as one batch, with this token wherever there is none, and two columns more."""
    import torch

    width = max(batch.ids.shape[1] for batch in batches) + 2
    ids = torch.full((len(batches), width), pad)
    for row, batch in enumerate(batches):
        ids[row, : batch.ids.shape[1]] = batch.ids[0]
    return Batch(ids, torch.cat([batch.lengths for batch in batches]))


def _ragged() -> list[Batch]:
    whole = list(random_sequences(3, 20).batches())
    return [
        Batch(batch.ids[:, :length], batch.lengths.new_tensor([length]))
        for batch, length in zip(whole, (20, 13, 7), strict=True)
    ]


@dataclass
class _Given:
    """A calibration of ready batches, and made-up losses."""

    given: Sequence[Batch]
    asked: list[tuple[Sequence[LayerMask], int]] = field(default_factory=list)

    def batches(self) -> Iterator[Batch]:
        return iter(self.given)

    def losses(self, masks: Sequence[LayerMask], sequences: int | None = None) -> list[Loss]:
        self.asked.append((list(masks), sequences or _SEQUENCES))
        return _losses_of(*self.asked[-1])


def _scored(entry: Entry, stack: LayerStack, batches: Iterable[Batch]) -> LayerScores:
    import torch

    scorer = entry.create()
    assert isinstance(scorer, Scorer)
    with torch.inference_mode():
        return scorer.score(stack, _Given(list(batches)))


def _one_score_a_layer(entry: Entry) -> None:
    stack = _stack()
    scores = _scored(entry, stack, random_sequences().batches())
    assert len(scores.layers) == stack.layers, f"{len(scores.layers)} scores for {stack.layers} layers"
    assert all(map(math.isfinite, scores.layers)), "a score is no finite number"
    for start, run in enumerate(scores.runs):
        assert len(run) == stack.layers - start, f"{len(run)} runs begin at layer {start}, not {stack.layers - start}"
    for matrix in (scores.similarity, scores.interaction):
        assert len(matrix) in (0, stack.layers), f"a matrix of {len(matrix)} rows for {stack.layers} layers"
        for one, row in enumerate(matrix):
            symmetric = all(math.isclose(value, matrix[other][one], abs_tol=1e-9) for other, value in enumerate(row))
            assert symmetric, f"similarity or interaction is not symmetric at layer {one}"


def _scorer_tells_its_cost(entry: Entry) -> None:
    import torch

    stack, given, scorer = _stack(), _Given(list(random_sequences().batches())), entry.create()
    assert isinstance(scorer, Scorer)
    with torch.inference_mode():
        scorer.score(stack, given)
    rows = sum(len(batch.ids) for batch in given.given)
    told = stack.layers * rows * {"states": 1, "gradients": 2, "nothing": 0}[scorer.looks_at]
    assert stack.layer_forwards == told, (
        f"it runs {stack.layer_forwards} layers, looks_at={scorer.looks_at!r} says {told}"
    )
    asks = [(list(look.masks), look.sequences) for look in scorer.asks(stack.layers, _SEQUENCES)]
    assert given.asked == asks, "asks() does not give the masks whose losses score() asks for"


def _scorer_is_deterministic(entry: Entry) -> None:
    batches = list(random_sequences().batches())
    assert _scored(entry, _stack(), batches) == _scored(entry, _stack(), batches)


def _scorer_leaves_model(entry: Entry) -> None:
    stack = _stack()
    before = _state(stack)
    _scored(entry, stack, random_sequences().batches())
    assert _state(stack) == before, "scoring changed the model"


def _scorer_ignores_padding(entry: Entry) -> None:
    stack, ragged = _stack(), _ragged()
    alone = _scored(entry, stack, ragged)
    padded = [_scored(entry, stack, [_padded(ragged, pad)]) for pad in (0, 5)]
    for scores in padded:
        close = all(
            math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) for a, b in zip(scores.layers, alone.layers, strict=True)
        )
        assert close, f"padding counts: {scores.layers} padded, {alone.layers} alone"


def _state(stack: LayerStack) -> dict[str, Any]:
    """All that a plugin might leave changed in a model."""
    model = stack.model
    return {
        "weights": {name: tensor.clone().numpy().tobytes() for name, tensor in model.state_dict().items()},
        "config": model.config.to_dict(),
        "modules": [
            (name, type(m).__name__, m.training, "forward" in vars(m), len(m._forward_hooks), len(m._forward_pre_hooks))
            for name, m in model.named_modules()
        ],
        "gradients": [p.grad is not None for p in model.parameters()],
    }


_scorer_checks: Final = {
    "one-score-a-layer": _one_score_a_layer,
    "same-input-same-scores": _scorer_is_deterministic,
    "cost-as-told": _scorer_tells_its_cost,
    "model-unchanged": _scorer_leaves_model,
    "padding-never-counts": _scorer_ignores_padding,
}


def _asked(objective: Objective[Any], batches: Sequence[Batch], pad: int = 0) -> Batch:
    """Sequences as this objective takes them: with answers that follow a prompt, or as the options of one question."""
    batch = _padded(batches, pad)
    if objective.items == "sequences":
        return batch
    scored = batch.real()
    scored[:, :3] = False
    question = Question(1, tuple(range(9, 9 + len(batches)))) if objective.items == "questions" else None
    return Batch(batch.ids, batch.lengths, scored, question)


def _losses(objective: Objective[Any], stack: LayerStack, batch: Batch) -> list[float]:
    """Without layer 2."""
    import torch

    def outputs(mask: LayerMask) -> Outputs:
        start = stack.start(batch)
        hidden = start.hidden
        for layer in mask.kept:
            hidden = stack.layer(layer, hidden, start)
        return stack.outputs(batch, hidden)

    with torch.inference_mode():
        dense = outputs(LayerMask(stack.layers)) if objective.needs_dense else None
        losses = objective.loss(outputs(LayerMask(stack.layers, (2,))), dense)
        items = 1 if batch.question else len(batch.lengths)
        assert losses.shape == (items,), f"losses of shape {tuple(losses.shape)} for {items} items"
        assert objective.weights(batch).shape == (items,), "not one weight for each item"
    return [float(loss) for loss in losses]


def _objective(entry: Entry) -> Objective[Any]:
    objective = entry.create()
    assert isinstance(objective, Objective)
    bound(objective, installed())
    assert objective.items in ("sequences", "answers", "questions"), f"items is {objective.items!r}"
    return objective


def _one_loss_an_item(entry: Entry) -> None:
    objective = _objective(entry)
    losses = _losses(objective, _stack(), _asked(objective, _ragged()))
    assert all(map(math.isfinite, losses)), f"a loss is no finite number: {losses}"


def _objective_is_deterministic(entry: Entry) -> None:
    objective = _objective(entry)
    batch = _asked(objective, _ragged())
    assert _losses(objective, _stack(), batch) == _losses(objective, _stack(), batch)


def _objective_ignores_padding(entry: Entry) -> None:
    objective, stack, ragged = _objective(entry), _stack(), _ragged()
    padded = [_losses(objective, stack, _asked(objective, ragged, pad)) for pad in (0, 5)]
    if objective.items != "questions":
        padded.append([_losses(objective, stack, _asked(objective, [batch]))[0] for batch in ragged])
    for losses in padded[1:]:
        close = all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(losses, padded[0], strict=True))
        assert close, f"padding counts: {losses} and {padded[0]}"


def _objective_leaves_model(entry: Entry) -> None:
    objective, stack = _objective(entry), _stack()
    before = _state(stack)
    _losses(objective, stack, _asked(objective, _ragged()))
    assert _state(stack) == before, "measuring changed the model"


_objective_checks: Final = {
    "one-loss-an-item": _one_loss_an_item,
    "same-input-same-loss": _objective_is_deterministic,
    "padding-never-counts": _objective_ignores_padding,
    "model-unchanged": _objective_leaves_model,
}


# Executors -----------------------------------------------------------------------------------------------------------


def _run_by(executor: Executor[Any], stack: LayerStack) -> list[list[float]]:
    """The losses of some masks on sequences of several lengths."""
    from lpk.core.pruning.evaluator import Evaluator
    from lpk.core.pruning.items import Sequences
    from lpk.core.pruning.memo import Memo

    objective: Any = installed().find("objective", "lpk/perplexity").create()
    whole = random_sequences(4, 20).ids
    ragged = Sequences("ragged", (whole[0], whole[1][:13], whole[2], whole[3][:7]))
    masks = [LayerMask(stack.layers, removed) for removed in ((), (1,), (1, 2), (2, 4), (0, 5))]
    with tempfile.TemporaryDirectory() as folder:
        memo = Memo(Path(folder) / "memo")
        try:
            losses = Evaluator(stack, objective, ragged, memo, "conformance", executor=executor).losses(masks)
        finally:
            memo.close()
    return [list(loss.items) for loss in losses]


def _agrees_with_one_by_one(entry: Entry) -> None:
    executor = entry.create()
    assert isinstance(executor, Executor)
    plain, ours = _run_by(Executor(Options()), _stack()), _run_by(executor, _stack())
    for here, there in zip(ours, plain, strict=True):
        close = all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(here, there, strict=True))
        assert close, f"losses are {here}, where one state after the other gives {there}"


def _executor_leaves_model(entry: Entry) -> None:
    executor, stack = entry.create(), _stack()
    assert isinstance(executor, Executor)
    before = _state(stack)
    _run_by(executor, stack)
    assert _state(stack) == before, "running changed the model"


_executor_checks: Final = {
    "agrees-with-one-by-one": _agrees_with_one_by_one,
    "model-unchanged": _executor_leaves_model,
}


# Rules ---------------------------------------------------------------------------------------------------------------


def _rule(entry: Entry) -> Rule[Any]:
    rule = entry.create()
    assert isinstance(rule, Rule)
    return rule


def _says_what_it_is(entry: Entry) -> None:
    rule = _rule(entry)
    for name in ("id", "title", "remedy"):
        said = getattr(rule, name, "")
        assert str(said).strip(), f"it does not say its {name}"
    assert getattr(rule, "round", 0) in range(1, 100), "its round is not a number from 1"
    assert rule.severity in ("error", "warning", "info"), f"its severity is {rule.severity!r}"


def _every_ledger(entry: Entry) -> None:
    from lpk.testing.mutants import MUTANTS, clean

    rule = _rule(entry)
    made = [clean(), *(mutant.make(clean()) for mutant in MUTANTS[::7]), replace(clean(), records=(), artifacts={})]
    for ledger in (material.snapshot() for material in made):
        subjects = list(rule.subjects(ledger))
        assert all(isinstance(subject, str) for subject in subjects), "a subject is an id"
        assert len(set(subjects)) == len(subjects), "it looks at one thing twice"
        found = [list(rule.examine(ledger, subject)) for subject in subjects]
        assert all(isinstance(each, Finding) for some in found for each in some), "what it finds is no Finding"
        again = [list(_rule(entry).examine(ledger, subject)) for subject in subjects]
        assert found == again, "the same ledger gives other findings"


def _no_false_alarm(entry: Entry) -> None:
    from lpk.testing.mutants import clean

    rule, ledger = _rule(entry), clean().snapshot()
    found = [each.message for subject in rule.subjects(ledger) for each in rule.examine(ledger, subject)]
    assert not found, f"it finds something in the ledger in which nothing is wrong: {found[0]}"


_rule_checks: Final = {
    "says-what-it-is": _says_what_it_is,
    "examines-every-ledger": _every_ledger,
    "no-false-alarm": _no_false_alarm,
}
