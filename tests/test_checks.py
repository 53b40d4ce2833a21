"""Claims that run: the language, its functions against other implementations, and how often its verdicts are right."""

from __future__ import annotations

import ast
import builtins
import csv
import itertools
import json
import math
import os
import random
import re
import statistics
import tomllib
from pathlib import Path

import made_up_study
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ledgers import in_folder
from scipy import stats

from lpk.core.errors import LpkError, UsageError
from lpk.core.evidence import work
from lpk.core.evidence.checks import arguments, expressions, measured
from lpk.core.evidence.checks import check as checks
from lpk.core.evidence.checks import functions as study_functions
from lpk.core.evidence.checks import tables as study_tables
from lpk.core.evidence.checks.tables import Cell, Study, read_study
from lpk.core.evidence.records import Check, Claim, Direction, Replication, Row, Screening
from lpk.core.evidence.states import statuses
from lpk.core.registry import installed
from lpk.core.study import statistics as study_statistics
from lpk.core.study import tables
from lpk.core.study.statistics.outcomes import key as key_of

DATA = Path(__file__).parent / "data"
EXAMPLES = tomllib.loads((Path(__file__).parent.parent / "examples/ledger/claims.toml").read_text(encoding="utf-8"))[
    "claim"
]
SOURCES = {
    "arxiv:2604.24938v1": (DATA / "2604.24938v1.md").read_text(encoding="utf-8"),
    "arxiv:2403.17887v2": (DATA / "2403.17887v2-abstract.txt").read_text(encoding="utf-8"),
}


