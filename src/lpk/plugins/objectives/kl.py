"""KL(dense || pruned) of the next-token distributions, the token mean over each sequence (as in EvoPress)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lpk import hookimpl
from lpk.core.contracts import Component, Objective, Options, Outputs

if TYPE_CHECKING:
    from torch import Tensor


class KL(Objective[Options]):
    needs_dense = True

    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        assert dense is not None, "needs_dense"
        return self.sequence_mean(outputs.token_kl(dense), outputs.batch)


@hookimpl
def lpk_objectives() -> Iterable[Component]:
    yield Component(
        "kl",
        "Kullback-Leibler divergence from the dense model's predictions, in nats per token",
        f"{__name__}:KL",
        reference="https://arxiv.org/abs/2410.14649",
    )
