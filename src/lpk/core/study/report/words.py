"""The findings in words: every number and every claim comes from the statistics.

Each question is answered for any grid. Where there is nothing to compare (one objective, one searcher, no tasks, cells that
failed), that is the answer, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from statistics import median

from lpk.core.pruning.mask import ranges
from lpk.core.study.inference import ALPHA
from lpk.core.study.report.numbers import interval, loss, p_text, percent, short
from lpk.core.study.statistics import BASELINE, Found, Outcome
from lpk.core.study.statistics.outcomes import by
from lpk.core.study.statistics.variance import FACTORS

NOTHING = "nothing to compare"


def summary(found: Found, every: Sequence[Outcome]) -> list[Found]:
    """A question, its answer, how sure that is, and what it rests on line by line; nothing where no cell is finished."""
    answers = [_say_masks, _say_variance, _say_ranks, _say_spread, _say_cost, _say_baseline]
    answers += [_say_fronts] if "fronts" in found else []
    return [answer(found, every) for answer in answers if every]


def no_difference(row: Found) -> str:
    """Why masks of one model and budget are not compared within and across objectives."""
    if len(row["within_objective"]) < 2:
        return f"one objective: {NOTHING}"
    of = "two objectives" if row["pairs"]["searcher"] else "one objective"
    return f"no two searchers of {of} on one draw: {NOTHING}"


def _say_masks(found: Found, every: Sequence[Outcome]) -> Found:
    question = "Do the removed layers depend on the objective?"
    rows = [row for row in found["overlap"] if row["difference"] is not None]
    if not rows:
        why = "no model, budget and draw has pairs of searchers both within one objective and across two"
        return _nothing(question, _same(every, "objective", "searcher") or why)
    lines = [
        f"{row['model']}, {row['budget']} removed: two masks share {short(row['within'])} within an objective"
        f"{_other_draw(row)}, "
        f"{short(row['across'])} across objectives, {short(row['random'])} at random; difference "
        f"{short(row['difference'])}{_between(row['interval'])}, {_test(row)}."
        for row in rows
    ]
    lead = f"Masks of one objective and its data are significantly more alike than masks of two in {_count(rows)} groups of model and budget."
    if _powerless(rows):
        lead += " They are too few or too alike for any difference to be significant after correction."
    return _answer(question, lead, lines, rows)


def _other_draw(row: Found) -> str:
    """What masks of one objective share when their data differ too, as those of two objectives may."""
    shared = row["changed"]["draw and searcher"]
    return "" if shared is None else f" ({short(shared)} on two draws)"


def _say_variance(found: Found, _: Sequence[Outcome]) -> Found:
    question = "What explains the outcome: objective, searcher or calibration draw?"
    rows = [row for row in found["decomposition"] if not row["outcome"].startswith("calibration")]
    tests = [factor for row in rows for factor in _chosen(row)]
    if not tests:
        why = "no model has three finished cells whose masks, perplexity or accuracy differ"
        return _nothing(question, "within a model only the budget varies" if rows else why)
    lines = []
    for row in rows:
        parts = [
            f"{factor['factor']} {percent(factor['adjusted'])}{_between(factor['interval'], percent)} ({factor['verdict']})"
            for factor in sorted(row["factors"], key=lambda factor: -(factor["adjusted"] or 0))
        ]
        less = row["difference"]
        apart = (
            f"; objective less searcher {percent(less['value'])}{_between(less['interval'], percent)}" if less else ""
        )
        lines.append(f"{row['model']}, {row['outcome']}: {', '.join(parts)}{apart}; n = {row['n']}.")
    noise = "From each share is taken what noise alone would give a factor with as many levels, so it may be below 0."
    return _answer(question, " ".join([*_leaders(rows), *_apart(rows), noise]), lines, tests)


def _leaders(rows: Sequence[Found]) -> list[str]:
    """How often the objective explains the most; where it does not vary, how often the searcher does."""
    said = []
    known = [row for row in rows if all(factor["adjusted"] is not None for factor in row["factors"])]
    for names, own in by(known, lambda row: tuple(factor["factor"] for factor in _chosen(row))).items():
        fixed = [name for name in FACTORS if name not in (*names, "budget")]
        if len(names) == 1:
            said.append(f"Of objective, searcher and draw only the {names[0]} varies: {NOTHING} it with.")
        elif names:
            most = sum(_chosen(row)[0]["adjusted"] > max(one["adjusted"] for one in _chosen(row)[1:]) for row in own)
            others = " or ".join(f"the {name}" for name in names[1:])
            aside = "".join(f"; the {name} does not vary" for name in fixed)
            said.append(f"The {names[0]} explains more than {others} in {most} of {len(own)} outcomes{aside}.")
    if len(known) < len(rows):
        said.append(
            f"In {len(rows) - len(known)} of {len(rows)} outcomes too few cells are left to tell a share from noise."
        )
    return said


def _apart(rows: Sequence[Found]) -> list[str]:
    """How often it is sure which of objective and searcher explains more."""
    ends = [row["difference"]["interval"] for row in rows if row["difference"]]
    more, less = sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)
    said = (
        f"The interval of objective less searcher lies above 0 in {more} of {len(ends)} outcomes, below it in {less}."
    )
    return [said] if ends else []


def _chosen(row: Found) -> list[Found]:
    """The factors that are chosen for other reasons than size."""
    return [factor for factor in row["factors"] if factor["factor"] != "budget"]


def _say_ranks(found: Found, every: Sequence[Outcome]) -> Found:
    question = "Does perplexity rank searchers as accuracy does?"
    rows = [row for row in found["rank_agreement"] if row["rho"] is not None]
    if not rows:
        why = _unmeasured(every, "accuracy") or _unmeasured(every, "perplexity") or _same(every, "searcher")
        return _nothing(question, why or "no setting has searchers that differ both in perplexity and in accuracy")
    ends = {"Lowest": min(rows, key=lambda row: row["rho"]), "Highest": max(rows, key=lambda row: row["rho"])}
    if len(rows) == 1:
        ends = {"Rho": rows[0]}
    rhos = [row["rho"] for row in rows]
    lead = f"Spearman\u2019s rho is {'from ' if len(rows) > 1 else ''}{_span(rhos)} over {len(rows)} setting{'s' if len(rows) > 1 else ''}."
    if _powerless(rows):
        lead += " The searchers are too few or too alike for any to be significant after correction."
    elif all(row["verdict"] != "significant" for row in rows):
        lead += " This shows neither that the ranks agree nor that they do not."
    lines = [
        f"{word}: {short(row['rho'])}{_between(row['interval'])}, {row['model']}, {row['budget']} removed for "
        f"{row['objective']}; n = {row['different_masks']} different masks of {row['n']} searchers, {_test(row)}."
        for word, row in ends.items()
    ]
    return _answer(question, lead, lines, rows)


def _say_spread(found: Found, every: Sequence[Outcome]) -> Found:
    question = "How far do searchers differ under one objective?"
    lines = []
    for outcome, unit in (("accuracy", " points"), ("perplexity", "")):
        rows = [row for row in found["spread"] if row["outcome"] == outcome and row["over_searchers"]]
        if not rows:
            continue
        median_ = "median " if len(rows) > 1 else ""
        lines.append(
            f"{outcome.capitalize()}: searchers span {_span([row['over_searchers']['range'] for row in rows])}{unit}; the "
            f"{median_}sample variance is {short(median(row['over_searchers']['sample'] for row in rows))} over searchers"
            + _also([row["over_draws"]["sample"] for row in rows if row["over_draws"]], ", {} over draws")
            + _also([row["questions"] for row in rows if row["questions"] is not None], "; few questions alone give {}")
            + "."
        )
    if not lines:
        return _nothing(question, _same(every, "searcher") or "no draw of a setting has two searchers with an outcome")
    return _answer(question, "On one draw, for one budget:", lines, [])


def _say_cost(found: Found, every: Sequence[Outcome]) -> Found:
    question = "Does a dearer search find less loss?"
    rows = [row for row in found["cost"] if row["rho"] is not None]
    if not rows:
        why = "no setting has searchers that differ both in layer-forwards and in loss"
        return _nothing(question, _same(every, "searcher") or why)
    costs = [[one["layer_forwards"] for one in row["searchers"]] for row in rows]
    ratios = [max(group) / min(group) for group in costs if min(group) > 0]
    typical = " (median)" if len(ratios) > 1 else ""
    lines = [
        _also(ratios, f"The dearest search takes {{}} times the layer-forwards of the cheapest{typical}."),
        _leading(rows),
        f"Rho between layer-forwards and loss: {_span([row['rho'] for row in rows])}; negative: dearer searches find less loss.",
    ]
    lead = f"Cost and loss are significantly correlated over searchers in {_count(rows)} settings."
    if _powerless(rows):
        lead += " The searchers are too few for any to be significant after correction."
    return _answer(question, lead, [line for line in lines if line], rows)


def _leading(rows: Sequence[Found]) -> str:
    """Who is on the front of cost and loss."""
    front = Counter(one["searcher"] for row in rows for one in row["searchers"] if one["front"])
    if len(rows) == 1:
        return f"On the front of cost and loss: {', '.join(front)}."
    first = sorted(front.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    leaders = ", ".join(f"{name} ({times})" for name, times in first)
    return f"Most often on the front of cost and loss, of {len(rows)} settings: {leaders}."


def _say_baseline(found: Found, every: Sequence[Outcome]) -> Found:
    question = f"Is a searcher worse than {BASELINE} on its own loss?"
    rows = found["against_baseline"]
    if not rows:
        there = any(outcome.cell.searcher == BASELINE for outcome in every)
        why = "no other searcher has a loss where it has one" if there else f"no finished cell is of {BASELINE}"
        return _nothing(question, _same(every, "searcher") or why)
    lines = [
        f"{row['searcher']}: better in {row['better']}, the same in {row['same']}, worse in {row['worse']} of {row['n']} cells; "
        f"over budgets better on {row['won']} and worse on {row['lost']} of {row['draws']} draws, {_test(row)}."
        for row in rows
    ]
    worse, of = sum(row["worse"] for row in rows), sum(row["n"] for row in rows)
    lead = f"In {worse} of {of} cells a search ends with more calibration loss than {BASELINE}."
    if _powerless(rows):
        lead += " The draws are too few for any difference to be significant after correction."
    return _answer(question, lead, lines, rows)


def _say_fronts(found: Found, every: Sequence[Outcome]) -> Found:
    question = "What does one part of an objective cost in another?"
    rows = found["fronts"]
    apart = sum(row["trade_off"] for row in rows)
    lead = (
        f"In {apart} of {len(rows)} groups of model, budget, objective and draw the best mask under one part is not the "
        "best under another. This is known of the masks that searches tried, not of all there are."
    )
    settings = by(rows, itemgetter("model", "budget", "objective"))
    lines = [
        f"{model}, {budget} removed for {objective}: {_trade_off(own)}"
        for (model, budget, objective), own in settings.items()
    ]
    return _answer(question, lead, lines, [])


def _trade_off(own: Sequence[Found]) -> str:
    """The fronts of a setting's draws: how many masks none beats, the ends, and whose they are."""
    split = [row for row in own if row["trade_off"]]
    said = []
    if split:
        each = f" on each of {len(split)} draws" if len(split) > 1 else ""
        counts = _span([row["left"] for row in split], str)
        said = [f"{counts} of the masks tried{each} are beaten by none", *_ends(split), _finders(split)]
    if len(split) < len(own):
        draws = f" in {len(own) - len(split)} of {len(own)} draws" if len(own) > 1 else ""
        said.append(f"{'One' if split else 'one'} mask is the best under every part{draws}: no trade-off")
    return f"{'. '.join(said)}."