def written(folder: Path, made: tuple[list[tables.Cell], list[tables.Measure], list[tables.Trial]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, rows in zip((tables.Cell, tables.Measure, tables.Trial), made, strict=True):
        tables.write_csv(folder / f"{kind.FILE}.csv", rows, kind)
    (folder / "study.json").write_text(json.dumps(made_up_study.STUDY))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("study") / "out", made_up_study.tables())


def checked(expression: str, folder: Path, **of) -> Replication:
    return checks.check(Claim(id="a-claim", text="a claim", check=Check(expression=expression, **of)), folder)


def effect(expression: str, folder: Path) -> float:
    found = checked(expression, folder)
    assert found.effect is not None, found.reason
    return found.effect


# -- the language -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "column", "said"),
    [
        ("spearmn(ppl_rank, acc_rank) < 0.5", 1, "unknown function 'spearmn'; did you mean 'spearman'?"),
        ("spearman(ppl_rank, acc_rnk) < 0.5", 20, "no column or measure 'acc_rnk'; did you mean 'acc_rank'?"),
        ('mean("piq") > 1', 6, "no column or measure 'piq'; did you mean 'piqa'?"),
        ("mean(acc)", 1, "a check compares"),
        ("mean(acc) > ", 13, "a value should come here, not 'the end'"),
        ("mean(acc) > 1 > 2", 15, "join two by 'and'"),
        ("mean(acc) > 1 or 2", 15, "'or' does not belong here"),
        ("1 > 2", 1, "compares no function of a study"),
        ("acc > mean(acc)", 1, "write e.g. mean(acc)"),
        ("mean(acc) > 1e999", 13, "too large"),
        ("mean(acc) > 'x", 13, "closing quote"),
        ("mean(acc).real > 1", 10, "unknown character '.'"),
        ("mean(acc)[0] > 1", 10, "unknown character '['"),
        ("mean(acc) > 1 # é", 15, "unknown character '#'"),
        ("mean(acc, acc) > 1", 11, "mean takes column"),
        ("mean() > 1", 1, "mean needs column"),
        ("mean(acc, color=3) > 1", 11, "mean takes no 'color'"),
        ("mean(acc, budget=4, budget=5) > 1", 21, "given twice"),
        ("mean(budget=4, acc) > 1", 16, "come first"),
        ("mean(acc > 3) > 1", 6, "rate(...)"),
        ("rate(acc) > 1", 6, "needs a condition"),
        ("mean(mean(acc)) > 1", 6, "no function within mean"),
        ("mean(acc, drop=m/4) > 1", 16, "number of layers, such as 7 or n/4"),
        ("mean(acc, searcher=3) > 1", 20, 'searcher is a text, e.g. searcher="greedy, beam"'),
        ("jaccard(masks) > 1", 1, 'needs within="objective"'),
        ('jaccard(masks, within="draw") > 1', 23, "objective or searcher"),
        ("jaccard(acc, within=objective) > 1", 9, "masks of jaccard is masks"),
        ("variance_share(colour) > 1", 16, "objective or searcher or budget or draw"),
        ("variance_share(budget) > mean(acc)", 1, "of a model's cells, the others of single observations"),
        ("mean(acc) / (2 - 2) > 1", 14, "division by zero"),
        ("mean((acc > 1) + 1) > 1", 7, "a comparison is no number"),
        ("(" * 30 + "1" + ")" * 30, 21, "nested deeper than 20"),
        ("mean(acc) > 1 and " * 60 + "1 > 1", 1001, "1,085 characters, 1,000 at most"),
        ("mean(n)+" * 21 + "1 > 1", 161, "more than 20 functions"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_with_its_column(expression: str, column: int, said: str, folder: Path) -> None:
    with pytest.raises(UsageError) as error:
        checked(expression, folder)
    assert str(error.value).startswith(f"check, column {column}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_how_an_expression_is_read() -> None:
    value = expressions.parse("1 + 2 * -3 - 4 / 2 / 2 < (5 - 6) - 7")[0]

    def number(node) -> float:
        if isinstance(node, expressions.Number):
            return node.value
        if isinstance(node, expressions.Negative):
            return -number(node.of)
        return arguments.SIGNS[node.sign](number(node.left), number(node.right))

    assert (number(value.left), number(value.right), value.sign) == (1 + 2 * -3 - 4 / 2 / 2, (5 - 6) - 7, "<")


TOKENS = [
    *study_functions.FUNCTIONS, *arguments.SELECTORS, *study_tables.COLUMNS, *expressions.COMPARISONS, *"()+-*/,=.[]{}:;\\\"'#%@!&|~`\n\t\0",
    "and", "or", "not", "lambda", "__import__", "masks", "within", "across", "1", "0.5", "1e9", "9" * 5_000, "n", "'objective'",
    '"piqa"', "os", "system", "é", "\ud800", "\U0001d7db", "\u202e", "is", "in", "await",
]  # fmt: skip


@settings(max_examples=300, deadline=5_000)
@given(st.one_of(st.text(max_size=300), st.lists(st.sampled_from(TOKENS), max_size=60).map(" ".join)))
@example("-" * 999 + "1")
@example("(" * 1_000)
@example("mean(" * 200)
@example("__import__('os').system('true') > 0")
@example("().__class__.__bases__[0].__subclasses__() > 0")
@example("mean(acc) > 9**9**9")
def test_any_text_is_an_expression_or_a_usage_error(text: str) -> None:
    try:
        said = f"check, column {checks.validate(text)[0].at}: right"
    except UsageError as error:
        said = str(error)
    assert re.match(r"check, column \d+: ", said)
    assert len(said.splitlines()) == 1


def test_nothing_in_the_language_can_run_code(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No text reaches Python: the modules call nothing that takes code, and an evaluation calls none of it."""
    for module in (arguments, checks, expressions, measured, study_functions, study_tables):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not named & {"eval", "exec", "compile", "__import__", "getattr_static", "globals", "locals"}
    checked("mean(acc) > 0", folder)  # imports are done
    for name in ("eval", "exec", "compile"):
        monkeypatch.setattr(builtins, name, lambda *_: pytest.fail("code was run"))
    checked('jaccard(masks, within="objective") > 0.1 and rate(acc > 50 and regret >= 0) >= 0', folder)


columns = st.sampled_from([*study_tables.COLUMNS, "piqa", "arc-easy", "task-margin"]).map(lambda name: f'"{name}"')
numbers = st.sampled_from(["0", "1", "0.5", "60", "n", "n/4", "7"])
selectors = st.one_of(
    st.sampled_from(["", "", ", objective=perplexity", ", searcher='greedy, b*'", ", model='*-a'", ", draw=1"]),
    numbers.map(lambda number: f", upto={number}"),
    numbers.map(lambda number: f", budget={number}"),
)
functions = st.one_of(
    st.builds(
        "{}({}{})".format,
        st.sampled_from(["mean", "spread", "delta"]),
        st.one_of(columns, st.builds("{} {} {}".format, columns, st.sampled_from("+-*/"), columns)),
        selectors,
    ),
    st.builds("{}({}, {}{})".format, st.sampled_from(["spearman", "kendall"]), columns, columns, selectors),
    st.builds("rate({} {} {}{})".format, columns, st.sampled_from(expressions.COMPARISONS), columns, selectors),
    st.builds(
        "jaccard(masks, {}{})".format,
        st.sampled_from(["within=objective", "within=searcher", "across=objective"]),
        selectors,
    ),
    st.builds("{}{})".format, st.sampled_from(["depth(masks", "regret('greedy'", "regret('*'"]), selectors),
)
sums = st.recursive(
    st.one_of(functions, st.sampled_from(["0", "1", "0.5"])),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner),
    max_leaves=4,
)
written_claims = st.builds("{} {} {}".format, sums, st.sampled_from(expressions.COMPARISONS), sums)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    expression=st.lists(written_claims, min_size=1, max_size=2).map(" and ".join),
    tolerance=st.sampled_from([0.0, 0.3]),
)
def test_any_expression_of_the_grammar_has_a_verdict_or_is_refused(
    monkeypatch: pytest.MonkeyPatch, expression: str, tolerance: float, folder: Path
) -> None:
    monkeypatch.setattr(measured, "RESAMPLES", 199)
    try:
        found = checked(expression, folder, tolerance=tolerance)
    except UsageError as error:
        found = None
        said = str(error)
    if found is None:
        assert re.match(r"check, column \d+: ", said)
    elif found.verdict == "out of scope":
        assert found.reason
        assert found.effect is None
    else:
        assert found.count >= 2  # nothing passes over nothing
        assert found.effect is not None
        assert (found.needed is None) or (found.verdict == "inconclusive" and found.needed > 0)
        if found.low is not None and found.high is not None:
            assert found.low <= found.high


# -- functions, against other implementations on the CSV files --------------------------------------------------------


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict]:
    """The finished cells, by a second reader of the files: with perplexity, accuracy and the dense accuracy."""
    cells = [row for row in csv.DictReader((folder / "cells.csv").open()) if row["status"] == "done"]
    measures = list(csv.DictReader((folder / "measures.csv").open()))
    for cell in cells:
        key = [cell[k] for k in ("model", "objective", "searcher", "budget", "seed")]
        own = [m for m in measures if [m[k] for k in ("model", "objective", "searcher", "budget", "seed")] == key]
        dense = [m for m in measures if m["model"] == cell["model"] and m["searcher"] == "dense"]
        cell["ppl"] = float(next(m["value"] for m in own if m["kind"] == "perplexity"))
        cell["piqa"] = 100 * float(next(m["value"] for m in own if (m["measure"], m["kind"]) == ("piqa", "accuracy")))
        for name, of in (("acc", own), ("dense", dense)):
            cell[name] = 100 * statistics.fmean(float(m["value"]) for m in of if m["kind"] == "accuracy")
        cell["mask"] = set(map(int, cell["removed"].split()))
        cell["unit"] = (cell["model"], cell["budget"], cell["seed"])
    return cells


def by(rows: list[dict], *keys: str) -> list[list[dict]]:
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(groups.values())


def over_units(rows: list[dict], of) -> float:
    """The mean over observations of the mean over objectives."""
    return statistics.fmean(statistics.fmean(map(of, by(unit, "objective"))) for unit in by(rows, "unit"))


def test_rank_correlations_are_scipys(rows: list[dict], folder: Path) -> None:
    for name, of in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        asked = over_units(rows, lambda own, of=of: of([o["ppl"] for o in own], [-o["acc"] for o in own]).statistic)
        assert effect(f"{name}(ppl_rank, acc_rank) < 0.5", folder) == pytest.approx(asked, abs=1e-12)
        assert effect(f"{name}(ppl, 0 - acc) < 0.5", folder) == pytest.approx(asked, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12))
def test_rank_correlations_with_ties_are_scipys(pairs: list[tuple[int, int]]) -> None:
    cells = [cell(("m", 1, 0), f"s{i}", a=float(a), b=float(b)) for i, (a, b) in enumerate(pairs)]
    x, y = zip(*pairs, strict=True)
    for mine, theirs in ((study_functions._spearman, stats.spearmanr), (study_functions._kendall, stats.kendalltau)):
        found = mine(cells, lambda c: c.values["a"], lambda c: c.values["b"])
        if len(set(x)) == 1 or len(set(y)) == 1:
            assert found is None
        else:
            assert found == pytest.approx(theirs(x, y).statistic, abs=1e-12)


def test_jaccard_by_brute_force(rows: list[dict], folder: Path) -> None:
    pairs = [(a, b) for unit in by(rows, "unit") for a, b in itertools.combinations(unit, 2)]
    wanted = {
        'within="objective"': lambda a, b: a["objective"] == b["objective"] and a["searcher"] != b["searcher"],
        'within="searcher"': lambda a, b: a["searcher"] == b["searcher"] and a["objective"] != b["objective"],
        'across="objective"': lambda a, b: a["objective"] != b["objective"] and a["searcher"] != b["searcher"],
    }
    for argument, which in wanted.items():
        shared: dict[tuple, list[float]] = {}
        for a, b in pairs:
            if which(a, b):
                shared.setdefault(a["unit"], []).append(len(a["mask"] & b["mask"]) / len(a["mask"] | b["mask"]))
        asked = statistics.fmean(map(statistics.fmean, shared.values()))
        assert effect(f"jaccard(masks, {argument}) > 0", folder) == pytest.approx(asked, abs=1e-12)


def test_plain_functions(rows: list[dict], folder: Path) -> None:
    def mean_of(of, rows=rows) -> float:
        return statistics.fmean(statistics.fmean(map(of, unit)) for unit in by(rows, "unit"))

    def near(value: float):
        return pytest.approx(value, rel=1e-11, abs=1e-11)

    seven = [row for row in rows if row["budget"] == "7" and row["layers"] == "30"]
    assert effect("mean(acc) > 0", folder) == near(mean_of(lambda r: r["acc"]))
    assert effect("mean(piqa) > 0", folder) == near(mean_of(lambda r: r["piqa"]))
    assert effect("mean(log_ppl) > 0", folder) == near(mean_of(lambda r: math.log(r["ppl"])))
    assert effect("mean(removed / n - share) == 0", folder) == near(0)
    assert effect("delta(acc) > 0", folder) == near(mean_of(lambda r: r["acc"] - r["dense"]))
    assert effect("delta(acc, drop=n/4, model='*-a') > 0", folder) == near(
        mean_of(lambda r: r["acc"] - r["dense"], seven)
    )
    assert effect("rate(acc > 50) > 0", folder) == near(mean_of(lambda r: float(r["acc"] > 50)))
    asked = mean_of(lambda r: statistics.fmean(r["mask"]) / (int(r["layers"]) - 1))
    assert effect("depth(masks) > 0", folder) == near(asked)
    assert effect("0.5 < depth(masks)", folder) == near(asked)
    assert effect("spread(acc) > 0", folder) == near(over_units(rows, lambda own: np.ptp([o["acc"] for o in own])))
    greedy = [row for row in rows if row["searcher"] == "greedy"]
    assert effect("mean(acc, searcher=greedy) - mean(acc) > 0", folder) == near(
        mean_of(lambda r: r["acc"], greedy) - mean_of(lambda r: r["acc"])
    )
    assert effect("mean(acc, searcher=greedy) > mean(acc)", folder) == effect(
        "mean(acc, searcher=greedy) - mean(acc) > 0", folder
    )


def test_averages_and_regrets_are_those_of_the_study(folder: Path) -> None:
    made = made_up_study.tables()
    study = read_study(folder)
    mine = {(c.model, c.objective, c.searcher, c.budget, c.draw): c.values for c in study.cells}
    every = study_statistics.outcomes(*made[:2])
    assert len(mine) == len(every)
    for outcome in every:
        values = mine[key_of(outcome.cell)]
        assert values["acc"] == pytest.approx(outcome.accuracy, rel=1e-12)
        assert values["ppl"] == pytest.approx(outcome.perplexity, rel=1e-12)
        assert values["loss"] == outcome.loss
    for row in study_statistics.regret(every, made[2]):
        key = tuple(row[name] for name in ("model", "objective", "searcher", "budget", "seed"))
        assert mine[key]["regret"] == pytest.approx(row["regret"], abs=1e-12)


def test_regret_is_above_the_best_whole_mask_that_was_measured_in_full(tmp_path: Path) -> None:
    """A race that ended, fewer sequences or fewer layers say nothing of a mask's loss; what is measured later is no search's."""
    done = [
        tables.Cell("m", 9, "o", searcher, "", 2, 0, "done", "", (1, 2), 3.0, 1, 1, 1, 1, 1.0)
        for searcher in ("greedy", "one-shot", "beam")
    ]
    tried = [
        tables.Trial("m", "o", searcher, 2, 0, step, removed, sequences, loss, stopped)
        for step, (searcher, removed, sequences, loss, stopped) in enumerate(
            [("greedy", (3, 4), 4, 0.1, False), ("greedy", (3, 5), 8, 0.2, True), ("greedy", (3,), 8, 0.3, False),
             ("greedy", (3, 6), 8, math.nan, False), ("greedy", (3, 7), 8, 2.5, False), ("greedy", (3, 8), 8, 2.75, False),
             ("one-shot", (1, 2), 8, 3.25, False), ("beam", (1, 2), 4, 2.0, False)]
        )
    ]  # fmt: skip
    folder = written(tmp_path, (done, [], tried))
    regrets = {one.searcher: one.values.get("regret") for one in read_study(folder).cells}
    assert regrets == {"greedy": 0, "one-shot": 0.75, "beam": None}


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "=="])
def test_conditions_on_cells(sign: str) -> None:
    """Values within 1e-9 are equal, to every sign."""
    python = {"<": float.__lt__, "<=": float.__le__, ">": float.__gt__, ">=": float.__ge__, "==": float.__eq__}[sign]
    for value, like in ((1.0, 1.0), (1 + 1e-12, 1.0), (1 - 1e-12, 1.0), (2.0, 2.0), (0.5, 0.5)):
        found = of_values([value] * 6, f"rate(acc {sign} 1) > 0.1")
        assert found.effect == float(python(like, 1.0))


@pytest.mark.parametrize("seed", [0, 1])
def test_variance_shares_are_those_of_the_study(seed: int, tmp_path: Path) -> None:
    """One cell of the second model is missing: the design is not balanced."""
    made = made_up_study.tables(seed)
    folder = written(tmp_path / "out", made)
    rows = study_statistics.decomposition(study_statistics.outcomes(*made[:2]))
    assert same_shares(rows, folder, abs=0.05) == 2 * 3


def test_variance_shares_are_those_of_the_published_study() -> None:
    """Two implementations, of the study's report and of claims' checks, which share no code, on the same tables."""
    folder = Path(__file__).parent.parent / "examples/study/results/families"
    cells, measures = (tables.read_csv(folder / f"{kind.FILE}.csv", kind) for kind in (tables.Cell, tables.Measure))
    rows = study_statistics.decomposition(study_statistics.outcomes(cells, measures))
    assert same_shares(rows, folder, abs=0.01) == 3 * 3


def same_shares(rows: list[dict], folder: Path, **near: float) -> int:
    """In how many outcomes the study's shares, differences and intervals are those of checks.

    Intervals are near: their residuals are drawn in another order, and Student's tails stand for the normal's.
    """
    study, compared = read_study(folder), 0
    for row in rows:
        if (column := {"masks": "masks", "log perplexity": "log_ppl", "accuracy": "acc"}.get(row["outcome"])) is None:
            assert row["difference"] is None
            continue
        compared += 1
        of = f"of={column}, model='{row['model']}'"
        shares = {factor["factor"]: f"({factor['factor']}, {of})" for factor in row["factors"]}
        asked = [(f"variance_share{shares[f['factor']]} > 0", f["adjusted"], f["interval"]) for f in row["factors"]]
        asked += [(f"raw_share{shares[f['factor']]} > 0", f["share"], None) for f in row["factors"]]
        difference = f"variance_share{shares['objective']} > variance_share{shares['searcher']}"
        asked.append((difference, row["difference"]["value"], row["difference"]["interval"]))
        for expression, value, interval in asked:
            found = checks.evaluate("aa", Check(expression=expression), study)
            assert found.effect == pytest.approx(value, abs=1e-9)
            assert found.count == row["n"]
            if interval:
                assert (found.low, found.high) == pytest.approx(interval, **near)
    return compared


def test_the_variance_of_masks_is_that_of_their_layers() -> None:
    """With one factor: between sums of squares over total, layer by layer."""
    drawn = random.Random(3)
    cells = [
        cell((("m"), 4, draw), f"s{i % 3}", removed=drawn.sample(range(9), 4), objective="o")
        for draw in range(1)
        for i in range(12)
    ]
    y = np.array([[float(layer in c.removed) for layer in range(20)] for c in cells])
    groups = [y[i::3] for i in range(3)]
    between = sum(len(g) * ((g.mean(0) - y.mean(0)) ** 2).sum() for g in groups)
    share = between / ((y - y.mean(0)) ** 2).sum()
    study = in_memory(cells)
    found = checks.evaluate("aa", Check(expression="raw_share(searcher, of=masks) > 0"), study)
    assert found.effect == pytest.approx(share, abs=1e-12)


# -- intervals and verdicts -------------------------------------------------------------------------------------------


def cell(unit: tuple[str, int, int], searcher: str = "greedy", objective: str = "o", removed=(1,), **values) -> Cell:
    return Cell(unit[0], 20, objective, searcher, unit[1], unit[2], frozenset(removed), values, {})


def in_memory(cells, columns: tuple[str, ...] = ()) -> Study:
    return Study("0" * 64, "made up", "2026-01-01", tuple(cells), 0, columns, {})


def units(count: int) -> list[tuple[str, int, int]]:
    return [("abc"[i % 3], 4 + i // 3 % 2, i // 6) for i in range(count)]


def of_values(values, expression: str, **of) -> Replication:
    study = in_memory(cell(unit, acc=float(value)) for unit, value in zip(units(len(values)), values, strict=True))
    return checks.evaluate("aa", Check(expression=expression, **of), study)


@pytest.mark.parametrize("n", [6, 12, 40])
def test_the_interval_of_a_mean_is_near_students(n: int) -> None:
    values = 3 + 2 * stats.norm.ppf((np.arange(n) + 0.5) / n)
    found = of_values(values, "mean(acc) > 0")
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.12 * (high - low))


def test_the_interval_is_scipys_percentile_bootstrap_at_the_expanded_level() -> None:
    values = np.random.default_rng(1).exponential(size=10)
    tail = stats.norm.cdf(-math.sqrt(10 / 9) * stats.t.isf(0.025, 9))
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=1 - 2 * tail, n_resamples=40_000, method="percentile", rng=5
    ).confidence_interval
    found = of_values(values, "mean(acc) > 0")
    assert (found.low, found.high) == pytest.approx(tuple(theirs), abs=0.06)


def test_functions_of_one_comparison_share_their_resamples() -> None:
    """A difference that is the same in every observation has no spread, however the values vary."""
    cells = [cell(u, s, acc=10.0 * i + (s == "b")) for i, u in enumerate(units(8)) for s in "ab"]
    found = checks.evaluate("aa", Check(expression="mean(acc, searcher=b) > mean(acc, searcher=a)"), in_memory(cells))
    assert (found.verdict, found.effect) == ("replicated", 1)
    assert (found.low, found.high) == pytest.approx((1, 1))


def test_an_observation_that_lacks_a_value_is_left_out_of_the_whole_comparison() -> None:
    """Two of eight observations have one objective only: their masks must not stand against nothing."""
    cells = [
        cell(u, s, o, removed=(1, 2, 3 + (s == "b"), 5 + (o == "q")) if i < 6 else (1, 2, 3, 5))
        for i, u in enumerate(units(8))
        for s in "ab"
        for o in ("p", "q" if i < 6 else "p")[: 2 if i < 6 else 1]
    ]
    same, other = "jaccard(masks, within=objective)", "jaccard(masks, within=searcher)"
    both = checks.evaluate("aa", Check(expression=f"{same} - {other} == 0"), in_memory(cells))
    assert (both.effect, both.count, both.verdict) == (0, 6, "replicated")
    alone = checks.evaluate("aa", Check(expression=f"{same} > 0"), in_memory(cells))
    assert (alone.effect, alone.count) == (pytest.approx((6 * 0.6 + 2) / 8), 8)
    failed = [cell(u, s, acc=float(i)) for i, u in enumerate(units(8)) for s in "ab" if (i, s) != (0, "b")]
    found = checks.evaluate("aa", Check(expression="mean(acc, searcher=b) == mean(acc)"), in_memory(failed))
    assert (found.effect, found.count) == (0, 7)


def test_observations_may_be_chosen_apart() -> None:
    cells = [cell((m, b, d), acc=b + d / 10) for m in "abc" for b in (4, 7) for d in range(3)]
    found = checks.evaluate("aa", Check(expression="mean(acc, budget=7) > mean(acc, budget=4)"), in_memory(cells))
    assert (found.effect, found.count, found.verdict) == (pytest.approx(3), 9, "replicated")


def test_shares_of_a_model_that_lacks_one_are_left_out() -> None:
    rng = np.random.default_rng(2)
    cells = [
        cell((m, b, d), f"s{s}", acc=s + rng.normal())
        for m in "ab" for s in range(4) for b in (4, 7)[: 1 + (m == "a")] for d in (0, 1)
    ]  # fmt: skip
    both = checks.evaluate("aa", Check(expression="raw_share(searcher) > raw_share(budget)"), in_memory(cells))
    first = in_memory([c for c in cells if c.model == "a"])
    assert (
        both.effect == checks.evaluate("aa", Check(expression="raw_share(searcher) > raw_share(budget)"), first).effect
    )
    assert both.count == 16


def simulated(monkeypatch: pytest.MonkeyPatch, count: int, make, expression: str, truth: float, **of) -> dict:
    """Shares of ``count`` made-up studies: in which the interval covers the truth, and of each verdict."""
    monkeypatch.setattr(measured, "RESAMPLES", 1_999)
    monkeypatch.setattr(study_functions, "RESIDUAL_RESAMPLES", 499)
    rng = np.random.default_rng(7)
    found = [checks.evaluate("aa", Check(expression=expression, **of), in_memory(make(rng))) for _ in range(count)]
    assert all(each.low is not None for each in found)
    return {
        "covers": sum(each.low <= truth <= each.high for each in found) / count,
        **{verdict: sum(each.verdict == verdict for each in found) / count for verdict in checks._DECIDES},
    }


def normal(n: int, mean: float, searchers: int = 3):
    """Observations differ with a standard deviation of 1, searchers within them as well."""

    def make(rng):
        return [
            cell(u, f"s{s}", acc=mean + shift + rng.normal())
            for u, shift in zip(units(n), rng.normal(size=n), strict=True)
            for s in range(searchers)
        ]

    return make


@pytest.mark.parametrize("n", [6, 12, 24])
def test_a_study_on_the_bound_is_decided_either_way_one_time_in_forty(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 studies: of a rate of 0.025 more than 0.055 come with probability 0.0004, of 0.95 fewer than 0.91 with 0.0006."""
    found = simulated(monkeypatch, 400, normal(n, 5.0), "mean(acc) > 5", 5.0)
    assert found["covers"] >= (0.90 if n == 6 else 0.91)  # 0.93 to 0.95 in long simulations
    assert found["replicated"] <= 0.06
    assert found["not replicated"] <= 0.06
    assert found["inconclusive"] >= 0.88


def test_a_study_far_from_the_bound_is_decided_rightly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulated(monkeypatch, 100, normal(12, 7.0), "mean(acc) > 5", 7.0)["replicated"] >= 0.95
    assert simulated(monkeypatch, 100, normal(12, 3.0), "mean(acc) > 5", 3.0)["not replicated"] >= 0.95
    assert simulated(monkeypatch, 100, normal(12, 5.2), "mean(acc) > 5", 5.2)["inconclusive"] >= 0.7


def test_the_interval_of_rank_correlations_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven searchers whose perplexity and accuracy are correlated: the truth is the mean of 100,000 rhos."""

    def pairs(rng, shape):
        x = rng.normal(size=shape)
        return x, 0.5 * x + rng.normal(size=shape)

    x, y = (side.argsort(1).argsort(1) - 3 for side in pairs(np.random.default_rng(0), (100_000, 7)))
    truth = float(np.mean((x * y).sum(1) / 28))

    def make(rng):
        return [
            cell(u, f"s{i}", ppl=a, acc=b)
            for u in units(12)
            for i, (a, b) in enumerate(zip(*pairs(rng, 7), strict=True))
        ]

    found = simulated(monkeypatch, 250, make, "spearman(ppl, acc) < 0.9", truth)
    assert found["covers"] >= 0.89  # 0.93 in long simulations
    assert found["replicated"] >= 0.95


@pytest.mark.parametrize("truth", [0.5, 0.9])
def test_the_interval_of_a_rate_covers(truth: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 0.9 a quarter of the studies sees no exception, and resampling none would make the rate certain."""
    make = lambda rng: [cell(u, acc=float(rng.random() < truth)) for u in units(12)]  # noqa: E731
    found = simulated(monkeypatch, 300, make, f"rate(acc > 0.5) > {truth}", truth)
    assert found["covers"] >= 0.91
    assert found["replicated"] <= 0.06


def test_no_exception_among_n_is_the_rule_of_three() -> None:
    found = of_values([1.0] * 12, "rate(acc > 0.5) > 0.7")
    assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 12)), 1)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 12, 1))  # Clopper and Pearson's
    assert of_values([0.0] * 12, "rate(acc > 0.5) > 0.7").high == pytest.approx(1 - 0.025 ** (1 / 12))


