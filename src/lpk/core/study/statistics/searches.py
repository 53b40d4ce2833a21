"""What searches cost and how good what they find is, in the loss that they look at (Table 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from lpk.core.study import inference
from lpk.core.study.statistics.outcomes import NAMES, Found, Outcome, by, draw, groups, key, mean, setting
from lpk.core.study.tables import Trial

#: Who the others are held against.
BASELINE = "one-shot"
#: Losses closer than this are the same.
SAME_LOSS = 1e-9


def cost(every: Sequence[Outcome]) -> list[Found]:
    """What searches cost and what they find (Table 3): the means over draws of each searcher, and who is on the front.

    The front: no other searcher of the group has both fewer layer-forwards and less loss. ``rho`` says whether dearer
    searches find less loss (negative: they do).
    """
    rows: list[Found] = []
    for (model, budget, objective), group in groups(every, setting):
        searchers = [_average(searcher, own) for (searcher,), own in groups(group, lambda cell: (cell.searcher,))]
        known = [one for one in searchers if one["calibration_loss"] is not None]
        for one in searchers:
            one["front"] = one["calibration_loss"] is not None and not any(_beats(other, one) for other in known)
        x, y = [one["layer_forwards"] for one in known], [one["calibration_loss"] for one in known]
        rows.append(
            {
                "model": model,
                "budget": budget,
                "objective": objective,
                "n": len(known),
                **inference.correlation(x, y),
                "searchers": searchers,
            }
        )
    inference.correct(rows)
    return rows


def _average(searcher: str, own: Sequence[Outcome]) -> Found:
    """One searcher over its draws."""
    low = mean(outcome.log_perplexity for outcome in own)
    return {
        "searcher": searcher,
        "draws": len(own),
        "layer_forwards": fmean(outcome.cell.layer_forwards for outcome in own),
        "naive_layer_forwards": fmean(outcome.cell.naive_layer_forwards for outcome in own),
        "masks": fmean(outcome.cell.masks for outcome in own),
        "seconds": fmean(outcome.cell.seconds for outcome in own),
        "calibration_loss": mean(outcome.loss for outcome in own),
        "perplexity": None if low is None else math.exp(low),
        "accuracy": mean(outcome.accuracy for outcome in own),
    }


def _beats(one: Found, other: Found) -> bool:
    """Whether one is at least as good in cost and in loss, and better in one of them."""
    mine, yours = ((row["layer_forwards"], row["calibration_loss"]) for row in (one, other))
    return bool(mine[0] <= yours[0] and mine[1] <= yours[1] and mine != yours)


def regret(every: Sequence[Outcome], trials: Sequence[Trial]) -> list[Found]:
    """How far each search's best mask lies above the best of its budget that any search saw on that objective and draw.

    Both losses are those that searches looked at: a cell's calibration loss may be measured in another precision.
    """
    whole = {name: max(trial.sequences for trial in own) for name, own in by(trials, draw).items()}
    full = [
        trial
        for trial in trials
        if trial.sequences == whole[draw(trial)]
        and not trial.stopped
        and len(trial.removed) == trial.budget
        and math.isfinite(trial.loss)
    ]
    best, own_best = (
        {name: min((trial.loss, trial.removed) for trial in own) for name, own in by(full, of).items()}
        for of in (draw, key)
    )
    rows: list[Found] = []
    for outcome in every:
        if own := own_best.get(key(outcome.cell)):
            lowest, mask = best[draw(outcome.cell)]
            rows.append(
                {
                    **dict(zip(NAMES, key(outcome.cell), strict=True)),
                    "loss": own[0],
                    "best": lowest,
                    "best_removed": list(mask),
                    "regret": own[0] - lowest,
                }
            )
    return rows


def against_baseline(every: Sequence[Outcome], baseline: str = BASELINE) -> list[Found]:
    """Is a searcher ever worse than one-shot on its own loss? Wins, ties and losses over all cells, and a sign test.

    Cells of one draw share its data and are no independent evidence: the test's units are models x objectives x draws, the
    differences of one averaged over budgets (``won`` and ``lost``).
    """
    losses = {(draw(outcome.cell), outcome.cell.searcher): outcome.loss for outcome in every}
    rows: list[Found] = []
    for (searcher,), own in groups(every, lambda cell: (cell.searcher,)):
        gaps = [
            (outcome.cell, mine - theirs)
            for outcome in own
            if (mine := outcome.loss) is not None and (theirs := losses.get((draw(outcome.cell), baseline))) is not None
        ]
        if searcher != baseline and gaps:
            better, worse = _signs([gap for _, gap in gaps])
            units = by(gaps, lambda pair: (pair[0].model, pair[0].objective, pair[0].seed)).values()
            won, lost = _signs([fmean(gap for _, gap in unit) for unit in units])
            rows.append(
                {
                    "searcher": searcher,
                    "baseline": baseline,
                    "n": len(gaps),
                    "better": better,
                    "same": len(gaps) - better - worse,
                    "worse": worse,
                    "draws": len(units),
                    "won": won,
                    "lost": lost,
                    "p": inference.sign_p(won, lost),
                    "smallest_p": inference.sign_p(won + lost, 0),
                }
            )
    inference.correct(rows)
    return rows


def _signs(gaps: Sequence[float]) -> tuple[int, int]:
    """How many losses are lower, and how many higher."""
    return sum(gap < -SAME_LOSS for gap in gaps), sum(gap > SAME_LOSS for gap in gaps)
