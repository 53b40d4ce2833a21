"""What a study's tables say, with how sure they are: every function takes rows and returns plain values for JSON.

The questions and the first three statistics are those of "Rethinking Layer Redundancy" (https://arxiv.org/abs/2604.24938):
does the perplexity of a pruned model rank searchers as its accuracy does (Fig. 2), how far do searchers differ under one
objective (Fig. 3), do masks depend on the objective or on the searcher (Fig. 1). The paper has one calibration draw and
no tests; here every claim has a p-value, corrected over its family, and draws are a factor like the others. Methods are
in :mod:`lpk.core.study.inference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, pvariance, variance
from typing import Any, TypeVar

from lpk.core.errors import UsageError
from lpk.core.study import inference
from lpk.core.study.tables import DENSE, Cell, Measure, Trial

Found = dict[str, Any]
T = TypeVar("T")
#: Who the others are held against.
BASELINE = "one-shot"
FACTORS = ("objective", "searcher", "budget", "draw")
#: What is only added to a model after what: the seed names other data under another objective.
NESTED = {"draw": "objective"}
#: Losses closer than this are the same.
SAME_LOSS = 1e-9


@dataclass(frozen=True)
class Outcome:
    """A finished cell and what its mask is worth.

    Attributes:
        perplexity: the mean over held-out texts, as in the paper's Table 2; None where it was not measured or is infinite.
        accuracy: the mean over tasks in percent, as in its Table 1.
        accuracy_error: its standard error from the finite number of questions, the tasks taken as independent.
    """

    cell: Cell
    perplexity: float | None
    accuracy: float | None
    accuracy_error: float | None

    @property
    def loss(self) -> float | None:
        """The calibration loss, where it is a number."""
        return _finite(self.cell.calibration_loss)

    @property
    def log_perplexity(self) -> float | None:
        """Its logarithm: an exploding model must not outweigh all others."""
        return math.log(self.perplexity) if self.perplexity else None


def outcomes(cells: Sequence[Cell], measures: Sequence[Measure]) -> list[Outcome]:
    """The finished cells with their averages.

    A task's plain accuracy is taken where there is one, else the length-normalised. Averages of one model are over the
    texts and tasks that all its cells have, or they could not be compared.

    Raises:
        UsageError: two cells have one name, or a measure is none of a cell's.
    """
    done = {_key(cell): cell for cell in cells if cell.status == "done"}
    if len({_key(cell) for cell in cells}) < len(cells):
        raise UsageError("cells: two have the same model, objective, searcher, budget and seed")
    values: dict[tuple[Any, ...], dict[str, dict[str, Measure]]] = {key: {} for key in done}
    for measure in measures:
        if measure.searcher != DENSE and _key(measure) in done:
            kind = "perplexity" if measure.kind == "perplexity" else "accuracy"
            known = values[_key(measure)].setdefault(kind, {})
            if measure.kind != "calibration" and (
                measure.kind != "accuracy-normalised" or measure.measure not in known
            ):
                known[measure.measure] = measure
        elif measure.searcher != DENSE and _key(measure) not in {_key(cell) for cell in cells}:
            raise UsageError(f"measures: {measure.measure} is of a cell that is not there: {_key(measure)}")
    shared = {
        (model, kind): set.intersection(*(set(values[key].get(kind, {})) for key in done if key[0] == model))
        for model in {key[0] for key in done}
        for kind in ("perplexity", "accuracy")
    }

    def outcome(cell: Cell) -> Outcome:
        texts, tasks = (
            [values[_key(cell)][kind][name] for name in sorted(shared[cell.model, kind])]
            for kind in ("perplexity", "accuracy")
        )
        errors = [task.standard_error for task in tasks if task.standard_error is not None]
        return Outcome(
            cell,
            _finite(fmean(text.value for text in texts)) if texts else None,
            _finite(100 * fmean(task.value for task in tasks)) if tasks else None,
            100 * math.hypot(*errors) / len(tasks) if tasks and len(errors) == len(tasks) else None,
        )

    return [outcome(cell) for _, cell in sorted(done.items())]


def rank_agreement(every: Sequence[Outcome]) -> list[Found]:
    """Perplexity rank against accuracy rank of the searchers of one model, budget and objective (Fig. 2).

    A searcher is one point: the mean over its draws of log perplexity and of accuracy. Positive rho: what keeps
    perplexity low keeps accuracy high.
    """
    rows: list[Found] = []
    for (model, budget, objective), group in _groups(every, _setting):
        points = [
            {
                "searcher": searcher,
                "perplexity": math.exp(low),
                "accuracy": high,
                "masks": sorted({o.cell.removed for o in own}),
            }
            for (searcher,), own in _groups(group, lambda cell: (cell.searcher,))
            if (low := _mean(o.log_perplexity for o in own)) is not None
            and (high := _mean(o.accuracy for o in own)) is not None
        ]
        x, y = [point["perplexity"] for point in points], [-point["accuracy"] for point in points]
        rows.append(
            {
                "model": model,
                "budget": budget,
                "objective": objective,
                "n": len(points),
                "different_masks": len({tuple(point["masks"]) for point in points}),
                "rho": inference.spearman(x, y),
                "interval": inference.spearman_interval(x, y),
                "p": inference.spearman_p(x, y),
                "smallest_p": inference.smallest_p(x, y),
                "points": [
                    {**point, "masks": len(point["masks"]), "perplexity_rank": a, "accuracy_rank": b}
                    for point, a, b in zip(points, ranks(x), ranks(y), strict=True)
                ],
            }
        )
    inference.correct(rows)
    return rows


def spread(every: Sequence[Outcome]) -> list[Found]:
    """How far searchers, and draws, differ under one objective: variances of accuracy (points^2) and perplexity (Fig. 3).

    Over searchers: the population variance (divided by n, as in the paper) over the searchers of one draw, averaged over
    draws. Over draws: over the draws of one searcher, averaged over searchers. ``sample`` divides by n - 1 and is the
    one to compare a row of seven searchers with one of two draws. ``questions``: the part of the variance of accuracy
    that the finite number of questions alone would give, were each model asked others.
    """
    rows: list[Found] = []
    for (model, budget, objective), group in _groups(every, _setting):
        for name, value in (("accuracy", _accuracy), ("perplexity", _perplexity)):
            known = [outcome for outcome in group if value(outcome) is not None]
            if not known:
                continue
            values = [value(outcome) or 0.0 for outcome in known]
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
                    "over_searchers": _variances(known, value, lambda cell: (cell.seed,)),
                    "over_draws": _variances(known, value, lambda cell: (cell.searcher,)),
                    "questions": fmean(error**2 for error in errors) if name == "accuracy" and errors else None,
                    "points": [{"searcher": o.cell.searcher, "seed": o.cell.seed, "value": value(o)} for o in known],
                }
            )
    return rows


def overlap(every: Sequence[Outcome], candidates: Callable[[Cell], int]) -> list[Found]:
    """Do masks depend on the objective? Jaccard indices within and across objectives, for each model and budget.

    Within: one draw number, one objective, two searchers. Across: one draw number, two objectives, two searchers. The
    test permutes the objectives' labels within (searcher, draw): if the objective did not matter, they would be
    exchangeable there. It is one-sided, on mean within minus mean across. ``changed`` compares masks that differ in
    one thing only. ``random`` is what masks drawn at random from the ``candidates`` would share.
    """
    rows = []
    for (model, budget), group in _groups(every, lambda cell: (cell.model, cell.budget)):
        cells = [outcome.cell for outcome in group]
        pairs = [(a, b, inference.jaccard(a.removed, b.removed)) for a, b in combinations(cells, 2)]
        same = {
            "searcher": [j for a, b, j in pairs if a.objective == b.objective and a.seed == b.seed],
            "objective": [j for a, b, j in pairs if a.searcher == b.searcher and a.seed == b.seed],
            "draw": [j for a, b, j in pairs if a.searcher == b.searcher and a.objective == b.objective],
        }
        rows.append(
            {
                "model": model,
                "budget": budget,
                "n": len(cells),
                **_objective_test(cells),
                "within_objective": {
                    objective: _mean(
                        j for a, b, j in pairs if a.objective == b.objective == objective and a.seed == b.seed
                    )
                    for objective in sorted({cell.objective for cell in cells})
                },
                "changed": {name: _mean(found) for name, found in same.items()},
                "identical": {name: sum(j == 1 for j in found) for name, found in same.items()},
                "pairs": {name: len(found) for name, found in same.items()},
                "random": inference.random_jaccard(candidates(cells[0]), budget),
            }
        )
    inference.correct(rows)
    return rows


def _objective_test(cells: Sequence[Cell]) -> Found:
    """Within, across, their difference with a bootstrap over searchers, and the permutation test of the labels."""
    import numpy as np

    pairs = [
        (i, k)
        for i, k in combinations(range(len(cells)), 2)
        if cells[i].seed == cells[k].seed and cells[i].searcher != cells[k].searcher
    ]
    names = sorted({cell.objective for cell in cells})
    nothing = {"within": None, "across": None, "difference": None, "interval": None, "p": None, "smallest_p": None}
    if len(names) < 2 or not pairs:
        return nothing
    left, right = np.array(pairs).T
    shared = np.array([inference.jaccard(cells[i].removed, cells[k].removed) for i, k in pairs])
    label = np.array([names.index(cell.objective) for cell in cells])

    def difference(labels: Any, weight: Any) -> Any:
        """Mean within minus mean across, for each row of labels."""
        within = (labels[..., left] == labels[..., right]) * weight
        across = weight - within
        with np.errstate(invalid="ignore"):
            return within @ shared / within.sum(-1) - across @ shared / across.sum(-1)

    once = np.ones(len(pairs))
    inside = label[left] == label[right]
    if inside.all() or not inside.any():
        return nothing
    orders, exact = inference.permuted_within([(cell.searcher, cell.seed) for cell in cells])
    permuted = difference(label[orders], once)
    observed = float(difference(label, once))
    searchers = sorted({cell.searcher for cell in cells})
    place = np.array([searchers.index(cell.searcher) for cell in cells])
    counts = np.random.default_rng(0).multinomial(len(searchers), [1 / len(searchers)] * len(searchers), size=1_999)
    drawn = np.array([float(difference(label, row[place[left]] * row[place[right]])) for row in counts])
    return {
        "within": float(shared[inside].mean()),
        "across": float(shared[~inside].mean()),
        "difference": observed,
        "interval": inference.interval(drawn[np.isfinite(drawn)]),
        "p": inference.p_value(observed, permuted, exact),
        "smallest_p": inference.p_value(float(permuted.max()), permuted, exact),
    }


def cost(every: Sequence[Outcome]) -> list[Found]:
    """What searches cost and what they find (Table 3): the means over draws of each searcher, and who is on the front.

    The front: no other searcher of the group has both fewer layer-forwards and less loss. ``rho`` says whether dearer
    searches find less loss (negative: they do).
    """
    rows: list[Found] = []
    for (model, budget, objective), group in _groups(every, _setting):
        searchers = [
            {
                "searcher": searcher,
                "draws": len(own),
                "layer_forwards": fmean(o.cell.layer_forwards for o in own),
                "naive_layer_forwards": fmean(o.cell.naive_layer_forwards for o in own),
                "masks": fmean(o.cell.masks for o in own),
                "seconds": fmean(o.cell.seconds for o in own),
                "calibration_loss": _mean(o.loss for o in own),
                "perplexity": None if (low := _mean(o.log_perplexity for o in own)) is None else math.exp(low),
                "accuracy": _mean(o.accuracy for o in own),
            }
            for (searcher,), own in _groups(group, lambda cell: (cell.searcher,))
        ]
        for one in searchers:
            one["front"] = one["calibration_loss"] is not None and not any(_beats(other, one) for other in searchers)
        known = [one for one in searchers if one["calibration_loss"] is not None]
        x, y = [one["layer_forwards"] for one in known], [one["calibration_loss"] for one in known]
        rows.append(
            {
                "model": model,
                "budget": budget,
                "objective": objective,
                "n": len(known),
                "rho": inference.spearman(x, y),
                "p": inference.spearman_p(x, y),
                "searchers": searchers,
            }
        )
    inference.correct(rows)
    return rows


def _beats(one: Found, other: Found) -> bool:
    """Whether one is at least as good in cost and in loss, and better in one of them."""
    if one["calibration_loss"] is None:
        return False
    mine, yours = ((row["layer_forwards"], row["calibration_loss"]) for row in (one, other))
    return bool(mine[0] <= yours[0] and mine[1] <= yours[1] and mine != yours)


def regret(every: Sequence[Outcome], trials: Sequence[Trial]) -> list[Found]:
    """Each cell's loss above the best mask of its budget that any search saw on that objective and draw."""
    best: dict[tuple[Any, ...], list[tuple[float, tuple[int, ...]]]] = {}
    for outcome in every:
        if outcome.loss is not None:
            best.setdefault(_draw(outcome.cell), []).append((outcome.loss, outcome.cell.removed))
    whole = {key: max(trial.sequences for trial in own) for key, own in _by(trials, _draw).items()}
    for trial in trials:
        full = trial.sequences == whole[_draw(trial)] and not trial.stopped and len(trial.removed) == trial.budget
        if full and math.isfinite(trial.loss):
            best.setdefault(_draw(trial), []).append((trial.loss, trial.removed))
    rows: list[Found] = []
    for outcome in every:
        if (loss := outcome.loss) is not None:
            lowest, mask = min(best[_draw(outcome.cell)])
            rows.append(
                {
                    **_names(outcome.cell),
                    "calibration_loss": loss,
                    "best": lowest,
                    "best_removed": list(mask),
                    "regret": loss - lowest,
                }
            )
    return rows