@pytest.mark.parametrize(("objective", "searcher", "noise"), [(1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (1.0, 0.0, 3.0)])
def test_the_interval_of_a_difference_of_variance_shares_covers(
    objective: float, searcher: float, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift = np.linspace(-1, 1, 7) / np.linspace(-1, 1, 7).std() * searcher

    def make(rng):
        return [
            cell((m, b, d), f"s{s}", f"o{o}", acc=(2 * o - 1) * objective + shift[s] + noise * rng.normal())
            for m in "ab" for o in (0, 1) for s in range(7) for b in (4, 7) for d in (0, 1)
        ]  # fmt: skip

    truth = (objective**2 - searcher**2) / (objective**2 + searcher**2 + noise**2)
    found = simulated(monkeypatch, 80, make, "variance_share(objective) > variance_share(searcher)", truth)
    assert found["covers"] >= 0.88  # 0.955 to 0.965 in long simulations
    if objective == searcher:
        assert max(found["replicated"], found["not replicated"]) <= 0.09
    else:
        assert found["not replicated" if searcher > objective else "replicated"] >= (0.9 if noise < 2 else 0.2)


def test_what_is_needed_is_enough_if_the_effect_stays() -> None:
    values = list(np.random.default_rng(4).normal(0.35, 1, 8))
    found = of_values(values, "mean(acc) > 0")
    assert found.verdict == "inconclusive"
    assert found.needed > 8
    assert f"about {found.needed:,} observations would decide" in found.reason
    times = math.ceil(found.needed / 8)
    assert of_values(values * (times + 1), "mean(acc) > 0").verdict == "replicated"
    assert of_values(values * max(1, times // 2), "mean(acc) > 0").verdict == "inconclusive"


def test_fewer_than_six_observations_decide_nothing() -> None:
    """Even if all agree: the two-sided sign test of five has p = 2 / 2^5 = 0.0625."""
    for n in (2, 3, 4, 5):
        found = of_values([9.0 + i / 10 for i in range(n)], "mean(acc) > 1")
        assert (found.verdict, found.needed, found.count) == ("inconclusive", 6, n)
    assert of_values([9.0 + i / 10 for i in range(6)], "mean(acc) > 1").verdict == "replicated"
    one = of_values([9.0], "mean(acc) > 1", minimum=1)
    assert (one.verdict, one.low, one.high, one.count) == ("inconclusive", None, None, 1)


def test_operators_and_tolerance() -> None:
    values = [5 + (i % 3 - 1) / 10 for i in range(12)]  # the interval is about 4.94 to 5.06
    for expression, tolerance, verdict in [
        ("mean(acc) > 4.9", 0, "replicated"),
        ("mean(acc) > 5.1", 0, "not replicated"),
        ("mean(acc) > 5.1", 0.3, "replicated"),
        ("mean(acc) > 5", 0, "inconclusive"),
        ("mean(acc) < 5.1", 0, "replicated"),
        ("5.1 > mean(acc)", 0, "replicated"),
        ("mean(acc) <= 4.9", 0, "not replicated"),
        ("mean(acc) <= 4.9", 0.3, "replicated"),
        ("mean(acc) == 5", 0.3, "replicated"),
        ("mean(acc) == 5", 0.01, "inconclusive"),
        ("mean(acc) == 5", 0, "inconclusive"),
        ("mean(acc) == 6", 0.3, "not replicated"),
        ("mean(acc) == 4", 0.3, "not replicated"),
        ("0 - mean(acc) == -5", 0.3, "replicated"),
    ]:
        assert of_values(values, expression, tolerance=tolerance).verdict == verdict, (expression, tolerance)


def test_joined_comparisons_must_all_hold() -> None:
    values = [5 + (i % 3 - 1) / 10 for i in range(12)]
    yes, no, open_ = "mean(acc) > 4", "mean(acc) > 6", "mean(acc) > 5"
    for parts, verdict in [
        ((yes, yes), "replicated"), ((yes, no), "not replicated"), ((open_, no), "not replicated"),
        ((yes, open_), "inconclusive"), ((open_, yes, yes), "inconclusive"),
    ]:  # fmt: skip
        assert of_values(values, " and ".join(parts)).verdict == verdict
    alone, joined = of_values(values, yes), of_values(values, f"{yes} and {yes}")
    assert joined.high - joined.low > alone.high - alone.low  # each at 97.5 %: they share the errors
    assert "97.5 %" in joined.reason


def test_models_that_disagree_are_named() -> None:
    cells = [cell(u, acc=1.0 + i / 100 if u[0] != "c" else -0.2) for i, u in enumerate(units(12))]
    found = checks.evaluate("aa", Check(expression="mean(acc) > 0"), in_memory(cells))
    assert found.reason.endswith("of 3 models it holds in 2, not in c")
    assert found.models == ("a", "b", "c")


def test_the_same_study_gives_the_same_record_and_another_another_hash(folder: Path, tmp_path: Path) -> None:
    expression = 'jaccard(masks, within="objective") > jaccard(masks, within="searcher")'
    one, two = (checked(expression, folder).model_dump_json() for _ in range(2))
    assert one == two
    copy = written(tmp_path / "copy", made_up_study.tables())
    assert checked(expression, copy).model_dump_json() == one
    (copy / "trials.csv").write_bytes((copy / "trials.csv").read_bytes() + b"\n")
    with pytest.raises(UsageError, match=r"trials\.csv, row \d+: 0 fields, the header has 10"):
        checked(expression, copy)
    hashes = {Replication.model_validate_json(one).study}
    for name in study_tables.TABLES:  # one digit of any of the tables
        other = written(tmp_path / name, made_up_study.tables())
        text = (other / name).read_text()
        last = max(place for place, char in enumerate(text) if char in "123456789")
        (other / name).write_text(text[:last] + str(int(text[last]) % 9 + 1) + text[last + 1 :])
        hashes.add(checked(expression, other).study)
    assert len(hashes) == 4


# -- what a study cannot say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "of", "said"),
    [
        ("mean(acc) > 0", {"models": ("llama*", "gpt*")}, "about llama*, gpt*; the study has made-up-a, made-up-b"),
        ("mean(acc) > 0", {"measure": "hellaswag"}, "the study has no 'hellaswag'"),
        ("mean(acc) > 0", {"minimum": 9}, "8 observations, the claim asks for 9 at least"),
        ("variance_share(objective) > 0", {"minimum": 999}, "observations, the claim asks for 999"),
        (
            "mean(acc, searcher=greedyy) > 0",
            {},
            "column 20: the study has no searcher 'greedyy'; did you mean 'greedy'?",
        ),
        ("regret(greedyy) > 0", {}, "column 8: the study has no searcher 'greedyy'; did you mean 'greedy'?"),
        ("mean(acc, drop=n/2) > 0", {}, "no cell of that drop; layers removed: 5 of 24, 5 of 30, 7 of 24, 7 of 30"),
        ("mean(acc, draw=7) > 0", {}, "no such draw"),
        ("jaccard(masks, across=objective, objective=perplexity) > 0", {}, "no two masks to compare"),
        ("spearman(ppl, acc, searcher='greedy, beam') > 0", {}, "needs three searchers"),
        ("spearman(ppl, n) > 0", {}, "values that differ"),
        ("spread(acc, searcher=beam) > 0", {}, "two searchers"),
        ("delta(regret) > 0", {}, "the dense model was not measured so"),
        ("variance_share(objective, objective=perplexity) > 0", {}, "does not vary"),
        ("mean(acc / (n - n)) > 0", {}, "nothing was measured"),
        ("1 / (mean(acc) - mean(acc)) > 0", {}, "divides by zero"),
    ],
)
def test_a_study_that_cannot_speak_is_out_of_scope(expression: str, of: dict, said: str, folder: Path) -> None:
    found = checked(expression, folder, **of)
    assert (found.verdict, found.effect, found.count) == ("out of scope", None, 0)
    assert said in found.reason


def test_a_claim_is_about_the_models_it_names(folder: Path) -> None:
    found = checked("mean(acc) > 0", folder, models=("MADE-UP-A",))
    assert (found.models, found.count) == (("made-up-a",), 4)


def test_a_study_without_a_mask_is_out_of_scope(tmp_path: Path) -> None:
    cells, _, _ = made_up_study.tables()
    failed = [one for one in cells if one.status == "failed"]
    assert checked("mean(acc) > 0", written(tmp_path, (failed, [], []))).reason == "no search of the study succeeded"


def test_a_claim_without_a_check(folder: Path) -> None:
    with pytest.raises(UsageError, match="claim a-claim has no check"):
        checks.check(Claim(id="a-claim", text="a claim"), folder)


# -- hostile folders --------------------------------------------------------------------------------------------------


def replaced(name: str, old: str, new: str):
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "study.json").unlink(), "no finished study, it has no study.json"),
        (lambda f: [(f / n).unlink() for n in ("cells.csv", "trials.csv")], "it has no cells.csv, trials.csv"),
        (lambda f: [(f / "cells.csv").unlink(), os.mkfifo(f / "cells.csv")], "it has no cells.csv"),
        (lambda f: (f / "study.json").write_text("[" * 100_000), "study.json: no JSON object"),
        (lambda f: (f / "study.json").write_text("[]"), "study.json: no JSON object"),
        (lambda f: (f / "cells.csv").write_bytes(b"\xff\xfe" + (f / "cells.csv").read_bytes()), "no UTF-8 at byte 0"),
        (lambda f: (f / "cells.csv").write_text(""), "one column 'model'"),
        (lambda f: (f / "cells.csv").write_text("\0"), "cells.csv"),
        (lambda f: (f / "cells.csv").write_text('a,"b'), "cells.csv, line 1: unexpected end of data"),
        (lambda f: (f / "cells.csv").write_text("x" * 200_000), "cells.csv, line 1: field larger"),
        (replaced("cells.csv", ",removed,", ",gone,"), "cells.csv: it should have one column 'removed'"),
        (replaced("measures.csv", ",kind,", ",measure,"), "measures.csv: it should have one column 'measure'"),
        (replaced("cells.csv", ",done,", ",well,"), "row 1: status is one of done, failed, not 'well'"),
        (replaced("cells.csv", "made-up-a,30,", "made-up-a,-30,"), "row 1: layers is a whole number, not '-30'"),
        (replaced("cells.csv", "made-up-a,30,", f"made-up-a,{'9' * 9000},"), "row 1: layers is a whole number, not '999"),
        (replaced("cells.csv", "made-up-a,30,", "made-up-a,31,"), "a model has one number of layers"),
        (replaced("cells.csv", "made-up-a,30,", "made-up\u202ea,30,"), "row 1: model is a printable name"),
        (replaced("measures.csv", "piqa,accuracy,0", "piqa,accuracy,=0"), "value is a number, not '=0"),
        (replaced("measures.csv", "one-shot,5,0", "one-shot,6,0"), "is of a cell that is not in cells.csv"),
        (replaced("trials.csv", "one-shot", "one-shot,"), "trials.csv, row 1: 11 fields, the header has 10"),
    ],
)  # fmt: skip
def test_a_damaged_study_is_refused_in_a_line(change, said: str, tmp_path: Path) -> None:
    csv.field_size_limit(131_072)  # Python's own; a test of another file may have raised it
    folder = written(tmp_path / "out", made_up_study.tables())
    change(folder)
    with pytest.raises(UsageError) as error:
        checked("mean(acc) > 0", folder)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_masks_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for old, new in (
        (r",done,,[\d ]+,", ",done,,1 2,"),
        (r",done,,\d+", ",done,,29999"),
        (r",done,,(\d+) \d+", r",done,,\1 \1"),
    ):
        folder = written(tmp_path / "out", made_up_study.tables())
        text = (folder / "cells.csv").read_text()
        (folder / "cells.csv").write_text(re.sub(old, new, text, count=1))
        with pytest.raises(UsageError, match=r"removed is (not 5 of 30|different) layers"):
            checked("mean(acc) > 0", folder)


