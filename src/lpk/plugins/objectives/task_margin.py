"""Task likelihood margin (Wee et al. 2025, "PuDDing"): how far wrong answers come up to the right one.

    margin = log p(right) - log p(wrong),    loss = -margin

with log-likelihoods per token of the answer. PuDDing's code sums the margins over wrong answers and questions
(``-O wrong=sum``, times the number of questions); "Rethinking Layer Redundancy" (2604.24938) reports an average gap
without saying how it is made, which the defaults here come nearest to. The margin has no bound: a damaged model can beat
the dense one, as Qwen3-8B does there (-2.54 against -1.42).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Objective, Options, Outputs
from lpk.core.pruning.likelihood import Per, log_likelihoods

if TYPE_CHECKING:
    from torch import Tensor


class TaskMarginOptions(Options):
    per: Per = Field("token", description="divide log-likelihoods by the answer's tokens or bytes, or not (answer)")
    wrong: Literal["mean", "sum", "hardest"] = Field(
        "mean", description="the margin to wrong answers: their mean, their sum, or the least"
    )


class TaskMargin(Objective[TaskMarginOptions]):
    items = "questions"

    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        question = outputs.batch.question
        assert question is not None, "measured on questions"
        found = log_likelihoods(outputs, self.options.per)
        wrong = [place for place in range(len(found)) if place != question.gold]
        margins = found[question.gold] - found[wrong]
        if self.options.wrong == "hardest":
            return -margins.amin(0, keepdim=True)
        return -(margins.sum(0, keepdim=True) if self.options.wrong == "sum" else margins.mean(0, keepdim=True))


@hookimpl
def lpk_objectives() -> Iterable[Component]:
    yield Component(
        "task-margin",
        "By how much wrong answers are likelier than the right one, in nats per token",
        f"{__name__}:TaskMargin",
        reference="https://arxiv.org/abs/2502.04348",
        options=TaskMarginOptions,
    )
