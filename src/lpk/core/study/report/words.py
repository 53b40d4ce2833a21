"""The findings in words: every number and every claim comes from the statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from lpk.core.study.report.numbers import interval, p_text, percent, short
from lpk.core.study.statistics import BASELINE, Found


def summary(found: Found) -> list[dict[str, Any]]:
    """The findings in words: a question, its answer, how sure that is, and what it rests on line by line."""
    answers = (_say_masks, _say_variance, _say_ranks, _say_spread, _say_cost, _say_baseline)
    return [said for answer in answers if (said := answer(found))]


def _say_masks(found: Found) -> Found | None:
    rows = [row for row in found["overlap"] if row["difference"] is not None]
    if not rows:
        return None
    lines = [
        f"{row['model']}, {row['budget']} removed: two masks share {short(row['within'])} within an objective, "
        f"{short(row['across'])} across objectives, {short(row['random'])} at random; difference "
        f"{short(row['difference'])}{_between(row['interval'])}, {_test(row)}."
        for row in rows
    ]
    lead = f"Masks of one objective are significantly more alike than masks of two in {_count(rows)} groups of model and budget."
    return _answer("Do the removed layers depend on the objective?", lead, lines, rows)


def _say_variance(found: Found) -> Found | None:
    lines, tests, most = [], [], 0
    rows = [row for row in found["decomposition"] if not row["outcome"].startswith("calibration")]
    for row in rows:
        factors = sorted(row["factors"], key=lambda factor: -factor["share"])
        chosen = [factor for factor in factors if factor["factor"] != "budget"]
        most += bool(chosen) and chosen[0]["factor"] == "objective"
        tests += chosen
        parts = [
            f"{factor['factor']} {percent(factor['share'])}{_between(factor['interval'], percent)} "
            f"(chance {percent(factor['chance'])}, {factor['verdict']})"
            for factor in factors
        ]
        lines.append(f"{row['model']}, {row['outcome']}: {', '.join(parts)}; n = {row['n']}.")
    if not tests:
        return None
    lead = (
        f"The objective explains more than the searcher or the draw in {most} of {len(rows)} outcomes. Chance is "
        "what pure noise would give a factor with as many levels."
    )
    return _answer("What explains the outcome: objective, searcher or calibration draw?", lead, lines, tests)


def _say_ranks(found: Found) -> Found | None:
    rows = [row for row in found["rank_agreement"] if row["rho"] is not None]
    if not rows:
        return None
    ends = min(rows, key=lambda row: row["rho"]), max(rows, key=lambda row: row["rho"])
    lead = f"Spearman\u2019s rho is from {short(ends[0]['rho'])} to {short(ends[1]['rho'])} over {len(rows)} settings."
    if all(row["verdict"] != "significant" for row in rows):
        lead += " With so few searchers this shows neither that the ranks agree nor that they do not."
    lines = [
        f"{word}: {short(row['rho'])}{_between(row['interval'])}, {row['model']}, {row['budget']} removed for "
        f"{row['objective']}; n = {row['n']} ({row['different_masks']} different), {_test(row)}."
        for word, row in zip(("Lowest", "Highest"), ends, strict=True)
    ]
    return _answer("Does perplexity rank searchers as accuracy does?", lead, lines, rows)


def _say_spread(found: Found) -> Found | None:
    lines = []
    for outcome, unit in (("accuracy", " points"), ("perplexity", "")):
        rows = [row for row in found["spread"] if row["outcome"] == outcome and row["over_searchers"]]
        if not rows:
            continue
        spans = [row["over_searchers"]["range"] for row in rows]
        lines.append(
            f"{outcome.capitalize()}: searchers span {short(min(spans))} to {short(max(spans))}{unit}; the median "
            f"sample variance is {short(median(row['over_searchers']['sample'] for row in rows))} over searchers"
            + _also([row["over_draws"]["sample"] for row in rows if row["over_draws"]], ", {} over draws")
            + _also([row["questions"] for row in rows if row["questions"] is not None], "; few questions alone give {}")
            + "."
        )
    if not lines:
        return None
    return _answer("How far do searchers differ under one objective?", "On one draw, for one budget:", lines, [])


def _say_cost(found: Found) -> Found | None:
    rows = [row for row in found["cost"] if row["rho"] is not None]
    if not rows:
        return None
    front = Counter(one["searcher"] for row in rows for one in row["searchers"] if one["front"])
    leaders = ", ".join(
        f"{name} ({times})" for name, times in sorted(front.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    )
    costs = [[one["layer_forwards"] for one in row["searchers"]] for row in rows]
    ratios = [max(group) / min(group) for group in costs if min(group) > 0]
    rhos = [row["rho"] for row in rows]
    lines = [
        f"Most often on the front of cost and loss, of {len(rows)} settings: {leaders}.",
        f"Rho between layer-forwards and loss: {short(min(rhos))} to {short(max(rhos))}; negative: dearer searches find less loss.",
    ]
    if ratios:
        lines.insert(
            0,
            f"The dearest search takes {short(median(ratios))} times the layer-forwards of the cheapest (median).",
        )
    lead = f"Cost and loss are significantly correlated over searchers in {_count(rows)} settings."
    return _answer("Does a dearer search find less loss?", lead, lines, rows)


def _say_baseline(found: Found) -> Found | None:
    rows = found["against_baseline"]
    if not rows:
        return None
    lines = [
        f"{row['searcher']}: better in {row['better']}, the same in {row['same']}, worse in {row['worse']} of {row['n']}; {_test(row)}."
        for row in rows
    ]
    worse, every = sum(row["worse"] for row in rows), sum(row["n"] for row in rows)
    lead = f"In {worse} of {every} cells a search ends with more calibration loss than {BASELINE}."
    return _answer(f"Is a searcher worse than {BASELINE} on its own loss?", lead, lines, rows)


def _answer(question: str, lead: str, lines: Sequence[str], tests: Sequence[Found]) -> Found:
    tested = [test for test in tests if test["p"] is not None]
    verdict = f"{_count(tested)} tests significant" if tested else "described, not tested"
    return {"question": question, "lead": lead, "lines": lines, "verdict": verdict}


def _count(tests: Sequence[Found]) -> str:
    return f"{sum(test['verdict'] == 'significant' for test in tests)} of {len(tests)}"


def _test(row: Found) -> str:
    if row["p"] is None:
        return "not tested"
    return f"{row['verdict']}, p = {p_text(row['p'])}, corrected {p_text(row['corrected'])}".replace("= <", "< ")


def _also(values: Sequence[float], words: str) -> str:
    return words.format(short(median(values))) if values else ""


def _between(ends: Sequence[float] | None, show: Callable[[float], str] = short) -> str:
    return f" {interval(ends, show)}" if ends else ""
