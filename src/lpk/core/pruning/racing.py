"""Racing: candidates that cannot win any more are measured on no further sequence.

Successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943) asks how many to keep; a race (Maron & Moore 1993,
"Hoeffding races") which are shown to lose. Here the sequences are doubled as in the first and candidates are stopped as
in the second, by paired differences: losses of two masks on the same sequence rise and fall together. On SmolLM2-135M
the losses of greedy's first 28 candidates differ between sequences by 0.3 nats, their differences from the best by 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

from pydantic import Field

from lpk.core.contracts import Loss, Options, Probe, Problem
from lpk.core.pruning.mask import LayerMask


class Racing(Options):
    """Options of a searcher that can race."""

    confidence: float = Field(
        1.0,
        gt=0.5,
        le=1,
        description="stop a candidate early once it is worse with this probability; 1 measures all in full",
    )
    first: int = Field(2, ge=2, description="on how many sequences a race begins; then twice as many, and so on")

    @property
    def races(self) -> bool:
        """Whether anything is ever stopped."""
        return self.confidence < 1

    def race(
        self, problem: Problem, masks: Sequence[LayerMask], keep: int = 1
    ) -> Generator[Sequence[LayerMask] | Probe, Sequence[Loss], list[tuple[LayerMask, Loss]]]:
        """Every mask with its last loss, best first: the ``keep`` that won, then the others, the last stopped first.

        Of equals the earlier wins. Without racing there is one look, at all sequences. A race ends when no more than
        ``keep`` are left, which may not have been measured on all. Each comparison, with the last of those that would
        be kept, errs with probability ``1 - confidence`` at most if differences are normally distributed; a race makes
        many.
        """
        sequences = self.first if self.races else problem.sequences
        stopped: list[tuple[LayerMask, Loss]] = []
        while True:
            sequences = min(sequences, problem.sequences)
            look = Probe(masks, sequences)
            losses = yield look
            ranked = sorted(zip(masks, losses, strict=True), key=lambda pair: pair[1])
            if sequences == problem.sequences:
                return ranked + stopped
            bar = ranked[:keep][-1][1]
            worse = [pair for pair in ranked[keep:] if is_worse(pair[1], bar, self.confidence)]
            look.stopped.update(mask for mask, _ in worse)
            stopped = worse + stopped
            masks = [mask for mask in masks if mask not in look.stopped]
            if len(masks) <= keep:
                return ranked[:keep] + stopped
            sequences *= 2


def idle(options: Options, sequences: int) -> str:
    """Why a searcher that races can stop nothing early on so few sequences, in words; empty if it can, or does not race."""
    if not (isinstance(options, Racing) and options.races and sequences <= options.first):
        return ""
    return (
        f"none: one looks at {options.first} sequences first, and there {'is' if sequences == 1 else 'are'} {sequences}"
    )


def is_worse(loss: Loss, than: Loss, confidence: float) -> bool:
    """Whether a mask's loss is higher than another's on the same two or more sequences: a one-sided paired t-test.

    Differences without any spread, as of questions answered right or wrong, show nothing.
    """
    mean, error = difference(loss, than)
    return error > 0 and mean > error * quantile(len(loss.items), confidence)


def quantile(count: int, confidence: float) -> float:
    """How many standard errors a mean of so many differences is off at most, with this probability: Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, confidence))


def difference(loss: Loss, than: Loss) -> tuple[float, float]:
    """How much higher a mask's loss is, on the sequences that both were measured on, and the standard error of that.

    Of a single sequence the error is not known: infinite.
    """
    weights = loss.weights[: min(len(loss.items), len(than.items))]
    shares = [weight / math.fsum(weights) for weight in weights]
    differences = [here - there for here, there in zip(loss.items, than.items, strict=False)]
    mean = math.fsum(share * d for share, d in zip(shares, differences, strict=True))
    squares = math.fsum((share * (d - mean)) ** 2 for share, d in zip(shares, differences, strict=True))
    count = len(differences)
    return mean, math.sqrt(squares * count / (count - 1)) if count > 1 else math.inf
