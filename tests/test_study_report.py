"""The report of a study: one file that needs nothing else, looked at in a real browser where there is one."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from statistics import fmean

import made_up_study
import pytest

from lpk.core.study import figures, report
from lpk.core.study.report.charts import MARKERS, Axis
from lpk.core.study.report.numbers import number
from lpk.core.study.report.page import render
from lpk.core.study.report.tables import tables
from lpk.core.study.report.words import no_difference, summary
from lpk.core.study.statistics import analyse, outcomes
from lpk.core.study.tables import Cell, Front, Measure, Trial, write_csv, write_parquet

FIGURES = ("masks", "ranks", "spread", "overlap", "cost", "variance")
HOSTILE = "<script>alert('no')</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A report of the made-up study, with a model whose name is an attack."""
    where: Path = tmp_path_factory.mktemp("study")
    cells, measures, trials = made_up_study.tables(budgets=(5,))
    cells, measures, trials = ([_rename(row) for row in rows] for rows in (cells, measures, trials))
    failed = replace(cells[0], status="failed", error=HOSTILE, seed=7, removed=(), calibration_loss=None)
    assert report.write(where, made_up_study.STUDY, [*cells, failed], measures, trials) == where / "report.html"
    return where


def _rename(row):
    return replace(row, model=HOSTILE) if row.model == "made-up-b" else row


@pytest.fixture(scope="module")
def page(folder) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a page would load, and which of its tags are left open."""

    VOID = frozenset({"meta", "link", "path", "rect", "br", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        self.loads += [value for name, value in attributes if name in ("src", "href", "data", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_everything_is_written(folder) -> None:
    names = {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png", "json", "csv")}
    assert {file.name for file in (folder / "figures").iterdir()} == names
    found = json.loads((folder / "statistics.json").read_text())
    assert found["cells"] == {"done": 56, "failed": 1}
    for name in FIGURES:
        assert ET.parse(folder / "figures" / f"{name}.svg").getroot().tag.endswith("svg")
        assert (folder / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert json.loads((folder / "figures" / f"{name}.json").read_text())["panels"]


def test_each_figures_table_is_what_the_cells_say(folder) -> None:
    """A row for each mark, bar and square; here from the study's own tables, by other ways."""
    tables = {name: list(csv.DictReader((folder / "figures" / f"{name}.csv").open())) for name in FIGURES}
    cells = [_rename(cell) for cell in made_up_study.tables(budgets=(5,))[0]]
    of = ("model", "objective", "searcher")
    assert {tuple(row[name] for name in of) for row in tables["masks"]} == {
        tuple(getattr(cell, name) for name in of) for cell in cells
    }
    for row in tables["masks"]:
        own = [cell for cell in cells if all(getattr(cell, name) == row[name] for name in of)]
        assert float(row["removed"]) == fmean(int(row["layer"]) in cell.removed for cell in own)
    for row in tables["cost"]:
        own = [cell for cell in cells if all(getattr(cell, name) == row[name] for name in of)]
        assert float(row["calibration_loss"]) == pytest.approx(fmean(cell.calibration_loss or 0 for cell in own))
        assert float(row["layer_forwards"]) == fmean(cell.layer_forwards for cell in own)
        assert row["front"] in ("0", "1")
    kept = {tuple(row.values())[:5] for row in tables["spread"]}
    assert len(tables["spread"]) == len(kept) * 2 == len(cells) * 2  # perplexity and accuracy, on two draws
    statistics = json.loads((folder / "statistics.json").read_text())
    for family, name in (("spread", "spread"), ("rank_agreement", "ranks")):
        for known in statistics[family]:
            of_row = [name for name in ("model", "budget", "objective", "outcome") if name in known]
            own = [row for row in tables[name] if all(row[part] == str(known[part]) for part in of_row)]
            assert own
            for row in own:
                if family == "spread":
                    told = {
                        f"{over}_{kind}": known[over][kind]
                        for over in ("over_searchers", "over_draws")
                        for kind in ("population", "sample")
                    }
                else:
                    told = {
                        "rho": known["rho"],
                        "p": known["p"],
                        "low": known["interval"][0],
                        "high": known["interval"][1],
                    }
                assert {part: float(row[part]) for part in told} == told
    for row in tables["ranks"]:
        others = [float(r["accuracy"]) for r in tables["ranks"] if list(r.values())[:3] == list(row.values())[:3]]
        assert float(row["accuracy_rank"]) == 1 + sum(other > float(row["accuracy"]) for other in others)
    pairs = [
        len(set(a.removed) & set(b.removed)) / len(set(a.removed) | set(b.removed))
        for a, b in combinations([cell for cell in cells if cell.model == "made-up-a"], 2)
        if (a.objective, a.searcher) == (b.objective, b.searcher)
    ]
    overlap = {row["differs"]: float(row["jaccard"]) for row in tables["overlap"] if row["model"] == "made-up-a"}
    assert overlap.pop("draw only") == pytest.approx(fmean(pairs))
    assert list(overlap) == [
        *("searcher only", "objective only", "draw and searcher", "objective and searcher", "drawn at random")
    ]
    whole: dict[tuple[str, str], float] = Counter()
    for row in tables["variance"]:
        whole[row["model"], row["outcome"]] += float(row["share"])
    assert len(whole) == 2 * 5
    assert list(whole.values()) == pytest.approx([1] * 10)


