"""What a run is asked to do: the flags of ``lpk run`` and the keys of its YAML recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lpk.core.contracts import Problem
from lpk.core.errors import UsageError, first_wrong
from lpk.core.pruning.calibration import EMBEDDED


class Choice(BaseModel):
    """A plugin and its options: ``optuna``, or ``{name: optuna, trials: 80}``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, (dict, Choice)):
            raise ValueError("wanted a plugin's name, or a mapping of 'name' and its options")
        return value

    @property
    def options(self) -> dict[str, Any]:
        """The options as given, not yet validated by the plugin."""
        return dict(self.model_extra or {})

    def with_option(self, key: str, value: Any) -> Choice:
        """This choice with one option set."""
        return Choice.model_validate({**self.model_dump(), key: value})


class _Source(BaseModel):
    """A file, or a mapping whose ``source`` is that file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _from_source(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"source": value}
        if not isinstance(value, (dict, _Source)):
            raise ValueError("wanted a file, or a mapping whose 'source' is one")
        return value


class CalibrationRecipe(_Source):
    """The sequences that masks are measured on. With the defaults the whole run ends within five minutes on two cores."""

    source: str = Field(
        EMBEDDED, description="wikitext2, arc-easy, piqa, gsm8k (shipped), a text, .jsonl, or ids as .npy/.safetensors"
    )
    field: str = Field("text", description="the text field of a .jsonl file")
    sequences: int = Field(8, ge=1, description="how many sequences of a text; ready ids are all used")
    length: int = Field(256, ge=2, description="tokens of each sequence of a text")


class HeldOutRecipe(_Source):
    """The sequences that perplexity is reported on."""

    source: str | None = Field(
        None, description="a file as for calibration; by default the last quarter of the (first) calibration text"
    )
    sequences: int = Field(16, ge=1, description="how many sequences of a text; ready ids are all used")


M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """Validate keys and values; ``where`` they are from is empty if that is the command itself.

    Raises:
        UsageError: one is wrong; the message says which and where.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        wrong = first_wrong(error, model)
        raise UsageError(f"{where}: {wrong}" if where else wrong) from None


def _protected(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, str):
        parts = [] if value.strip() == "none" else value.split(",")  # not "": a shell's variable that is not set
        try:
            return tuple(int(part) for part in parts)
        except ValueError:
            raise ValueError("wanted layer indices like 0,-1 or 'none'") from None
    if not isinstance(value, (list, tuple)):
        raise ValueError("wanted layer indices like 0,-1 or 'none'")
    return value


#: Layers by index, from the end where negative; ``none`` for none.
Protected = Annotated[tuple[int, ...], BeforeValidator(_protected)]


#: A scorer, or ``none``.
Scoring = Annotated[Choice | None, BeforeValidator(lambda value: None if value == "none" else value)]


def _removed(value: Any) -> str:
    """A number of layers, or a share; text either way, so that ``8`` and ``"8"`` are one recipe."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("wanted a number of layers (8) or a share (25%)")
    return "".join(str(value).split())


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Recipe(BaseModel):
    """One run, whole: the same recipe, seed and versions give the same bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="lpk run recipe")

    model: str = Field("demo", description="demo, a local directory, a hub id, or a .gguf file")
    objective: Choice = Field(Choice(name="perplexity"), description="what 'the model still works' means")
    scorer: Scoring = Field(Choice(name="angular"), description="prior knowledge for the searcher; 'none' for none")
    searcher: Choice = Field(Choice(name="optuna"), description="which masks to try")
    executor: Choice = Field(
        Choice(name="auto"), description="runs the layers; auto is cuda on such a device, else local"
    )
    remove: Annotated[str, BeforeValidator(_removed)] = Field(
        "25%", description="how many layers to remove: 8, or 25% (rounded down)"
    )
    protect: Protected = Field(
        (0, -1), description="layers that are never removed; negative indices count from the end"
    )
    calibration: CalibrationRecipe = CalibrationRecipe()
    held_out: HeldOutRecipe = HeldOutRecipe()
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="what the search runs in; auto is bfloat16 where this machine is clearly faster with it"
    )
    confirm: int = Field(
        3, strict=True, ge=1, description="finalists measured again in float32, if the search ran in less"
    )
    device: str = Field("auto", description="auto (CUDA when there is one), cpu, cuda, cuda:1 ...")
    seed: int = Field(
        0, strict=True, ge=0, lt=2**32, description="draws the calibration sequences and seeds the searcher"
    )
    allow: Annotated[tuple[Literal["pickle", "remote-code"], ...], BeforeValidator(_listed)] = Field(
        (), description="load pickled weights; run the model's own code"
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Recipe:
        """Validate keys and values.

        Raises:
            UsageError: one is wrong; the message says which and where.
        """
        return validated(cls, values, where)

    @classmethod
    def read(cls, path: Path) -> dict[str, Any]:
        """The keys of a YAML recipe, not yet validated.

        Raises:
            UsageError: there is no such file, or it is not a YAML mapping.
        """
        import yaml

        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"recipe {path}: {(error.strerror or str(error)).lower()}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(f"recipe {path}: not YAML ({' '.join(str(error).split())})") from None
        if not isinstance(values, dict):
            raise UsageError(f"recipe {path}: wanted keys and values such as 'model: demo'")
        return {str(key): value for key, value in values.items()}

    def problem(self, layers: int) -> Problem:
        """Budget and protected layers for a model of this many layers.

        Raises:
            UsageError: the budget is nothing, everything, or more than is not protected.
        """
        protected = set()
        for index in self.protect:
            if not -layers <= index < layers:
                raise UsageError(f"--protect {index}: the model has layers 0 to {layers - 1} (or -{layers} to -1)")
            protected.add(index % layers)
        if len(protected) == layers:
            raise UsageError(f"--protect: all {layers} layers are protected; nothing can be removed")
        budget = self._budget(layers)
        free = layers - len(protected)
        if not 1 <= budget < layers or budget > free:
            most = min(layers - 1, free)
            guarded = f" ({len(protected)} of {layers} are protected)" if free < layers else ""
            given = f"{self.remove} is {budget} layers" if self.remove.endswith("%") else self.remove
            raise UsageError(f"--remove {given}: wanted 1 to {most} layers{guarded}")
        return Problem(layers, budget, frozenset(protected), seed=self.seed)

    def _budget(self, layers: int) -> int:
        found = re.fullmatch(r"(\d{1,6})|(\d{1,6}(?:\.\d{1,6})?)%", self.remove)
        if not found:
            raise UsageError(f"--remove {self.remove}: wanted a number of layers (8) or a share (25%)")
        if found[1]:
            return int(found[1])
        share = float(found[2])
        if share >= 100:
            raise UsageError(f"--remove {self.remove}: a share of the layers is below 100%")
        return int(layers * share / 100 + 1e-9)