def _ends(rows: Sequence[Found]) -> Iterator[str]:
    """What the best mask under each part has under the others; of two parts also what goes up when the other goes down."""
    parts = rows[0]["parts"]

    def losses(end: int, part: int) -> list[float]:
        return [row["ends"][end]["losses"][part] for row in rows]

    for end, name in enumerate(parts):
        others = [f"{_span(losses(end, part), loss)} under {other}" for part, other in enumerate(parts) if part != end]
        layers = f" (without layers {ranges(rows[0]['ends'][end]['removed'])})" if len(rows) == 1 else ""
        yield f"Best under {name}: {_span(losses(end, end), loss)}, there {' and '.join(others)}{layers}"
    if len(parts) == 2:
        falls = [one - other for one, other in zip(losses(0, 1), losses(1, 1), strict=True)]
        rises = [other - one for one, other in zip(losses(0, 0), losses(1, 0), strict=True)]
        less, more = (
            f"the loss under {parts[1]} falls by {_span(falls)}",
            f"that under {parts[0]} rises by {_span(rises)}",
        )
        yield f"From the first to the second {less}, {more}"


def _finders(rows: Sequence[Found]) -> str:
    """Which searches have how many of the masks that none beats on their fronts."""
    left = [mask for row in rows for mask in row["masks"] if mask["left"]]
    tried = Counter(one["searcher"] for mask in left for one in mask["searchers"])
    return f"Of these {len(left)} masks {', '.join(f'{name} tried {count}' for name, count in tried.most_common())}"