def test_two_cells_of_one_name_are_refused(tmp_path: Path) -> None:
    cells, measures, trials = made_up_study.tables()
    with pytest.raises(UsageError, match="two cells have the same model"):
        checked("mean(acc) > 0", written(tmp_path, ([*cells, cells[0]], measures, trials)))


def test_what_is_not_finite_counts_as_not_measured(tmp_path: Path) -> None:
    cells, measures, trials = made_up_study.tables()
    gone = [m for m in measures if (m.searcher, m.kind) == ("greedy", "perplexity")]
    kept = [m for m in measures if m not in gone]
    bad = [tables.Measure(**{**vars(m), "value": v}) for m, v in zip(gone, itertools.cycle([math.nan, math.inf]))]
    folder = written(tmp_path, (cells, kept + bad, trials))
    found = checked("mean(ppl, searcher=greedy) > 0", folder)
    assert (found.verdict, found.reason) == ("out of scope", "mean, column 1: nothing was measured")
    assert checked("mean(ppl) > 0", folder).verdict == "replicated"


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_a_usage_error_or_a_verdict(data: st.DataObject, folder: Path, tmp_path: Path) -> None:
    where = tmp_path / "damaged"
    where.mkdir(exist_ok=True)
    for name in ("cells.csv", "measures.csv", "trials.csv", "study.json"):
        (where / name).write_bytes((folder / name).read_bytes())
    name = data.draw(st.sampled_from(["cells.csv", "measures.csv", "trials.csv", "study.json"]))
    whole = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(whole) - 1))
        junk = st.sampled_from([b"\xff", b",", b'"', b"\n", b"\0", b"nan", b"-1", b"=1+1", b"1e400", b" ", b""])
        whole[place : place + data.draw(st.integers(0, 3))] = data.draw(st.one_of(junk, st.binary(max_size=4)))
    (where / name).write_bytes(whole)
    try:
        found = checked('spearman(ppl, acc) < 0.5 and jaccard(masks, within="objective") > regret("*")', where)
        said = found.reason
    except UsageError as error:
        said = str(error)
    assert len(said.splitlines()) == 1


