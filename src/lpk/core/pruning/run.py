"""One run: score, search, save, prove. The order of work, and nothing of how any of it is done."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import LayerScores, Objective, Problem, Scorer, Searcher
from lpk.core.errors import EnvironmentMissing, UsageError
from lpk.core.files import require_space, write_json, write_text
from lpk.core.progress import Progress
from lpk.core.pruning.mask import LayerMask, ranges
from lpk.core.pruning.memo import Cost, Memo
from lpk.core.pruning.models import CATALOG, ModelSpec
from lpk.core.pruning.recipe import Choice, Recipe
from lpk.core.registry import Entry, Registry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lpk.core.pruning.calibration import Corpus, Sequences
    from lpk.core.pruning.evaluator import Evaluator
    from lpk.core.pruning.search import Outcome
    from lpk.core.pruning.stack import LayerStack

#: The objective that held-out perplexity is reported by.
REPORTED = "lpk/perplexity"


@dataclass(frozen=True)
class Parts:
    """The plugins of a run, made and checked before anything heavy is loaded."""

    objective: Objective[Any]
    reported: Objective[Any]
    scorer: Scorer[Any] | None
    searcher: Searcher[Any]
    entries: dict[str, Entry]

    @classmethod
    def of(cls, recipe: Recipe, registry: Registry) -> Parts:
        """Find and make every plugin that the recipe names.

        Raises:
            LpkError: one is unknown, ambiguous or broken, or an option is wrong.
        """
        entries: dict[str, Entry] = {}
        made: dict[str, Any] = {}
        for kind, choice in choices(recipe).items():
            entries[kind] = registry.find(kind, choice.name)
            made[kind] = entries[kind].create(choice.options)
        searcher = made["searcher"]
        if searcher.scores == "ignored":
            made.pop("scorer", None), entries.pop("scorer", None)
        if searcher.scores == "required" and "scorer" not in made:
            raise UsageError(f"searcher {recipe.searcher.name!r} needs a scorer")
        reported = registry.find("objective", REPORTED).create()
        return cls(made["objective"], reported, made.get("scorer"), searcher, entries)  # type: ignore[arg-type]

    def describe(self, recipe: Recipe) -> dict[str, Any]:
        """Qualified name, version and every option's value, so that the run can be repeated when names clash."""
        chosen = choices(recipe)
        return {
            kind: {
                "name": entry.qualified,
                "version": entry.provider.version,
                "options": entry.options(chosen[kind].options).model_dump(mode="json"),
            }
            for kind, entry in self.entries.items()
        }


def choices(recipe: Recipe) -> dict[str, Choice]:
    """The plugins that a recipe names, by kind."""
    named = {"objective": recipe.objective, "scorer": recipe.scorer, "searcher": recipe.searcher}
    return {kind: choice for kind, choice in named.items() if choice is not None}


def require_torch() -> None:
    """Say plainly that pruning needs more than the base installation.

    Raises:
        EnvironmentMissing: torch or transformers cannot be imported.
    """
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise EnvironmentMissing(f'this needs {error.name}: pip install "lpk[prune]"') from error


def spec_of(recipe: Recipe) -> ModelSpec:
    """The model a recipe names, on the device it says.

    Raises:
        UsageError: there is no such device here.
    """
    import torch

    device = recipe.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: {str(error).splitlines()[0]}") from None
    return ModelSpec(recipe.model, recipe.dtype, device, frozenset(recipe.allow))


def plan(recipe: Recipe, registry: Registry) -> dict[str, Any]:
    """What a run would do and cost. Nothing is downloaded, no weight is loaded, nothing is written.

    Raises:
        LpkError: the run would be refused.
    """
    from lpk.core.pruning.calibration import Corpus
    from lpk.core.pruning.search import forecast, made_up_scores

    require_torch()
    parts = Parts.of(recipe, registry)
    layers = spec_of(recipe).layer_count()
    problem = recipe.problem(layers)
    given = Corpus.read(recipe.calibration.source, recipe.calibration.field)
    count, tokens = given.size(recipe.calibration.sequences, recipe.calibration.length)
    held_out, _ = _held_out_corpus(recipe, given).size(recipe.held_out.sequences, recipe.calibration.length)
    if parts.scorer:
        problem = replace(problem, scores=made_up_scores(layers))
    searched = forecast(parts.searcher, problem, count, tokens)
    passes = count * (1 + bool(parts.scorer) + parts.objective.needs_dense)
    return {
        "recipe": recipe.model_dump(mode="json"),
        "plugins": parts.describe(recipe),
        "layers": layers,
        "budget": problem.budget,
        "protected": sorted(problem.protected),
        "calibration": {"sequences": count, "tokens": tokens},
        "masks": searched.measurements // count,
        "layer_forwards": {
            "search": searched.layer_forwards,
            "search, a full forward for each mask": searched.naive_layer_forwards,
            "dense model on the calibration sequences": passes * layers,
            "held-out perplexity": held_out * (2 * layers - problem.budget),
        },
    }