def against_baseline(every: Sequence[Outcome], baseline: str = BASELINE) -> list[Found]:
    """Is a searcher ever worse than one-shot on its own loss? Wins, ties and losses over all cells, and a sign test."""
    losses = {_key(outcome.cell): outcome.loss for outcome in every}
    rows: list[Found] = []
    for (searcher,), own in _groups(every, lambda cell: (cell.searcher,)):
        gaps = [
            mine - theirs
            for o in own
            if (mine := o.loss) is not None
            and (theirs := losses.get((o.cell.model, o.cell.objective, baseline, o.cell.budget, o.cell.seed)))
            is not None
        ]
        if searcher != baseline and gaps:
            better = sum(gap < -SAME_LOSS for gap in gaps)
            worse = sum(gap > SAME_LOSS for gap in gaps)
            found = {"searcher": searcher, "baseline": baseline, "n": len(gaps), "better": better, "worse": worse}
            rows.append({**found, "same": len(gaps) - better - worse, "p": inference.sign_p(better, worse)})
    inference.correct(rows)
    return rows


def decomposition(every: Sequence[Outcome]) -> list[Found]:
    """How much of an outcome's variance each factor explains, for each model.

    Perplexity (log) and accuracy over all cells; the calibration loss within an objective, for losses of two objectives
    have different units. See :func:`decompose`.
    """
    rows: list[Found] = []
    for (model,), group in _groups(every, lambda cell: (cell.model,)):
        rows.extend(decompose(group, _log_perplexity, FACTORS, {"model": model, "outcome": "log perplexity"}))
        rows.extend(decompose(group, _accuracy, FACTORS, {"model": model, "outcome": "accuracy"}))
        for (objective,), own in _groups(group, lambda cell: (cell.objective,)):
            which = {"model": model, "outcome": f"calibration loss, {objective}"}
            rows.extend(decompose(own, lambda outcome: outcome.loss, FACTORS[1:], which))
    tests = [factor for row in rows for factor in row["factors"]]
    inference.correct(tests)
    return rows


