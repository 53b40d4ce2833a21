"""The layer stack is the model: replayed, masked, and saved without layers it computes what the model does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from lpk.core.contracts import Batch
from lpk.core.errors import UsageError
from lpk.core.pruning import checkpoint, speed
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.stack import LayerStack
from lpk.testing import random_sequences, tiny_model
from lpk.testing.tiny import ARCHITECTURES, VOCABULARY


@pytest.fixture(scope="module", params=ARCHITECTURES)
def stack(request: pytest.FixtureRequest) -> LayerStack:
    return LayerStack(tiny_model(request.param))


def naive_logits(architecture_model: Any, mask: LayerMask, ids: torch.Tensor) -> torch.Tensor:
    """The masked model by the plainest means: a forward whose removed layers are hooked to give back their input."""
    stack = LayerStack(architecture_model)
    hooks = []
    for layer in mask.removed:

        def give_back(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            return args[0] if args else kwargs["hidden_states"]

        hooks.append(stack.modules[layer].register_forward_hook(give_back, with_kwargs=True))
    try:
        with torch.inference_mode():
            return architecture_model(ids, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()


def test_every_architecture_is_taken_apart(stack: LayerStack) -> None:
    assert stack.layers == 6
    assert stack.shares_prefixes


def test_replay_gives_the_dense_logits_bit_for_bit(stack: LayerStack) -> None:
    batch = next(random_sequences(length=31).batches())
    with torch.inference_mode():
        *_, last = stack.states(batch)
        replayed = stack.logits(batch, last, slice(0, None))
        assert torch.equal(replayed, stack.model(batch.ids, use_cache=False).logits)
        # A product of few rows goes through other code on some processors, and rounds elsewhere.
        torch.testing.assert_close(replayed[:, 3:9], stack.logits(batch, last, slice(3, 9)))


def test_masked_logits_are_those_of_hooked_out_layers(stack: LayerStack) -> None:
    batch = next(random_sequences(length=31).batches())
    mask = LayerMask(6, (1, 2, 4))
    with torch.inference_mode():
        start = stack.start(batch)
        hidden = start.hidden
        for layer in mask.kept:
            hidden = stack.layer(layer, hidden, start)
        replayed = stack.logits(batch, hidden, slice(0, None))
    assert torch.equal(replayed, naive_logits(stack.model, mask, batch.ids))
    with torch.inference_mode():
        assert torch.equal(replayed, stack.masked_logits(batch, mask))


def test_states_are_the_inputs_of_the_layers_and_the_last_is_before_the_final_norm(stack: LayerStack) -> None:
    batch = next(random_sequences().batches())
    with torch.inference_mode():
        states = list(stack.states(batch))
        theirs = stack.model(batch.ids, use_cache=False, output_hidden_states=True).hidden_states
    assert len(states) == 7
    for ours, hidden in zip(states[:-1], theirs[:-1], strict=True):
        assert torch.equal(ours, hidden)
    assert not torch.equal(states[-1], theirs[-1])  # transformers' last one has been through the norm


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("removed", [(1, 2, 4), (0,), (5,), (0, 1, 2, 3, 4)], ids=str)
def test_the_saved_model_computes_what_the_masked_one_does(
    architecture: str, removed: tuple[int, ...], tmp_path: Path
) -> None:
    stack, mask = LayerStack(tiny_model(architecture)), LayerMask(6, removed)
    ids = next(random_sequences(1, 31).batches()).ids
    masked = naive_logits(stack.model, mask, ids)
    checkpoint.save(stack, mask, None, tmp_path / "model", "card")
    saved, report = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert saved.config.num_hidden_layers == len(mask.kept)
    with torch.inference_mode():
        assert torch.equal(saved(ids, use_cache=False).logits, masked)
        cached = saved(ids[:, :20], use_cache=True)
        steps = [cached.logits]
        past = cached.past_key_values
        for position in range(20, 31):  # one by one, past the sliding window of 8
            step = saved(ids[:, position : position + 1], past_key_values=past, use_cache=True)
            steps.append(step.logits)
            past = step.past_key_values
    torch.testing.assert_close(torch.cat(steps, 1), masked, rtol=1e-4, atol=1e-4)
    written = saved.generate(ids[:, :5], attention_mask=torch.ones_like(ids[:, :5]), max_new_tokens=12, do_sample=False)
    assert written.shape[1] > 5


def test_a_model_that_sees_too_is_cut_where_its_configuration_speaks_of_text(tmp_path: Path) -> None:
    from transformers import Gemma3Config

    _, text = ARCHITECTURES["gemma3"]
    sees = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config={**text, "num_hidden_layers": 6},
        vision_config={**sees, "image_size": 16, "patch_size": 8},
        mm_tokens_per_image=4,
    )
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data = parameter.bfloat16().float()
    assert type(model).__name__ == "Gemma3ForConditionalGeneration"
    stack, mask, types = LayerStack(model), LayerMask(6, (1, 3)), config.text_config.layer_types
    ids = next(random_sequences(1, 31).batches()).ids
    masked, before = naive_logits(model, mask, ids), config.to_dict()
    assert all(rate > 0 for rate in speed.tokens_per_second(stack, {"pruned": mask})["pruned"].values())
    assert config.to_dict() == before
    checkpoint.save(stack, mask, None, tmp_path / "model", "card", "bfloat16")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert saved.config.text_config.layer_types == [types[layer] for layer in mask.kept]
    with torch.inference_mode():
        assert torch.equal(saved(ids, use_cache=False).logits, masked)
    written = json.loads((tmp_path / "model" / "config.json").read_text())
    parts = [part for part in (written, *written.values()) if isinstance(part, dict)]
    assert {part["dtype"] for part in parts if "dtype" in part} == {"bfloat16"}


def test_sliding_layer_types_follow_their_layers() -> None:
    stack = LayerStack(tiny_model("gemma3"))
    types = stack.model.config.layer_types
    assert len(set(types)) == 2
    mask = LayerMask(6, (0, 1, 2))
    assert checkpoint.pruned_config(stack.model.config, mask).layer_types == [types[layer] for layer in mask.kept]


def test_speed_is_measured_really_without_the_layers_and_leaves_the_dense_model_as_it_was(
    stack: LayerStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "ROUNDS", 1)
    ids, mask, ran = next(random_sequences().batches()).ids, LayerMask(6, (1, 3)), dict.fromkeys(range(6), 0)
    masked = naive_logits(stack.model, mask, ids)
    with torch.inference_mode():
        before = stack.model(ids).logits
        config = stack.model.config.to_dict()
        with checkpoint.without_layers(stack, mask) as model:
            assert torch.equal(model(ids, use_cache=False).logits, masked)

        def count(layer: int) -> None:
            ran[layer] += 1

        hooks = [m.register_forward_hook(lambda *_, n=n: count(n)) for n, m in enumerate(stack.modules)]  # type: ignore[misc]
        rates = speed.tokens_per_second(stack, {"dense": LayerMask(6), "pruned": mask})
        for hook in hooks:
            hook.remove()
        assert list(rates) == ["dense", "pruned"]
        assert all(rate > 0 for ways in rates.values() for rate in ways.values())
        assert ran[0] == ran[2] == 2 * ran[1] == 2 * ran[3] > 0
        assert torch.equal(stack.model(ids).logits, before)
        assert stack.model.config.to_dict() == config


def test_a_model_that_changes_with_its_layers_places_is_not_saved(tmp_path: Path) -> None:
    # GPT-2 can scale attention by a layer's index: the same layer at another place computes something else.
    model = tiny_model("gpt2")
    model.config.scale_attn_by_inverse_layer_idx = True
    for layer in model.transformer.h:
        layer.attn.scale_attn_by_inverse_layer_idx = True
        layer.attn.scaling = layer.attn.head_dim**-0.5 / (layer.attn.layer_idx + 1)
    with pytest.raises(UsageError, match="nothing was written"):
        checkpoint.save(LayerStack(model), LayerMask(6, (1,)), None, tmp_path / "model", "card")
    assert list(tmp_path.iterdir()) == []


class SharedState(nn.Module):
    """A causal model whose layers hand each other state behind the residual stream, as some with shared keys do."""

    def __init__(self) -> None:
        super().__init__()
        from types import SimpleNamespace

        self.embed, self.head = nn.Embedding(VOCABULARY, 16), nn.Linear(16, VOCABULARY)
        self.notes: dict[str, torch.Tensor] = {}
        self.layers = nn.ModuleList([Noting(self.notes) for _ in range(4)])
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=VOCABULARY))

    def forward(self, ids: torch.Tensor, use_cache: bool = False) -> Any:
        from types import SimpleNamespace

        hidden = self.embed(ids)
        self.notes["sum"] = torch.zeros_like(hidden)
        for layer in self.layers:
            hidden = layer(hidden)
        return SimpleNamespace(logits=self.head(hidden))


class Noting(nn.Module):
    def __init__(self, notes: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.notes, self.linear = notes, nn.Linear(16, 16)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        self.notes["sum"] = self.notes["sum"] + hidden_states
        return hidden_states + self.linear(self.notes["sum"])


def test_layers_that_share_state_are_found_out_and_evaluated_by_whole_forwards() -> None:
    torch.manual_seed(0)
    model: Any = SharedState().eval()
    stack = LayerStack(model)
    assert stack.layers == 4
    assert not stack.shares_prefixes
    batch = Batch(torch.arange(3, 15)[None], torch.tensor([12]))
    mask = LayerMask(4, (1,))
    with torch.inference_mode():
        masked = stack.masked_logits(batch, mask)
        assert len(list(stack.states(batch))) == 5
        del model.layers[1]
        assert torch.equal(masked, model(batch.ids).logits)


def test_a_model_without_a_chain_of_layers_is_refused() -> None:
    model: Any = SharedState().eval()
    model.layers = nn.ModuleList([model.layers[0]])
    with pytest.raises(UsageError, match="no stack of layers"):
        LayerStack(model)


def test_what_scorers_ask_for_is_counted_as_it_runs() -> None:
    stack, ran = LayerStack(tiny_model()), 0

    def count(*_: object) -> None:
        nonlocal ran
        ran += 1

    for layer in stack.modules:
        layer.self_attn.register_forward_hook(count)
    batch = Batch(torch.randint(0, VOCABULARY, (3, 12)), torch.tensor([12, 9, 12]))
    with torch.inference_mode():
        next(stack.states(batch))
        assert stack.layer_forwards == ran == 0
        list(stack.states(batch))
        assert stack.layer_forwards == ran == 3 * 6
    list(stack.gradients(batch))
    assert stack.layer_forwards == ran == 3 * 6 + 2 * 3 * 6


@pytest.mark.parametrize("stored", ["bfloat16", "float16", ""])
def test_weights_are_stored_as_narrow_as_they_came(stored: str, tmp_path: Path) -> None:
    stack = LayerStack(tiny_model("gemma3"))  # tied embeddings: one tensor, stored once
    if stored:
        for parameter in stack.model.parameters():
            parameter.data = parameter.data.to(getattr(torch, stored)).float()
    mask = LayerMask(6, (2,))
    weights = checkpoint.checkpoint_bytes(stack, mask, stored or "bfloat16")
    checkpoint.save(stack, mask, None, tmp_path / "narrow", "card", stored or "bfloat16")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "narrow", dtype="auto")
    assert str(saved.dtype) == f"torch.{stored or 'float32'}"
    bytes_written = (tmp_path / "narrow" / "model.safetensors").stat().st_size
    assert 0 < bytes_written - weights < 10_000


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
def test_gradients_layer_by_layer_are_those_of_one_backward_pass(architecture: str) -> None:
    stack = LayerStack(tiny_model(architecture))
    (batch,) = random_sequences(1, 17).batches()
    with torch.inference_mode():  # as a scorer is called
        ours = list(stack.gradients(batch))
    assert [each.layer for each in ours] == list(reversed(range(stack.layers)))
    stack.model(batch.ids, labels=batch.ids, use_cache=False).loss.backward()
    for each in ours:
        for name, parameter in stack.modules[each.layer].named_parameters():
            torch.testing.assert_close(each.weights[name], parameter.grad, rtol=1e-4, atol=1e-6)
    stack.model.zero_grad()


def test_gradients_of_hidden_states_are_finite_differences_of_the_loss_of_what_is_scored() -> None:
    stack = LayerStack(tiny_model().double())
    ids = torch.randint(0, VOCABULARY, (2, 12))
    scored = torch.arange(12)[None] >= torch.tensor([[5], [3]])
    batch = Batch(ids, torch.tensor([12, 9]), scored)
    found = [each for each in stack.gradients(batch) if each.layer == 2]
    assert [each.leaving.shape[1] for each in found] == [12, 9]
    for row, each in enumerate(found):
        length = int(batch.lengths[row])
        one = Batch(ids[row : row + 1, :length], batch.lengths[row : row + 1], scored[row : row + 1, :length])

        def loss(step: float, one: Batch = one, at: torch.Tensor = each.leaving) -> float:
            with torch.no_grad():
                start = stack.start(one)
                hidden = at + step * torch.ones_like(at)
                for layer in range(3, stack.layers):
                    hidden = stack.layer(layer, hidden, start)
                logits = stack.logits(one, hidden, slice(0, -1))
                nll = torch.nn.functional.cross_entropy(logits[0], one.ids[0, 1:], reduction="none")
                return float(nll[one.predicted()[0]].mean())

        slope = (loss(1e-3) - loss(-1e-3)) / 2e-3  # norms compute in float32: smaller steps drown in it
        assert float(each.hidden.sum()) == pytest.approx(slope, rel=1e-3)
