"""One minus the cosine between the last hidden states of the pruned and the dense model, the mean over tokens.

Before the final norm. No head is run: where the vocabulary is large it is the cheapest comparison there is (LaCo,
2402.11187, accepts a merge by it).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lpk import hookimpl
from lpk.core.contracts import Batch, Component, Objective, Options, Outputs
from lpk.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


class HiddenSimilarity(Objective[Options]):
    needs_dense = True

    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        from torch.nn.functional import cosine_similarity

        assert dense is not None, "needs_dense"
        if outputs.hidden is None or dense.hidden is None:
            raise UsageError("objective 'hidden-similarity': this model's head looks at more than a last hidden state")
        real = outputs.batch.real()
        cosines = cosine_similarity(outputs.hidden.double(), dense.hidden.double(), dim=-1)
        return (1 - cosines).masked_fill(~real, 0).sum(1) / real.sum(1)

    def weights(self, batch: Batch) -> Tensor:
        return batch.lengths


@hookimpl
def lpk_objectives() -> Iterable[Component]:
    yield Component(
        "hidden-similarity",
        "One minus the cosine between last hidden states of the pruned and the dense model",
        f"{__name__}:HiddenSimilarity",
        reference="https://arxiv.org/abs/2402.11187",
    )