def decompose(
    every: Sequence[Outcome], value: Callable[[Outcome], float | None], names: Sequence[str], which: Found
) -> list[Found]:
    """LMG shares of R^2: what each factor adds to a linear model of all factors, averaged over the orders of adding them.

    A draw belongs to its objective (the seed names other data under another one), so it is added after it. In a
    balanced design a share is the factor's sum of squares over the total, whatever the order; ``budget_aside`` is its
    part of what the budget does not explain. ``chance`` is what pure
    noise would give a factor with so many levels, df / (n - 1); ``adjusted`` takes it off (epsilon squared: share -
    df (1 - R^2) / df of the rest), and can be negative. p: the share against its values when the outcome is permuted
    within the cells that differ in this factor only. The interval is a bootstrap of the main effects' residuals (made
    wider by sqrt(n / df of the rest)), so interactions count as noise. What main effects leave is split into pairwise
    interactions, by the same average over orders, and the rest: higher interactions and noise.

    Returns:
        One row, or none where there is nothing to explain.
    """
    import numpy as np

    known = [outcome for outcome in every if value(outcome) is not None]
    plain = {name: [_level(name, outcome.cell) for outcome in known] for name in FACTORS}
    varied = [name for name in names if len(set(plain[name])) > 1]
    y = np.array([value(outcome) for outcome in known], dtype=float)
    if not varied or len(y) < 3 or float(np.ptp(y)) <= SAME_LOSS:
        return []
    levels: dict[str, list[Hashable]] = {
        name: list(zip(plain["objective"], plain["draw"], strict=True)) if name == "draw" else plain[name]
        for name in varied
    }
    pairs = {
        f"{a} x {b}": list(zip(levels[a], levels[b], strict=True))
        for a, b in combinations(varied, 2)
        if (a, b) != ("objective", "draw")
    }
    model = inference.Factors({**levels, **pairs})
    mains = frozenset(varied)

    def shares(columns: Any) -> Found:
        return inference.shapley(varied, lambda subset: model.explained(subset, columns), NESTED)

    share, degrees = shares(y), inference.shapley(varied, model.degrees, NESTED)
    r2, left = float(model.explained(mains, y)), len(y) - 1 - model.degrees(mains)
    intervals = _residual_bootstrap(model, mains, y, left, shares) if left else {}
    aside = 1 - float(share.get("budget", 0))
    factors = []
    for name in varied:
        strata = [tuple(plain[other][i] for other in FACTORS if other != name) for i in range(len(y))]
        orders, exact = inference.permuted_within(strata)
        factors.append(
            {
                "factor": name,
                "levels": len(set(levels[name])),
                "share": float(share[name]),
                "budget_aside": float(share[name] / aside) if name != "budget" and aside > SAME_LOSS else None,
                "interval": intervals.get(name),
                "chance": degrees[name] / (len(y) - 1),
                "adjusted": float(share[name]) - degrees[name] * (1 - r2) / left if left else None,
                "p": inference.p_value(float(share[name]), shares(y[orders].T)[name], exact),
            }
        )
    before = {f"{name} x draw": f"objective x {name}" for name in varied}  # for a draw's levels hold the objective's
    together = inference.shapley(list(pairs), lambda subset: float(model.explained(subset | mains, y)), before)
    return [
        {
            **which,
            "n": len(y),
            "variance": float(y.var()),
            "r2": r2,
            "factors": factors,
            "interactions": [{"pair": pair, "share": together[pair]} for pair in pairs],
            "rest": max(0.0, 1 - float(model.explained(mains | set(pairs), y))),
            "not_varied": [name for name in names if name not in varied],
        }
    ]


