"""How much nearer a layer brings the prediction, read by the model's own head (the logit lens; nostalgebraist 2020).

    score_l = D(x^(l)) - D(x^(l+1)),  x^(l) the input of layer l

D(x) being what the head makes of a state as if no layer came after it: the mean negative log-likelihood of the next token,
or with ``measure=kl`` the mean KL(final prediction || prediction of x). A layer after which the prediction is as it was
before contributes least and goes first; so does one that makes it worse. For a run of n layers D(x^(l)) - D(x^(l+n)).
Early states need not be in the head's basis (Belrose et al. 2023, "Tuned lens"): trust the later half.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lpk import hookimpl
from lpk.core.contracts import Batch, Calibration, Component, LayerScores, Options, Scorer, Stack

if TYPE_CHECKING:
    from torch import Tensor


class LogitLensOptions(Options):
    measure: Literal["nll", "kl"] = Field(
        "nll", description="how far a prediction is off: from the next token (nll), or from the final prediction (kl)"
    )


class LogitLens(Scorer[LogitLensOptions]):
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        import torch

        sums, tokens = [], 0
        for batch in calibration.batches():
            here = batch.predicted()
            sums.append(torch.stack([off[here].double().sum() for off in self._off(stack, batch)]))
            tokens += int(here.sum())
        off = (torch.stack(sums).sum(0) / tokens).tolist()
        return LayerScores.from_pairs([[before - after for after in off] for before in off])

    def _off(self, stack: Stack, batch: Batch) -> Iterable[Tensor]:
        """For the state after each depth (sequences, tokens - 1)."""
        if self.options.measure == "nll":
            return (stack.outputs(batch, state).token_nll() for state in stack.states(batch))
        outputs = [stack.outputs(batch, state) for state in stack.states(batch)]
        return (each.token_kl(outputs[-1]) for each in outputs)


@hookimpl
def lpk_scorers() -> Iterable[Component]:
    yield Component(
        "logit-lens",
        "How much a layer improves the prediction that the head reads from the hidden state",
        f"{__name__}:LogitLens",
        reference="https://arxiv.org/abs/2303.08112",
        options=LogitLensOptions,
    )
