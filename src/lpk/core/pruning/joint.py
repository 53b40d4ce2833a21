"""Measures masks under an objective whose parts are measured on calibration data of their own: the sum of its terms.

Each term is measured by itself, on its own items. So nothing is measured that no part asks for, and what is remembered
of a part serves whoever asks for that part alone, on the same items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

from lpk.core.contracts import Loss
from lpk.core.pruning.evaluator import Evaluator, Plan
from lpk.core.pruning.items import Joined
from lpk.core.pruning.mask import LayerMask


class JointEvaluator:
    """The losses of masks under a sum of terms; of a single one, that one's.

    Over all items it is the sum of the terms' means. Over the first few it is the mean of the same items with the same
    weights, so that a race compares masks, and one look with the next, on one footing. What differs between data is noise
    to its test, which so stops candidates rather later.

    Attributes:
        items: those of all terms.
        terms: what measures each group of them.
    """

    def __init__(self, items: Joined, terms: Sequence[Evaluator], places: Sequence[int]) -> None:
        """Let the terms share the memory: what each keeps of the dense model stays while the others run.

        Args:
            items: those of all terms, in the terms' order.
            terms: what measures each group of them.
            places: where each part of the first term stands among the parts of the objective, then of the second ...
        """
        self.items, self.terms, self._places = items, tuple(terms), places
        self._kept = sum(term.kept_bytes for term in terms)
        for term in terms:
            term.memory -= self._kept - term.kept_bytes
        whole = [math.fsum(term.weights) for term in terms]
        self._weights = [terms[at].weights[item] / whole[at] for at, item in items.places]

    def losses(self, masks: Sequence[LayerMask], sequences: int | None = None) -> list[Loss]:
        """The loss of each mask over the first ``sequences`` items, by default all, but one of each term at least.

        Raises:
            PluginError: as :meth:`Evaluator.losses`.
        """
        counts = self.items.counts(sequences)
        found = [term.losses(masks, count) for term, count in zip(self.terms, counts, strict=True)]
        return [self._sum(losses) for losses in zip(*found, strict=True)]

    def _sum(self, losses: tuple[Loss, ...]) -> Loss:
        if len(losses) == 1:
            return losses[0]
        first = self.items.places[: sum(len(loss.items) for loss in losses)]
        parts = sorted(zip(self._places, chain.from_iterable(loss.parts for loss in losses), strict=True))
        items = (len(losses) * losses[at].items[item] for at, item in first)
        loss = Loss.mean(items, self._weights[: len(first)], (part for _, part in parts))
        loss.terms = losses
        return loss

    def plan(self, masks: Sequence[LayerMask], sequences: int | None = None) -> Plan:
        """What :meth:`losses` would take now."""
        plan = Plan()
        for term, count in zip(self.terms, self.items.counts(sequences), strict=True):
            planned = term.plan(masks, count)
            plan.cost += planned.cost
            if planned.cost.measurements:
                beside = self._kept - term.kept_bytes
                plan.peak_state_bytes = max(plan.peak_state_bytes, planned.peak_state_bytes + beside)
        return plan