# -- the source -------------------------------------------------------------------------------------------------------


def source(path: Path | str):
    return installed().find("source", "study").create({"path": str(path)})


def test_a_study_is_a_source_of_evidence(folder: Path, tmp_path: Path) -> None:
    study = source(folder)
    (paper,) = study.find(Direction(id="d", title="t"))
    sha256 = checked("mean(acc) > 0", folder).study
    assert paper.paper == f"study:{sha256[:16]}"
    assert sha256 in paper.note
    assert paper.title == "Made-up study"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", paper.published)
    assert paper.abstract.startswith(
        "111 searches for layers to remove from made-up-a (30 layers) and made-up-b (24 layers) ended, 1 failed. "
        "2 objectives (perplexity and task-margin), 7 searchers (one-shot, greedy, beam, evolutionary, optuna, quadratic "
        "and block-select), 2 calibration draws; 5 and 7 layers removed. Mean accuracy over tasks: "
    )
    assert study.versions(paper.paper) == [paper]
    assert study.versions("study:0000000000000000") == []
    one, two = (study.fetch(paper, into) for into in (tmp_path, folder.parent))
    assert one.name == f"study-{sha256[:16]}.csv"
    assert one.read_bytes() == two.read_bytes()
    cells, measures = one.read_text().split("\nmeasures.csv\n")
    assert cells == "cells.csv\n" + (folder / "cells.csv").read_text()
    assert measures == (folder / "measures.csv").read_text()


