"""How the masks of different searchers differ in perplexity and accuracy: ranks (Fig. 2) and variances (Fig. 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter
from statistics import fmean, pvariance, variance
from typing import Any

from lpk.core.study import inference
from lpk.core.study.statistics.outcomes import Found, Outcome, by, groups, mean, setting
from lpk.core.study.tables import Cell


def rank_agreement(every: Sequence[Outcome]) -> list[Found]:
    """Perplexity rank against accuracy rank of the searchers of one model, budget and objective (Fig. 2).

    A searcher is one point: the mean over its draws of log perplexity and of accuracy. Searchers that found the same
    masks are one piece of evidence: ranks and tests are of the different ones. Positive rho: what keeps perplexity low
    keeps accuracy high.
    """
    rows: list[Found] = []
    for (model, budget, objective), group in groups(every, setting):
        points = _points(group)
        different = {point["masks"]: (point["perplexity"], -point["accuracy"]) for point in points}
        x, y = ([values[side] for values in different.values()] for side in (0, 1))
        placed = dict(zip(different, zip(ranks(x), ranks(y), strict=True), strict=True))
        rows.append(
            {
                "model": model,
                "budget": budget,
                "objective": objective,
                "n": len(points),
                "different_masks": len(different),
                **inference.correlation(x, y),
                "points": [
                    {
                        **point,
                        "masks": len({removed for _, removed in point["masks"]}),
                        "perplexity_rank": placed[point["masks"]][0],
                        "accuracy_rank": placed[point["masks"]][1],
                    }
                    for point in points
                ],
            }
        )
    inference.correct(rows)
    return rows


def _points(group: Sequence[Outcome]) -> list[Found]:
    """Each searcher of which both are known, over its draws; with the mask that it found on each."""
    return [
        {
            "searcher": searcher,
            "perplexity": math.exp(low),
            "accuracy": high,
            "masks": tuple((outcome.cell.seed, outcome.cell.removed) for outcome in own),
        }
        for (searcher,), own in groups(group, lambda cell: (cell.searcher,))
        if (low := mean(outcome.log_perplexity for outcome in own)) is not None
        and (high := mean(outcome.accuracy for outcome in own)) is not None
    ]


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, ties sharing their mean."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def spread(every: Sequence[Outcome]) -> list[Found]:
    """How far searchers, and draws, differ under one objective: variances of accuracy (points^2) and perplexity (Fig. 3).

    Over searchers: the population variance (divided by n, as in the paper) over the searchers of one draw, averaged over
    draws. Over draws: over the draws of one searcher, averaged over searchers. ``sample`` divides by n - 1 and is the
    one to compare a row of seven searchers with one of two draws. ``questions``: the part of the variance of accuracy
    that the finite number of questions alone would give, were each model asked others.
    """
    rows: list[Found] = []
    for (model, budget, objective), group in groups(every, setting):
        for name in ("accuracy", "perplexity"):
            value: Callable[[Outcome], Any] = attrgetter(name)
            known = [outcome for outcome in group if value(outcome) is not None]
            if not known:
                continue
            values = [value(outcome) for outcome in known]
            errors = [outcome.accuracy_error for outcome in known if outcome.accuracy_error is not None]
            rows.append(
                {
                    "model": model,
                    "budget": budget,
                    "objective": objective,
                    "outcome": name,
                    "n": len(known),
                    "mean": fmean(values),
                    "lowest": min(values),
                    "highest": max(values),
                    "over_searchers": _variances(known, value, lambda cell: cell.seed),
                    "over_draws": _variances(known, value, lambda cell: cell.searcher),
                    "questions": fmean(error**2 for error in errors) if name == "accuracy" and errors else None,
                    "points": [{"searcher": o.cell.searcher, "seed": o.cell.seed, "value": value(o)} for o in known],
                }
            )
    return rows


def _variances(
    every: Sequence[Outcome], value: Callable[[Outcome], Any], held: Callable[[Cell], Hashable]
) -> Found | None:
    """The variance within groups that hold something fixed, averaged over those with at least two members."""
    alike = [[value(one) for one in own] for own in by(every, lambda one: held(one.cell)).values() if len(own) > 1]
    if not alike:
        return None
    return {
        "population": fmean(map(pvariance, alike)),
        "sample": fmean(map(variance, alike)),
        "groups": len(alike),
        "range": fmean(max(values) - min(values) for values in alike),
    }
