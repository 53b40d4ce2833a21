"""The plugins that a recipe names, made and checked before anything heavy is loaded."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lpk.core.contracts import Executor, Objective, Probe, Scorer, Searcher
from lpk.core.errors import UsageError, blaming
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.head import fused_cross_entropy
from lpk.core.pruning.precision import EXACT, machine_of
from lpk.core.pruning.recipe import CalibrationRecipe, Choice, Recipe
from lpk.core.registry import Entry, Registry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lpk.core.pruning.items import Items

#: The objective that held-out perplexity is reported by.
REPORTED = Choice(name="lpk/perplexity")


#: Objectives that another is made of, each with what a record says of it.
MadeOf = tuple[tuple[dict[str, Any], Objective[Any]], ...]


class DrawSize(NamedTuple):
    """Of a draw, or of several together: how many items, sequences and tokens."""

    items: int
    sequences: int
    tokens: int


@dataclass(frozen=True)
class Term:
    """An objective, or as much of one as is measured on the same calibration data: a run's loss is the sum of its terms.

    Attributes:
        described: what a record says of the objective.
        made_of: the objectives that it is made of.
        places: where each of these stands among the parts of the whole.
        calibration: the data.
        role: what they are for, as messages say it.
    """

    objective: Objective[Any]
    described: dict[str, Any]
    made_of: MadeOf
    places: tuple[int, ...]
    calibration: CalibrationRecipe
    role: str

    def check(self, corpus: Corpus) -> None:
        """Raise UsageError unless the data hold what the objective is measured on."""
        corpus.check(self.objective.items)

    def draw(self, corpus: Corpus, tokenizer: PreTrainedTokenizerBase | None, seed: int) -> Items:
        """The items, see :meth:`Corpus.draw`."""
        asked = self.calibration
        return corpus.draw(tokenizer, asked.sequences, asked.length, seed, self.objective.items)

    def size(self, corpus: Corpus) -> DrawSize:
        """What a draw takes, told without a tokenizer."""
        items, tokens = corpus.size(self.calibration.sequences, self.calibration.length)
        return DrawSize(items, items * corpus.options(self.objective.items), tokens)


@dataclass(frozen=True)
class Parts:
    """The plugins of a run.

    Attributes:
        terms: the objective; several where parts of it are measured on data of their own.
        reported: the objective of the held-out measurement.
        described: what a record says of each: qualified name, version and every option's value, so that the run can be
            repeated when names clash or defaults change.
        distributions: the packages that they come from.
    """

    terms: tuple[Term, ...]
    reported: Objective[Any]
    scorer: Scorer[Any] | None
    searcher: Searcher[Any]
    executor: Executor[Any]
    described: dict[str, dict[str, Any]]
    distributions: tuple[str, ...]

    @property
    def places(self) -> list[int]:
        """Where each part of the first term stands among the parts of the objective, then of the second ..."""
        return [place for term in self.terms for place in term.places]

    def scored(self, layers: int, items: int) -> list[Probe]:
        """The masks whose losses the scorer asks for, on at most so many items; what it says, for a plan to count."""
        if self.scorer is None:
            return []
        with blaming(f"scorer {self.scorer.name}"):
            asked = self.scorer.asks(layers, items)
        return [Probe(look.masks, min(look.sequences, items)) for look in asked]

    def passes(self, drawn: DrawSize) -> int:
        """How often each layer runs on a sequence for what the scorer looks at beside; of a question, one for gradients."""
        looked = self.scorer.looks_at if self.scorer else "nothing"
        return {"states": drawn.sequences, "gradients": 2 * drawn.items, "nothing": 0}[looked]

    @property
    def part_names(self) -> tuple[str, ...]:
        """What the objective calls those that it is made of, in the order of a loss's parts."""
        names = [name for term in self.terms for name in term.objective.made_of]
        return tuple(name for _, name in sorted(zip(self.places, names, strict=True)))

    @classmethod
    def of(cls, recipe: Recipe, registry: Registry) -> Parts:
        """Find and make every plugin that the recipe names; a scorer that the searcher ignores is left out.

        Raises:
            LpkError: one is unknown, ambiguous or broken, an option is wrong, or the searcher lacks a scorer.
        """
        chosen = {**choices(recipe), "reported": REPORTED}
        entries = {
            role: registry.find("objective" if role == "reported" else role, choice.name)
            for role, choice in chosen.items()
        }
        made: dict[str, Any] = {role: entry.create(chosen[role].options) for role, entry in entries.items()}
        terms = terms_of(recipe.objective, recipe.calibration, registry)
        uses = made["searcher"].scores
        if uses == "required" and "scorer" not in made:
            raise UsageError(f"searcher {recipe.searcher.name!r} needs a scorer")
        if uses == "ignored" and "scorer" in made:
            del made["scorer"]
        return cls(
            terms=terms,
            reported=made["reported"],
            scorer=made.get("scorer"),
            searcher=made["searcher"],
            executor=made["executor"],
            described={role: described(entries[role], plugin) for role, plugin in made.items()},
            distributions=tuple(sorted({entries[role].provider.distribution for role in made})),
        )