def test_a_mask_is_shown_under_everything_it_was_measured_by() -> None:
    """The other objective's loss too, which its own cell does not have."""
    cells, measures, _ = made_up_study.tables(budgets=(5,))
    name = ("made-up-a", "perplexity", "greedy", 5, 0)
    loss = Measure(*name, "task-margin", "calibration", -1.25, None, 8)
    shown = tables(analyse(cells, measures, []), [*measures, loss], outcomes(cells, measures))[1]
    place = [heading for heading, _ in shown["columns"]].index("task-margin, calibration")
    of = {(row[0][0], row[2][0], row[3][0], row[1][0], row[4][0]): row[place][1] for row in shown["rows"]}
    assert len(of) == sum(cell.status == "done" for cell in cells)
    assert of.pop((*name[:3], "5", "0")) == -1.25
    assert set(of.values()) == {None}


def test_the_same_tables_give_the_same_bytes(folder, tmp_path) -> None:
    cells, measures, trials = ([_rename(row) for row in rows] for rows in made_up_study.tables(budgets=(5,)))
    failed = replace(cells[0], status="failed", error=HOSTILE, seed=7, removed=(), calibration_loss=None)
    report.write(tmp_path, made_up_study.STUDY, [*cells, failed], measures, trials)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            assert (tmp_path / file.relative_to(folder)).read_bytes() == file.read_bytes(), file.name


