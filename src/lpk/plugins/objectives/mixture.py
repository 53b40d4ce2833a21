"""A weighted sum of other objectives, each on the run's calibration data or on data of its own.

Parts on the same data are measured on the same items in one pass. One that names its ``calibration``, as a recipe does,
is measured there and nowhere else: perplexity on text beside the margin on questions. The loss is then the sum over the data
of the mean over items.

A search for two goals at once sees the loss under each of them (``Loss.parts``) and can look for their Pareto front.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
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
        if not value or min(map(_weight, value.values())) <= 0:
            raise ValueError("wanted objectives with weights above 0, such as perplexity=1,kl=0.5")
        return value


def _weight(part: float | Part) -> float:
    return part.weight if isinstance(part, Part) else part


class Mixture(Objective[MixtureOptions]):
    def __init__(self, options: MixtureOptions) -> None:
        super().__init__(options)
        self.made_of = {
            name: (part.model_extra or {}) if isinstance(part, Part) else {} for name, part in options.of.items()
        }
        named = {name: part.calibration for name, part in options.of.items() if isinstance(part, Part)}
        self.calibrations = {name: calibration for name, calibration in named.items() if calibration}
        self._parts: tuple[Objective[Any], ...] = ()

    def only(self, parts: Collection[str]) -> Mapping[str, Any]:
        def here(part: float | Part) -> float | Part:
            return part.model_copy(update={"calibration": None}) if isinstance(part, Part) else part

        return {"of": {name: here(part) for name, part in self.options.of.items() if name in parts}}

    def bind(self, parts: Sequence[Objective[Any]]) -> None:
        self._parts = tuple(parts)
        self.needs_dense = any(part.needs_dense for part in parts)
        self.items = max((part.items for part in parts), key=_KINDS.index)

    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        losses = [part.item_loss(outputs, dense if part.needs_dense else None) for part in self._parts]
        weighted = zip(map(_weight, self.options.of.values()), losses, strict=True)
        return sum(weight * loss for weight, loss in weighted)  # type: ignore[return-value]

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
