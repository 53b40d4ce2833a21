"""The figures of a study: what each shows, as plain data.

The first three are Fig. 1 to 3 of https://arxiv.org/abs/2604.24938. Colours are those of Okabe and Ito, told apart by
the colour-blind; a searcher also has a marker of its own, so the figures survive a black-and-white printer. From the same
data :mod:`lpk.core.study.plots` draws them for a paper, and the report as inline SVG, with tooltips and in dark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from pathlib import Path

from lpk.core.files import room, write_json
from lpk.core.pruning.front import front
from lpk.core.study.statistics import Found, Outcome
from lpk.core.study.tables import write_records

#: Okabe and Ito (2008), without black; yellow last, for it is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#B8A800")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "<", ">", "h")
#: What of a variance is nobody's.
GREY = "#BBBBBB"


def styles(searchers: Sequence[str]) -> dict[str, tuple[int, int]]:
    """A colour and a marker for each searcher, as indices; no pair comes twice before 24 searchers."""
    return {name: (i % len(COLOURS), i % len(MARKERS)) for i, name in enumerate(searchers)}


def describe(found: Found, every: Sequence[Outcome], searchers: Sequence[str]) -> dict[str, Found]:
    """Every figure's data: a title and its panels. A figure without panels is not there."""
    whole = {
        "masks": {"title": "Removed layers", "panels": _masks(every, searchers)},
        "ranks": {
            "title": "Perplexity rank against accuracy rank",
            "panels": [row for row in found["rank_agreement"] if row["different_masks"] >= 2],
        },
        "spread": {"title": "Spread over searchers and draws", "panels": _spread(found["spread"])},
        "overlap": {"title": "Overlap of masks", "panels": [row for row in found["overlap"] if _overlaps(row)]},
        "cost": {"title": "Cost against calibration loss", "panels": _costs(found["cost"])},
        "variance": {"title": "What explains the variance", "panels": found["decomposition"]},
        "fronts": {"title": "Pareto fronts", "panels": _fronts(found.get("fronts", []), searchers)},
    }
    return {name: figure for name, figure in whole.items() if figure["panels"]}


def _masks(every: Sequence[Outcome], searchers: Sequence[str]) -> list[Found]:
    """For each setting and searcher, the share of draws in which each layer is removed (Fig. 1)."""
    panels = []
    cells = [outcome.cell for outcome in every]
    for model, budget, objective in sorted({(cell.model, cell.budget, cell.objective) for cell in cells}):
        group = [cell for cell in cells if (cell.model, cell.budget, cell.objective) == (model, budget, objective)]
        rows = []
        for searcher in sorted({cell.searcher for cell in group}, key=searchers.index):
            own = [cell.removed for cell in group if cell.searcher == searcher]
            share = [sum(layer in removed for removed in own) / len(own) for layer in range(group[0].layers)]
            rows.append({"searcher": searcher, "draws": len(own), "share": share})
        names = {"model": model, "budget": budget, "objective": objective}
        panels.append({**names, "layers": group[0].layers, "rows": rows})
    return panels


def _spread(rows: Sequence[Found]) -> list[Found]:
    """A panel for each model and outcome; in it a column for each objective and budget (Fig. 3)."""
    panels = []
    for outcome, model in product(("accuracy", "perplexity"), sorted({row["model"] for row in rows})):
        columns = [row for row in rows if (row["outcome"], row["model"]) == (outcome, model)]
        if columns:
            panels.append({"model": model, "outcome": outcome, "columns": columns})
    return panels


def variance_notes(column: Found) -> list[str]:
    """What stands below a column of the spread: the sample variances, which can be compared, over searchers and draws."""
    parts = ("s\u00b2", column["over_searchers"]), ("draws", column["over_draws"])
    return [f"{name} {_compact(found['sample'])}" for name, found in parts if found]


def _compact(value: float) -> str:
    """Two digits in little room, whatever the size: 7.5, 5,100, 1.2e17."""
    return f"{float(f'{value:.2g}'):,g}".replace("e+0", "e").replace("e+", "e")


def _costs(rows: Sequence[Found]) -> list[Found]:
    """Settings of which at least two searchers have a cost and a loss."""
    known = [
        {**row, "searchers": [one for one in row["searchers"] if one["calibration_loss"] is not None]} for row in rows
    ]
    return [row for row in known if len(row["searchers"]) >= 2]


def _fronts(rows: Sequence[Found], searchers: Sequence[str]) -> list[Found]:
    """For each draw with a trade-off a panel for each two parts of the objective.

    Three parts are three panels that are read as one of two is; axes side by side would hide most crossings of twenty masks.
    """
    return [
        _pair(row, x, y, searchers)
        for row in rows
        if row["trade_off"]
        for x, y in combinations(range(len(row["parts"])), 2)
    ]


