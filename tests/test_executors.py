"""Executors: many states at once give what one after the other does, in fewer calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lpk, contents
from test_evaluator import ALL_MASKS, objective

from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Sequences
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed
from lpk.testing import random_sequences, tiny_model
from lpk.testing.tiny import ARCHITECTURES


def ragged() -> Sequences:
    ids = random_sequences(5, 24).ids
    return Sequences("ragged", (ids[0], ids[1][:9], ids[2], ids[3][:9], ids[4]))


def many(tokens: int = 0, **options: Any) -> Any:
    return installed().find("executor", "cuda").create({"tokens": tokens, **options})


class Layers:
    """Counts the calls of a stack's layers, and takes made-up time: a call, and each of its tokens, cost so much."""

    batches = True

    def __init__(self, call: float, token: float) -> None:
        self.call, self.token, self.now, self.calls = call, token, 0.0, []

    def layer_at_once(self, index: int, states: Sequence[torch.Tensor], starts: Sequence[Any]) -> list[torch.Tensor]:
        tokens = sum(state.shape[1] for state in states)
        self.calls.append(tokens)
        self.now += max(self.call, self.token * tokens)
        return list(states)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_layer_of_several_sequences_is_that_of_each(architecture: str) -> None:
    stack = LayerStack(tiny_model(architecture))
    assert stack.batches == stack.shares_prefixes
    if not stack.batches:
        return
    with torch.inference_mode():
        starts = [stack.start(batch) for batch in random_sequences(3, 20).batches()]
        for index in range(stack.layers):
            together = stack.layer_at_once(index, [start.hidden for start in starts], starts)
            for start, output in zip(starts, together, strict=True):
                torch.testing.assert_close(output, stack.layer(index, start.hidden, start), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 48, 100, 100_000])
@pytest.mark.parametrize("memory", [1, 40_000, 2**30])
def test_losses_agree_and_the_plan_is_what_runs(tokens: int, memory: int, tmp_path: Path) -> None:
    stack = LayerStack(tiny_model())
    plain = Evaluator(stack, objective("kl"), ragged(), Memo(tmp_path / "plain"), "x").losses(ALL_MASKS)
    memo = Memo(tmp_path / "many")
    measured = Evaluator(stack, objective("kl"), ragged(), memo, "x", memory, executor=many(tokens))
    planned = measured.plan(ALL_MASKS)
    for here, there in zip(measured.losses(ALL_MASKS), plain, strict=True):
        assert here.items == pytest.approx(there.items, rel=1e-4, abs=1e-6)
    assert memo.cost().layer_forwards == planned.cost.layer_forwards + 5 * stack.layers  # kl's dense model
    least = 24 * stack.token_bytes * 3
    assert planned.peak_state_bytes <= max(memory, least) + 3 * ragged().tokens * stack.token_bytes  # kl keeps three


def test_calls_are_of_one_length_and_no_larger_than_what_fills() -> None:
    layers = Layers(1, 1)
    lengths = [24, 9, 24, 9, 24, 24]
    states = [torch.full((1, length, 2), float(place)) for place, length in enumerate(lengths)]
    done = many(50).run(layers, 0, states, [None] * len(states))
    assert [float(output.mean()) for output in done] == list(map(float, range(6)))  # in their own order
    assert sorted(layers.calls) == [18, 48, 48]


@pytest.mark.parametrize(("call", "token", "expected"), [(1000, 1, 1024), (0, 1, 64), (1e9, 1, 4096)])
def test_what_fills_the_device_is_found_by_doubling(
    call: float, token: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = Layers(call, token)
    monkeypatch.setattr("time.perf_counter", lambda: layers.now)
    executor = many(most=4096)
    assert executor.at_once(layers, torch.zeros(1, 64, 2), None) == expected // 64


def test_a_layer_that_takes_one_sequence_alone_gets_one(tmp_path: Path) -> None:
    stack = LayerStack(tiny_model())
    stack.__dict__["batches"] = False
    plain, alone = (
        Evaluator(stack, objective("perplexity"), ragged(), Memo(tmp_path / name), "x", executor=executor)
        for name, executor in (("plain", None), ("alone", many(1000)))
    )
    assert alone.losses(ALL_MASKS) == plain.losses(ALL_MASKS)


def test_a_run_by_the_cuda_executor_on_this_processor(lpk: Lpk, base: list[Any], finished: Any, tmp_path: Path) -> None:
    done = lpk(*base, "--executor", "cuda", "-O", "executor.tokens=64", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "executor" in (tmp_path / "run" / "recipe.yaml").read_text()
    ours, theirs = contents(tmp_path / "run"), contents(finished[0])
    assert ours["model/model.safetensors"] == theirs["model/model.safetensors"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_on_a_card_losses_agree_with_the_processors(architecture: str, tmp_path: Path) -> None:
    here = LayerStack(tiny_model(architecture))
    plain = Evaluator(here, objective("kl"), ragged(), Memo(tmp_path / "plain"), "x").losses(ALL_MASKS)
    card = LayerStack(tiny_model(architecture).cuda())
    ids = Sequences("ragged", ragged().ids, device="cuda")
    measured = Evaluator(card, objective("kl"), ids, Memo(tmp_path / "card"), "x", executor=many())
    for ours, theirs in zip(measured.losses(ALL_MASKS), plain, strict=True):
        assert ours.items == pytest.approx(theirs.items, rel=1e-3, abs=1e-4)