def test_every_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch) -> None:
    """What is renamed keeps its inode: that of every file was flushed under another name."""
    flushed: dict[int, bool] = {}
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        flushed[inode] = any(file.stat().st_ino == inode for file in tmp_path.rglob("[!.]*"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    cells, measures, trials = made_up_study.tables(budgets=(5,))
    report.write(tmp_path, made_up_study.STUDY, cells, measures, trials)
    write_csv(tmp_path / "trials.csv", trials, Trial)
    write_parquet(tmp_path / "trials.parquet", trials, Trial)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 4 * len(FIGURES) + 4
    for file in files:
        assert flushed.get(file.stat().st_ino) is False, file.name


def test_it_loads_nothing_and_is_well_formed(page) -> None:
    parsed = Page(page)
    assert parsed.open == []
    assert all(load.startswith("#") or load == "data:," for load in parsed.loads)
    assert not re.search(r"@import|url\(", page)
    assert {load[1:] for load in parsed.loads if load.startswith("#")} <= set(re.findall(r'id="([^"]+)"', page))


def test_what_is_not_ours_is_escaped(page) -> None:
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(&#39;no&#39;)&lt;/script&gt;" in page


def test_the_words_follow_the_numbers(folder, page) -> None:
    """Every finding's count of significant tests is that of statistics.json, and all failed cells are named."""
    found = json.loads((folder / "statistics.json").read_text())
    for family, question in (
        ("overlap", "Do the removed"),
        ("rank_agreement", "Does perplexity"),
        ("cost", "Does a dearer"),
    ):
        said = re.search(re.escape(question) + r".*?<span class=\"verdict\">(\d+) of (\d+) tests", page)
        assert said
        assert int(said[1]) == sum(row["verdict"] == "significant" for row in found[family])
        assert int(said[2]) == len(found[family])
    assert "1 failed" in page
    lowest = min(found["rank_agreement"], key=lambda row: row["rho"])
    assert f"rho is from {number(lowest['rho'], 2)} to" in page


def test_other_numbers_give_other_words() -> None:
    """With masks that only the searcher decides, the page says that the objective was not shown to matter."""
    cells, measures, trials = made_up_study.tables(budgets=(5,))
    own = {name: tuple(range(1 + 2 * i, 6 + 2 * i)) for i, name in enumerate(made_up_study.SEARCHERS)}
    cells = [replace(cell, removed=own[cell.searcher]) for cell in cells]
    found = analyse(cells, measures, trials)
    said = summary(found, outcomes(cells, measures))[0]
    assert said["verdict"] == "0 of 2 tests significant"
    assert "in 0 of 2 groups" in said["lead"]


def test_shares_are_compared_less_what_noise_gives_them() -> None:
    """Seven searchers explain more of pure noise than two objectives do; and what is said is also how sure that is."""
    cells, measures, trials = made_up_study.tables(budgets=(5,))
    found = analyse(cells, measures, trials)
    row = next(row for row in found["decomposition"] if row["outcome"] == "masks")
    known = {"objective": (0.05, 0.04), "searcher": (0.12, -0.01), "draw": (0.02, -0.02)}
    for factor in row["factors"]:
        factor["share"], factor["adjusted"] = known[factor["factor"]]
        factor["interval"] = (factor["adjusted"] - 0.03, factor["adjusted"] + 0.03)
    row["difference"] = {"value": 0.05, "interval": (0.01, 0.09)}
    found["decomposition"] = [row]
    said = summary(found, outcomes(cells, measures))[VARIANCE]
    assert "The objective explains more than the searcher or the draw in 1 of 1 outcomes." in said["lead"]
    assert "objective less searcher lies above 0 in 1 of 1 outcomes, below it in 0." in said["lead"]
    (line,) = said["lines"]
    assert line.startswith("made-up-a, masks: objective 4.0% [1.0%, 7.0%]")
    assert "; objective less searcher 5.0% [1.0%, 9.0%]; n = 28." in line
    shown = {table["title"]: table["rows"] for table in tables(found, measures, outcomes(cells, measures))}
    assert [text for text, _ in shown["Objective less searcher"][0]][-2:] == ["5.0%", "[1.0%, 9.0%]"]


MASKS, VARIANCE, RANKS, SPREAD, COST, BASELINE = range(6)
SAME = "Nothing to compare: every finished cell has the same"


def part(keep) -> tuple[list[Cell], list[Measure], list[Trial]]:
    """The rows of the made-up study that are kept, those of the dense models too."""
    tables = made_up_study.tables(2)
    return tuple([row for row in rows if row.searcher == "dense" or keep(row)] for rows in tables)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        pytest.param(
            lambda row: row.objective == "perplexity",
            {
                MASKS: f"{SAME} objective (perplexity).",
                VARIANCE: "The searcher explains more than the draw in 3 of 6 outcomes; the objective does not vary.",
                RANKS: "over 4 settings. This shows neither",
            },
            id="one objective",
        ),
        pytest.param(
            lambda row: row.searcher == "greedy",
            {
                VARIANCE: "The objective explains more than the draw in 6 of 6 outcomes; the searcher does not vary.",
                **dict.fromkeys((MASKS, RANKS, SPREAD, COST, BASELINE), f"{SAME} searcher (greedy)."),
            },
            id="one searcher",
        ),
        pytest.param(
            lambda row: (row.objective, row.searcher) == ("perplexity", "greedy"),
            {
                MASKS: f"{SAME} objective (perplexity) and searcher (greedy).",
                VARIANCE: "Of objective, searcher and draw only the draw varies: nothing to compare it with.",
            },
            id="one objective and searcher",
        ),
        pytest.param(
            lambda row: (row.objective, row.searcher, row.seed) == ("perplexity", "greedy", 0),
            {
                VARIANCE: "Nothing to compare: no model has three finished cells whose masks, perplexity or accuracy differ."
            },
            id="two budgets",
        ),
        pytest.param(
            lambda row: row.seed == 0,
            {
                MASKS: "in 0 of 4 groups of model and budget. They are too few or too alike",  # 4 x 2 / 2^7 is 0.06
                BASELINE: "The draws are too few for any difference to be significant",  # 6 x 2 / 2^4 is 0.75
                VARIANCE: "The objective explains more than the searcher in 6 of 6 outcomes; the draw does not vary.",
            },
            id="one draw",
        ),
        pytest.param(
            lambda row: (row.model, row.budget, row.objective) == ("made-up-a", 5, "perplexity"),
            {RANKS: "rho is \u22120.36 over 1 setting. This shows", COST: "in 0 of 1 settings."},
            id="one setting",
        ),
        pytest.param(
            lambda row: (row.model, row.budget, row.seed) == ("made-up-a", 5, 0) and row.searcher in ("beam", "greedy"),
            {
                MASKS: "They are too few or too alike",
                VARIANCE: "The interval of objective less searcher lies above 0 in",
                RANKS: "over 2 settings. The searchers are too few or too alike for any to be significant",
                BASELINE: "Nothing to compare: no finished cell is of one-shot.",
            },
            id="two searchers, neither one-shot",
        ),
        pytest.param(
            lambda row: (row.objective, row.seed) == ("perplexity", 0) and row.searcher in ("beam", "greedy", "optuna"),
            {VARIANCE: "Of objective, searcher and draw only the searcher varies"},
            id="three searchers",
        ),
        pytest.param(
            lambda row: (
                (row.model, row.objective, row.budget, row.seed) == ("made-up-a", "perplexity", 5, 0)
                and row.searcher in ("beam", "greedy", "optuna")
            ),
            {VARIANCE: "In 3 of 3 outcomes too few cells are left to tell a share from noise."},
            id="a searcher for each cell",
        ),
        pytest.param(
            lambda row: getattr(row, "kind", "perplexity") == "perplexity",
            {
                VARIANCE: "The objective explains more than the searcher or the draw in 4 of 4 outcomes.",
                RANKS: "Nothing to compare: there is no accuracy that all cells of a model have",
            },
            id="no tasks",
        ),
        pytest.param(
            lambda row: (row.objective == "perplexity") == (row.seed == 0),
            {MASKS: "Nothing to compare: no model, budget and draw has pairs of searchers both within"},
            id="an objective for each draw",
        ),
        pytest.param(
            lambda row: (
                (row.model, row.objective, row.searcher, row.budget, row.seed)
                == ("made-up-a", "perplexity", "one-shot", 5, 0)
            ),
            {
                VARIANCE: "Nothing to compare: no model has three finished cells",
                **dict.fromkeys((MASKS, RANKS, SPREAD, COST, BASELINE), "Nothing to compare: one cell is finished."),
            },
            id="one cell",
        ),
    ],
)
def test_what_a_small_grid_cannot_say_is_said(keep, said) -> None:
    """Every question has an answer that is true of this grid, and the page says it."""
    cells, measures, trials = part(keep)
    found, every = analyse(cells, measures, trials), outcomes(cells, measures)
    drawn = figures.describe(found, every, made_up_study.SEARCHERS)
    page = render({"title": "Small"}, found, drawn, cells, measures, every)
    text = html.unescape(page)
    findings = summary(found, every)
    assert len(findings) == 6
    for place, words in said.items():
        assert words in findings[place]["lead"]
    for finding in findings:
        assert finding["lead"] in text
        nothing = finding["lead"].startswith("Nothing to compare")
        assert nothing == (finding["verdict"] == "nothing to compare") == (not finding["lines"])
    several = len({cell.seed for cell in cells}) > 1
    assert ("in some calibration draws" in text) == several
    assert "averaged over draws" not in _figures(text) or several
    assert ("sample variance over searchers" in _figures(text)) == (">s\u00b2 " in _figures(text))
    assert ("over the draws of a searcher" in _figures(text)) == (">draws " in _figures(text))
    assert Page(page).open == []


def test_one_searcher_is_drawn(tmp_path) -> None:
    """No searchers to rank or to compare in cost; masks of two draws to compare, and not of one cell."""
    cells, measures, trials = part(lambda row: (row.objective, row.searcher) == ("perplexity", "greedy"))
    report.write(tmp_path, {"title": "Small"}, cells, measures, trials)
    assert {file.stem for file in (tmp_path / "figures").iterdir()} == {"masks", "spread", "overlap", "variance"}
    report.write(tmp_path / "one", {"title": "One"}, cells[:1], [m for m in measures if m.searcher == "dense"], [])
    assert {file.stem for file in (tmp_path / "one" / "figures").iterdir()} == {"masks"}


def _figures(text: str) -> str:
    return text[text.index('<section id="figures">') : text.index('<section id="tables">')]


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (lambda row: row.objective == "perplexity", "one objective: nothing to compare"),
        (lambda row: row.searcher == "greedy", "no two searchers of one objective on one draw: nothing to compare"),
        (
            lambda row: (row.objective == "perplexity") == (row.seed == 0),
            "no two searchers of two objectives on one draw: nothing to compare",
        ),
    ],
)
def test_a_panel_says_why_masks_are_not_compared(keep, said) -> None:
    for row in analyse(*part(keep))["overlap"]:
        assert row["difference"] is None
        assert no_difference(row) == said