def terms_of(choice: Choice, calibration: CalibrationRecipe, registry: Registry) -> tuple[Term, ...]:
    """An objective as what it is on each calibration data: itself, unless parts of it name data of their own.

    Raises:
        LpkError: it, or one that it is made of, is unknown, has a wrong option, or breaks its contract.
    """
    entry = registry.find("objective", choice.name)
    data: dict[CalibrationRecipe, Any]
    whole: Any = entry.create(choice.options)
    names = list(whole.made_of)

    def term(objective: Any, asked: CalibrationRecipe, role: str) -> Term:
        made_of, places = bound(objective, registry), tuple(map(names.index, objective.made_of))
        return Term(objective, described(entry, objective), made_of, places, asked, role)

    with blaming(f"objective {whole.name}"):
        data = {asked: entry.create(options) for asked, options in whole.by_data(calibration).items()}
    if not data:
        return (term(whole, calibration, "calibration"),)
    return tuple(term(part, asked, f"calibration of {', '.join(part.made_of)}") for asked, part in data.items())


def bound(objective: Objective[Any], registry: Registry) -> MadeOf:
    """Give an objective those that it is made of; each with what a record says of it.

    Raises:
        LpkError: one is unknown, or made of others itself.
    """
    found = []
    for name, options in objective.made_of.items():
        entry = registry.find("objective", name)
        part: Any = entry.create(options)
        if part.made_of:
            raise UsageError(f"objective {objective.name!r} cannot be made of {name!r}, which is made of others")
        found.append((described(entry, part), part))
    objective.bind([part for _, part in found])
    return tuple(found)


def resolved(recipe: Recipe, registry: Registry) -> Recipe:
    """The recipe with qualified names and every option's value; without a scorer where the searcher ignores it.

    However a run was asked for, this is what is recorded: the same run has the same recipe, and can be repeated when
    names clash or defaults change.

    Raises:
        LpkError: as :meth:`Parts.of`.
    """
    plugins = Parts.of(recipe, registry).described
    chosen = {
        kind: Choice.model_validate({"name": plugin["name"], **plugin["options"]})
        for kind, plugin in plugins.items()
        if kind != "reported"
    }
    return recipe.model_copy(update={"scorer": None, **chosen})


def choices(recipe: Recipe) -> dict[str, Choice]:
    """The plugins that a recipe names, by kind."""
    named = {
        "objective": recipe.objective,
        "scorer": recipe.scorer,
        "searcher": recipe.searcher,
        "executor": _executor(recipe),
    }
    return {kind: choice for kind, choice in named.items() if choice is not None}


def _executor(recipe: Recipe) -> Choice:
    """The executor that the recipe names, or that its device asks for."""
    if recipe.executor.name != "auto":
        return recipe.executor
    on_card = recipe.device.startswith("cuda")
    if recipe.device == "auto":
        with suppress(ModuleNotFoundError):  # without torch nothing runs, and the run says so
            import torch

            on_card = torch.cuda.is_available()
    return Choice(name="lpk/cuda" if on_card else "lpk/local")


def kernels(device: str) -> tuple[str, ...]:
    """The packages whose versions a loss depends on: liger-kernel too, where it makes losses on this device."""
    fused = fused_cross_entropy(device.partition(":")[0]) is not None
    return ("lpk", "torch", "transformers", *(["liger-kernel"] if fused else []))


def inputs(model: str, dtype: str, head: str, device: str, versions: dict[str, str]) -> list[Any]:
    """All but objective, executor, mask and item that a loss depends on.

    Args:
        model: its fingerprint.
        dtype: of its weights.
        head: the precision of its head's products.
        device: where it computes. In less than float32 the processor counts, too: with AMX the sums are others.
        versions: of the packages that compute.
    """
    machine = {} if dtype == head == EXACT else machine_of(device)
    return [model, dtype, head, device, machine, versions]


def context(inputs: Any, objective: dict[str, Any], executor: dict[str, Any]) -> str:
    """The fingerprint of all but mask and item that a loss depends on.

    Args:
        inputs: what :func:`inputs` gives.
        objective: what a record says of it.
        executor: likewise; its rounding differs.
    """
    return hashlib.sha256(json.dumps([inputs, objective, executor], sort_keys=True).encode()).hexdigest()[:32]


def described(entry: Entry, plugin: Any) -> dict[str, Any]:
    """What a record says of a plugin."""
    options = plugin.options.model_dump(mode="json")
    return {"name": entry.qualified, "version": entry.provider.version, "options": options}
