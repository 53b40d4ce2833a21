"""The head: losses without whole logits are those of whole logits, to the last bits that float32 has."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from lpk.core.contracts import Batch
from lpk.core.errors import UsageError
from lpk.core.pruning import head
from lpk.core.pruning.head import ChunkedOutputs, LinearHead, LinearOutputs, fused_cross_entropy
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.parts import kernels
from lpk.core.pruning.stack import LayerStack
from lpk.testing import random_sequences, tiny_model
from lpk.testing.tiny import ARCHITECTURES

CHUNKS = (32, 33, 64, 100, 128, 1000)


def embeddings(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Module:
    made = nn.Linear(1, 1, bias=bias is not None)
    made.weight = nn.Parameter(weight, requires_grad=False)
    made.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return made


def a_head(rows: int, bias: bool = False, dtype: torch.dtype = torch.float32) -> tuple[LinearHead, torch.Tensor]:
    """A head of 3,000 words, no multiple of a block, and features that make peaked predictions."""
    torch.manual_seed(0)
    weight = torch.randn(3000, 64).to(dtype)
    return LinearHead((), embeddings(weight, torch.randn(3000).to(dtype) if bias else None)), (
        torch.randn(rows, 64) * 0.7
    ).to(dtype)


def exact_logits(made: LinearHead, features: torch.Tensor) -> torch.Tensor:
    """The logits in float64."""
    return linear(features.double(), made.weight.double(), None if made.bias is None else made.bias.double())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_linear_heads_are_found_and_others_are_left_to_the_model(architecture: str, dtype: torch.dtype) -> None:
    stack = LayerStack(tiny_model(architecture).to(dtype))
    assert stack.shares_prefixes
    batch = next(random_sequences(length=31).batches())
    with torch.inference_mode():
        *_, last = stack.states(batch)
        outputs = stack.outputs(batch, last)
        whole = stack.model(batch.ids, use_cache=False).logits.float()
    assert isinstance(outputs, ChunkedOutputs if architecture == "gemma2" else LinearOutputs)  # it caps its logits
    nll = cross_entropy(whole[0, :-1], batch.ids[0, 1:], reduction="none")
    # A 16-bit model's own logits are rounded: by up to 0.4 % of what they are.
    tolerance = 1e-5 if dtype == torch.float32 or architecture == "gemma2" else 2 * 2**-8 * whole.abs().max().item()
    torch.testing.assert_close(outputs.token_nll()[0].float(), nll, rtol=1e-5, atol=tolerance)
    if stack.head is not None:
        assert len(stack.head.before) == 1  # the final norm
        with torch.inference_mode():
            features = stack.head.features(last)
            assert torch.equal(linear(features, stack.head.weight, stack.head.bias).float(), whole)


def test_a_bias_and_a_head_without_a_norm_are_found() -> None:
    layer = nn.Linear(8, 40)
    found = LinearHead.found(layer, torch.randn(1, 5, 8), layer)
    assert found is not None
    assert found.before == ()
    assert found.bias is not None


@pytest.mark.parametrize(
    "change",
    [lambda z: 30 * torch.tanh(z / 30), lambda z: z * 0.25, lambda z: z + 1e-3],
    ids=["capped", "scaled", "moved"],
)
def test_a_head_that_is_more_than_a_product_is_not_taken_for_one(change: Any) -> None:
    layer = nn.Linear(8, 40)
    assert LinearHead.found(layer, torch.randn(1, 5, 8), lambda last: change(layer(last))) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
def test_losses_agree_with_float64(dtype: torch.dtype, bias: bool) -> None:
    made, features = a_head(200, bias, dtype)
    logits = exact_logits(made, features)
    targets = logits.argmax(-1)
    targets[::2] = torch.arange(0, 3000, 30)
    nll = made.nll(features, targets)
    torch.testing.assert_close(nll.double(), cross_entropy(logits, targets, reduction="none"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("apart", [0.0, 0.01, 1.0])
def test_kl_agrees_with_its_definition_in_float64(dtype: torch.dtype, bias: bool, apart: float) -> None:
    made, there = a_head(100, bias, dtype)
    here = (there.float() + apart * torch.randn(100, 64)).to(dtype)
    batch = Batch(torch.zeros(1, 101, dtype=torch.int64), torch.tensor([101]))
    outputs, dense = (LinearOutputs(made, batch, torch.cat([x, x[:1]])[None]) for x in (here, there))
    logs = [exact_logits(made, x).log_softmax(-1) for x in (here, there)]
    wanted = (logs[1].exp() * (logs[1] - logs[0])).sum(-1)
    kl = outputs.token_kl(dense)[0]
    torch.testing.assert_close(kl.double(), wanted, rtol=5e-6, atol=1.5e-5)
    if not apart:
        assert torch.equal(kl, torch.zeros_like(kl))
    chunked = [ChunkedOutputs(batch, lambda at, x=x: made.logits(x[at])[None]) for x in (here, there)]  # type: ignore[misc]
    torch.testing.assert_close(chunked[0].token_kl(chunked[1])[0].double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tokens", [2, 9, 17, 130, 300])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_losses_are_the_same_bits_whatever_the_chunk(
    architecture: str, tokens: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(architecture)
    model.config.max_position_embeddings = 512
    stack = LayerStack(model.to(dtype))
    batch = next(random_sequences(1, tokens).batches())
    found: list[list[torch.Tensor]] = []
    for chunk in CHUNKS:
        monkeypatch.setattr(head, "ROWS", chunk)
        monkeypatch.setattr(head, "CHUNK", chunk)
        with torch.inference_mode():
            states = list(stack.states(batch))
            dense, outputs = (stack.outputs(batch, state) for state in (states[-1], states[-2]))
            whole = torch.cat([logits for _, logits in outputs.chunks()], 1)
            found.append([outputs.token_nll(), outputs.token_kl(dense), whole])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("rows", [1, 15, 16, 47, 300, 1023])
def test_a_real_heads_products_do_not_depend_on_the_chunk(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    made = LinearHead((), embeddings(torch.randn(5000, 576) * 0.1))
    features, targets = torch.randn(rows, 576), torch.randint(0, 5000, (rows,))
    losses = []
    for chunk in CHUNKS:
        monkeypatch.setattr(head, "ROWS", chunk)
        losses.append(made.nll(features, targets))
    assert all(torch.equal(losses[0], other) for other in losses)


def test_parts_are_even_and_cover_everything() -> None:
    for length in range(1, 400):
        for most in (32, 33, 128):
            parts = head._parts(length, most)
            assert [at for part in parts for at in range(length)[part]] == list(range(length))
            assert all(min(length, most // 2) <= part.stop - part.start <= most for part in parts)


def test_chunks_give_the_whole_models_logits() -> None:
    stack = LayerStack(tiny_model())
    batch = next(random_sequences(1, 60).batches())
    mask = LayerMask(6, (1, 4))
    with torch.inference_mode():
        start = stack.start(batch)
        hidden = start.hidden
        for layer in mask.kept:
            hidden = stack.layer(layer, hidden, start)
        chunks = list(stack.outputs(batch, hidden).chunks())
        assert [position for at, _ in chunks for position in range(59)[at]] == list(range(59))
        torch.testing.assert_close(torch.cat([z for _, z in chunks], 1), stack.masked_logits(batch, mask)[:, :-1])


@pytest.fixture
def liger(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for liger-kernel, whose own kernel needs a GPU; what it was asked for, and whether it sums as older ones do."""
    asked: dict[str, Any] = {"sums": False, "reductions": []}

    def kernel(features: Any, weight: Any, targets: Any, bias: Any, reduction: str) -> torch.Tensor:
        asked["reductions"].append(reduction)
        return cross_entropy(linear(features, weight, bias), targets, reduction="sum" if asked["sums"] else reduction)

    functional = types.ModuleType("liger_kernel.transformers.functional")
    functional.liger_fused_linear_cross_entropy = kernel  # type: ignore[attr-defined]
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, functional.__name__, functional)
    monkeypatch.setattr(head, "find_spec", lambda name: name == "liger_kernel" or None)
    return asked


