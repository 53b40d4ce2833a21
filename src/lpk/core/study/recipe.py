"""What a study is asked to do: the keys of its YAML file, and the grid of searches that they span."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lpk.core.contracts import Problem
from lpk.core.errors import UsageError
from lpk.core.pruning.calibration import READY
from lpk.core.pruning.inputs import located
from lpk.core.pruning.parts import Parts, Term, resolved, terms_of
from lpk.core.pruning.recipe import CalibrationRecipe, Choice, Protected, Recipe, Scoring, validated
from lpk.core.registry import Registry


def _some(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


class _Named(BaseModel):
    """A mapping, or the one word that stands for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRecipe(_Named):
    """A model, what to call it in tables, and how much to remove on which draws where that differs."""

    model: str = Field(description="demo, a local directory, a hub id, or a .gguf file")
    name: str = Field("", description="what tables call it; by default the last part of 'model'")
    remove: tuple[Any, ...] = Field((), description="budgets for this model; by default the study's")
    seeds: Annotated[tuple[int, ...], BeforeValidator(_some)] = Field(
        (), description="draws for this model; by default the study's"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_model(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.name or Path(self.model).name.removesuffix(".gguf")


class _Plugin(BaseModel):
    """A plugin with its options, or the one word that names it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="the plugin")
    label: str = Field("", alias="as", description="what tables call it; by default the plugin's name")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def called(self) -> str:
        """What tables call it."""
        return self.label or self.name

    @property
    def choice(self) -> Choice:
        """The plugin and its options."""
        return Choice.model_validate({"name": self.name, **(self.model_extra or {})})


class ObjectiveRecipe(_Plugin):
    """An objective, and the calibration data that it is measured on."""

    calibration: CalibrationRecipe | None = Field(None, description="by default the study's")


class SearcherRecipe(_Plugin):
    """A searcher, and the scorer that it is given."""

    scorer: Any = Field("default", description="a scorer, 'none', or by default the study's")


class TextRecipe(_Named):
    """A text that perplexity is reported on."""

    name: str = Field("perplexity", description="what tables call it")
    source: str = Field(
        "wikitext2", description="as for calibration; of a text that is calibrated on, the last quarter"
    )
    field: str = Field("text", description="the text field of a .jsonl file")
    sequences: int = Field(16, ge=1, description="how many sequences")
    length: int = Field(256, ge=2, description="tokens of each")


class TaskRecipe(_Named):
    """Multiple-choice questions that accuracy is reported on."""

    name: str = Field(description="what tables call it")
    source: str = Field(description="a .jsonl file of questions; of one that is calibrated on, the last quarter")
    items: int = Field(200, ge=1, description="questions at most, evenly spaced")
    length: int = Field(256, ge=2, description="tokens of an option with its prompt, at most")


class StudyRecipe(BaseModel):
    """A grid of searches, and what is measured of each mask that they return."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="lpk study")

    title: str = Field("Layer redundancy study", description="the report's title")
    models: Annotated[tuple[ModelRecipe, ...], BeforeValidator(_some)] = Field(
        (ModelRecipe(model="demo", name="", remove=()),), min_length=1
    )
    objectives: Annotated[tuple[ObjectiveRecipe, ...], BeforeValidator(_some)] = Field(
        (ObjectiveRecipe.model_validate("perplexity"),), min_length=1
    )
    searchers: Annotated[tuple[SearcherRecipe, ...], BeforeValidator(_some)] = Field(
        (SearcherRecipe.model_validate("one-shot"), SearcherRecipe.model_validate("greedy")), min_length=1
    )
    scorer: Scoring = Field(Choice(name="block-influence"), description="for searchers that name none; or 'none'")
    remove: Annotated[tuple[Any, ...], BeforeValidator(_some)] = Field(("25%",), min_length=1, description="budgets")
    seeds: Annotated[tuple[int, ...], BeforeValidator(_some)] = Field(
        (0,), min_length=1, description="each draws calibration items and seeds the searchers; one where ids are ready"
    )
    protect: Protected = Field((0, -1), description="layers that are never removed")
    calibration: CalibrationRecipe = CalibrationRecipe()
    texts: Annotated[tuple[TextRecipe, ...], BeforeValidator(_some)] = Field(
        (TextRecipe(),), min_length=1, description="what perplexity is reported on"
    )
    tasks: Annotated[tuple[TaskRecipe, ...], BeforeValidator(_some)] = Field((), description="for accuracy")
    dtype: str = Field("auto", description="what searches run in")
    measured: Literal["float32", "as-searched"] = Field(
        "float32", description="what returned masks are measured in; as-searched is faster where that is bfloat16"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 ...")
    allow: tuple[str, ...] = Field((), description="pickle, remote-code")

    @classmethod
    def read(cls, path: Path) -> StudyRecipe:
        """Read a YAML file; files that it names are relative to where the command runs.

        Raises:
            UsageError: it is missing, no YAML, or a key or value is wrong.
        """
        study = validated(cls, Recipe.read(path), str(path))
        for labels in (
            [model.label for model in study.models],
            [each.called for each in study.objectives],
            [each.called for each in study.searchers],
            [text.name for text in study.texts] + [task.name for task in study.tasks],
        ):
            twice = {label for label in labels if labels.count(label) > 1}
            if twice:
                raise UsageError(
                    f"{path}: two are called {min(twice)!r}; tell them apart: give one of them 'as' or 'name'"
                )
        draws = [study.seeds_of(model) for model in study.models]
        if again := [seed for seeds in draws for seed in seeds if seeds.count(seed) > 1]:
            raise UsageError(f"{path}: seeds: {again[0]} is there twice; each seed is a draw, give each once")
        return study

    def seeds_of(self, model: ModelRecipe) -> tuple[int, ...]:
        """The draws that a model is searched on."""
        return model.seeds or self.seeds

    def calibration_of(self, objective: ObjectiveRecipe) -> CalibrationRecipe:
        """The calibration data that an objective is measured on."""
        return objective.calibration or self.calibration

    def calibrations(self, registry: Registry) -> list[CalibrationRecipe]:
        """Those of all objectives, and of parts that name their own.

        Raises:
            LpkError: as :func:`lpk.core.pruning.parts.terms_of`.
        """
        return [term.calibration for objective in self.objectives for term in self._terms(objective, registry)]

    def _terms(self, objective: ObjectiveRecipe, registry: Registry) -> tuple[Term, ...]:
        return terms_of(objective.choice, self.calibration_of(objective), registry)

    def sources(self, registry: Registry) -> list[str]:
        """All that masks are measured on, by file or by name."""
        calibrated = [asked.source for asked in self.calibrations(registry)]
        return [*calibrated, *(text.source for text in self.texts), *(task.source for task in self.tasks)]

    def cells(self, registry: Registry) -> list[CellRecipe]:
        """The grid, model by model, each cell checked.

        Raises:
            LpkError: there is no such model, a plugin, an option or a budget is wrong, or two budgets or draws are one; for
                a whole study that is an error at its beginning.
        """
        self._check_draws(registry)
        return [cell for model in self.models for cell in self._cells_of(model, registry)]

    def _check_draws(self, registry: Registry) -> None:
        """Raise UsageError if there are several draws of an objective whose data are all calibrated on, whatever the seed."""
        most = max(len(self.seeds_of(model)) for model in self.models)
        for objective in self.objectives:
            sources = [term.calibration.source for term in self._terms(objective, registry)]
            if most > 1 and all(Path(source).suffix in READY for source in sources):
                raise UsageError(
                    f"seeds: of the ready ids {sources[0]} all are calibrated on, so {most} draws would be one; give one "
                    "seed, or a text or .jsonl to draw from"
                )

    def _cells_of(self, model: ModelRecipe, registry: Registry) -> list[CellRecipe]:
        grid = itertools.product(self.objectives, self.seeds_of(model), model.remove or self.remove, self.searchers)
        asked = [
            (objective.called, searcher.called, self._recipe(registry, model, objective, searcher, remove, seed))
            for objective, seed, remove, searcher in grid
        ]
        layers = located(asked[0][-1]).layer_count()
        cells = [CellRecipe(model.label, *which, layers) for which in asked]
        known: dict[tuple[str, str, int, int], CellRecipe] = {}
        for cell in cells:
            other = known.setdefault((cell.objective, cell.searcher, cell.problem.budget, cell.seed), cell)
            if other is not cell:
                raise UsageError(
                    f"model {model.label}: remove: {other.recipe.remove} and {cell.recipe.remove} are both "
                    f"{cell.problem.budget} of its {layers} layers; give one of them"
                )
        return cells

    def _recipe(
        self,
        registry: Registry,
        model: ModelRecipe,
        objective: ObjectiveRecipe,
        searcher: SearcherRecipe,
        remove: Any,
        seed: int,
    ) -> Recipe:
        """What ``lpk run`` would be asked to do for one cell."""
        values: Mapping[str, Any] = {
            "model": model.model,
            "objective": objective.choice,
            "scorer": self.scorer if searcher.scorer == "default" else searcher.scorer,
            "searcher": searcher.choice,
            "remove": remove,
            "protect": self.protect,
            "calibration": self.calibration_of(objective),
            "dtype": self.dtype,
            "device": self.device,
            "seed": seed,
            "allow": self.allow,
        }
        recipe = Recipe.parse(values, f"cell {model.label} {objective.called} {searcher.called}")
        return resolved(recipe, registry)


@dataclass(frozen=True)
class CellRecipe:
    """One search of the grid.

    Attributes:
        model: what tables call the model, and so on.
        recipe: what ``lpk run`` would be asked to do.
        layers: of the dense model, as its configuration says.
    """

    model: str
    objective: str
    searcher: str
    recipe: Recipe
    layers: int

    @property
    def seed(self) -> int:
        """Which calibration draw."""
        return self.recipe.seed

    @property
    def problem(self) -> Problem:
        """Budget and protected layers.

        Raises:
            UsageError: as :meth:`Recipe.problem`.
        """
        return self.recipe.problem(self.layers)

    def key(self, depends: dict[str, Any]) -> str:
        """A name for the cell's file: of the same search, and the same else that its figures depend on, the same."""
        matters = json.dumps([self.recipe.model_dump(mode="json"), depends], sort_keys=True)
        digest = hashlib.sha256(matters.encode()).hexdigest()[:10]
        return f"{self.model}-{self.objective}-{self.recipe.remove}-{self.searcher}-{self.seed}-{digest}"

    def parts(self, registry: Registry) -> Parts:
        """The cell's plugins."""
        return Parts.of(self.recipe, registry)
