"""The page's tables: what each is of, its columns, and its rows as (text, what to sort by)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from lpk.core.pruning.mask import ranges
from lpk.core.study.report.numbers import UNKNOWN, interval, loss, number, p_text, percent, short
from lpk.core.study.statistics import BASELINE, Found, Outcome
from lpk.core.study.statistics.outcomes import NAMES, by, key
from lpk.core.study.tables import DENSE, Measure

#: A column: its heading, the value of a row, and how it is shown (numbers are sorted as such and set to the right).
Column = tuple[str, Callable[[Found], Any], Callable[[Any], str] | None]
Table = dict[str, Any]


def tables(found: Found, measures: Sequence[Measure], every: Sequence[Outcome]) -> list[Table]:
    """All that have rows, in the page's order."""
    whole = [
        _cells(found, every),
        _measures(measures),
        _dense(measures),
        _ranks(found),
        _spread(found),
        _overlap(found),
        _factors(found),
        _differences(found),
        _interactions(found),
        _cost(found),
        _correlation("Does cost buy loss?", found["cost"], _number("n", "searchers", str)),
        _baseline(found),
        _fronts(found),
    ]
    return [table for table in whole if table["rows"]]


def _cells(found: Found, every: Sequence[Outcome]) -> Table:
    name = attrgetter(*NAMES)
    regrets = {tuple(row[part] for part in NAMES): row["regret"] for row in found["regret"]}
    rows = [
        {
            **dict(zip(NAMES, name(outcome.cell), strict=True)),
            "removed": ranges(outcome.cell.removed),
            "loss": outcome.loss,
            "regret": regrets.get(name(outcome.cell)),
            "perplexity": outcome.perplexity,
            "accuracy": outcome.accuracy,
            "error": outcome.accuracy_error,
        }
        for outcome in every
    ]
    return _table(
        "Cells",
        rows,
        *_SETTING,
        _text("searcher"),
        _number("seed", "draw", str),
        _text("removed", "layers removed"),
        _number("loss", "calibration loss", loss),
        _number("regret"),
        _number("perplexity"),
        _number("accuracy", "accuracy (%)"),
        _number("error", "standard error"),
    )


def _measures(measures: Sequence[Measure]) -> Table:
    """Each mask under everything it was measured by, the other objectives' calibration losses too."""
    asked = dict.fromkeys(_asked(measure) for measure in measures)
    rows = [
        dict(zip(NAMES, name, strict=True)) | {_asked(each): each.value for each in own}
        for name, own in by((measure for measure in measures if measure.searcher != DENSE), key).items()
    ]
    return _table(
        "What each mask is worth",
        rows,
        *_SETTING,
        _text("searcher"),
        _number("seed", "draw", str),
        *(_measured(name) for name in asked),
    )


def _dense(measures: Sequence[Measure]) -> Table:
    return _table(
        "The dense models",
        [vars(measure) for measure in measures if measure.searcher == DENSE],
        _text("model"),
        _text("measure"),
        _text("kind"),
        _number("value"),
        _number("standard_error", "standard error"),
        _number("items", show=str),
    )


def _ranks(found: Found) -> Table:
    counts = _number("n", "searchers", str), _number("different_masks", "different masks", str)
    return _correlation("Perplexity rank against accuracy rank", found["rank_agreement"], *counts)


def _correlation(title: str, rows: Sequence[Found], *counts: Column) -> Table:
    return _table(title, rows, *_SETTING, *counts, _number("rho"), _interval(), *_TEST, _SMALLEST)


def _spread(found: Found) -> Table:
    return _table(
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
    )


def _overlap(found: Found) -> Table:
    return _table(
        "Overlap of masks",
        found["overlap"],
        *_SETTING[:2],
        _number("n", "masks", str),
        _number("within", "within objective"),
        _number("across", "across objectives"),
        _number("difference"),
        _interval(),
        *_TEST,
        *(_changed(name) for name in ("searcher", "objective", "draw", "draw and searcher")),
        _number("random", "random masks"),
    )


def _factors(found: Found) -> Table:
    return _table(
        "What explains the variance",
        [{**row, **factor} for row in found["decomposition"] for factor in row["factors"]],
        _text("model"),
        _text("outcome"),
        _number("n", show=str),
        _text("factor"),
        _number("levels", show=str),
        _number("share", show=percent),
        _number("budget_aside", "budget aside", percent),
        _number("chance", "by chance", percent),
        _number("adjusted", show=percent),
        _interval(percent),
        *_TEST,
    )