def test_nothing_done_is_a_page_too(tmp_path) -> None:
    """Of a model that could not be loaded neither layers nor a share's budget are known: two cells look the same."""
    cell = made_up_study.tables()[0][0]
    failed = replace(cell, layers=0, budget=0, status="failed", error="no room", removed=(), calibration_loss=None)
    text = report.write(tmp_path, {}, [failed, failed], [], []).read_text()
    for words in ("No cell is finished: 2 failed", "no room", "(unknown layers)", "<dd>none done", "<dd>unknown</dd>"):
        assert words in text
    for words in ("0 layers", 'href="#figures"', 'href="#tables"', "A heading sorts", "figures are in"):
        assert words not in text
    assert Page(text).open == []
    text = report.write(tmp_path / "none", {}, [], [], []).read_text()
    assert "There are no cells." in text
    assert "Failed cells" not in text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1234.5, 3, "1,234"),
        (0.01234, 2, "0.012"),
        (-0.5, 3, "\u22120.500"),
        (0.0, 3, "0"),
        (None, 3, "\u2013"),
        (2e-17, 3, "0"),
    ],
)
def test_numbers(value, digits, text) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0123, "0.012"), (7.46, "7.5"), (199.7, "200"), (5_120.0, "5,100"), (1.17e17, "1.2e17")],
)
def test_a_variance_takes_little_room(value, text) -> None:
    column = {"over_searchers": {"sample": value}, "over_draws": None}
    assert figures.variance_notes(column) == [f"s\u00b2 {text}"]


