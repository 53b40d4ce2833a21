"""A mixture whose parts are measured on calibration data of their own: the sum of what each is there, and nothing more."""

from __future__ import annotations

import csv
import json
import math
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Lpk, contents, refused, worded
from hypothesis import given
from hypothesis import strategies as st
from test_resume import kill_when, rows

from lpk.core.contracts import Loss, Objective, Problem
from lpk.core.errors import UsageError
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.evaluator import MEMORY, Evaluator
from lpk.core.pruning.inputs import corpora_of
from lpk.core.pruning.items import Items, Joined
from lpk.core.pruning.joint import JointEvaluator
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Cost, Memo
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.parts import Parts, Term, terms_of
from lpk.core.pruning.recipe import CalibrationRecipe, Choice, Recipe
from lpk.core.pruning.search import drive
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed
from lpk.core.study.data import Data
from lpk.core.study.provenance import Provenance
from lpk.core.study.recipe import StudyRecipe
from lpk.core.study.tables import Cell, Measure, Trial, read_csv
from lpk.testing import random_sequences

TEXT = {"source": "text.txt", "sequences": 5, "length": 16}
QUESTIONS = {"source": "questions.jsonl", "sequences": 3, "length": 24}
BOTH = {"perplexity": 1, "task-margin": {"weight": 0.5, "calibration": QUESTIONS}}
MASKS = [LayerMask(8), LayerMask(8, (2, 5)), LayerMask(8, (1, 2, 3)), LayerMask(8, (6,))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tiny model, a text and questions; where the tests of this module run."""
    folder = worded(tmp_path_factory.mktemp("joint"))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def stack(folder: Path) -> LayerStack:
    return LayerStack(ModelSpec("tiny", "float32").load())


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return ModelSpec("tiny").tokenizer()


def terms(of: dict[str, Any]) -> tuple[Term, ...]:
    choice = Choice.model_validate({"name": "mixture", "of": of})
    return terms_of(choice, CalibrationRecipe.model_validate(TEXT), installed())


def drawn(term: Term, tokenizer: Any) -> Items:
    return term.draw(Corpus.read(term.calibration.source), tokenizer, 0)


def joint(of: dict[str, Any], stack: LayerStack, tokenizer: Any, memo: Memo, memory: int = MEMORY) -> JointEvaluator:
    """As a run makes it, with names in place of fingerprints."""
    made, evaluators = terms(of), []
    items = Joined.of(drawn(term, tokenizer) for term in made)
    for term, group in zip(made, items.groups, strict=True):
        beside = {about["name"]: part for about, part in term.made_of}
        named = f"mixture of {list(beside)}"
        evaluators.append(Evaluator(stack, term.objective, group, memo, named, memory, beside=beside))
    return JointEvaluator(items, evaluators, [place for term in made for place in term.places])


def alone(name: str, asked: dict[str, Any], stack: LayerStack, tokenizer: Any, memo: Memo) -> Evaluator:
    (term,) = terms_of(Choice(name=name), CalibrationRecipe.model_validate(asked), installed())
    return Evaluator(stack, term.objective, drawn(term, tokenizer), memo, name)


# -- items ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_among_the_first_items_every_group_has_its_share(sizes: list[int]) -> None:
    items = Joined.of(random_sequences(size, 4) for size in sizes)
    assert sorted(items.places) == [(group, item) for group, size in enumerate(sizes) for item in range(size)]
    for first in range(len(sizes), len(items) + 1):
        counts = items.counts(first)
        assert sum(counts) == first
        assert all(counts)
        assert all(
            abs(count - first * size / sum(sizes)) < len(sizes) for count, size in zip(counts, sizes, strict=True)
        )
        for group, count in enumerate(counts):
            assert [item for at, item in items.places[:first] if at == group] == list(range(count))
    assert items.counts(1) == [1] * len(sizes)
    assert items.counts() == sizes


def test_one_group_is_described_as_it_always_was_and_several_each(folder: Path, tokenizer: Any) -> None:
    text, questions = (drawn(term, tokenizer) for term in terms(BOTH))
    assert Joined.of([text]).describe() == text.describe()
    both = Joined.of([text, questions]).on("cpu")
    assert both.describe()["groups"] == [text.describe(), questions.describe()]
    assert (both.source, len(both), both.tokens) == ("text.txt and questions.jsonl", 8, text.tokens + questions.tokens)
    assert sorted(both.keys) == sorted(text.keys + questions.keys)


# -- losses -----------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_sum_of_the_parts_each_on_its_own_data_for_the_sum_of_their_costs(
    stack: LayerStack, tokenizer: Any, tmp_path: Path
) -> None:
    memo = Memo(tmp_path / "joint")
    measured = joint(BOTH, stack, tokenizer, memo)
    planned = measured.plan(MASKS).cost
    losses = measured.losses(MASKS)
    cost = Cost()
    text, questions = (
        alone(name, asked, stack, tokenizer, Memo(tmp_path / name))
        for name, asked in (("perplexity", TEXT), ("task-margin", QUESTIONS))
    )
    found = [each.losses(MASKS) for each in (text, questions)]
    for each in (text, questions):
        cost += each.memo.cost()
    assert memo.cost() == planned == cost
    assert measured.plan(MASKS).cost == Cost()
    for loss, perplexity, margin in zip(losses, *found, strict=True):
        assert loss.parts == (perplexity, margin)
        assert loss == pytest.approx(perplexity + 0.5 * margin, rel=1e-14)
        assert loss == pytest.approx(Loss.mean(loss.items, loss.weights), rel=1e-14)
        assert loss.terms == pytest.approx((perplexity, 0.5 * margin), rel=1e-14)
        assert len(loss.items) == 8
    for each, other in ((text, questions), (questions, text)):  # nothing that no part asked for
        known = memo.known(f"lpk/{each.context}", MASKS, [*each.sequences.keys, *other.sequences.keys])
        assert all(set(of_mask) == set(each.sequences.keys) for of_mask in known.values())


def test_parts_on_the_same_data_are_measured_in_one_pass_and_told_in_the_order_of_the_whole(
    stack: LayerStack, tokenizer: Any, tmp_path: Path
) -> None:
    of = {
        "perplexity": 1,
        "task-margin": {"weight": 2, "calibration": QUESTIONS},
        "kl": {"weight": 3, "calibration": TEXT},
    }
    memo = Memo(tmp_path / "joint")
    measured = joint(of, stack, tokenizer, memo)
    assert [list(term.made_of) for term in map(_objective, measured.terms)] == [["perplexity", "kl"], ["task-margin"]]
    asked = {"perplexity": TEXT, "task-margin": QUESTIONS, "kl": TEXT}
    expected = [
        alone(name, data, stack, tokenizer, Memo(tmp_path / name)).losses(MASKS) for name, data in asked.items()
    ]
    for loss, *parts in zip(measured.losses(MASKS), *expected, strict=True):
        assert loss.parts == tuple(parts)
        assert loss == pytest.approx(parts[0] + 2 * parts[1] + 3 * parts[2], rel=1e-12)
    dense = 5 * 8  # for KL, on the text alone
    rows = 5 + 2 * 3
    assert memo.cost().naive_layer_forwards == rows * sum(len(mask.kept) for mask in MASKS)
    plain = Memo(tmp_path / "plain")
    joint(BOTH, stack, tokenizer, plain).losses(MASKS)
    assert memo.cost().layer_forwards == plain.cost().layer_forwards + dense


def _objective(evaluator: Evaluator) -> Objective[Any]:
    return evaluator.objective


def test_a_mixture_on_one_data_is_what_it_was(folder: Path) -> None:
    """As its records and the contexts of its measurements say, a part that names no data says nothing of it."""
    registry, of = installed(), {"perplexity": 1.0, "kl": {"weight": 0.5}}
    (term,) = terms(of)
    assert term.described["options"] == {"of": of}
    assert term.described == Parts.of(_recipe(of), registry).described["objective"]
    assert (term.role, term.places) == ("calibration", (0, 1))
    (named,) = terms({name: {"weight": 1, "calibration": QUESTIONS} for name in ("task-margin", "choice-accuracy")})
    assert named.calibration.source == "questions.jsonl"
    assert named.described["options"] == {"of": {"task-margin": {"weight": 1.0}, "choice-accuracy": {"weight": 1.0}}}


def _recipe(of: dict[str, Any], **more: Any) -> Recipe:
    return Recipe.parse(
        {"model": "tiny", "calibration": TEXT, "objective": {"name": "mixture", "of": of}, **more}, "here"
    )


def test_a_look_at_the_first_items_is_of_the_same_items_and_weights_as_the_next(
    stack: LayerStack, tokenizer: Any, memo: Memo
) -> None:
    measured = joint(BOTH, stack, tokenizer, memo)
    first, places = measured.losses(MASKS[1:2], 1)[0], measured.items.places
    assert (len(first.items), memo.cost().measurements) == (2, 2)  # one of each
    (whole,) = measured.losses(MASKS[1:2])
    for count in range(2, 9):
        (loss,) = measured.losses(MASKS[1:2], count)
        assert (loss.items, loss.weights) == (whole.items[:count], whole.weights[:count])
        share = sum(weight for weight, (group, _) in zip(whole.weights, places[:count], strict=False) if group == 0)
        assert 0.25 <= share / sum(loss.weights) <= 0.75
    assert memo.cost().measurements == 8
    assert first.items == whole.items[:2]


@pytest.mark.parametrize("searcher", ["lazy-greedy", "evolutionary"])
def test_a_race_stops_the_worse_and_ends_with_the_mask_of_the_search_without(
    searcher: str, stack: LayerStack, tokenizer: Any, memo: Memo
) -> None:
    measured = joint(BOTH, stack, tokenizer, memo)
    best = []
    for confidence in (0.95, 1):
        made: Any = installed().find("searcher", searcher).create({"confidence": confidence})
        problem = Problem(8, 2, frozenset({0, 7}), sequences=len(measured.items))
        outcome = drive(made, problem, measured.losses)
        best.append(float(outcome.best.loss))
        assert any(trial.sequences < 8 for trial in outcome.trials) == (confidence < 1)
    assert best[0] == pytest.approx(best[1], abs=0.05)


@pytest.mark.parametrize("states", [4, 40])
def test_all_terms_keep_within_one_budget_of_memory(
    states: int, stack: LayerStack, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = {"kl": 1, "hidden-similarity": {"weight": 1, "calibration": {**TEXT, "length": 24}}}
    plain = joint(of, stack, tokenizer, Memo(tmp_path / "plain")).losses(MASKS)
    monkeypatch.setattr(stack, "streams", True)
    memo = Memo(tmp_path / "tight")
    kept = sum(term.kept_bytes for term in joint(of, stack, tokenizer, memo).terms)
    budget = kept + states * 24 * stack.token_bytes
    tight = joint(of, stack, tokenizer, memo, budget)
    planned = tight.plan(MASKS)
    assert tight.losses(MASKS) == plain
    assert memo.cost() == planned.cost
    calls = max(layout.call_bytes for term in tight.terms for layout in term._layouts)
    assert kept < planned.peak_state_bytes <= budget + calls


# -- runs -------------------------------------------------------------------------------------------------------------


def base(of: dict[str, Any], *more: object) -> list[object]:
    text = ["--calibration", "text.txt", "--sequences", 5, "--length", 16]
    mixture = ["--objective", "mixture", "-O", f"objective.of={json.dumps(of)}"]
    return ["run", "--model", "tiny", *text, *mixture, "--remove", 3, "--dtype", "float32", *more]


def test_the_front_of_perplexity_on_text_and_the_margin_on_questions(
    folder: Path, lpk: Lpk, stack: LayerStack, tokenizer: Any, tmp_path: Path
) -> None:
    search = ["--searcher", "pareto", "-O", "trials=16", "-O", "startup=8", "-O", "batch=4"]
    done = lpk(*base(BOTH, *search, "--out", tmp_path / "out", "--json"), cwd=folder)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    with (tmp_path / "out" / "front.csv").open(encoding="utf-8", newline="") as file:
        front = list(csv.DictReader(file))
    masks = [LayerMask(8, tuple(map(int, row["removed"].split()))) for row in front]
    columns = {
        name: alone(name, asked, stack, tokenizer, Memo(tmp_path / name)).losses(masks)
        for name, asked in (("perplexity", TEXT), ("task-margin", QUESTIONS))
    }
    for name, losses in columns.items():
        assert [float(row[name]) for row in front] == pytest.approx(losses, rel=1e-5)
    assert [float(row["loss"]) for row in front] == pytest.approx(
        [a + 0.5 * b for a, b in zip(*columns.values(), strict=True)], rel=1e-5
    )
    assert run["calibration"]["sequences"] == 8
    assert [(each["source"], each["sequences"]) for each in run["calibration"]["groups"]] == [
        ("text.txt", 5),
        ("questions.jsonl", 3),
    ]
    assert run["recipe"]["objective"]["of"]["task-margin"]["calibration"] == {**QUESTIONS, "field": "text"}
    assert run["held_out"]["source"] == "text.txt"
    again = lpk("run", "--resume", tmp_path / "out", cwd=folder)
    assert "on 5 sequences (80 tokens) of text.txt and 3 sequences" in again.stdout


def test_what_a_run_takes_is_what_was_planned_and_its_scorer_sees_all_data(
    folder: Path, lpk: Lpk, tmp_path: Path
) -> None:
    arguments = base(BOTH, "--searcher", "greedy", "--scorer", "none")
    planned = json.loads(lpk(*arguments, "--dry-run", "--json", cwd=folder).stdout)
    assert planned["calibration"] == {
        "source": "text.txt and questions.jsonl",
        "sequences": 8,
        "tokens": 5 * 16 + 3 * 24,
    }
    rows = 5 + 2 * 3
    assert planned["layer_forwards"]["dense model on the calibration sequences"] == 8 * rows
    assert planned["layer_forwards"]["search"] % rows == 0
    assert "8 sequences, 152 tokens, of text.txt and questions.jsonl" in lpk(*arguments, "--dry-run", cwd=folder).stdout
    arguments = base(BOTH, "--searcher", "one-shot", "--scorer", "block-influence")
    done = lpk(*arguments, "--out", tmp_path / "out", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    cost = json.loads(done.stdout)["cost"]
    scored, dense, pruned, held_out = 8 * rows, 8 * rows, 5 * rows, (8 + 5) * 16
    assert cost["naive_layer_forwards"] == scored + dense + pruned + held_out


def test_a_streamed_search_in_bfloat16_ends_with_the_sum_in_float32(
    folder: Path, lpk: Lpk, stack: LayerStack, tokenizer: Any, tmp_path: Path
) -> None:
    of = {**BOTH, "kl": 1}
    arguments = base(
        of, "--searcher", "greedy", "--scorer", "block-influence", "--dtype", "bfloat16", "--stream", "always"
    )
    done = lpk(*arguments, "--out", tmp_path / "out", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    finalists = json.loads(done.stdout)["run"]["result"]["finalists"]
    assert len(finalists) == 3
    masks = [LayerMask(8, tuple(each["removed"])) for each in finalists]
    expected = joint(of, stack, tokenizer, Memo(tmp_path / "memo")).losses(masks)
    assert [each["confirmed_loss"] for each in finalists] == pytest.approx(expected, rel=1e-5)
    assert [each["search_loss"] for each in finalists] == pytest.approx(expected, rel=0.05)


def test_a_killed_run_goes_on_and_a_file_of_a_part_that_changes_is_noticed(
    folder: Path, lpk: Lpk, tmp_path: Path
) -> None:
    shutil.copy(folder / "questions.jsonl", folder / "own.jsonl")
    of = {"perplexity": 1, "task-margin": {"weight": 0.5, "calibration": {**QUESTIONS, "source": "own.jsonl"}}}
    arguments = base(of, "--searcher", "exhaustive")
    assert lpk(*arguments, "--out", tmp_path / "whole", "--quiet", cwd=folder).returncode == 0
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "lpk", *arguments, "--out", out]
    assert kill_when(command, lambda: rows(out) >= rows(tmp_path / "whole") / 2, folder) == -signal.SIGKILL
    done = lpk(*arguments, "--out", out, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(tmp_path / "whole")
    cost = json.loads(done.stdout)["cost"]
    assert 2 * (cost["measurements"] - 2 * 16) == rows(out) - 2 * 16  # of a term its part is kept, too
    assert str(Path("own.jsonl")) in cost["input_files"]
    with (folder / "own.jsonl").open("a") as file:
        file.write((folder / "questions.jsonl").read_text())
    refused(lpk(*arguments, "--out", out, "--quiet", cwd=folder), 2, "own.jsonl has changed since this run")


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"perplexity": 1, "task-margin": {"weight": 1, "calibration": "nowhere.jsonl"}}, "calibration of task-margin nowhere.jsonl: no such file"),
        ({"perplexity": {"weight": 1, "calibration": "questions.jsonl"}, "task-margin": 1}, "calibration of task-margin text.txt: this objective is measured on questions, and here is text"),
        ({"task-margin": {"weight": 1, "calibration": "text.txt"}}, "calibration of task-margin text.txt: this objective is measured on questions"),
        ({"perplexity": 1, "kl": {"weight": 1, "calibration": {**TEXT, "sequences": 500}}}, "calibration of kl text.txt: 500 sequences wanted"),
        ({"perplexity": 1, "kl": {"weight": 1, "calibration": {"sauce": "text.txt"}}}, "objective 'mixture', kl: no key 'calibration.sauce'; did you mean 'source'?"),
        ({"perplexity": 1, "kl": {"calibration": "text.txt"}}, "objective 'mixture', kl: weight is missing"),
        ({"perplexity": 1, "kl": {"weight": 1, "calibration": {"sequences": 0}}}, "objective 'mixture', kl: calibration.sequences"),
        ({"perplexity": 1, "mixture": {"weight": 1, "calibration": "questions.jsonl"}}, "cannot be made of 'mixture'"),
    ],
    ids=["missing", "the run's", "kind", "few", "key", "weight", "count", "nested"],
)  # fmt: skip
def test_wrong_data_of_a_part_is_one_line(of: dict[str, Any], said: str, folder: Path, lpk: Lpk) -> None:
    refused(lpk(*base(of, "--out", "wrong", "--quiet"), cwd=folder), 2, said)
    assert not (folder / "wrong").exists()


def test_of_a_text_that_any_part_is_calibrated_on_the_last_quarter_is_held_out(folder: Path, tokenizer: Any) -> None:
    """The run's own data are questions here; without the part's text the shipped one would be reported on, whole."""
    of = {"task-margin": 1, "perplexity": {"weight": 1, "calibration": TEXT}}
    (folder / "link.txt").symlink_to("text.txt")
    (folder / "other.txt").write_text((folder / "text.txt").read_text())
    for after in (None, "text.txt", "link.txt"):
        recipe = _recipe(of, calibration=QUESTIONS, held_out={"source": after})
        (_, text), other = corpora_of(recipe, Parts.of(recipe, installed()).terms)
        assert other is text
        kept = other.held_out(tokenizer, 100, 16, whole=False)
        everything = text.draw(tokenizer, 1200 * 3 // 4 // 16, 16, 0)
        assert not set(kept.keys) & set(everything.keys)
    recipe = _recipe(of, calibration=QUESTIONS, held_out="other.txt")
    assert corpora_of(recipe, Parts.of(recipe, installed()).terms)[1].role == "held-out"


def test_ids_that_a_part_is_calibrated_on_are_not_held_out(folder: Path, tiny_ids: Path) -> None:
    recipe = _recipe({"perplexity": 1, "kl": {"weight": 1, "calibration": str(tiny_ids)}}, held_out=str(tiny_ids))
    with pytest.raises(UsageError, match="calibrated on, all of them"):
        corpora_of(recipe, Parts.of(recipe, installed()).terms)


# -- studies ----------------------------------------------------------------------------------------------------------


def test_a_study_measures_each_part_on_its_own_data(folder: Path, lpk: Lpk) -> None:
    path = folder / "both.yaml"
    values = {
        "models": "tiny",
        "objectives": [
            {"name": "mixture", "of": BOTH, "as": "both"},
            "perplexity",
            {"name": "task-margin", "calibration": QUESTIONS},
        ],
        "searchers": [{"name": "one-shot", "scorer": "block-influence"}, "greedy"],
        "remove": 3,
        "seeds": [0, 1],
        "calibration": TEXT,
        "texts": {"name": "held out", "source": "text.txt", "sequences": 100, "length": 16},
        "dtype": "float32",
    }
    path.write_text(json.dumps(values))
    planned = json.loads(lpk("study", path.name, "--dry-run", "--json", cwd=folder).stdout)
    done = lpk("study", path.name, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failed"] == []
    out = folder / "runs" / "both"
    cells, measures, trials = (read_csv(out / f"{kind.FILE}.csv", kind) for kind in (Cell, Measure, Trial))
    taken = {(cell.objective, cell.searcher, cell.seed): cell.layer_forwards for cell in cells}
    for seed in (0, 1):
        single = taken["perplexity", "one-shot", seed] + taken["task-margin", "one-shot", seed]
        assert taken["both", "one-shot", seed] == single
    assert planned["searchers"]["one-shot"]["layer_forwards"] == sum(
        count for (_, searcher, _), count in taken.items() if searcher == "one-shot"
    )
    grouped: dict[tuple[Any, ...], dict[str, Measure]] = {}
    for measure in (measure for measure in measures if measure.kind == "calibration"):
        key = measure.objective, measure.searcher, measure.budget, measure.seed
        grouped.setdefault(key, {})[measure.measure] = measure
    assert len(grouped) == 3 * 2 * 2 + 2
    held_out = [measure for measure in measures if measure.measure == "held out"]
    assert {measure.items for measure in held_out} == {18}  # of 75 windows those of the last quarter
    for found in grouped.values():
        both, perplexity, margin = found["both"], found["perplexity"], found["task-margin"]
        assert both.value == pytest.approx(perplexity.value + 0.5 * margin.value)
        assert perplexity.standard_error
        assert margin.standard_error
        assert both.standard_error == pytest.approx(math.hypot(perplexity.standard_error, 0.5 * margin.standard_error))
        assert both.items == perplexity.items + margin.items == 8
    assert {trial.sequences for trial in trials if trial.objective == "both"} == {8}


def test_a_study_reads_holds_out_and_depends_on_what_a_part_alone_is_calibrated_on(
    folder: Path, stack: LayerStack, tokenizer: Any
) -> None:
    (folder / "part.txt").write_text((folder / "text.txt").read_text())
    of = {"task-margin": 1, "perplexity": {"weight": 1, "calibration": {**TEXT, "source": "part.txt"}}}
    text = {"source": "part.txt", "sequences": 100, "length": 16}
    values = {"models": "tiny", "objectives": {"name": "mixture", "of": of}, "calibration": QUESTIONS, "texts": text}
    registry, wanted = installed(), StudyRecipe.model_validate(values)
    assert [asked.source for asked in wanted.calibrations(registry)] == ["questions.jsonl", "part.txt"]
    data = Data(wanted.calibrations(registry), tokenizer, stack.model.config, "cpu")
    assert len(data.text(wanted.texts[0])) == 18
    assert len(Data([], tokenizer, stack.model.config, "cpu").text(wanted.texts[0])) == 75
    elsewhere = StudyRecipe.model_validate({**values, "texts": {"source": "text.txt"}})

    def keys() -> set[str]:
        cells = elsewhere.cells(registry)
        made = Provenance.of(elsewhere, cells, registry)
        return {cell.key(made.depends(cell, registry)) for cell in cells}

    before = keys()
    assert keys() == before
    (folder / "part.txt").write_text("other words")
    assert not before & keys()


def test_several_draws_want_data_to_draw_from(folder: Path, tiny_ids: Path) -> None:
    def cells(of: dict[str, Any]) -> int:
        values = {
            "models": "tiny",
            "objectives": {"name": "mixture", "of": of},
            "calibration": QUESTIONS,
            "seeds": [0, 1],
        }
        return len(StudyRecipe.model_validate(values).cells(installed()))

    ids = {"weight": 1, "calibration": str(tiny_ids)}
    assert cells({"task-margin": 1, "perplexity": ids}) == 4
    with pytest.raises(UsageError, match=r"of the ready ids .* 2 draws would be one"):
        cells({"kl": ids, "perplexity": ids})
