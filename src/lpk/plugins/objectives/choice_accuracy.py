"""Multiple-choice accuracy, as a loss: 1 for a question whose likeliest option is wrong, else 0.

Of equally likely options the first counts as chosen, as in lm-evaluation-harness.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Component, Objective, Options, Outputs
from lpk.core.pruning.likelihood import Per, log_likelihoods

if TYPE_CHECKING:
    from torch import Tensor


class ChoiceAccuracyOptions(Options):
    per: Per = Field(
        "answer", description="log-likelihoods as they are (answer: acc), or per byte (byte: acc_norm) or token"
    )


class ChoiceAccuracy(Objective[ChoiceAccuracyOptions]):
    items = "questions"

    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        question = outputs.batch.question
        assert question is not None, "measured on questions"
        chosen = log_likelihoods(outputs, self.options.per).argmax()
        return (chosen != question.gold).double().reshape(1)


@hookimpl
def lpk_objectives() -> Iterable[Component]:
    yield Component(
        "choice-accuracy",
        "Share of questions answered wrong: one minus the accuracy by option log-likelihood",
        f"{__name__}:ChoiceAccuracy",
        options=ChoiceAccuracyOptions,
    )