def test_axes() -> None:
    axis = Axis.over([3.0, 3.4], 100, 0)
    assert axis.at(axis.low) == 100
    assert axis.at(axis.high) == 0
    assert 3 <= len(axis.ticks) <= 7
    wide = Axis.over([10, 100_000], 0, 50, log=True)
    assert wide.ticks == (10, 100, 1_000, 10_000, 100_000)
    steps = [b - a for a, b in pairwise(wide.at(tick) for tick in wide.ticks)]
    assert max(steps) - min(steps) < 0.05
    assert len(Axis.over([20, 41], 0, 50, log=True).ticks) >= 3
    assert Axis.over([2, 2], 0, 50).ticks


def test_searchers_are_told_apart() -> None:
    assert len(set(figures.styles([str(i) for i in range(24)]).values())) == 24
    assert len(MARKERS) == len(figures.MARKERS)


#: (mask, searchers that have it on their fronts, its loss under each part): on x y = 1, but for the last, which (2, 0.5) beats.
HYPERBOLA = [
    ((1,), ("pareto",), (0.5, 2.0)),
    ((2,), ("pareto", "greedy"), (1.0, 1.0)),
    ((3,), ("pareto",), (2.0, 0.5)),
    ((4,), ("greedy",), (2.0, 0.6)),
]


