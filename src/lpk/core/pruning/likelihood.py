"""How likely a model finds the options of a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lpk.core.contracts import Outputs

if TYPE_CHECKING:
    from torch import Tensor

#: What the log-likelihood of an answer is divided by: nothing, its tokens, or its UTF-8 bytes.
Per = Literal["answer", "token", "byte"]


def log_likelihoods(outputs: Outputs, per: Per) -> Tensor:
    """The log-likelihood of each option's answer after its prompt, in nats: (options,), float64.

    ``byte`` is what lm-evaluation-harness divides by for ``acc_norm`` (it counts characters).
    """
    batch = outputs.batch
    here = batch.predicted()
    sums = -outputs.token_nll().double().masked_fill(~here, 0).sum(1)
    if per == "token":
        return sums / here.sum(1)
    if per == "byte":
        assert batch.question is not None, "asked of a question only"
        return sums / sums.new_tensor(batch.question.sizes)
    return sums