def test_a_copied_table_holds_no_formula(tmp_path: Path) -> None:
    cells, measures, trials = made_up_study.tables()
    cells[0] = tables.Cell(**{**vars(cells[0]), "scorer": "=HYPERLINK(1)", "error": "@x", "calibration_loss": -1.5e-7})
    study = source(written(tmp_path / "out", (cells, measures, trials)))
    (paper,) = study.find(Direction(id="d", title="t"))
    row = study.fetch(paper, tmp_path).read_text().splitlines()[2]
    assert ",'=HYPERLINK(1)," in row
    assert ",'@x," in row
    assert ",-1.5e-07," in row


def test_a_source_needs_a_finished_study(tmp_path: Path, folder: Path) -> None:
    direction = Direction(id="d", title="t")
    with pytest.raises(UsageError, match="-O path=FOLDER"):
        list(source("").find(direction))
    with pytest.raises(UsageError, match="no finished study"):
        list(source(tmp_path).find(direction))
    (paper,) = source(folder).find(direction)
    other = written(tmp_path / "other", made_up_study.tables(seed=3))
    with pytest.raises(UsageError, match="it went on since"):
        source(other).fetch(paper, tmp_path)


# -- the example claims and the docs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", EXAMPLES, ids=[claim["id"] for claim in EXAMPLES])
def test_an_example_claim_is_whole(claim: dict, folder: Path) -> None:
    made = Claim.model_validate({key: value for key, value in claim.items() if key != "row"})
    assert made.check is not None
    assert checks.validate(made.check.expression)
    for row in claim["row"]:
        quoted = Row.model_validate(
            {"id": Row.id_of(made.id, row["paper"], row["version"], row["quote"]), "claim": made.id, **row}
        )
        assert quoted.quote in SOURCES[quoted.paper + quoted.version]
        assert len(quoted.quote.split()) >= 10
        assert quoted.basis == "abstract" or (quoted.page and quoted.section)
    found = checks.check(made, folder)
    assert found.claim == made.id


