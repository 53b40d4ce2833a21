"""Questions, answers and solutions: read, cut, and measured as lm-evaluation-harness and plain transformers would."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lpk, refused

from lpk.core.errors import UsageError
from lpk.core.pruning.calibration import Corpus
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Questions, Sequences
from lpk.core.pruning.likelihood import log_likelihoods
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.parts import bound
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed

QUESTIONS = [
    {"query": "Question: The sun is\nAnswer:", "choices": ["a star", "a kind of cheese", "wet"], "gold": 0},
    {"query": "Question: Two and two make\nAnswer:", "choices": ["five", "four"], "gold": 1},
    {"query": "Question: Ice is\nAnswer:", "choices": ["frozen water", "hot"], "gold": 0},
    {"query": "Question: Birds can\nAnswer:", "choices": ["fly", "photosynthesise"], "gold": 0},
]
DENSE = LayerMask(30)


def written(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def model(demo: Path) -> LayerStack:
    return LayerStack(ModelSpec("demo", "float32").load())


@pytest.fixture(scope="module")
def tokenizer(demo: Path) -> Any:
    return ModelSpec("demo").tokenizer()


def made(name: str, **options: Any) -> Any:
    return installed().find("objective", name).create(options)


def harness(model: LayerStack, tokenizer: Any, prompt: str, answers: list[str]) -> list[tuple[float, int]]:
    """The log-likelihood of each answer after a prompt by the plainest means, and its tokens.

    All in one padded batch, as lpk measures a question: in float32 a product of more rows differs by 1e-5.
    """
    alone = tokenizer(prompt).input_ids
    rows = [tokenizer(prompt + " " + answer).input_ids for answer in answers]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    with torch.inference_mode():
        logs = model.model(ids, use_cache=False).logits.double().log_softmax(-1)
    return [
        (sum(float(logs[place, at - 1, row[at]]) for at in range(len(alone), len(row))), len(row) - len(alone))
        for place, row in enumerate(rows)
    ]


def test_likelihoods_of_answers_are_those_of_a_plain_forward_whatever_they_are_divided_by(
    model: LayerStack, tokenizer: Any, tmp_path: Path
) -> None:
    corpus = Corpus.read(written(tmp_path, QUESTIONS))
    items = corpus.draw(tokenizer, 3, 64, 0, "questions")
    assert isinstance(items, Questions)
    assert [items.shape(item)[0] for item in range(3)] == [3, 2, 2]
    margin, accuracy = made("task-margin"), {per: made("choice-accuracy", per=per) for per in ("answer", "byte")}
    evaluator = Evaluator(model, margin, items, Memo(tmp_path / "memo"), "margin", beside=accuracy)
    (loss,) = evaluator.losses([DENSE])
    found = evaluator.losses_beside([DENSE])
    margins, wrong, wrong_per_byte = [], [], []
    for row in QUESTIONS[:3]:
        scores = harness(model, tokenizer, row["query"], row["choices"])
        mean = [score / tokens for score, tokens in scores]
        others = [value for place, value in enumerate(mean) if place != row["gold"]]
        margins.append(mean[row["gold"]] - sum(others) / len(others))
        plain = [score for score, _ in scores]
        wrong.append(float(plain.index(max(plain)) != row["gold"]))
        per_byte = [score / len(choice) for (score, _), choice in zip(scores, row["choices"], strict=True)]
        wrong_per_byte.append(float(per_byte.index(max(per_byte)) != row["gold"]))
    assert list(loss.items) == pytest.approx([-value for value in margins], abs=1e-5)
    assert list(found["answer"][0].items) == wrong
    assert list(found["byte"][0].items) == wrong_per_byte
    assert loss.parts == (float(found["answer"][0]), float(found["byte"][0]))


@pytest.mark.parametrize(("wrong", "expected"), [("mean", 2.0), ("sum", 4.0), ("hardest", 1.0)])
def test_margins_over_wrong_answers(wrong: str, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from lpk.plugins.objectives import task_margin

    monkeypatch.setattr(task_margin, "log_likelihoods", lambda outputs, per: torch.tensor([-4.0, -1.0, -2.0]))
    outputs: Any = SimpleNamespace(batch=SimpleNamespace(question=SimpleNamespace(gold=1)))
    assert made("task-margin", wrong=wrong).loss(outputs, None).tolist() == [-expected]


def test_the_same_questions_are_answers_to_objectives_of_one_sequence(
    model: LayerStack, tokenizer: Any, tmp_path: Path
) -> None:
    corpus = Corpus.read(written(tmp_path, QUESTIONS))
    items = corpus.draw(tokenizer, 3, 64, 0, "answers")
    assert isinstance(items, Sequences)
    scores = [harness(model, tokenizer, row["query"], [row["choices"][row["gold"]]])[0] for row in QUESTIONS[:3]]
    (each,) = Evaluator(model, made("task-likelihood"), items, Memo(tmp_path / "a"), "likelihood").losses([DENSE])
    (tokens,) = Evaluator(model, made("reasoning-nll"), items, Memo(tmp_path / "b"), "nll").losses([DENSE])
    assert each == pytest.approx(sum(-score / count for score, count in scores) / 3, abs=1e-5)
    assert tokens == pytest.approx(-sum(s for s, _ in scores) / sum(count for _, count in scores), abs=1e-5)


def test_solutions_chats_and_continuations_are_read(tokenizer: Any, tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [
        {"question": "What is 2 + 2?", "answer": "It is 4."},
        {"context": "Once upon a", "continuation": "time"},
        {"messages": [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello there."}]},
        {"contexts": ["Ann ran so Ann", "Ann ran so Bob"], "continuation": "was tired.", "gold": 0},
    ]
    answers = [" It is 4.", " time", "Hello there.", " was tired."]
    for row, answer in zip(kinds, answers, strict=True):
        corpus = Corpus.read(written(tmp_path, [row] * 4))
        items = corpus.draw(tokenizer, 1, 64, 0, "answers")
        (batch,) = items.batches()
        assert tokenizer.decode(batch.ids[0][batch.scored[0]]) == answer  # type: ignore[index]
    chat = Corpus.read(written(tmp_path, [kinds[2]] * 4)).draw(tokenizer, 1, 64, 0, "answers")
    assert "<|im_start|>user\nHi!" in tokenizer.decode(chat.rows(0)[0])


def test_what_is_too_long_is_cut_a_question_at_its_beginning_a_solution_at_its_end(
    tokenizer: Any, tmp_path: Path
) -> None:
    words = " ".join(["word"] * 50)
    rows = [{"query": f"{words} last", "choices": ["one", "two or three"], "gold": 1}] * 4
    (batch,) = Corpus.read(written(tmp_path, rows)).draw(tokenizer, 1, 16, 0, "questions").batches()
    assert batch.ids.shape == (2, 16)
    texts = [tokenizer.decode(row[:length]) for row, length in zip(batch.ids, batch.lengths, strict=True)]
    assert texts[0].endswith("word last one")
    assert texts[1].endswith("word last two or three")
    solutions = [{"question": "Why?", "answer": words}] * 4
    (batch,) = Corpus.read(written(tmp_path, solutions)).draw(tokenizer, 1, 16, 0, "answers").batches()
    assert tokenizer.decode(batch.ids[0]).startswith("Question: Why?\nAnswer: word word")


def test_the_likelihood_of_an_option_does_not_depend_on_the_options_beside_it(
    model: LayerStack, tokenizer: Any, tmp_path: Path
) -> None:
    alone = [{**row, "choices": row["choices"][:2], "gold": 0} for row in QUESTIONS]
    more = [
        {**row, "choices": [*row["choices"][:2], "a very long answer that nobody would give to this"]} for row in alone
    ]
    found = []
    for rows in (alone, more):
        items = Corpus.read(written(tmp_path, rows)).draw(tokenizer, 3, 64, 0, "questions")
        with torch.inference_mode():
            outputs = [model.outputs(batch, list(model.states(batch))[-1]) for batch in items.batches()]
            found.append([log_likelihoods(each, "answer")[:2].tolist() for each in outputs])
    assert found[0] == [pytest.approx(pair, abs=1e-4) for pair in found[1]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"query": "Q", "choices": ["a", "b"], "gold": 2}], "gold is 2, and there are 2 options"),
        ([{"query": "Q", "choices": "ab", "gold": "x"}], "are not as they should be"),
        ([{"query": "Q", "choices": ["a", ""], "gold": 0}], "an empty prompt or answer"),
        ([{"nothing": 1}], "no text in the field 'text', nor {choices, gold, query}"),
        ([{"text": "a"}, {"question": "a", "answer": "b"}], "line 2: not of the same kind"),
        ([[1]], "line 1: not an object"),
    ],
)
def test_wrong_rows_are_told(rows: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said.replace("{", r"\{").replace("}", r"\}")):
        Corpus.read(written(tmp_path, rows))


def test_an_objective_and_data_that_do_not_fit_are_refused_before_anything_is_loaded(
    lpk: Lpk, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    done = lpk("run", "--model", tiny_checkpoint, "--objective", "task-margin")
    refused(done, 2, "this objective is measured on questions, and here is text")
    one = written(tmp_path, [{"question": "a", "answer": "b"}] * 4)
    done = lpk("run", "--model", tiny_checkpoint, "--objective", "choice-accuracy", "--calibration", one)
    refused(done, 2, "has one answer")


def test_a_run_on_questions_searches_saves_and_reports_perplexity_on_text(lpk: Lpk, demo: Path, tmp_path: Path) -> None:
    questions = written(tmp_path, QUESTIONS)
    arguments = [
        "--calibration",
        questions,
        "--sequences",
        2,
        "--length",
        48,
        "--remove",
        2,
        "--objective",
        "task-margin",
        "--dtype",
        "float32",
    ]
    planned = lpk("run", *arguments, "--searcher", "one-shot", "--dry-run", "--json")
    assert json.loads(planned.stdout)["layer_forwards"]["search"] > 0
    done = lpk("run", *arguments, "--searcher", "one-shot", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    assert run["held_out"]["source"] == "wikitext2"
    perplexity = run["result"]["held_out_perplexity"]
    assert 100 < perplexity["dense"] < perplexity["pruned"]  # windows of 48 tokens; 40 on windows of 256


def test_a_mixture_is_the_weighted_sum_of_its_parts_measured_in_one_pass(
    model: LayerStack, tokenizer: Any, tmp_path: Path
) -> None:
    mask = LayerMask(30, (13, 14))
    items = Corpus.read("wikitext2").draw(tokenizer, 2, 32, 0)
    parts = {"perplexity": made("perplexity"), "kl": made("kl")}
    mixture = made("mixture", of="perplexity=1,kl=0.5")
    mixture.bind(list(parts.values()))
    memo = Memo(tmp_path / "memo")
    (loss,) = Evaluator(model, mixture, items, memo, "mixture", beside=parts).losses([mask])
    spent = memo.cost().layer_forwards
    assert loss == pytest.approx(loss.parts[0] + 0.5 * loss.parts[1])
    for (name, part), known in zip(parts.items(), loss.parts, strict=True):
        assert Evaluator(model, part, items, memo, name).losses([mask]) == [known]
    assert spent == 2 * (28 + 30)  # the mask, and the dense model for KL; the parts themselves were remembered
    assert memo.cost().layer_forwards == spent
    assert math.isfinite(loss)


def test_parts_of_a_mixture_have_options_of_their_own(model: LayerStack, tokenizer: Any, tmp_path: Path) -> None:
    mask = LayerMask(30, (13, 14))
    items = Corpus.read("arc-easy").draw(tokenizer, 2, 96, 0, "questions")
    parts = {"perplexity": made("perplexity"), "task-margin": made("task-margin", wrong="sum", per="answer")}
    asked = {"perplexity": 1, "task-margin": {"weight": 0.5, "wrong": "sum", "per": "answer"}}
    mixture = made("mixture", of=json.dumps(asked))
    assert mixture.options.model_dump(mode="json")["of"] == asked
    found = bound(mixture, installed())
    assert [about["options"] for about, _ in found] == [part.options.model_dump() for part in parts.values()]
    memo = Memo(tmp_path / "memo")
    (loss,) = Evaluator(
        model, mixture, items, memo, "mixture", beside=dict(zip(parts, (p for _, p in found), strict=True))
    ).losses([mask])
    assert loss == pytest.approx(loss.parts[0] + 0.5 * loss.parts[1])
    (margin,) = Evaluator(model, parts["task-margin"], items, Memo(tmp_path / "alone"), "alone").losses([mask])
    assert loss.parts[1] == pytest.approx(float(margin))
    with pytest.raises(UsageError, match="weights above 0"):
        made("mixture", of={"perplexity": {"weight": 0}})
    with pytest.raises(UsageError, match=r"task-margin.*most"):
        bound(made("mixture", of={"task-margin": {"weight": 1, "wrong": "most"}}), installed())


def numbered(folder: Path, tokens: int) -> tuple[Any, str]:
    """A text in which every token tells its place, and a tokenizer for it, which is quicker than the demo's."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(WordLevel({f"w{place}": place for place in range(tokens)}, unk_token="w0"))
    made.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    (folder / "text.txt").write_text(" ".join(f"w{place}" for place in range(tokens)))
    return PreTrainedTokenizerFast(tokenizer_object=made), str(folder / "text.txt")