def _differences(found: Found) -> Table:
    return _table(
        "Objective less searcher",
        [{**row, **row["difference"]} for row in found["decomposition"] if row["difference"]],
        _text("model"),
        _text("outcome"),
        _number("n", show=str),
        _number("value", "difference of adjusted shares", percent),
        _interval(percent),
    )


def _interactions(found: Found) -> Table:
    return _table(
        "Interactions",
        [{**row, **pair} for row in found["decomposition"] for pair in row["interactions"]],
        _text("model"),
        _text("outcome"),
        _text("pair"),
        _number("share", show=percent),
        _number("rest", "left after all pairs", percent),
    )


def _cost(found: Found) -> Table:
    return _table(
        "Cost",
        [{**row, **one} for row in found["cost"] for one in row["searchers"]],
        *_SETTING,
        _text("searcher"),
        _number("draws", show=str),
        _number("layer_forwards", "layer-forwards", _whole),
        _number("naive_layer_forwards", "by whole forwards", _whole),
        _number("masks", show=_whole),
        _number("seconds"),
        _number("calibration_loss", "calibration loss", loss),
        _number("perplexity"),
        _number("accuracy", "accuracy (%)"),
        ("front", lambda row: "yes" if row["front"] else "", None),
    )


def _baseline(found: Found) -> Table:
    return _table(
        f"Against {BASELINE}",
        found["against_baseline"],
        _text("searcher"),
        _number("n", "cells", str),
        *(_number(word, show=str) for word in ("better", "same", "worse")),
        _number("draws", show=str),
        _number("won", "won over budgets", str),
        _number("lost", "lost over budgets", str),
        *_TEST,
        _SMALLEST,
    )


def _fronts(found: Found) -> Table:
    """Each mask once, whichever searches have it on their fronts; a dash for what is no part of its objective."""
    known = found.get("fronts", [])
    rows = [
        row
        | {f"under {part}": value for part, value in zip(row["parts"], mask["losses"], strict=True)}
        | {
            "layers": ranges(mask["removed"]),
            "found": ", ".join(one["searcher"] for one in mask["searchers"]),
            "answer": ", ".join(one["searcher"] for one in mask["searchers"] if one["answer"]),
            "left": "yes" if mask["left"] else "",
        }
        for row in known
        for mask in row["masks"]
    ]
    return _table(
        "Pareto fronts",
        rows,
        *_SETTING,
        _number("seed", "draw", str),
        _text("layers", "layers removed"),
        *(_measured(f"under {part}", loss) for part in dict.fromkeys(part for row in known for part in row["parts"])),
        _text("left", "front of all"),
        _text("found", "front of"),
        _text("answer", "answer of"),
    )


def _table(title: str, rows: Sequence[Found], *columns: Column) -> Table:
    def entry(value: Any, show: Callable[[Any], str] | None) -> tuple[str, Any]:
        return (show(value) if show and value is not None else UNKNOWN if value is None else str(value)), value

    return {
        "title": title,
        "columns": [(heading, show is not None) for heading, _, show in columns],
        "rows": [[entry(value(row), show) for _, value, show in columns] for row in rows],
    }


def _text(key: str, heading: str = "") -> Column:
    return heading or key, lambda row: row[key], None


def _number(key: str, heading: str = "", show: Callable[[Any], str] = number) -> Column:
    return heading or key, lambda row: row[key], show


def _interval(show: Callable[[float], str] = short) -> Column:
    return "95% interval", lambda row: interval(row["interval"], show) or None, None


def _asked(measure: Measure) -> str:
    return f"{measure.measure}, {measure.kind}"


def _measured(name: str, show: Callable[[Any], str] = number) -> Column:
    """A dash where it was not measured."""
    return name, lambda row: row.get(name), show


def _variance(over: str, kind: str) -> Column:
    heading = f"\u03c3\u00b2 {over.replace('_', ' ')}" if kind == "population" else f"s\u00b2 {over.replace('_', ' ')}"
    return heading, lambda row: row[over][kind] if row[over] else None, number


def _changed(name: str) -> Column:
    return f"another {name} only", lambda row: row["changed"][name], number


def _whole(value: float) -> str:
    return f"{value:,.0f}"


_SETTING = (_text("model"), _number("budget", "removed", str), _text("objective"))
_SMALLEST = _number("smallest_p", "smallest p there could be", p_text)
_TEST = (_number("p", show=p_text), _number("corrected", "corrected p", p_text), _text("verdict"))