def _pair(row: Found, x: int, y: int, searchers: Sequence[str]) -> Found:
    """The masks under two parts; ``line`` is the front in these two. What is ``far`` off would press the front into a corner."""
    ends = [[mask["losses"][part] for mask in row["masks"] if mask["left"]] for part in (x, y)]
    most = [2 * max(losses) - min(losses) for losses in ends]
    points, flat = [], {}
    for mask in row["masks"]:
        at = flat[tuple(mask["removed"])] = mask["losses"][x], mask["losses"][y]
        far = any(loss > limit for loss, limit in zip(at, most, strict=True))
        place = {"removed": mask["removed"], "x": at[0], "y": at[1], "left": mask["left"], "far": far}
        points += [{**one, **place} for one in mask["searchers"]]
    return {
        **{name: row[name] for name in ("model", "budget", "objective", "seed")},
        "x": row["parts"][x],
        "y": row["parts"][y],
        # What is on the front of all searches is drawn last, and not hidden.
        "points": sorted(points, key=lambda one: (one["left"], searchers.index(one["searcher"]))),
        "line": [flat[mask] for mask in front(flat)],
    }


def far_off(panel: Found) -> str:
    """The searches of which a panel of the fronts does not show every mask, and of how many it does not."""
    counts = Counter(point["searcher"] for point in panel["points"] if point["far"])
    return ", ".join(f"{searcher} {count}" for searcher, count in counts.items())


def _overlaps(panel: Found) -> bool:
    return any(value is not None for _, value in overlap_bars(panel))


def overlap_bars(panel: Found) -> list[tuple[str, float | None]]:
    """What a panel of the overlap compares, from the most alike by design to the least."""
    return [
        ("draw only", panel["changed"]["draw"]),
        ("searcher only", panel["changed"]["searcher"]),
        ("objective only", panel["changed"]["objective"]),
        ("draw and searcher", panel["changed"]["draw and searcher"]),
        ("objective and searcher", panel["across"]),
    ]


#: The parts of a variance and their colours.
PARTS = {
    "objective": COLOURS[1],
    "searcher": COLOURS[0],
    "budget": COLOURS[2],
    "draw": COLOURS[3],
    "interactions": "#767676",
    "rest": GREY,
}


def variance_parts(panel: Found) -> list[tuple[str, float, str]]:
    """A stacked bar's parts: name, share, colour."""
    shares = {factor["factor"]: factor["share"] for factor in panel["factors"]}
    shares["interactions"] = sum(pair["share"] for pair in panel["interactions"])
    shares["rest"] = panel["rest"]
    return [(name, max(0.0, shares[name]), colour) for name, colour in PARTS.items() if name in shares]


def write(folder: Path, figures: dict[str, Found]) -> None:
    """Write ``NAME.json``, all that is known of a figure, and ``NAME.csv``, a row for each thing that it shows.

    What an earlier study of another grid left there of a figure that is not there now is removed.
    """
    with room(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, ending in product(_TIDY.keys() - figures, ("json", "csv", "svg", "png")):
            (folder / f"{name}.{ending}").unlink(missing_ok=True)
    for name, figure in figures.items():
        write_json(folder / f"{name}.json", figure)
        write_records(folder / f"{name}.csv", [row for panel in figure["panels"] for row in _TIDY[name](panel)])


def _names(panel: Found) -> Found:
    """The columns that say which panel, and which part of it, a row is of."""
    return {name: panel[name] for name in ("model", "budget", "objective", "outcome") if name in panel}


def _tidy_masks(panel: Found) -> Iterator[Found]:
    for row in panel["rows"]:
        for layer, share in enumerate(row["share"]):
            yield _names(panel) | {"searcher": row["searcher"], "draws": row["draws"], "layer": layer, "removed": share}


def _tidy_overlap(panel: Found) -> Iterator[Found]:
    for differs, jaccard in [*overlap_bars(panel), ("drawn at random", panel["random"])]:
        yield _names(panel) | {"differs": differs, "jaccard": jaccard}


def _tidy_ranks(panel: Found) -> Iterator[Found]:
    low, high = panel["interval"] or (None, None)
    of_all = {name: panel[name] for name in ("different_masks", "rho", "p", "corrected")} | {"low": low, "high": high}
    for point in panel["points"]:
        yield _names(panel) | point | of_all


def _tidy_spread(panel: Found) -> Iterator[Found]:
    for column in panel["columns"]:
        variances = {
            f"{over}_{kind}": column[over][kind] if column[over] else None
            for over in ("over_searchers", "over_draws")
            for kind in ("population", "sample")
        }
        for point in column["points"]:
            yield _names(column) | point | variances


def _tidy_fronts(panel: Found) -> Iterator[Found]:
    for point in panel["points"]:
        names = _names(panel) | {"seed": panel["seed"], "x_part": panel["x"], "y_part": panel["y"]}
        yield names | point | {"removed": tuple(point["removed"])}


def _tidy_variance(panel: Found) -> Iterator[Found]:
    factors = {factor["factor"]: factor for factor in panel["factors"]}
    for part, share, _ in variance_parts(panel):
        own = factors.get(part, {"adjusted": None, "interval": None})
        low, high = own["interval"] or (None, None)
        yield _names(panel) | {"part": part, "share": share, "adjusted": own["adjusted"], "low": low, "high": high}


_TIDY: dict[str, Callable[[Found], Iterator[Found]]] = {
    "masks": _tidy_masks,
    "ranks": _tidy_ranks,
    "spread": _tidy_spread,
    "overlap": _tidy_overlap,
    "cost": lambda panel: (_names(panel) | one for one in panel["searchers"]),
    "variance": _tidy_variance,
    "fronts": _tidy_fronts,
}