def test_the_fused_kernel_is_for_cuda_and_only_where_it_is_installed(
    liger: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = fused_cross_entropy("cuda")
    assert fused is not None
    assert fused_cross_entropy("cpu") is None
    made, features = a_head(20, bias=True)
    targets = torch.arange(20)
    found = fused(features, made.weight, targets, made.bias)
    torch.testing.assert_close(found.double(), made.nll(features, targets).double(), rtol=0, atol=1e-5)
    assert liger["reductions"] == ["none"]
    liger["sums"] = True
    with pytest.raises(UsageError, match="liger-kernel gives no loss for each token; upgrade it"):
        fused(features, made.weight, targets, made.bias)
    monkeypatch.setattr(head, "find_spec", lambda name: None)
    assert fused_cross_entropy("cuda") is None


def test_where_it_makes_losses_its_version_is_part_of_what_a_memo_knows_them_by(liger: dict[str, Any]) -> None:
    assert kernels("cpu") == ("lpk", "torch", "transformers")
    assert kernels("cuda:1") == ("lpk", "torch", "transformers", "liger-kernel")


def test_the_fused_kernel_multiplies_only_what_is_to_be_multiplied_in_its_own_precision(
    liger: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_card = fused_cross_entropy("cuda")
    monkeypatch.setattr(head, "fused_cross_entropy", lambda device: on_card)
    for products, dtype, uses in (
        ("float32", torch.float32, 1),
        ("float32", torch.bfloat16, 0),
        ("bfloat16", torch.bfloat16, 1),
    ):
        made, features = a_head(20, dtype=dtype)
        liger["reductions"].clear()
        replace(made, products=products).nll(features, torch.arange(20))
        assert len(liger["reductions"]) == uses
