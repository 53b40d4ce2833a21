"""The report of a study: one HTML file that needs nothing else, and what it is made of.

Every sentence, number and figure in it comes from the tables; the same tables give the same bytes. ``words`` says what was
found, ``tables`` lists it, ``page`` puts both and the figures into the design of ``page.html.j2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lpk.core.files import write_json, write_text
from lpk.core.study import figures, plots
from lpk.core.study.report.numbers import rounded
from lpk.core.study.report.page import render
from lpk.core.study.statistics import analyse, outcomes
from lpk.core.study.tables import Cell, Front, Measure, Trial


def write(
    folder: Path,
    study: dict[str, Any],
    cells: Sequence[Cell],
    measures: Sequence[Measure],
    trials: Sequence[Trial],
    fronts: Sequence[Front] = (),
) -> Path:
    """Write ``statistics.json``, ``figures/`` and ``report.html`` into a folder.

    Args:
        study: ``title``; ``protect``, the layers that no search may remove (counted from the end where negative); all
            else is shown as it is.
        fronts: where a study has none, nothing is said of them.

    Returns:
        The report's path.

    Raises:
        EnvironmentMissing: the extra ``study`` is not installed.
        UsageError: the tables do not fit together, or the folder cannot be written.
    """
    found = rounded(analyse(cells, measures, trials, tuple(study.get("protect", (0, -1))), fronts))
    every = outcomes(cells, measures)
    searchers = list(dict.fromkeys(cell.searcher for cell in cells))
    drawn = rounded(figures.describe(found, every, searchers))
    page = render(study, found, drawn, cells, measures, every)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "statistics.json", found)
    figures.write(folder / "figures", drawn)
    plots.draw(folder / "figures", drawn, searchers)
    write_text(folder / "report.html", page)
    return folder / "report.html"