def _answer(question: str, lead: str, lines: Sequence[str], tests: Sequence[Found]) -> Found:
    tested = [test for test in tests if test["p"] is not None]
    verdict = f"{_count(tested)} tests significant" if tested else "described, not tested"
    return {"question": question, "lead": lead, "lines": lines, "verdict": verdict}


def _nothing(question: str, why: str) -> Found:
    return {"question": question, "lead": f"{NOTHING.capitalize()}: {why}.", "lines": [], "verdict": NOTHING}


def _same(every: Sequence[Outcome], *factors: str) -> str:
    """That all cells have these factors in common, as far as they do; nothing where they differ in all of them."""
    if len(every) == 1:
        return "one cell is finished"
    levels = {
        factor: {getattr(one.cell, "seed" if factor == "draw" else factor) for one in every} for factor in factors
    }
    same = [f"{factor} ({next(iter(values))})" for factor, values in levels.items() if len(values) == 1]
    return f"every finished cell has the same {' and '.join(same)}" if same else ""


def _unmeasured(every: Sequence[Outcome], outcome: str) -> str:
    known = any(getattr(one, outcome) is not None for one in every)
    return "" if known else f"there is no {outcome} that all cells of a model have, and that is finite"


def _powerless(rows: Sequence[Found]) -> bool:
    """Whether Holm's correction leaves no test of these significant, however strong the effect."""
    smallest = [row["smallest_p"] for row in rows if row["p"] is not None]
    return bool(smallest) and min(smallest) * len(smallest) >= ALPHA


def _count(tests: Sequence[Found]) -> str:
    return f"{sum(test['verdict'] == 'significant' for test in tests)} of {len(tests)}"


def _test(row: Found) -> str:
    if row["p"] is None:
        return "not tested"
    return f"{row['verdict']}, p = {p_text(row['p'])}, corrected {p_text(row['corrected'])}".replace("= <", "< ")


def _between(ends: Sequence[float] | None, show: Callable[[float], str] = short) -> str:
    return f" {interval(ends, show)}" if ends else ""


def _span(values: Sequence[float], show: Callable[[float], str] = short) -> str:
    ends = dict.fromkeys((show(min(values)), show(max(values))))
    return " to ".join(ends)


def _also(values: Sequence[float], words: str) -> str:
    return words.format(short(median(values))) if values else ""
