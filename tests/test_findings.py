"""The table of docs/findings.md is what the published tables say."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "examples/study/results/smollm2-135m"
OBJECTIVES, BUDGETS = ("perplexity", "task-margin"), ("4", "7")

#: As the table calls searches -> as the study does.
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


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_the_table_of_smollm2_is_that_of_its_cells_and_measures() -> None:
    cells, measures = rows("cells.csv"), rows("measures.csv")

    def mean(searcher: str, objective: str, budget: str, kind: str) -> float:
        asked = {"searcher": searcher, "objective": objective, "budget": budget, "kind": kind}
        return fmean(float(row["value"]) for row in measures if all(row[key] == value for key, value in asked.items()))

    text = (ROOT / "docs/findings.md").read_text(encoding="utf-8").partition("\n## ")[0]
    told = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    seen = set()
    for name, *figures in told[1:]:
        plain = name.replace("`", "")
        searcher = SEARCHERS.get(plain) or plain.partition(",")[0]
        seen.add(searcher)
        outcomes = [(objective, budget) for objective in OBJECTIVES for budget in BUDGETS]
        for (objective, budget), figure in zip(outcomes, figures, strict=False):
            perplexity, accuracy = re.split(r", (?=\d)", figure)
            found = mean(searcher, objective, budget, "perplexity")
            assert abs(number(perplexity) / found - 1) < (0.05 if "e" in perplexity else 0.001), (name, found)
            assert abs(number(accuracy) - 100 * mean(searcher, objective, budget, "accuracy")) <= 0.051, name
        for objective, count in zip(OBJECTIVES, re.split(r", (?=\d)", figures[4]), strict=True):
            own = [
                row for row in cells if (row["searcher"], row["objective"], row["budget"]) == (searcher, objective, "7")
            ]
            assert abs(number(count) - fmean(int(row["layer_forwards"]) for row in own)) <= 0.5, name
    assert seen == {row["searcher"] for row in cells}
