"""A weighted sum of other objectives, measured on the same items in one pass.

A search for two goals at once sees the loss under each of them (``Loss.parts``) and can look for their Pareto front.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lpk import hookimpl
from lpk.core.contracts import Batch, Component, Objective, Options, Outputs

if TYPE_CHECKING:
    from torch import Tensor

#: What objectives are measured on, from what all data has to what little has.
_KINDS = ("sequences", "answers", "questions")


class Part(BaseModel):
    """What an objective counts for, and beside it the objective's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    weight: float


class MixtureOptions(Options):
    of: dict[str, float | Part] = Field(
        {"perplexity": 1.0, "kl": 1.0},
        description="objectives and what each counts for: perplexity=1,kl=0.5; with options of theirs as JSON: "
        '{"task-margin": {"weight": 1, "wrong": "sum"}, "perplexity": 1}',
    )

    @field_validator("of", mode="before")
    @classmethod
    def _parsed(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.startswith("{"):
            return json.loads(value)
        return dict(part.split("=", 1) for part in value.split(",") if "=" in part)

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
        self._parts: tuple[Objective[Any], ...] = ()

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
        "A weighted sum of other objectives on the same items",
        f"{__name__}:Mixture",
        options=MixtureOptions,
    )
