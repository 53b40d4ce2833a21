"""One run: score, search, measure, save. The order of work, and nothing of how any of it is done."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Calibration, LayerScores, Loss, Objective, Probe, Problem
from lpk.core.errors import blaming, in_words
from lpk.core.files import require_space, room, write_json, write_text
from lpk.core.memory import available_memory, enough
from lpk.core.progress import Progress
from lpk.core.pruning.catalog import CATALOG
from lpk.core.pruning.inputs import check_unchanged, corpora_of, input_files, located, states_of
from lpk.core.pruning.items import Joined, Measured
from lpk.core.pruning.mask import LayerMask, ranges
from lpk.core.pruning.memo import Cost, Memo
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.parts import MadeOf, Parts, context, inputs, kernels, resolved
from lpk.core.pruning.precision import EXACT, Precision
from lpk.core.pruning.racing import idle
from lpk.core.pruning.recipe import Recipe
from lpk.core.pruning.store import Store
from lpk.core.pruning.tables import write_tables
from lpk.core.registry import Registry

if TYPE_CHECKING:
    from lpk.core.pruning.calibration import Corpus
    from lpk.core.pruning.evaluator import Evaluator
    from lpk.core.pruning.items import Items
    from lpk.core.pruning.joint import JointEvaluator
    from lpk.core.pruning.search import Outcome, Trial
    from lpk.core.pruning.stack import LayerStack


#: Seconds that planning a search may take, for a progress bar that knows the end.
PATIENCE = 1.0


def execute(
    recipe: Recipe,
    registry: Registry,
    out: Path,
    progress: Progress,
    store: str | None = None,
    *,
    stream: str = "auto",
    memory: int | None = None,
) -> dict[str, Any]:
    """Run a recipe in a folder, going on from whatever an earlier process left there.

    A complete run is told again as it was recorded, if its model and data are still the same files.

    Args:
        recipe: what to do.
        registry: the plugins that may do it.
        out: the run's folder.
        progress: told how the work goes on.
        store: the address of a database that keeps the measurements, in place of a file in the folder.
        stream: whether layers' weights stay on the disk: ``always``, ``never``, or ``auto``. The results are the same.
        memory: bytes that may be taken; by default what the machine has left.

    Returns:
        ``{"run": ..., "cost": ...}``: what ``run.json`` and ``cost.json`` then say.

    Raises:
        LpkError: something about the input, a plugin or the machine has to change first.
    """
    from lpk.core.pruning.run_directory import RunDirectory

    recipe = resolved(recipe, registry)
    parts = Parts.of(recipe, registry)
    with room(out), enough(), RunDirectory(out, recipe) as directory:
        if (finished := directory.finished) is not None:
            check_unchanged(out, finished["cost"].get("input_files", {}), recipe, parts.terms)
            progress.stage(f"{out} is complete; this is what it recorded (another --out runs anew)")
            return finished
        read = states_of(recipe, parts.terms)
        corpora = corpora_of(recipe, parts.terms)
        spec = located(recipe)
        # A run goes on as it began, on whatever machine: its losses must not be of two precisions.
        begun = (directory.before or {}).get("precision")
        precision = Precision(**begun) if begun else Precision.decide(recipe.dtype, spec.device)
        spec, memory = replace(spec, dtype=precision.dtype), memory or available_memory(spec.device)
        run = _Run(recipe, parts, spec, precision, out, progress, stream, memory, read)
        if store:
            Store(store).check()  # before minutes of loading
        elif directory.before and not ((memo := out / "memo.sqlite").exists() and memo.stat().st_size):
            lack = "has no memo.sqlite, or an empty one"
            progress.note(f"{out} {lack}; if this run began with --store, give it again to find its losses")
        run.load(*corpora)
        facts = run.facts()
        require_space(out, run.space(), "this run")
        directory.begin(facts, progress.note)
        run.open_memo(facts, store or out / "memo.sqlite", directory.id)
        try:
            run.score()
            run.search()
            run.confirm()
            result = run.result()
            run.save(result)
        finally:
            run.memo.close()
        write_tables(out, run.outcome, parts.part_names)
        return directory.finish({**facts, "result": result}, run.cost)


@dataclass
class _Run:
    """The steps of a run, in order, and what they share."""

    recipe: Recipe
    parts: Parts
    spec: ModelSpec
    precision: Precision
    out: Path
    progress: Progress
    stream: str
    memory: int
    read: dict[str, list[int]]
    stack: LayerStack = field(init=False)
    problem: Problem = field(init=False)
    calibration: Joined = field(init=False)
    held_out: Items = field(init=False)
    memo: Memo = field(init=False)
    outcome: Outcome = field(init=False)
    best: LayerMask = field(init=False)
    cost: dict[str, Any] = field(init=False)
    finalists: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_state_bytes: int = 0
    packed_bytes: int = 0

    def load(self, given: Sequence[Corpus], other: Corpus) -> None:
        """Model, tokenizer and data: what is wrong with them is found here, before anything is written."""
        from lpk.core.pruning.loading import check_exact

        self.spec.pull(self.progress)
        layers = self.spec.layer_count()
        self.problem = replace(self.recipe.problem(layers), workspace=self.out)
        check_exact(self.spec, self.stream, self.memory)
        length, after = self.recipe.calibration.length, self.recipe.held_out
        with self._stage("load", f"Loading {self.spec.name}"):
            self.tokenizer = self.spec.tokenizer()
            drawn = zip(self.parts.terms, given, strict=True)
            calibration = Joined.of(term.draw(corpus, self.tokenizer, self.recipe.seed) for term, corpus in drawn)
            whole = all(other is not corpus for corpus in given)
            held_out = other.held_out(self.tokenizer, after.sequences, length, whole=whole)
            self.stored = self.spec.stored_dtype()
            self.stack = self._stack(self.precision.head)
        self.spec.check_depth(layers, self.stack.layers)
        for part in (calibration, held_out):
            part.check(self.stack.model.config.get_text_config())
        self.calibration = calibration.on(self.spec.device)
        self.held_out = held_out.on(self.spec.device)
        self.problem = replace(self.problem, sequences=len(calibration))

    def _stack(self, products: str) -> LayerStack:
        """The model, in memory or streamed."""
        from lpk.core.pruning.loading import left_for_states, load_stack

        stack = load_stack(self.spec, products, self.stream, self.memory, self.progress.note)
        self.packed_bytes = max(self.packed_bytes, stack.pack(left_for_states(self.memory, stack)))
        return stack

    @property
    def states(self) -> int:
        """Bytes for hidden states."""
        from lpk.core.pruning.loading import left_for_states

        return left_for_states(self.memory, self.stack)

    def facts(self) -> dict[str, Any]:
        """Every input, version and fingerprint: what ``run.json`` says from the beginning on."""
        stack = self.stack
        with self._stage("fingerprint", "Fingerprinting the model"):
            weights = stack.fingerprint
        packages = sorted({*kernels(self.spec.device), *self.parts.distributions})
        return {
            "schema_version": 1,
            "recipe": self.recipe.model_dump(mode="json"),
            "started_in": str(Path.cwd()),
            "plugins": self.parts.described,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
            "model": {
                "name": self.spec.name,
                "architecture": type(stack.model).__name__,
                "layers": stack.layers,
                "stack": stack.path,
                "evaluated": "layer by layer" if stack.shares_prefixes else "by whole forwards: its layers share state",
                "dtype": self.spec.dtype,
                "device": self.spec.device,
                "fingerprint": weights,
            },
            "precision": vars(self.precision),
            "calibration": self.calibration.describe(),
            "held_out": self.held_out.describe(),
            "budget": self.problem.budget,
            "protected": sorted(self.problem.protected),
        }

    def space(self) -> int:
        """Bytes that the run may write: a model at most as large as the dense one, and a little."""
        from lpk.core.pruning.checkpoint import checkpoint_bytes

        # The answer is confirmed in float32, and saved in it but for weights that were stored in what the search runs in.
        widened: int = 1 if self.stored == self.spec.dtype else 4 // self.stack.model.dtype.itemsize
        return checkpoint_bytes(self.stack, self.problem.dense, self.stored) * widened + 20_000_000

    def open_memo(self, facts: dict[str, Any], where: Path | str, name: str) -> None:
        """Open the memory, and find out everything but objective, mask and sequence that a loss depends on."""
        self.memo = Memo(where, name, self.progress.note)
        self.versions = {name: facts["versions"][name] for name in kernels(self.spec.device)}
        self._settle(facts["model"]["fingerprint"], self.precision.head)

    def _settle(self, model: str, products: str) -> None:
        """What the losses of the model that is loaded depend on; what the executor finds out is kept for a later process."""
        from lpk.core.pruning.layout import layouts

        self.inputs = inputs(model, self.spec.dtype, products, self.spec.device, self.versions)
        path, executor = self.out / "executor.json", self.parts.executor
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        executor.found = found.get(self.spec.dtype, {})
        with self._stage("layout", "Finding out how items go through the layers"):
            for group in (*self.calibration.groups, self.held_out):
                layouts(self.stack, group, executor)
        self.executor = {**self.parts.described["executor"], "found": dict(executor.found)}
        if executor.found:
            write_json(path, {**found, self.spec.dtype: executor.found})

    def score(self) -> None:
        """Ask the scorer, unless an earlier process has."""
        import torch

        from lpk.core.pruning.search import check_scores

        if self.parts.scorer is None:
            return
        path, described = self.out / "scores.json", self.parts.described["scorer"]
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if found and found["scorer"] == described and "interaction" in found:
            matrices = (tuple(map(tuple, found[name])) for name in ("runs", "similarity", "interaction"))
            scores = LayerScores(tuple(found["layers"]), *matrices)
        else:
            blamed, before = blaming(f"scorer {described['name']}"), self.stack.layer_forwards
            with self._stage("score", f"Scoring layers: {described['name']}"), torch.inference_mode(), blamed:
                scores = self.parts.scorer.score(self.stack, self._scored())
            check_scores(described["name"], scores, self.stack.layers)
            passed = self.stack.layer_forwards - before
            self.memo.spend(Cost(layer_forwards=passed, naive_layer_forwards=passed))
            write_json(path, {"scorer": described, **vars(scores)})
        self.problem = replace(self.problem, scores=scores)

    def _scored(self) -> Calibration:
        """The calibration items as a scorer gets them."""
        from lpk.core.pruning.loading import gathered

        return Measured(gathered(self.calibration, self.stack, self.states), self._searched().losses)

    def search(self) -> None:
        """Drive the searcher to its end."""
        from lpk.core.pruning.search import drive, forecast

        evaluator = self._searched()
        sequences, rows = len(self.calibration), self.calibration.sequences
        asked = self.parts.scored(self.problem.layers, sequences)
        before = [*asked, Probe([self.problem.dense], sequences)]
        expected = forecast(self.parts.searcher, self.problem, PATIENCE, before)
        total = None
        title = f"Searching: {self.parts.described['searcher']['name']}"
        if expected:
            planned, naive = (
                count * rows // sequences
                for count in (expected.cost.layer_forwards, expected.cost.naive_layer_forwards)
            )
            compared = sum(term.sequences.sequences for term in evaluator.terms if term.needs_dense)
            total = planned + (rows + compared) * self.stack.layers
            title += f", about {planned:,} layer-forwards ({naive:,} without sharing)"
        else:
            title += ", of a cost that cannot be told within a second"
        if why := idle(self.parts.searcher.options, sequences):
            self.progress.note(f"racing: {why}")

        def on_best(trial: Trial) -> None:
            self.progress.advance(0, f"best loss {trial.loss:.4f} without {trial.mask}")

        def losses_of(masks: Sequence[LayerMask], sequences: int) -> list[Loss]:
            self._plan(evaluator, masks, sequences)
            return evaluator.losses(masks, sequences)

        with self._stage("search", title, total):
            (dense,) = losses_of([self.problem.dense], sequences)
            self.outcome = drive(self.parts.searcher, self.problem, losses_of, on_best)
        self.best = self.outcome.best.mask
        self.calibration_loss = {"dense": dense, "pruned": self.outcome.best.loss}

    def confirm(self) -> None:
        """Measure the search's finalists again in float32, if it ran in less; the best of them is the answer."""
        if self.precision.exact:
            return
        losses: dict[LayerMask, float] = {}
        for trial in self.outcome.trials:
            if self.problem.accepts(trial.mask) and trial.sequences == self.problem.sequences:
                losses.setdefault(trial.mask, trial.loss)
        finalists = sorted(losses, key=losses.__getitem__)[: self.recipe.confirm]
        with self._stage("load exact", f"Loading {self.spec.name} in {EXACT}"):
            self.stack.release()  # first: there may be no room for both
            del self.stack  # and what was packed
            self.spec = replace(self.spec, dtype=EXACT)
            self.stack = self._stack(EXACT)
            model = self.stack.fingerprint
        self._settle(model, EXACT)
        evaluator = self._searched()
        masks = [self.problem.dense, *finalists]
        expected = self._plan(evaluator, masks).layer_forwards
        with self._stage("confirm", f"Measuring the best {len(finalists)} again in {EXACT}", expected):
            dense, *confirmed = evaluator.losses(masks)
        self.finalists = [
            {"removed": list(mask.removed), "search_loss": losses[mask], "confirmed_loss": loss}
            for mask, loss in zip(finalists, confirmed, strict=True)
        ]
        self.best = finalists[confirmed.index(min(confirmed))]
        self.calibration_loss = {"dense": dense, "pruned": min(confirmed)}

    def result(self) -> dict[str, Any]:
        """Measure held-out perplexity, and say what the search found."""
        from lpk.core.pruning.checkpoint import checkpoint_bytes, parameters

        best, trials = self.best, self.outcome.trials
        masks = {"dense": self.problem.dense, "pruned": best}
        evaluator = self._evaluator(self.parts.reported, self.parts.described["reported"], self.held_out)
        expected = self._plan(evaluator, list(masks.values())).layer_forwards
        with self._stage("held-out", "Measuring perplexity on held-out text", expected):
            losses = evaluator.losses(list(masks.values()))
        return {
            "removed": list(best.removed),
            "kept": list(best.kept),
            "calibration_loss": self.calibration_loss,
            "finalists": self.finalists,
            "held_out_perplexity": {name: _perplexity(loss) for name, loss in zip(masks, losses, strict=True)},
            "parameters": {name: parameters(self.stack, mask) for name, mask in masks.items()},
            "weight_bytes": {name: checkpoint_bytes(self.stack, mask, self.stored) for name, mask in masks.items()},
            "masks": {
                "asked": len(trials),
                "distinct": len({trial.mask for trial in trials}),
                "stopped_early": sum(trial.stopped for trial in trials),
            },
        }

    def save(self, result: dict[str, Any]) -> None:
        """Measure the smaller model's speed beside the dense one's, and write it and its recipe."""
        from lpk.core.pruning import checkpoint
        from lpk.core.pruning.speed import tokens_per_second

        mask, perplexity = self.best, result["held_out_perplexity"]
        known = CATALOG.get(self.spec.name)
        base = known.base if known else "" if Path(self.spec.name).expanduser().exists() else self.spec.name
        body = (
            f"Made by lpk: searcher `{self.recipe.searcher.name}`, objective `{self.recipe.objective.name}`. Held-out "
            f"perplexity {perplexity['dense']:.2f} before, {perplexity['pruned']:.2f} after; nothing was trained since."
        )
        card = checkpoint.model_card(base, mask, body, known.licence if known else "")
        speed = None  # of a streamed model: that would be the disk's
        if not self.stack.streamed:
            with self._stage("speed", "Measuring tokens per second"):
                try:
                    speed = tokens_per_second(self.stack, {"dense": self.problem.dense, "pruned": mask})
                except Exception as error:  # a model whose cache cannot be used may still be saved
                    self.progress.note(f"speed is not measured: {in_words(error)}")
        with self._stage("save", f"Saving the model without layers {ranges(mask.removed)}"):
            into, tell = self.out / "model", self.progress.note
            checkpoint.save(self.stack, mask, self.tokenizer, into, card, self.stored, tell)
            recipe = checkpoint.mergekit_recipe(base or self.spec.name, mask, self.spec.dtype)
            write_text(self.out / "mergekit.yml", recipe)
        self.cost = {
            **vars(self.memo.cost()),
            "peak_state_bytes": self.peak_state_bytes,
            "packed_bytes": self.packed_bytes,
            "measurements_found_in_memo": self.memo.found,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "streamed": bool(self.stack.streamed),
            "tokens_per_second": speed,
            "input_files": input_files(self.read),
            "model_file_bytes": sum(file.stat().st_size for file in (self.out / "model").glob("*.safetensors")),
        }

    def _searched(self) -> JointEvaluator:
        """Measures the objective on the calibration items."""
        from lpk.core.pruning.joint import JointEvaluator

        pairs = zip(self.parts.terms, self.calibration.groups, strict=True)
        terms = [self._evaluator(term.objective, term.described, items, term.made_of) for term, items in pairs]
        return JointEvaluator(self.calibration, terms, self.parts.places)

    def _evaluator(
        self, objective: Objective[Any], about: dict[str, Any], items: Items, made_of: MadeOf = ()
    ) -> Evaluator:
        from lpk.core.pruning.evaluator import Evaluator

        advance = self.progress.advance
        return Evaluator(
            self.stack,
            objective,
            items,
            self.memo,
            self._context(about),
            self.states,
            on_cost=lambda cost: advance(cost.layer_forwards),
            executor=self.parts.executor,
            beside={self._context(each): part for each, part in made_of},
        )

    def _plan(
        self, evaluator: Evaluator | JointEvaluator, masks: Sequence[LayerMask], sequences: int | None = None
    ) -> Cost:
        """What measuring these masks will cost; of its states, the run's record has the most there ever were."""
        planned = evaluator.plan(masks, sequences)
        self.peak_state_bytes = max(self.peak_state_bytes, planned.peak_state_bytes)
        return planned.cost

    def _context(self, objective: dict[str, Any]) -> str:
        return context(self.inputs, objective, self.executor)

    @contextmanager
    def _stage(self, name: str, title: str, total: int | None = None) -> Iterator[None]:
        begin = time.perf_counter()
        self.progress.stage(title, total)
        yield
        self.seconds[name] = time.perf_counter() - begin


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # beyond 700 nats a token, e to it is no float64