@pytest.mark.parametrize("tokens", [1000, 1001, 1023, 1024, 1100])
def test_windows_of_two_lengths_do_not_overlap_if_one_is_calibrated_on_and_one_held_out(
    tokens: int, tmp_path: Path
) -> None:
    """What is drawn ends before three quarters of the text, and what is held out begins there, of whatever length."""
    words, path = numbered(tmp_path, tokens)
    corpus, boundary = Corpus.read(path), int(0.75 * tokens)
    for length in (7, 16, 50, 128):
        drawn = corpus.draw(words, boundary // length, length, 0)
        kept = corpus.held_out(words, tokens, length, whole=False)
        assert isinstance(drawn, Sequences)
        assert isinstance(kept, Sequences)
        assert [int(ids[0]) for ids in drawn.ids] == list(range(0, boundary - length + 1, length))
        begins = range(-(-boundary // length) * length, tokens - length + 1, length)
        assert [int(ids[0]) for ids in kept.ids] == list(begins)
        whole = corpus.held_out(words, tokens, length, whole=True)
        assert len(whole) == tokens // length


def test_a_text_whose_last_quarter_has_no_whole_window_is_refused(tmp_path: Path) -> None:
    words, path = numbered(tmp_path, 75)  # of 16 tokens the fourth begins at 48, before 56, and ends after it
    for take in (Corpus.draw, Corpus.held_out):
        more: dict[str, Any] = {"seed": 0} if take is Corpus.draw else {"whole": False}
        with pytest.raises(UsageError, match="4 sequences of 16 tokens, and there must be one before the last quarter"):
            take(Corpus.read(path), words, 1, 16, **more)


def test_rows_are_held_out_by_their_place_whatever_of_them_is_too_long(tokenizer: Any, tmp_path: Path) -> None:
    """At 16 tokens the first rows' prompts leave no room for an answer; the last quarter begins where it does at 64."""
    rows = [{"question": "why " * (30 if row < 8 else 2) + "?", "answer": f"answer {row}"} for row in range(16)]
    corpus = Corpus.read(written(tmp_path, rows))

    def answers(items: Any) -> set[str]:
        return {tokenizer.decode(items.rows(row)[0]).split()[-1] for row in range(len(items))}

    assert answers(corpus.draw(tokenizer, 12, 64, 0, "answers")) == {str(row) for row in range(12)}
    assert answers(corpus.draw(tokenizer, 4, 16, 0, "answers")) == {"8", "9", "10", "11"}
    for length in (16, 64):
        kept = corpus.held_out(tokenizer, 9, length, whole=False, kind="answers")
        assert answers(kept) == {"12", "13", "14", "15"}


def test_gradients_on_a_question_are_those_of_its_right_answer(
    model: LayerStack, tokenizer: Any, tmp_path: Path
) -> None:
    corpus = Corpus.read(written(tmp_path, QUESTIONS))
    (question,) = list(corpus.draw(tokenizer, 3, 64, 0, "questions").batches())[1:2]
    (answer,) = list(corpus.draw(tokenizer, 3, 64, 0, "answers").batches())[1:2]
    last = [next(model.gradients(batch)) for batch in (question, answer)]
    assert torch.equal(last[0].hidden, last[1].hidden)