def front_of(masks, seed=0, parts=("a", "b")) -> tuple[list[Cell], list[Front]]:
    """Cells whose answer is mask (2,), and their fronts."""
    searchers = list(dict.fromkeys(name for _, names, _ in masks for name in names))
    cells = [Cell("m", 8, "both", name, "", 1, seed, "done", "", (2,), 2.0, 9, 9, 9, 9, 1.0) for name in searchers]
    rows = [
        Front("m", "both", name, 1, seed, mask, part, loss)
        for name in searchers
        for mask, names, losses in masks
        for part, loss in zip(parts, losses, strict=True)
        if name in names
    ]
    return cells, rows


def said_of(cells: list[Cell], rows: list[Front]) -> tuple[dict, dict, list[dict]]:
    """What is said of fronts, the statistics, and the figure's panels."""
    found, every = analyse(cells, [], [], (), rows), outcomes(cells, [])
    drawn = figures.describe(found, every, ["pareto", "greedy"])
    page = render({}, found, drawn, cells, [], every)
    assert Page(page).open == []
    assert [table["title"] for table in tables(found, [], every)][-1] == "Pareto fronts"
    said = summary(found, every)[-1]
    assert html.escape(said["lead"], quote=False) in page
    return said, found, drawn.get("fronts", {"panels": []})["panels"]


def test_a_front_in_closed_form() -> None:
    said, found, panels = said_of(*front_of(HYPERBOLA))
    (row,) = found["fronts"]
    assert (row["parts"], row["left"], row["trade_off"]) == (["a", "b"], 3, True)
    assert [mask["removed"] for mask in row["masks"] if not mask["left"]] == [[4]]
    assert [end["removed"] for end in row["ends"]] == [[1], [3]]
    assert said["lead"].startswith("In 1 of 1 groups")
    assert said["lines"] == [
        "m, 1 removed for both: 3 of the masks tried are beaten by none. Best under a: 0.5000, there 2.000 under b (without "
        "layers 1). Best under b: 0.5000, there 2.000 under a (without layers 3). From the first to the second the loss "
        "under b falls by 1.5, that under a rises by 1.5. Of these 3 masks pareto tried 3, greedy tried 1."
    ]
    (panel,) = panels
    assert panel["line"] == [(0.5, 2.0), (1.0, 1.0), (2.0, 0.5)]
    assert [(point["searcher"], point["removed"]) for point in panel["points"]] == [
        ("greedy", [4]), ("pareto", [1]), ("pareto", [2]), ("pareto", [3]), ("greedy", [2])
    ]  # fmt: skip
    assert {tuple(point["removed"]) for point in panel["points"] if point["answer"]} == {(2,)}


