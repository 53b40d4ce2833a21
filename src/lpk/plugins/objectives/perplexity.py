"""Negative log-likelihood of the next token, the token mean over each sequence; perplexity is its exponential."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lpk import hookimpl
from lpk.core.contracts import Component, Objective, Options, Outputs

if TYPE_CHECKING:
    from torch import Tensor


class Perplexity(Objective[Options]):
    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        return self.sequence_mean(outputs.token_nll(), outputs.batch)


@hookimpl
def lpk_objectives() -> Iterable[Component]:
    yield Component(
        "perplexity",
        "Negative log-likelihood per token, in nats (its exponential is the perplexity)",
        f"{__name__}:Perplexity",
    )
