"""One HTML page that needs nothing else: what the template ``page.html.j2`` is filled with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lpk import __version__
from lpk.core.pruning.mask import ranges
from lpk.core.study import figures
from lpk.core.study.report.charts import MARKERS, Axis
from lpk.core.study.report.numbers import loss, number, p_text, percent
from lpk.core.study.report.tables import tables
from lpk.core.study.report.words import no_difference, summary
from lpk.core.study.statistics import Found, Outcome
from lpk.core.study.tables import Cell, Measure
from lpk.core.templates import environment


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
    searchers = list(dict.fromkeys(cell.searcher for cell in cells))
    page: str = _template().render(
        version=__version__,
        title=study.get("title", "Layer pruning study"),
        recipe=json.dumps(study, indent=2, ensure_ascii=False, sort_keys=True, default=str),
        facts=_facts(cells),
        found=found,
        figures=drawn,
        summary=summary(found, every),
        tables=tables(found, measures, every),
        failed=[cell for cell in cells if cell.status == "failed"],
        draws=len({outcome.cell.seed for outcome in every}),
        style=figures.styles(searchers),
        colours=figures.COLOURS,
        markers=MARKERS,
        parts=figures.PARTS,
    )
    return page.lstrip()


def _template() -> Any:
    pages = environment("lpk.core.study.report", "lpk[study]")
    pages.filters.update(loss=loss, number=number, p=p_text, percent=percent, ranges=ranges)
    pages.globals.update(
        axis=Axis.over,
        far_off=figures.far_off,
        no_difference=no_difference,
        overlap_bars=figures.overlap_bars,
        variance_notes=figures.variance_notes,
        variance_parts=figures.variance_parts,
    )
    return pages.get_template("page.html.j2")


def _facts(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """What was varied, for the page's head; a cell whose model could not be loaded knows no layers and no budget."""
    depths = {cell.model: cell.layers for cell in sorted(cells, key=lambda cell: cell.layers)}
    return [
        (name, ", ".join(map(str, dict.fromkeys(values))) or ("unknown" if cells else "none"))
        for name, values in (
            ("Models", [f"{cell.model} ({depths[cell.model] or 'unknown'} layers)" for cell in cells]),
            ("Objectives", [cell.objective for cell in cells]),
            ("Searchers", [cell.searcher for cell in cells]),
            ("Layers removed", sorted(cell.budget for cell in cells if cell.budget)),
            ("Calibration draws", sorted(cell.seed for cell in cells)),
        )
    ]