def test_where_one_mask_is_best_under_every_part_there_is_no_trade_off() -> None:
    """Nothing is drawn then; the table has the mask."""
    said, found, panels = said_of(*front_of([HYPERBOLA[1], ((5,), ("greedy",), (1.0, 1.0))]))
    assert found["fronts"][0]["left"] == 2
    assert said["lead"].startswith("In 0 of 1 groups")
    assert said["lines"] == ["m, 1 removed for both: one mask is the best under every part: no trade-off."]
    assert panels == []


def test_fronts_of_several_draws_are_told_together_and_drawn_apart() -> None:
    """What lies between the draws' figures is a range; draws have other data, so no mask of one beats that of another."""
    further = [(mask, names, (2 * a, 3 * b)) for mask, names, (a, b) in HYPERBOLA[:3]]
    drawn = [front_of(HYPERBOLA), front_of(further, seed=1), front_of(HYPERBOLA[1:2], seed=2)]
    said, _, panels = said_of([c for cells, _ in drawn for c in cells], [row for _, rows in drawn for row in rows])
    (line,) = said["lines"]
    assert (
        "both: 3 of the masks tried on each of 2 draws are beaten by none. Best under a: 0.5000 to 1.000, there" in line
    )
    assert "there 2.000 to 6.000 under b. Best" in line
    assert "under b falls by 1.5 to 4.5, that under a rises by 1.5 to 3.0. Of these 6 masks" in line
    assert line.endswith("One mask is the best under every part in 1 of 3 draws: no trade-off.")
    assert [panel["seed"] for panel in panels] == [0, 1]


def test_three_parts_are_shown_in_pairs() -> None:
    """A mask that two parts alone would rule out is on the front for the third; the line of a pair leaves it out."""
    masks = [
        ((1,), ("pareto",), (1.0, 2.0, 9.0)),
        ((2,), ("pareto",), (2.0, 1.0, 9.0)),
        ((3,), ("greedy",), (2.0, 2.0, 1.0)),
    ]
    said, found, panels = said_of(*front_of(masks, parts=("a", "b", "c")))
    assert found["fronts"][0]["left"] == 3
    assert [(panel["x"], panel["y"]) for panel in panels] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert panels[0]["line"] == [(1.0, 2.0), (2.0, 1.0)]
    assert len(panels[0]["points"]) == 3
    assert "Best under c: 1.000, there 2.000 under a and 2.000 under b (without layers 3)" in said["lines"][0]
    assert "From the first" not in said["lines"][0]


def test_what_is_far_off_does_not_press_a_front_into_a_corner() -> None:
    """Further from its end than the front is long: named below the panel, and in the data."""
    _, found, (panel,) = said_of(*front_of([*HYPERBOLA, ((6,), ("greedy",), (3.6, 0.9))]))
    assert len(found["fronts"][0]["masks"]) == 5
    assert figures.far_off(panel) == "greedy 1"
    assert [point["removed"] for point in panel["points"] if point["far"]] == [[6]]


@pytest.fixture(scope="module")
def fronted(tmp_path_factory) -> Path:
    """A report with fronts."""
    where: Path = tmp_path_factory.mktemp("fronted")
    cells, measures, trials = made_up_study.tables(budgets=(5,))
    report.write(where, made_up_study.STUDY, cells, measures, trials, made_up_study.fronts(cells))
    return where


def test_fronts_are_drawn_and_told_as_the_other_figures_are(fronted) -> None:
    assert {f"fronts.{kind}" for kind in ("svg", "png", "json", "csv")} <= {
        f.name for f in (fronted / "figures").iterdir()
    }
    rows = list(csv.DictReader((fronted / "figures" / "fronts.csv").open()))
    assert len(rows) == 2 * 2 * 2 * 5  # models, draws, searches, masks
    assert {round(float(row["x"]) * float(row["y"]), 9) for row in rows if row["left"] == "1"} == {1.0}
    text = (fronted / "report.html").read_text()
    assert Page(text).open == []
    assert text.count('role="group" aria-label="likelihood against margin"') == 4
    assert text.count("mark s1 answer") == 4


