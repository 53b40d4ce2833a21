"""A weighted sum of other objectives, each on the run's calibration data or on data of its own.

Parts on the same data are measured on the same items in one pass. One that names its ``calibration``, as a recipe does,
is measured there and nowhere else: perplexity on text beside the margin on questions. The loss is then the sum over the data
of the mean over items.

A search for two goals at once sees the loss under each of them (``Loss.parts``) and can look for their Pareto front.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from lpk import hookimpl
from lpk.core.contracts import Batch, Component, Objective, Options, Outputs
from lpk.core.pruning.recipe import CalibrationRecipe, validated

if TYPE_CHECKING:
    from torch import Tensor

#: What objectives are measured on, from what all data has to what little has.
_KINDS = ("sequences", "answers", "questions")


class Part(BaseModel):
    """What an objective counts for and is measured on, and beside it the objective's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    weight: float
    calibration: CalibrationRecipe | None = None

    @model_serializer(mode="wrap")
    def _recorded(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without ``calibration`` where it is the run's, as it has been recorded since before there was any."""
        values: dict[str, Any] = dump(self)
        return {key: value for key, value in values.items() if key != "calibration" or value is not None}


class MixtureOptions(Options):
    of: dict[str, float | Part] = Field(
        {"perplexity": 1.0, "kl": 1.0},
        description="objectives and what each counts for: perplexity=1,kl=0.5; with options or calibration data of their own "
        'as JSON: {"perplexity": 1, "task-margin": {"weight": 1, "wrong": "sum", "calibration": {"source": "arc-easy"}}}',
    )

    @field_validator("of", mode="before")
    @classmethod
    def _parsed(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.startswith("{"):
            return dict(part.split("=", 1) for part in value.split(",") if "=" in part)
        parts = json.loads(value) if isinstance(value, str) else value
        if not isinstance(parts, dict):
            return parts
        return {
            name: validated(Part, part, f"objective 'mixture', {name}") if isinstance(part, dict) else part
            for name, part in parts.items()
        }

    @field_validator("of")
    @classmethod
    def _positive(cls, value: dict[str, float | Part]) -> dict[str, float | Part]:
        if not value or min(_part(each).weight for each in value.values()) <= 0:
            raise ValueError("wanted objectives with weights above 0, such as perplexity=1,kl=0.5")
        return value


def _part(given: float | Part) -> Part:
    return given if isinstance(given, Part) else Part(weight=given)


class Mixture(Objective[MixtureOptions]):
    def __init__(self, options: MixtureOptions) -> None:
        super().__init__(options)
        self._of = {name: _part(given) for name, given in options.of.items()}
        self.made_of = {name: part.model_extra or {} for name, part in self._of.items()}
        self._parts: tuple[Objective[Any], ...] = ()

    def by_data(self, calibration: CalibrationRecipe) -> Mapping[CalibrationRecipe, Mapping[str, Any]]:
        if not any(part.calibration for part in self._of.values()):
            return {}
        data: dict[CalibrationRecipe, dict[str, Part]] = {}
        for name, part in self._of.items():
            here = part.model_copy(update={"calibration": None})
            data.setdefault(part.calibration or calibration, {})[name] = here
        return {asked: {"of": parts} for asked, parts in data.items()}

    def bind(self, parts: Sequence[Objective[Any]]) -> None:
        self._parts = tuple(parts)
        self.needs_dense = any(part.needs_dense for part in parts)
        self.items = max((part.items for part in parts), key=_KINDS.index)

    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        losses = [part.item_loss(outputs, dense if part.needs_dense else None) for part in self._parts]
        weighted = zip(self._of.values(), losses, strict=True)
        return sum(part.weight * loss for part, loss in weighted)  # type: ignore[return-value]

    def weights(self, batch: Batch) -> Tensor:
        return self._parts[0].weights(batch) if batch.question is None else batch.lengths.new_ones(1)


@hookimpl
def lpk_objectives() -> Iterable[Component]:
    yield Component(
        "mixture",
        "A weighted sum of other objectives, each on the run's calibration data or on its own",
        f"{__name__}:Mixture",
        options=MixtureOptions,
    )
