"""The tables of docs/findings.md are what the published tables say."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "examples/study/results/families"
OBJECTIVES = ("perplexity", "task-margin")

#: As the tables call searches -> as the study does.
SEARCHERS = {
    "one-shot, block-influence": "one-shot",
    "one-shot, by loss": "one-shot-loss",
    "cbo, pairwise": "cbo-pairwise",
    "cbo, gates": "cbo-gradient",
    "best of 20 random masks": "random",
}


def rows(name: str) -> list[dict[str, str]]:
    with (RESULTS / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mean(of: Iterable[dict[str, str]], column: str, **asked: str) -> float:
    return fmean(float(row[column]) for row in of if all(row[key] == value for key, value in asked.items()))


def figures(text: str) -> list[float]:
    """The numbers of a table's cell: ``12,345, 67.8``."""
    return [float(number.replace(",", "")) for number in re.split(r", (?=\d)", text)]


def lowest(model: str) -> dict[tuple[str, ...], float]:
    """The lowest loss on all items of any mask at the budget, for each objective, budget and draw."""
    trials = [row for row in rows("trials.csv") if row["model"] == model]
    whole = {name: max(int(row["sequences"]) for row in trials if row["objective"] == name) for name in OBJECTIVES}
    found: dict[tuple[str, ...], float] = {}
    for row in trials:
        if len(row["removed"].split()) == int(row["budget"]) and int(row["sequences"]) == whole[row["objective"]]:
            key = row["objective"], row["budget"], row["seed"]
            found[key] = min(float(row["loss"]), found.get(key, float(row["loss"])))
    return found


TEXT = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"\n## (.+?): (\d+) and (\d+) of \d+ layers\n(.*?)(?=\n## )", TEXT, re.DOTALL)


def test_every_family_has_its_table() -> None:
    assert [name for name, *_ in SECTIONS] == list(dict.fromkeys(row["model"] for row in rows("cells.csv")))


@pytest.mark.parametrize(("model", "few", "many", "text"), SECTIONS, ids=[name for name, *_ in SECTIONS])
def test_a_familys_table_is_that_of_its_cells_and_measures(model: str, few: str, many: str, text: str) -> None:
    cells, measures = ([row for row in rows(name) if row["model"] == model] for name in ("cells.csv", "measures.csv"))
    best = lowest(model)
    told = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    seen = set()
    for name, *told_of in told[1:]:
        plain = name.replace("`", "")
        searcher = SEARCHERS.get(plain) or plain.partition(",")[0]
        seen.add(searcher)
        outcomes = [(objective, budget) for objective in OBJECTIVES for budget in (few, many)]
        for (objective, budget), cell in zip(outcomes, told_of, strict=False):
            asked = {"searcher": searcher, "objective": objective, "budget": budget}
            perplexity, accuracy = figures(cell)
            exact = mean(measures, "value", kind="perplexity", **asked)
            assert perplexity == pytest.approx(exact, rel=0.05 if "e" in cell else 0.001), (name, exact)
            assert accuracy == pytest.approx(100 * mean(measures, "value", kind="accuracy", **asked), abs=0.051), name
        for objective, cost, regret in zip(OBJECTIVES, figures(told_of[4]), figures(told_of[5]), strict=True):
            own = [row for row in cells if (row["searcher"], row["objective"]) == (searcher, objective)]
            assert cost == pytest.approx(mean(own, "layer_forwards", budget=many), abs=0.51), name
            above = fmean(float(row["calibration_loss"]) - best[objective, row["budget"], row["seed"]] for row in own)
            assert regret == pytest.approx(above, abs=0.0051 if above < 0.995 else 0.051), name
    assert seen == {row["searcher"] for row in cells}
