"""What one part of an objective costs in another: the Pareto fronts of searches for an objective of several parts."""

from __future__ import annotations

from collections.abc import Sequence

from lpk.core.pruning.front import front
from lpk.core.study.statistics.outcomes import Found, Outcome, by, draw, key
from lpk.core.study.tables import Front


def fronts(every: Sequence[Outcome], rows: Sequence[Front]) -> list[Found]:
    """Of each model, budget, objective and draw the masks on a search's front, and which of them no search beats.

    Searches of one draw see the same data, so their masks can be compared: what is left of all their fronts is the front of
    all masks that any of them tried. ``ends`` are the best in each part, in the order of ``parts``. Where they have the same
    losses, one mask is the best in every part: there is no ``trade_off``.
    """
    answers = {key(outcome.cell): outcome.cell.removed for outcome in every}
    found: list[Found] = []
    for name, group in sorted(by(rows, draw).items()):
        model, objective, budget, seed = name
        parts = list(dict.fromkeys(row.part for row in group))
        points = {removed: _losses(own, parts) for removed, own in by(group, lambda row: row.removed).items()}
        best = front(points)
        ends = [min(best, key=lambda mask, part=part: (points[mask][part], points[mask])) for part in range(len(parts))]  # type: ignore[misc]
        found.append(
            {
                "model": model,
                "budget": budget,
                "objective": objective,
                "seed": seed,
                "parts": parts,
                "left": len(best),
                "trade_off": len({tuple(points[mask]) for mask in ends}) > 1,
                "ends": [{"removed": list(mask), "losses": points[mask]} for mask in ends],
                "masks": [
                    {
                        "removed": list(removed),
                        "losses": losses,
                        "left": removed in best,
                        "searchers": [
                            {"searcher": own[0].searcher, "answer": answers.get(key(own[0])) == removed}
                            for own in by((row for row in group if row.removed == removed), key).values()
                        ],
                    }
                    for removed, losses in sorted(points.items(), key=lambda pair: (pair[1], pair[0]))
                ],
            }
        )
    return found


def _losses(rows: Sequence[Front], parts: Sequence[str]) -> list[float]:
    """A mask's losses, whichever search measured it: the memo has given all of them the same."""
    losses = {row.part: row.loss for row in rows}
    return [losses[part] for part in parts]
