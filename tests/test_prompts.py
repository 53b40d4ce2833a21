"""A question's options behind one shared prompt: the likelihoods that the model gives each of them by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from test_evaluator import objective
from test_executors import many
from test_streaming import open_stack, ragged, score

from lpk.core.contracts import Batch, Question
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Choices, Joined, Questions, Together
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.models import ModelSpec
from lpk.core.pruning.prompts import SharedPrompt, laid_out
from lpk.core.pruning.stack import LayerStack
from lpk.testing import tiny_model
from lpk.testing.tiny import ARCHITECTURES

MASKS = [LayerMask(6), LayerMask(6, (1,)), LayerMask(6, (1, 4)), LayerMask(6, (0, 2, 5))]


def questions(
    prompts: tuple[int, ...] = (9, 1, 6, 0), answers: tuple[int, ...] = (3, 1, 5), seed: int = 0
) -> Questions:
    """A question for each length of a prompt, an option for each length of an answer; the last has no prompt at all."""
    rng = np.random.default_rng(seed)

    def choices(prompt: int) -> Choices:
        common = rng.integers(3, 96, prompt)
        own = [rng.integers(3, 96, answer + (prompt == 0)) for answer in answers]
        ids = tuple(np.concatenate([common, one]).astype(np.int32) for one in own)
        return Choices(ids, (max(prompt, 1),) * len(ids), answers, gold=1)

    return Questions("random", tuple(map(choices, prompts)))


def by_themselves(stack: LayerStack, asked: Choices, mask: LayerMask) -> float:
    """The margin in nats per token, each option alone through the model with its layers taken out."""
    found = []
    for row, begin in zip(asked.ids, asked.begins, strict=True):
        ids = torch.from_numpy(row.astype("int64"))
        with torch.inference_mode():
            logits = stack.masked_logits(Batch(ids[None], torch.tensor([len(ids)])), mask)
        logs = logits[0].double().log_softmax(-1)
        found.append(float(logs[:-1].gather(1, ids[1:, None])[begin - 1 :].mean()))
    wrong = [value for place, value in enumerate(found) if place != asked.gold]
    return sum(wrong) / len(wrong) - found[asked.gold]


@given(st.integers(1, 6), st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=2, max_size=4))
def test_a_layout_has_every_token_once_and_in_its_place(common: int, tails: list[list[int]]) -> None:
    rows = [list(range(10, 10 + common)) + tail for tail in tails]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    batch = Batch(ids, torch.tensor(list(map(len, rows))), question=Question(0, (1,) * len(rows)))
    prompt = SharedPrompt.of(batch)
    assert prompt is not None
    shared = int((prompt.option == -1).sum())
    assert shared >= common
    assert all(row[:shared] == rows[0][:shared] for row in rows)
    assert prompt.ids.shape[1] == shared + sum(len(row) - shared for row in rows)
    states = ids[..., None].float()
    assert torch.equal(prompt.apart(prompt.together(states))[batch.real()], states[batch.real()])
    assert torch.equal(prompt.together(states)[0, :, 0].long(), prompt.ids[0])
    for place, row in enumerate(rows):
        # What an option's last token may look at is the option, in its order and at its positions.
        seen = prompt.mask()[0, 0, prompt.where[place, len(row) - 1]]
        assert prompt.ids[0, seen].tolist() == row
        assert prompt.positions[0, seen].tolist() == list(range(len(row)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_margins_are_those_of_options_by_themselves(architecture: str, tmp_path: Path) -> None:
    stack = LayerStack(tiny_model(architecture))
    items = questions()
    # Of the questions, which have 14, 6 and 11 tokens, the second one fits into Gemma's windows of 8. Gemma 2's attention
    # is torch's plain one, by products and a softmax, which is called with a mask always.
    fits = {"gemma2": [False] * 3, "gemma3": [False, True, False]}.get(architecture, [True] * 3)
    assert [prompt is not None for prompt in laid_out(stack, items.batches())] == [*fits, False]
    evaluator = Evaluator(stack, objective("task-margin"), items, Memo(tmp_path / "memo"), "margin")
    for mask, loss in zip(MASKS, evaluator.losses(MASKS), strict=True):
        expected = [by_themselves(stack, asked, mask) for asked in items.choices]
        assert list(loss.items) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("config", "arguments", "shares"),
    [
        ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32}, True),  # learned positions
        ("BloomConfig", {"n_layer": 6, "n_head": 4}, False),  # takes no positions: attention is biased by places
        (
            "Lfm2Config",
            {"full_attn_idxs": [1, 3, 5], "intermediate_size": 48, "num_key_value_heads": 2},
            False,
        ),  # layers between are convolutions over places
    ],
)
def test_what_goes_by_place_is_not_shared_and_margins_are_right(
    config: str, arguments: dict[str, Any], shares: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    common = {"vocab_size": 96, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 6, "pad_token_id": 0}
    made = getattr(transformers, config)(**common, **arguments)
    stack, items = LayerStack(transformers.AutoModelForCausalLM.from_config(made).eval()), questions()
    assert [prompt is not None for prompt in laid_out(stack, items.batches())] == [*[shares] * 3, False]
    (loss,) = Evaluator(stack, objective("task-margin"), items, Memo(tmp_path / "memo"), "margin").losses(MASKS[1:2])
    expected = [by_themselves(stack, asked, MASKS[1]) for asked in items.choices]
    assert list(loss.items) == pytest.approx(expected, abs=2e-5)


def test_a_question_is_laid_out_by_itself_whatever_it_is_measured_beside() -> None:
    stack, batches = LayerStack(tiny_model("gemma3")), list(questions().batches())
    alone = [laid_out(stack, [batch])[0] is not None for batch in batches]
    assert alone == [prompt is not None for prompt in laid_out(stack, batches)] == [False, True, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scale", [1, 100])
def test_a_model_that_counts_positions_by_itself_is_found_out(
    scale: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model().to(dtype)
    # Beside so large a residual stream a layer's contribution is hardly more than the roundings of bfloat16.
    model.model.embed_tokens.weight.data.mul_(scale)
    assert all(laid_out(LayerStack(model), questions((9, 6)).batches()))
    forward = model.model.rotary_emb.forward

    def counting(states: torch.Tensor, position_ids: torch.Tensor) -> Any:
        return forward(states, torch.arange(position_ids.shape[1])[None])

    monkeypatch.setattr(model.model.rotary_emb, "forward", counting)
    assert not any(laid_out(LayerStack(model), questions().batches()))


def test_a_window_over_places_is_found_out_on_the_question_with_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its window of 16 hides nothing from options by themselves, and of the layout of the longest nothing either."""
    model = tiny_model()
    for layer in model.model.layers:

        def windowed(hidden: Any, *, attention_mask: Any = None, forward: Any = layer.forward, **rest: Any) -> Any:
            at = torch.arange(hidden.shape[1])
            near = at[:, None] - at < 16
            seen = near & (at[:, None] >= at) if attention_mask is None else attention_mask & near
            return forward(hidden, attention_mask=seen if hidden.shape[1] > 16 else attention_mask, **rest)

        monkeypatch.setattr(layer, "forward", windowed)
    longest, most_places = questions((11,), (2, 2)), questions((2,), (6, 6, 6, 6))
    both = Questions("random", longest.choices + most_places.choices)
    assert all(laid_out(LayerStack(model), longest.batches()))
    assert not any(laid_out(LayerStack(model), both.batches()))