def test_there_are_five_example_claims_of_two_papers() -> None:
    assert len({claim["id"] for claim in EXAMPLES}) == 5
    assert {row["paper"] for claim in EXAMPLES for row in claim["row"]} == {"arxiv:2604.24938", "arxiv:2403.17887"}


def test_the_reference_names_everything_and_its_examples_are_right() -> None:
    text = (Path(__file__).parents[1] / "docs" / "claims.md").read_text(encoding="utf-8")
    for name in (*study_functions.FUNCTIONS, *arguments.SELECTORS, *study_tables.COLUMNS):
        assert f"`{name}" in text, name
    examples = re.findall(rf"^    ((?:{'|'.join(study_functions.FUNCTIONS)})\(.*)$", text, flags=re.MULTILINE)
    assert len(examples) >= 5
    for expression in examples:
        assert checks.validate(expression)


def test_numpy_and_scipy_are_imported_only_to_evaluate() -> None:
    import subprocess
    import sys

    code = (
        "import sys, lpk.core.evidence.checks.check as c, lpk.plugins.sources.study; c.validate('mean(acc) > 1');"
        "print(sorted({'numpy', 'scipy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_without_scipy_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    with pytest.raises(LpkError, match=r'pip install "lpk\[evidence\]"'):
        checked("mean(acc) > 0", folder)


def test_a_row_of_a_study_is_quoted_by_its_words_and_its_figures_compared(tmp_path: Path, folder: Path) -> None:
    """From a study's folder to a verified row, and not where the claim has another figure."""
    registry = installed()
    source = registry.find("source", "study").create({"path": str(folder)})
    (paper,) = source.find(Direction(id="any", title="any"))
    ledger = in_folder(tmp_path / "ledger", [paper, Screening(paper=paper.paper, decision="include", reason="ours")])
    known = ledger.snapshot().papers[paper.paper]
    ledger.write([work.read_document(ledger, registry, known, "", source.fetch(paper, tmp_path))])
    line = next(row for row in source.fetch(paper, tmp_path).read_text().splitlines() if ",greedy," in row)
    layers = line.split(",")[1]
    now = ledger.snapshot()
    for name, text in (("c-right", f"Greedy prunes a model of {layers} layers."), ("c-wrong", "It has 977 layers.")):
        claim = Claim(id=name, text=text)
        ledger.write([claim, work.row_of(now, claim, {"paper": paper.paper, "quote": line})])
    now = work.snapshot(ledger, registry)
    ledger.write(work.news(now, work.verify(now, list(now.rows.values()))))
    standing = {name: found.status for name, found in statuses(ledger.snapshot()).items()}
    assert standing == {"c-right": "supported", "c-wrong": "located"}