@pytest.mark.parametrize("width", [375, 1280])
def test_fronts_fit_have_tooltips_and_sort(browser, fronted, width) -> None:
    _show(browser, fronted, width)
    assert browser.get_log("browser") == []
    needed, there, said, visible = browser.execute_script("""
        const mark = document.querySelector('#fronts .mark.answer:not(.beaten)'); mark.scrollIntoView({block: 'center'});
        mark.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
        const tip = document.getElementById('tip');
        return [document.documentElement.scrollWidth, document.documentElement.clientWidth, tip.textContent,
            getComputedStyle(tip).visibility];
    """)
    assert needed <= there
    assert re.fullmatch(
        r"greedy: without layers [\d -]+ loss 1.000 under likelihood, 1.000 under margin; the answer of greedy", said
    )
    assert visible == "visible"
    column = """
        const table = [...document.querySelectorAll('#tables table')].at(-1);
        const place = [...table.querySelectorAll('th')].findIndex(head => head.dataset.heading === 'under margin');
        table.querySelectorAll('th button')[place].click();
        return [...table.tBodies[0].rows].map(row => Number(row.cells[place].dataset.sort));
    """
    once, again = browser.execute_script(column), browser.execute_script(column)
    assert len(once) == 2 * 2 * 2 * 5
    assert (once, again) == (sorted(once), sorted(once, reverse=True))


def _show(browser, folder: Path, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((folder / "report.html").as_uri())


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_no_error_no_request_no_overflow(browser, folder, width) -> None:
    browser.get_log("performance")
    _show(browser, folder, width)
    assert browser.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith(("file:", "data:")) for url in urls)
    assert any(url.endswith("report.html") for url in urls)
    script = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    needed, there = browser.execute_script(script)
    assert needed <= there <= width  # less by the scroll bar's width, where there is one
    assert there >= width - 20


def test_tables_sort_by_click_and_key(browser, folder) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    _show(browser, folder, 1280)
    table = browser.find_element(By.CSS_SELECTOR, "#tables table")
    heads = table.find_elements(By.TAG_NAME, "th")
    place = [head.get_attribute("data-heading") for head in heads].index("calibration loss")

    def column() -> list[float]:
        script = "return [...arguments[0].tBodies[0].rows].map(row => Number(row.cells[arguments[1]].dataset.sort))"
        found: list[float] = browser.execute_script(script, table, place)
        return found

    before = column()
    browser.execute_script("arguments[0].querySelector('button').click()", heads[place])
    assert column() == sorted(before) != before
    assert heads[place].get_attribute("aria-sort") == "ascending"
    heads[place].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert column() == sorted(before, reverse=True)
    assert heads[place].get_attribute("aria-sort") == "descending"
    browser.execute_script("arguments[0].querySelector('button').click()", heads[0])
    assert [head.get_attribute("aria-sort") for head in heads].count("none") == len(heads) - 1


def test_tooltips(browser, folder) -> None:
    _show(browser, folder, 375)
    script = """
        const mark = document.querySelector('.mark'); mark.scrollIntoView({block: 'center'}); mark.focus();
        return new Promise(done => setTimeout(() => { mark.blur(); mark.focus(); const tip = document.getElementById('tip');
            const box = tip.getBoundingClientRect();
            done([tip.textContent, mark.dataset.tip, getComputedStyle(tip).visibility, box.left, box.right]); }, 100));
    """
    said, meant, visible, left, right = browser.execute_script(script)
    assert said == meant != ""
    assert visible == "visible"
    assert 0 <= left < right <= 375


def test_dark_is_dark(browser, folder) -> None:
    for scheme, ground in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 28)")):
        feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
        _show(browser, folder, 1280)
        assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == ground
