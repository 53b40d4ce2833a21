"""Executors: many states at once give what one after the other does, in fewer calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lpk, contents
from test_evaluator import ALL_MASKS, objective

from lpk.core.contracts import Batch
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Sequences
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.models import ModelSpec, fingerprint
from lpk.core.pruning.probing import takes_several
from lpk.core.pruning.prompts import SharedPrompt
from lpk.core.pruning.schedule import Trie
from lpk.core.pruning.stack import LayerStack, Start
from lpk.core.registry import installed
from lpk.testing import random_sequences, tiny_model
from lpk.testing.tiny import ARCHITECTURES


def ragged() -> Sequences:
    ids = random_sequences(5, 24).ids
    return Sequences("ragged", (ids[0], ids[1][:9], ids[2], ids[3][:9], ids[4]))


def many(tokens: int = 0, **options: Any) -> Any:
    return installed().find("executor", "cuda").create({"tokens": tokens, **options})


class Layers:
    """Counts the calls of a stack's layers, and takes made-up time: a call, and each of its tokens, cost so much.

    Of more tokens than there is room for memory runs out.
    """

    batches = True

    def __init__(self, call: float, token: float, room: float = float("inf")) -> None:
        self.call, self.token, self.room, self.now, self.calls = call, token, room, 0.0, []
        self.inference, self.refused = True, 0

    def layer_at_once(self, index: int, states: Sequence[torch.Tensor], starts: Sequence[Any]) -> list[torch.Tensor]:
        tokens = sum(state.shape[1] for state in states)
        self.inference &= torch.is_inference_mode_enabled()
        if tokens > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.75 GiB.")
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
                assert output.untyped_storage().nbytes() == output.nbytes  # else one state keeps all of its call


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
    assert memo.cost() == planned.cost
    kept = ragged().tokens * (4 * stack.token_bytes + 8)  # for kl
    least = 24 * stack.token_bytes * 3 + measured._layouts[0].call_bytes
    assert planned.peak_state_bytes <= max(memory, least + kept)


def test_calls_are_of_one_length_and_no_larger_than_what_fills() -> None:
    layers = Layers(1, 1)
    lengths = [24, 9, 24, 9, 24, 24]
    states = [torch.full((1, length, 2), float(place)) for place, length in enumerate(lengths)]
    executor = many(50)
    executor.at_once(layers, states[0], None)
    done = executor.run(layers, 0, states, [None] * len(states))
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
    assert layers.inference  # no graph of what is only timed


def test_what_fills_the_device_is_found_for_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    executor, narrow, wide = many(most=4096), Layers(1000, 1), Layers(100, 1)
    for layers, dtype, expected in ((narrow, torch.bfloat16, 1024), (wide, torch.float32, 128)):
        monkeypatch.setattr("time.perf_counter", lambda layers=layers: layers.now)
        assert executor.at_once(layers, torch.zeros(1, 64, 2, dtype=dtype), None) == expected // 64


def test_doubling_ends_where_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(1e9, 1, room=700)
    monkeypatch.setattr("time.perf_counter", lambda: layers.now)
    assert many().at_once(layers, torch.zeros(1, 64, 2), None) == 512 // 64
    with pytest.raises(torch.OutOfMemoryError):  # not even one fits: nothing that an executor could mend
        many().at_once(Layers(1, 1, room=32), torch.zeros(1, 64, 2), None)


def test_a_call_that_memory_has_no_room_for_is_halved_and_so_are_those_after_it() -> None:
    layers, executor = Layers(1, 1, room=100), many(256)
    states = [torch.full((1, 32, 2), float(place)) for place in range(9)]
    assert executor.at_once(layers, states[0], None) == 8
    done = executor.run(layers, 0, states, [None] * len(states))
    assert [float(output.mean()) for output in done] == list(map(float, range(9)))
    assert layers.calls == [64, 64, 64, 64, 32]
    assert executor.at_once(layers, states[0], None) == 2
    layers.room = 16
    with pytest.raises(torch.OutOfMemoryError):
        executor.run(layers, 0, states, [None] * len(states))


def test_of_the_calls_of_one_layer_only_the_first_that_is_too_large_meets_the_end_of_memory() -> None:
    layers, executor, states = Layers(1, 1, room=100), many(256), [torch.zeros(1, 32, 2)] * 32
    executor.at_once(layers, states[0], None)
    executor.run(layers, 0, states, [None] * len(states))
    assert layers.refused == 3  # 8 states, and each half of them
    assert layers.calls == [64] * 16


def test_layers_of_a_streamed_model_that_take_one_sequence_alone_get_one() -> None:
    layers, executor = Layers(1, 1), many(1000)
    layers.batches = False
    states = [torch.zeros(1, 8, 2)] * 3
    assert executor.at_once(layers, states[0], None) == 1
    executor.run(layers, 0, states, [None] * 3)
    assert layers.calls == [8, 8, 8]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_fills_the_device_is_found_on_text_of_every_architecture(architecture: str, tmp_path: Path) -> None:
    stack = LayerStack(tiny_model(architecture))
    plain, measured = (
        Evaluator(stack, objective("perplexity"), ragged(), Memo(tmp_path / name), "x", executor=executor)
        for name, executor in (("plain", None), ("many", many(most=256)))
    )
    for here, there in zip(measured.losses(ALL_MASKS[::7]), plain.losses(ALL_MASKS[::7]), strict=True):
        assert here.items == pytest.approx(there.items, abs=1e-4)


def test_a_layer_that_takes_one_sequence_alone_gets_one(tmp_path: Path) -> None:
    stack = LayerStack(tiny_model())
    stack.__dict__["batches"] = False
    plain, alone = (
        Evaluator(stack, objective("perplexity"), ragged(), Memo(tmp_path / name), "x", executor=executor)
        for name, executor in (("plain", None), ("alone", many(1000)))
    )
    assert alone.losses(ALL_MASKS) == plain.losses(ALL_MASKS)


def test_layers_that_are_called_with_something_of_each_sequence_own_take_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several would be called with the first one's: what a rounding of 16 bits may hide in the residual stream."""
    stack = LayerStack(tiny_model())
    start = stack.start

    def of_the_tokens(batch: Batch, prompt: SharedPrompt | None = None) -> Start:
        made = start(batch, prompt)
        calls = tuple((args, {**kwargs, "of_the_tokens": batch.ids.float()}) for args, kwargs in made.calls)
        return replace(made, calls=calls)

    assert takes_several(stack)
    monkeypatch.setattr(stack, "start", of_the_tokens)
    assert not takes_several(stack)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_that_memory_ran_out_says_nothing_of_a_model(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise error

    stack = LayerStack(tiny_model())
    monkeypatch.setattr(LayerStack, "layer", fails)
    with pytest.raises(type(error), match="memory"):
        takes_several(stack)
    with pytest.raises(type(error), match="memory"):
        LayerStack(tiny_model())


def test_a_run_by_the_cuda_executor_on_this_processor(lpk: Lpk, base: list[Any], finished: Any, tmp_path: Path) -> None:
    done = lpk(*base, "--executor", "cuda", "-O", "executor.tokens=64", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "executor" in (tmp_path / "run" / "recipe.yaml").read_text()
    ours, theirs = contents(tmp_path / "run"), contents(finished[0])
    assert ours["model/model.safetensors"] == theirs["model/model.safetensors"]


def test_a_run_goes_on_with_the_calls_that_it_began_with(lpk: Lpk, base: list[Any], tmp_path: Path) -> None:
    """Found by timing, they would differ from time to time, and with them the last bits of losses."""
    out = tmp_path / "run"
    found = out / "executor.json"

    def measured_and_known() -> tuple[int, int]:
        search = [*base, "--searcher", "one-shot", "--executor", "cuda", "--dtype", "bfloat16", "--out", out]
        done = lpk(*search, "--json", "--quiet")
        assert done.returncode == 0, done.stderr
        (out / "cost.json").unlink()  # as if it had been killed
        cost = json.loads(done.stdout)["cost"]
        return cost["measurements"], cost["measurements_found_in_memo"]

    measured, known = measured_and_known()
    assert (measured > 0, known) == (True, 0)
    calls = {dtype: {f"torch.{dtype}": 7} for dtype in ("bfloat16", "float32")}
    assert json.loads(found.read_text()).keys() == calls.keys()
    found.write_text(json.dumps(calls))  # no timing finds that
    assert measured_and_known() == (2 * measured, 0)  # other calls, other roundings
    assert measured_and_known() == (2 * measured, measured)
    assert json.loads(found.read_text()) == calls


on_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@on_a_card
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_on_a_card_losses_agree_with_the_processors(architecture: str, tmp_path: Path) -> None:
    here = LayerStack(tiny_model(architecture))
    plain = Evaluator(here, objective("kl"), ragged(), Memo(tmp_path / "plain"), "x").losses(ALL_MASKS)
    card = LayerStack(tiny_model(architecture).cuda())
    ids = Sequences("ragged", ragged().ids, device="cuda")
    measured = Evaluator(card, objective("kl"), ids, Memo(tmp_path / "card"), "x", executor=many())
    for ours, theirs in zip(measured.losses(ALL_MASKS), plain, strict=True):
        assert ours.items == pytest.approx(theirs.items, rel=1e-3, abs=1e-4)


@on_a_card
def test_on_a_card_losses_in_bfloat16_are_near_those_in_float32(tmp_path: Path) -> None:
    """A rounding of 16 bits is 2**-9; on a processor losses of this model differ by 0.010 nats at most."""
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        ids = Sequences("ragged", ragged().ids, device="cuda")
        stack = LayerStack(tiny_model().to(dtype).cuda(), products=str(dtype).removeprefix("torch."))
        measured = Evaluator(stack, objective("perplexity"), ids, Memo(tmp_path / str(dtype)), "x", executor=many())
        losses.append(measured.losses(ALL_MASKS))
    for exact, narrow in zip(*losses, strict=True):
        assert narrow.items == pytest.approx(exact.items, abs=0.05)


@on_a_card
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_a_card_layers_read_from_the_disk_are_those_in_memory(stored: str, dtype: str, tmp_path: Path) -> None:
    """Copied through pinned memory on a stream of their own, into memory that a layer before may still compute with."""
    tiny_model("llama", layers=12).to(getattr(torch, stored)).save_pretrained(tmp_path / "model")
    spec, ids = ModelSpec(str(tmp_path / "model"), dtype, "cuda"), Sequences("ragged", ragged().ids, device="cuda")
    streamed, masks = spec.stream(), [LayerMask(12, (layer, layer + 1)) for layer in range(11)]
    assert streamed.fingerprint == fingerprint(spec.load())
    whole, read = (
        Evaluator(stack, objective("perplexity"), ids, Memo(tmp_path / name), "x", executor=many(64))
        for name, stack in (("whole", LayerStack(spec.load())), ("read", LayerStack(streamed.model, streamed)))
    )
    whole._by_layer = True  # in the same calls
    assert read.losses(masks) == whole.losses(masks)


def test_a_plan_runs_nothing_and_what_fills_is_found_without_graphs(tmp_path: Path) -> None:
    stack, graphs = LayerStack(tiny_model()), list[bool]()
    hooks = [
        module.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()))
        for module in stack.model.modules()
    ]
    memo = Memo(tmp_path / "memo")
    measured = Evaluator(stack, objective("perplexity"), ragged(), memo, "x", executor=many(most=256))
    ran = len(graphs)
    assert ran
    planned = measured.plan(ALL_MASKS)
    assert len(graphs) == ran
    measured.losses(ALL_MASKS)
    assert not any(graphs)
    assert memo.cost() == planned.cost
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("tokens", [1, 96, 100_000])
@pytest.mark.parametrize("states", [12, 64])
def test_a_call_larger_than_the_budget_takes_no_sharing_away(
    states: int, tokens: int, streams: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, items = LayerStack(tiny_model()), random_sequences(4, 24)
    monkeypatch.setattr(stack, "streams", streams)
    masks = [LayerMask(6, (layer,)) for layer in range(6)]
    budget = states * 24 * stack.token_bytes
    measured = Evaluator(
        stack, objective("perplexity"), items, Memo(tmp_path / "memo"), "x", budget, executor=many(tokens)
    )
    planned = measured.plan(masks)
    assert planned.cost.naive_layer_forwards == 4 * 30
    assert planned.cost.layer_forwards == 4 * Trie.of(masks).edges() == 80
    assert planned.peak_state_bytes <= budget
    measured.losses(masks)
    assert measured.memo.cost() == planned.cost