def execute(recipe: Recipe, registry: Registry, out: Path, progress: Progress) -> dict[str, Any]:
    """Run a recipe in a folder, going on from whatever an earlier process left there.

    Returns:
        What ``run.json`` and ``cost.json`` then say.

    Raises:
        LpkError: something about the input, a plugin or the machine has to change first.
    """
    from lpk.core.pruning.run_directory import RunDirectory

    require_torch()
    parts = Parts.of(recipe, registry)
    spec = spec_of(recipe)
    spec.locate()
    with RunDirectory(out, recipe) as directory:
        if (finished := directory.finished) is not None:
            return {"run": finished, "cost": json.loads((out / "cost.json").read_text(encoding="utf-8"))}
        return _Run(recipe, parts, spec, directory.path, progress).run(directory)


class _Run:
    """The state that the steps of a run share."""

    def __init__(self, recipe: Recipe, parts: Parts, spec: ModelSpec, out: Path, progress: Progress) -> None:
        self.recipe, self.parts, self.spec, self.out, self.progress = recipe, parts, spec, out, progress
        self.seconds: dict[str, float] = {}

    def run(self, directory: Any) -> dict[str, Any]:
        stack, tokenizer, problem = self._load()
        calibration, held_out = self._data(stack, tokenizer)
        with self._stage("fingerprint", "Fingerprinting the model"):
            facts = self._facts(stack, problem, calibration, held_out)
        require_space(self.out, self._space(stack), "this run")
        directory.begin(facts)
        memo = Memo(self.out / "memo.sqlite")
        before = memo.cost().measurements
        try:
            problem = replace(problem, scores=self._score(stack, calibration, facts), workspace=self.out)
            outcome, losses = self._search(stack, problem, calibration, memo, facts)
            perplexity = self._perplexity(stack, outcome.best.mask, held_out, memo, facts)
            result = self._result(stack, outcome, losses, perplexity)
            speed = self._save(stack, tokenizer, outcome, result)
            cost = self._cost(memo.cost(), before, speed)
        finally:
            memo.close()
        self._tables(outcome, cost)
        whole = directory.finish({**facts, "result": result})
        self.progress.done()
        return {"run": whole, "cost": cost}

    def _load(self) -> tuple[LayerStack, PreTrainedTokenizerBase | None, Problem]:
        from lpk.core.pruning.stack import LayerStack

        if self.spec.name in CATALOG:
            CATALOG[self.spec.name].pull(self.progress)
        problem = self.recipe.problem(self.spec.layer_count())
        with self._stage("load", f"Loading {self.spec.name}"):
            tokenizer = self.spec.tokenizer()
            stack = LayerStack(self.spec.load())
        if stack.layers != problem.layers:
            message = f"its configuration says {problem.layers} layers, its forward pass runs {stack.layers}"
            raise UsageError(f"model {self.spec.name}: {message}; lpk cannot prune it")
        return stack, tokenizer, problem

    def _data(self, stack: LayerStack, tokenizer: PreTrainedTokenizerBase | None) -> tuple[Sequences, Sequences]:
        from lpk.core.pruning.calibration import Corpus

        with self._stage("tokenize", "Reading the calibration data"):
            asked, after = self.recipe.calibration, self.recipe.held_out
            corpus = Corpus.read(asked.source, asked.field)
            calibration = corpus.draw(tokenizer, asked.sequences, asked.length, self.recipe.seed)
            other = _held_out_corpus(self.recipe, corpus)
            held_out = other.held_out(tokenizer, after.sequences, asked.length, whole=after.source is not None)
        vocabulary = stack.model.config.get_text_config().vocab_size
        for part in (calibration, held_out):
            part.check(vocabulary)
        return replace(calibration, device=self.spec.device), replace(held_out, device=self.spec.device)

    def _facts(
        self, stack: LayerStack, problem: Problem, calibration: Sequences, held_out: Sequences
    ) -> dict[str, Any]:
        from lpk.core.pruning.checkpoint import parameters
        from lpk.core.pruning.models import fingerprint

        packages = [
            "lpk",
            "torch",
            "transformers",
            *(entry.provider.distribution for entry in self.parts.entries.values()),
        ]
        return {
            "schema_version": 1,
            "recipe": self.recipe.model_dump(mode="json"),
            "plugins": self.parts.describe(self.recipe),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in sorted(set(packages))},
            },
            "model": {
                "name": self.spec.name,
                "architecture": type(stack.model).__name__,
                "layers": stack.layers,
                "stack": stack.path,
                "evaluated": "layer by layer" if stack.shares_prefixes else "by whole forwards: its layers share state",
                "parameters": parameters(stack, LayerMask(stack.layers)),
                "dtype": self.spec.dtype,
                "device": self.spec.device,
                "fingerprint": fingerprint(stack.model),
            },
            "calibration": calibration.describe(),
            "held_out": held_out.describe(),
            "budget": problem.budget,
            "protected": sorted(problem.protected),
        }

    def _space(self, stack: LayerStack) -> int:
        """Bytes that the run will write: the pruned model at most as large as the dense one, and a little."""
        from lpk.core.pruning.checkpoint import checkpoint_bytes

        return checkpoint_bytes(stack, LayerMask(stack.layers)) + 100_000_000

    def _score(self, stack: LayerStack, calibration: Sequences, facts: dict[str, Any]) -> LayerScores | None:
        import torch

        if self.parts.scorer is None:
            return None
        path = self.out / "scores.json"
        entry = facts["plugins"]["scorer"]
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            return LayerScores(tuple(found["layers"]), tuple(map(tuple, found["runs"])))
        with self._stage("score", f"Scoring layers: {entry['name']}"), torch.inference_mode():
            scores = self.parts.scorer.score(stack, calibration)
        _check_scores(entry["name"], scores, stack.layers)
        write_json(path, {"scorer": entry, "layers": scores.layers, "runs": scores.runs})
        return scores

    def _evaluator(
        self, stack: LayerStack, objective: Objective[Any], on: Sequences, memo: Memo, facts: dict[str, Any]
    ) -> Evaluator:
        from lpk.core.pruning.evaluator import Evaluator

        said = facts["plugins"]["objective"] if objective is self.parts.objective else REPORTED
        versions = {name: facts["versions"][name] for name in ("lpk", "torch", "transformers")}
        matters = [facts["model"]["fingerprint"], said, self.spec.dtype, self.spec.device, versions]
        context = hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()[:32]
        return Evaluator(stack, objective, on, memo, context, lambda cost: self.progress.advance(cost.layer_forwards))

    def _search(
        self, stack: LayerStack, problem: Problem, calibration: Sequences, memo: Memo, facts: dict[str, Any]
    ) -> tuple[Outcome, dict[str, float]]:
        from lpk.core.pruning.search import Trial, drive, forecast

        evaluator = self._evaluator(stack, self.parts.objective, calibration, memo, facts)
        expected = forecast(self.parts.searcher, problem, len(calibration.ids), calibration.tokens)
        name = self.parts.entries["searcher"].qualified

        def on_best(trial: Trial) -> None:
            self.progress.advance(0, f"best loss {trial.loss:.4f} without {trial.mask}")

        with self._stage("search", f"Searching: {name}", expected.layer_forwards + len(calibration.ids) * stack.layers):
            (dense,) = evaluator.losses([problem.dense])
            outcome = drive(self.parts.searcher, problem, evaluator.losses, on_best)
        return outcome, {"dense": dense, "pruned": outcome.best.loss}

    def _perplexity(
        self, stack: LayerStack, mask: LayerMask, held_out: Sequences, memo: Memo, facts: dict[str, Any]
    ) -> dict[str, float]:
        evaluator = self._evaluator(stack, self.parts.reported, held_out, memo, facts)
        masks = [LayerMask(stack.layers), mask]
        with self._stage("held-out", "Measuring perplexity on held-out text", evaluator.plan(masks).layer_forwards):
            dense, pruned = evaluator.losses(masks)
        return {"dense": math.exp(dense), "pruned": math.exp(pruned)}

    def _result(
        self, stack: LayerStack, outcome: Outcome, losses: dict[str, float], perplexity: dict[str, float]
    ) -> dict[str, Any]:
        from lpk.core.pruning.checkpoint import checkpoint_bytes, parameters

        mask, dense = outcome.best.mask, LayerMask(stack.layers)
        return {
            "removed": list(mask.removed),
            "kept": list(mask.kept),
            "calibration_loss": losses,
            "held_out_perplexity": perplexity,
            "parameters": {"dense": parameters(stack, dense), "pruned": parameters(stack, mask)},
            "weight_bytes": {"dense": checkpoint_bytes(stack, dense), "pruned": checkpoint_bytes(stack, mask)},
            "masks": {"asked": len(outcome.trials), "distinct": len({trial.mask for trial in outcome.trials})},
        }

    def _save(
        self, stack: LayerStack, tokenizer: PreTrainedTokenizerBase | None, outcome: Outcome, result: dict[str, Any]
    ) -> dict[str, dict[str, float]]:
        from lpk.core.pruning import checkpoint
        from lpk.core.pruning.speed import tokens_per_second

        mask = outcome.best.mask
        known = CATALOG.get(self.spec.name)
        base = known.summary.split(",")[0] if known else ("" if Path(self.spec.name).exists() else self.spec.name)
        perplexity = result["held_out_perplexity"]
        body = (
            f"Made by lpk with the searcher `{self.recipe.searcher.name}` and the objective `{self.recipe.objective.name}`. "
            f"Held-out perplexity {perplexity['dense']:.2f} before, {perplexity['pruned']:.2f} after; nothing was trained afterwards."
        )
        card = checkpoint.model_card(base, mask, body, known.licence if known else "")
        with self._stage("save", f"Saving the model without layers {ranges(mask.removed)}"):
            checkpoint.save(stack, mask, tokenizer, self.out / "model", card)
            write_text(self.out / "mergekit.yml", checkpoint.mergekit_recipe(self.spec.name, mask, self.spec.dtype))
        with self._stage("speed", "Measuring tokens per second"):
            smaller = checkpoint.load(self.out / "model", stack.model)
            return tokens_per_second({"dense": stack.model, "pruned": smaller})

    def _cost(self, cost: Cost, before: int, speed: dict[str, dict[str, float]]) -> dict[str, Any]:
        files = sum(file.stat().st_size for file in (self.out / "model").glob("*.safetensors"))
        return {
            "layer_forwards": cost.layer_forwards,
            "naive_layer_forwards": cost.naive_layer_forwards,
            "head_tokens": cost.head_tokens,
            "measurements": cost.measurements,
            "measurements_found_in_memo": before,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "tokens_per_second": {
                name: {way: round(value, 1) for way, value in ways.items()} for name, ways in speed.items()
            },
            "model_file_bytes": files,
        }

    def _tables(self, outcome: Outcome, cost: dict[str, Any]) -> None:
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["trial", "step", "removed", "layers_removed", "loss"])
        for number, trial in enumerate(outcome.trials):
            writer.writerow(
                [number, trial.step, " ".join(map(str, trial.mask.removed)), len(trial.mask), repr(trial.loss)]
            )
        write_text(self.out / "trials.csv", table.getvalue())
        write_json(self.out / "cost.json", cost)

    @contextmanager
    def _stage(self, name: str, title: str, total: int | None = None) -> Iterator[None]:
        begin = time.perf_counter()
        self.progress.stage(title, total)
        yield
        self.seconds[name] = time.perf_counter() - begin


def _held_out_corpus(recipe: Recipe, calibration: Corpus) -> Corpus:
    """Where held-out sequences come from: what the recipe says; else the calibration text, or the shipped one beside ready ids."""
    from lpk.core.pruning.calibration import EMBEDDED, Corpus

    if recipe.held_out.source:
        return Corpus.read(recipe.held_out.source, recipe.calibration.field)
    return Corpus.read(EMBEDDED) if calibration.ids else calibration


def _check_scores(name: str, scores: LayerScores, layers: int) -> None:
    from lpk.core.errors import PluginError

    if not isinstance(scores, LayerScores) or len(scores.layers) != layers:
        raise PluginError(f"scorer {name} did not give one score for each of {layers} layers")
    if not all(map(math.isfinite, [*scores.layers, *(score for run in scores.runs for score in run)])):
        raise PluginError(f"scorer {name} gave a score that is no finite number")
