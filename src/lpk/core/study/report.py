"""The report of a study: one HTML file that needs nothing else, and what it is made of.

Every sentence, number and figure in it comes from the tables; the same tables give the same bytes. The page's design is
``report.html.j2``; here is what it says.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lpk import __version__
from lpk.core.errors import EnvironmentMissing
from lpk.core.files import write_json, write_text
from lpk.core.pruning.mask import ranges
from lpk.core.study import figures
from lpk.core.study.statistics import BASELINE, Found, Outcome, analyse, outcomes
from lpk.core.study.tables import DENSE, Cell, Measure, Trial


def write(
    folder: Path, study: dict[str, Any], cells: Sequence[Cell], measures: Sequence[Measure], trials: Sequence[Trial]
) -> Path:
    """Write ``statistics.json``, ``figures/`` and ``report.html`` into a folder.

    Args:
        study: ``title``; ``protect``, the layers that no search may remove (counted from the end where negative); all
            else is shown as it is.

    Returns:
        The report's path.

    Raises:
        EnvironmentMissing: the extra ``study`` is not installed.
        UsageError: the tables do not fit together, or the folder cannot be written.
    """
    found = _rounded(analyse(cells, measures, trials, tuple(study.get("protect", (0, -1)))))
    every = outcomes(cells, measures)
    searchers = list(dict.fromkeys(cell.searcher for cell in cells))
    drawn = _rounded(figures.describe(found, every, searchers))
    page = render(study, found, drawn, cells, measures, every)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "statistics.json", found)
    figures.write(folder / "figures", drawn, searchers)
    write_text(folder / "report.html", page.lstrip())
    return folder / "report.html"


def render(
    study: dict[str, Any],
    found: Found,
    drawn: dict[str, Found],
    cells: Sequence[Cell],
    measures: Sequence[Measure],
    every: Sequence[Outcome],
) -> str:
    """The page.

    Raises:
        EnvironmentMissing: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError:
        raise EnvironmentMissing('the report needs jinja2: pip install "lpk[study]"') from None

    searchers = list(dict.fromkeys(cell.searcher for cell in cells))
    environment = Environment(
        loader=PackageLoader("lpk.core.study", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, p=p_text, percent=percent, ranges=ranges)
    environment.globals.update(axis=Axis.over, overlap_bars=figures.overlap_bars, variance_parts=figures.variance_parts)
    return environment.get_template("report.html.j2").render(
        version=__version__,
        title=study.get("title", "Layer pruning study"),
        recipe=json.dumps(study, indent=2, ensure_ascii=False, sort_keys=True, default=str),
        facts=_facts(cells),
        found=found,
        figures=drawn,
        summary=summary(found),
        tables=tables(found, measures, every),
        failed=[cell for cell in cells if cell.status == "failed"],
        style=figures.styles(searchers),
        colours=figures.COLOURS,
        markers=MARKERS,
        parts=figures.PARTS,
    )


@dataclass(frozen=True)
class Axis:
    """Where a value lies between two pixels, and the round values to mark there."""

    low: float
    high: float
    start: float
    stop: float
    log: bool
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float], start: float, stop: float, log: bool = False) -> Axis:
        """An axis that holds these values with a little room around them."""
        low, high = min(values), max(values)
        if log:
            low, high = max(low, 1e-12) / 1.1, max(high, 1e-12) * 1.1
            tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            marks = [digit * 10.0**ten for ten in tens for digit in ((1, 2, 5) if high / low < 100 else (1,))]
        else:
            room = (high - low or abs(high) or 1.0) * 0.08
            low, high = low - room, high + room
        if not log or high / low < 6:  # too few round logarithms lie in less
            step = _round_step((high - low) / 5)
            marks = [round(step * i, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return cls(low, high, start, stop, log, tuple(mark for mark in marks if low <= mark <= high))

    def at(self, value: float) -> float:
        """The pixel of a value."""
        turn = (lambda x: math.log(max(x, 1e-12))) if self.log else float
        share = (turn(value) - turn(self.low)) / (turn(self.high) - turn(self.low))
        return round(self.start + share * (self.stop - self.start), 2)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(digit for digit in (1, 2, 5, 10) if digit * power >= rough) * power


#: A path of about 9 pixels for each of the figures' markers, in their order.
MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.6L4.4 3.4H-4.4z",
    "M0-5L4.4 0 0 5-4.4 0z",
    "M0 4.6L4.4-3.4H-4.4z",
    "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "M-4.4-2.4l2-2L0-2l2.4-2.4 2 2L2 0l2.4 2.4-2 2L0 2l-2.4 2.4-2-2L-2 0z",
    "M0-5l1.3 3.4 3.5.1-2.8 2.3 1 3.6L0 2.4l-3 2 1-3.6-2.8-2.3 3.5-.1z",
    "M0-4.6L4.5-1.4 2.8 3.8H-2.8L-4.5-1.4z",
    "M-4.6 0L3.4-4.4V4.4z",
    "M4.6 0L-3.4-4.4V4.4z",
    "M0-4.8L4.2-2.4V2.4L0 4.8-4.2 2.4V-2.4z",
)


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits, thousands apart; a dash for what is not known."""
    if value is None:
        return "\u2013"
    if abs(value) < 1e-12 or not math.isfinite(value):
        return f"{value:.0f}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}".replace("-", "\u2212")


def percent(share: float | None) -> str:
    """A share in percent; below 10% with a decimal."""
    if share is None:
        return "\u2013"
    return f"{100 * share:.{0 if abs(share) >= 0.0995 else 1}f}%".replace("-", "\u2212")


def p_text(p: float | None) -> str:
    """A p-value as papers print it."""
    if p is None:
        return "\u2013"
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def _facts(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """What was varied, for the page's head."""
    return [
        (name, ", ".join(map(str, dict.fromkeys(values))))
        for name, values in (
            ("Models", [f"{cell.model} ({cell.layers} layers)" for cell in cells]),
            ("Objectives", [cell.objective for cell in cells]),
            ("Searchers", [cell.searcher for cell in cells]),
            ("Layers removed", sorted(cell.budget for cell in cells)),
            ("Calibration draws", sorted(cell.seed for cell in cells)),
        )
    ]


def summary(found: Found) -> list[dict[str, Any]]:
    """The findings in words: a question, its answer, how sure that is, and what it rests on line by line."""
    answers = (_say_masks, _say_variance, _say_ranks, _say_spread, _say_cost, _say_baseline)
    return [said for answer in answers if (said := answer(found))]


def _say_masks(found: Found) -> Found | None:
    rows = [row for row in found["overlap"] if row["difference"] is not None]
    if not rows:
        return None
    lines = [
        f"{row['model']}, {row['budget']} removed: two masks share {number(row['within'], 2)} within an objective, "
        f"{number(row['across'], 2)} across objectives, {number(row['random'], 2)} at random; difference "
        f"{number(row['difference'], 2)}{_between(row['interval'])}, {_test(row)}."
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
    lead = f"Spearman\u2019s rho is from {number(ends[0]['rho'], 2)} to {number(ends[1]['rho'], 2)} over {len(rows)} settings."
    if all(row["verdict"] != "significant" for row in rows):
        lead += " With so few searchers this shows neither that the ranks agree nor that they do not."
    lines = [
        f"{word}: {number(row['rho'], 2)}{_between(row['interval'])}, {row['model']}, {row['budget']} removed for "
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
            f"{outcome.capitalize()}: searchers span {number(min(spans), 2)} to {number(max(spans), 2)}{unit}; the median "
            f"sample variance is {number(median(row['over_searchers']['sample'] for row in rows), 2)} over searchers"
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
        f"Rho between layer-forwards and loss: {number(min(rhos), 2)} to {number(max(rhos), 2)}; negative: dearer searches find less loss.",
    ]
    if ratios:
        lines.insert(
            0,
            f"The dearest search takes {number(median(ratios), 2)} times the layer-forwards of the cheapest (median).",
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


def _between(interval: Sequence[float] | None, show: Callable[[float], str] = lambda value: number(value, 2)) -> str:
    return f" [{show(interval[0])}, {show(interval[1])}]" if interval else ""


def _also(values: Sequence[float], words: str) -> str:
    return words.format(number(median(values), 2)) if values else ""


#: A column: its heading, the value of a row, and how it is shown (numbers are sorted as such and set to the right).
Column = tuple[str, Callable[[Found], Any], Callable[[Any], str] | None]
_SETTING: tuple[Column, ...] = (
    ("model", lambda row: row["model"], None),
    ("removed", lambda row: row["budget"], str),
    ("objective", lambda row: row["objective"], None),
)
_TEST: tuple[Column, ...] = (
    ("p", lambda row: row["p"], p_text),
    ("corrected p", lambda row: row["corrected"], p_text),
    ("verdict", lambda row: row["verdict"], None),
)


def tables(found: Found, measures: Sequence[Measure], every: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The page's tables: what each is of, its columns, and its rows as (text, what to sort by)."""
    best = {tuple(row[name] for name in _NAMES): row["regret"] for row in found["regret"]}
    cells = [
        {
            **{name: getattr(outcome.cell, name) for name in _NAMES},
            "removed": ranges(outcome.cell.removed),
            "loss": outcome.loss,
            "regret": best.get(tuple(getattr(outcome.cell, name) for name in _NAMES)),
            "perplexity": outcome.perplexity,
            "accuracy": outcome.accuracy,
            "error": outcome.accuracy_error,
        }
        for outcome in every
    ]
    dense = [
        {
            "model": m.model,
            "measure": m.measure,
            "kind": m.kind,
            "value": m.value,
            "se": m.standard_error,
            "items": m.items,
        }
        for m in measures
        if m.searcher == DENSE
    ]
    factors = [{**row, **factor} for row in found["decomposition"] for factor in row["factors"]]
    pairs = [{**row, **pair} for row in found["decomposition"] for pair in row["interactions"]]
    costs = [{**row, **one} for row in found["cost"] for one in row["searchers"]]
    whole = [
        _table(
            "Cells",
            cells,
            *_SETTING,
            _text("searcher"),
            _number("seed", "draw", str),
            _text("removed", "layers removed"),
            _number("loss", "calibration loss", _loss),
            _number("regret"),
            _number("perplexity"),
            _number("accuracy", "accuracy (%)"),
            _number("error", "standard error"),
        ),
        _table(
            "The dense models",
            dense,
            _text("model"),
            _text("measure"),
            _text("kind"),
            _number("value"),
            _number("se", "standard error"),
            _number("items", show=str),
        ),
        _table(
            "Perplexity rank against accuracy rank",
            found["rank_agreement"],
            *_SETTING,
            _number("n", show=str),
            _number("different_masks", "different masks", str),
            _number("rho"),
            _interval(),
            *_TEST,
            _number("smallest_p", "smallest p there could be", p_text),
        ),
        _table(
            "Spread over searchers and draws",
            found["spread"],
            *_SETTING,
            _text("outcome"),
            _number("n", show=str),
            _number("mean"),
            _number("lowest"),
            _number("highest"),
            _variance("over_searchers", "population"),
            _variance("over_searchers", "sample"),
            _variance("over_draws", "population"),
            _variance("over_draws", "sample"),
            _number("questions", "of it by few questions"),
        ),
        _table(
            "Overlap of masks",
            found["overlap"],
            *_SETTING[:2],
            _number("n", "masks", str),
            _number("within", "within objective"),
            _number("across", "across objectives"),
            _number("difference"),
            _interval(),
            *_TEST,
            *(_changed(name) for name in ("searcher", "objective", "draw")),
            _number("random", "random masks"),
        ),
        _table(
            "What explains the variance",
            factors,
            _text("model"),
            _text("outcome"),
            _number("n", show=str),
            _text("factor"),
            _number("levels", show=str),
            _number("share", show=percent),
            _interval(percent),
            _number("budget_aside", "budget aside", percent),
            _number("chance", "by chance", percent),
            _number("adjusted", show=percent),
            *_TEST,
        ),
        _table(
            "Interactions",
            pairs,
            _text("model"),
            _text("outcome"),
            _text("pair"),
            _number("share", show=percent),
            _number("rest", "left after all pairs", percent),
        ),
        _table(
            "Cost",
            costs,
            *_SETTING,
            _text("searcher"),
            _number("draws", show=str),
            _number("layer_forwards", "layer-forwards", _whole),
            _number("naive_layer_forwards", "by whole forwards", _whole),
            _number("masks", show=_whole),
            _number("seconds"),
            _number("calibration_loss", "calibration loss", _loss),
            _number("perplexity"),
            _number("accuracy", "accuracy (%)"),
            ("front", lambda row: "yes" if row["front"] else "", None),
        ),
        _table("Does cost buy loss?", found["cost"], *_SETTING, _number("n", show=str), _number("rho"), *_TEST),
        _table(
            f"Against {BASELINE}",
            found["against_baseline"],
            _text("searcher"),
            _number("n", show=str),
            *(_number(word, show=str) for word in ("better", "same", "worse")),
            *_TEST,
        ),
    ]
    return [table for table in whole if table["rows"]]


_NAMES = ("model", "objective", "searcher", "budget", "seed")


def _table(title: str, rows: Sequence[Found], *columns: Column) -> dict[str, Any]:
    def entry(value: Any, show: Callable[[Any], str] | None) -> tuple[str, Any]:
        return (show(value) if show and value is not None else "\u2013" if value is None else str(value)), value

    return {
        "title": title,
        "columns": [(heading, show is not None) for heading, _, show in columns],
        "rows": [[entry(value(row), show) for _, value, show in columns] for row in rows],
    }


def _text(key: str, heading: str = "") -> Column:
    return heading or key, lambda row: row[key], None


def _number(key: str, heading: str = "", show: Callable[[Any], str] = number) -> Column:
    return heading or key, lambda row: row[key], show


def _interval(show: Callable[[float], str] = lambda value: number(value, 2)) -> Column:
    return "95% interval", lambda row: _between(row["interval"], show).strip() or None, None


def _variance(over: str, kind: str) -> Column:
    heading = f"\u03c3\u00b2 {over.replace('_', ' ')}" if kind == "population" else f"s\u00b2 {over.replace('_', ' ')}"
    return heading, lambda row: row[over][kind] if row[over] else None, number


def _changed(name: str) -> Column:
    return f"another {name} only", lambda row: row["changed"][name], number


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _loss(value: float) -> str:
    return number(value, 4)


def _rounded(value: Any) -> Any:
    """Floats to 10 digits: the last bits are the linear algebra library's."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
