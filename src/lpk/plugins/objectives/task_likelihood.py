"""Task likelihood (Wee et al. 2025, "PuDDing"): the negative log-likelihood of the right answer after its prompt.

The mean over the answer's tokens, then over questions, each of which counts the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lpk import hookimpl
from lpk.core.contracts import Batch, Component, Objective, Options, Outputs

if TYPE_CHECKING:
    from torch import Tensor


class TaskLikelihood(Objective[Options]):
    items = "answers"

    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        return self.sequence_mean(outputs.token_nll(), outputs.batch)

    def weights(self, batch: Batch) -> Tensor:
        import torch

        return torch.ones_like(batch.lengths)


@hookimpl
def lpk_objectives() -> Iterable[Component]:
    yield Component(
        "task-likelihood",
        "Negative log-likelihood of right answers, in nats per token; every question counts the same",
        f"{__name__}:TaskLikelihood",
        reference="https://arxiv.org/abs/2502.04348",
    )