def _residual_bootstrap(
    model: inference.Factors, mains: frozenset[str], y: Any, left: int, shares: Callable[[Any], Found]
) -> Found:
    """Intervals of the shares when what main effects leave is drawn again."""
    import numpy as np

    fitted = model.fitted(mains, y)
    residuals = (y - fitted) * math.sqrt(len(y) / left)
    drawn = np.random.default_rng(0).choice(residuals, size=(len(y), 1_999))
    return {name: inference.interval(values) for name, values in shares(fitted[:, None] + drawn).items()}


def analyse(
    cells: Sequence[Cell], measures: Sequence[Measure], trials: Sequence[Trial], protected: Sequence[int] = (0, -1)
) -> Found:
    """All of it, as one value for ``statistics.json``."""
    every = outcomes(cells, measures)

    def candidates(cell: Cell) -> int:
        return cell.layers - len({layer % cell.layers for layer in protected})

    return {
        "alpha": inference.ALPHA,
        "cells": {"done": len(every), "failed": len(cells) - len(every)},
        "rank_agreement": rank_agreement(every),
        "spread": spread(every),
        "overlap": overlap(every, candidates),
        "cost": cost(every),
        "decomposition": decomposition(every),
        "regret": regret(every, trials),
        "against_baseline": against_baseline(every),
    }


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, ties sharing their mean."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2 for value in values
    ]