def test_text_and_questions_that_begin_differently_stay_as_they_are() -> None:
    batches = list(questions().batches())
    assert SharedPrompt.of(batches[3]) is None
    assert SharedPrompt.of(Batch(batches[0].ids, batches[0].lengths)) is None


@pytest.mark.parametrize("memory", [1, 2**30])
@pytest.mark.parametrize("tokens", [1, 1000])
def test_many_at_once_agree_and_the_plan_is_what_runs(tokens: int, memory: int, tmp_path: Path) -> None:
    stack, items = LayerStack(tiny_model()), questions()
    plain = Evaluator(stack, objective("task-margin"), items, Memo(tmp_path / "plain"), "x")
    memo = Memo(tmp_path / "many")
    batched = Evaluator(stack, objective("task-margin"), items, memo, "x", memory, executor=many(tokens))
    planned = batched.plan(MASKS)
    for here, there in zip(batched.losses(MASKS), plain.losses(MASKS), strict=True):
        assert here.items == pytest.approx(there.items, abs=1e-4)
    assert memo.cost() == planned.cost
    assert planned.cost.naive_layer_forwards == 4 * 3 * sum(len(mask.kept) for mask in MASKS)
    assert planned.cost.head_tokens == len(MASKS) * 4 * (3 + 1 + 5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_fills_the_device_is_found_on_questions_of_every_architecture(architecture: str, tmp_path: Path) -> None:
    stack, items = LayerStack(tiny_model(architecture)), questions()
    plain = Evaluator(stack, objective("task-margin"), items, Memo(tmp_path / "plain"), "x")
    batched = Evaluator(stack, objective("task-margin"), items, Memo(tmp_path / "many"), "x", executor=many(most=256))
    for here, there in zip(batched.losses(MASKS), plain.losses(MASKS), strict=True):
        assert here.items == pytest.approx(there.items, abs=1e-4)


def test_a_padded_batch_of_options_is_called_by_itself() -> None:
    stack, executor = LayerStack(tiny_model("gemma2")), many(1000)  # its attention takes no shared prompt
    (batch,) = questions((9,)).batches()
    start = stack.start(batch)
    assert start.hidden.shape[0] == 3
    assert executor.at_once(stack, start.hidden, start) == 1


def test_one_question_goes_through_a_layer_in_one_call_for_all_masks() -> None:
    """Two questions of as many places: not in one call, for each has a mask of its own; nor a call for each state."""
    stack, shapes = LayerStack(tiny_model()), list[tuple[int, ...]]()
    starts = [stack.start(batch, SharedPrompt.of(batch)) for batch in questions((9, 9)).batches()]
    states = [start.hidden for start in (*starts, *starts)]
    alone = [stack.layer(0, start.hidden, start) for start in (*starts, *starts)]
    hook = stack.modules[0].register_forward_pre_hook(lambda _module, args: shapes.append(tuple(args[0].shape)))
    together = stack.layer_at_once(0, states, [*starts, *starts])
    hook.remove()
    assert shapes == [(2, 18, 32), (2, 18, 32)]
    for here, there in zip(together, alone, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-5)


def test_a_shared_prompt_takes_its_memory_once(tmp_path: Path) -> None:
    stack, items = LayerStack(tiny_model()), questions((40,), (2, 2, 2))
    measured = Evaluator(stack, objective("task-margin"), items, Memo(tmp_path / "memo"), "x")
    mask, rotations = 46 * 46, measured._layouts[0].call_bytes - 46 * 46
    assert 0 < rotations < 46 * stack.token_bytes
    # The embedding's output, and a layer's input and output; and what the layer is called with.
    assert measured.plan([LayerMask(6)]).peak_state_bytes == 3 * 46 * stack.token_bytes + mask + rotations


def test_a_streamed_model_shares_prompts_too(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    spec = ModelSpec(str(tmp_path / "model"))
    losses = [
        Evaluator(stack, objective("task-margin"), questions(), Memo(tmp_path / name), "x").losses(MASKS)
        for name, stack in (("memory", LayerStack(spec.load())), ("streamed", open_stack(spec)))
    ]
    assert [loss.items for loss in losses[0]] == [loss.items for loss in losses[1]]


@pytest.mark.parametrize(("scorer", "options"), [("angular", {}), ("mutual-information", {"tokens": 40})])
def test_texts_and_questions_go_in_their_order_through_a_streamed_model(
    scorer: str, options: dict[str, Any], tmp_path: Path
) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    spec, items = ModelSpec(str(tmp_path / "model")), Joined.of([ragged(), questions()])
    order = [ids.tolist() for batch in items.batches() for ids in batch.ids]
    alone = score(scorer, LayerStack(spec.load()), items, **options)
    for tokens in (0, 50, 10_000):
        together = list(Together(items, tokens).batches())
        rows = [ids[:length].tolist() for b in together for ids, length in zip(b.ids, b.lengths.tolist(), strict=True)]
        assert [row + [0] * (len(wide) - len(row)) for row, wide in zip(rows, order, strict=True)] == order
        assert score(scorer, open_stack(spec), Together(items, tokens), **options) == alone
