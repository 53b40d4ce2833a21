"""Negative log-likelihood of worked solutions, such as GSM8K's, after their questions; every token counts the same.

What pruning breaks first is reasoning (2510.22228). Generating solutions would show it best and costs a hundred times as
much; their likelihood is what can be searched on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lpk import hookimpl
from lpk.core.contracts import Component, Objective, Options, Outputs

if TYPE_CHECKING:
    from torch import Tensor


class ReasoningNLL(Objective[Options]):
    items = "answers"

    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        return self.sequence_mean(outputs.token_nll(), outputs.batch)


@hookimpl
def lpk_objectives() -> Iterable[Component]:
    yield Component(
        "reasoning-nll",
        "Negative log-likelihood of worked solutions after their questions, in nats per token",
        f"{__name__}:ReasoningNLL",
        reference="https://arxiv.org/abs/2510.22228",
    )