def _variances(
    every: Sequence[Outcome], value: Callable[[Outcome], float | None], held: Callable[[Cell], Hashable]
) -> Found | None:
    """The variance within groups that hold something fixed, averaged over those with at least two members."""
    groups = [[value(o) or 0.0 for o in own] for own in _by(every, lambda o: held(o.cell)).values() if len(own) > 1]
    if not groups:
        return None
    return {
        "population": fmean(map(pvariance, groups)),
        "sample": fmean(map(variance, groups)),
        "groups": len(groups),
        "range": fmean(max(group) - min(group) for group in groups),
    }


def _by(rows: Iterable[T], key: Callable[[T], Any]) -> dict[Any, list[T]]:
    found: dict[Any, list[T]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _groups(
    every: Sequence[Outcome], key: Callable[[Cell], tuple[Any, ...]]
) -> list[tuple[tuple[Any, ...], list[Outcome]]]:
    """Outcomes that share a key, in the keys' order."""
    return sorted(_by(every, lambda outcome: key(outcome.cell)).items())


def _level(factor: str, cell: Cell) -> Hashable:
    level: Hashable = getattr(cell, "seed" if factor == "draw" else factor)
    return level


def _setting(cell: Cell) -> tuple[str, int, str]:
    return cell.model, cell.budget, cell.objective


def _draw(row: Cell | Trial) -> tuple[str, str, int, int]:
    return row.model, row.objective, row.budget, row.seed


def _key(row: Cell | Measure) -> tuple[str, str, str, int, int]:
    return row.model, row.objective, row.searcher, row.budget, row.seed


def _names(cell: Cell) -> Found:
    names = ("model", "objective", "searcher", "budget", "seed")
    return dict(zip(names, _key(cell), strict=True))


def _perplexity(outcome: Outcome) -> float | None:
    return outcome.perplexity


def _log_perplexity(outcome: Outcome) -> float | None:
    return outcome.log_perplexity


def _accuracy(outcome: Outcome) -> float | None:
    return outcome.accuracy


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
