"""The head: losses without whole logits are those of whole logits, to the last bits that float32 has."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy, linear
from torch.utils._python_dispatch import TorchDispatchMode

from lpk.core.contracts import Batch
from lpk.core.errors import UsageError
from lpk.core.pruning import head, packing
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


def nll(made: LinearHead, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    log_partition, of_targets = made.log_partition(features, targets)
    return log_partition - of_targets


def same_or_near(one: torch.Tensor, other: torch.Tensor, exact: bool) -> bool:
    """The same bits; where sums themselves differ, by no more than a 16-bit rounding of logits of up to 32."""
    return torch.equal(one, other) if exact else bool((one - other).abs().max() <= 32 * 2**-8)


def rows_matter(weight: torch.Tensor, products: str) -> bool:
    """Whether this processor's sums depend on how many rows a product has, as oneDNN's bfloat16 ones may with AMX."""
    dtype = getattr(torch, products)
    rows = torch.randn(1000, weight.shape[1]).to(dtype)
    words = weight[: head.COLUMNS["cpu"]].to(dtype).T
    whole = rows @ words
    firsts = [head._parts(len(rows), most)[0] for most in CHUNKS]
    return not all(torch.equal(rows[at] @ words, whole[at]) for at in firsts)


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
    torch.testing.assert_close(
        nll(made, features, targets), cross_entropy(logits, targets, reduction="none"), rtol=0, atol=1e-5
    )


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


#: The model's precision, that of the head's products, and whether weights are packed.
PRODUCTS = pytest.mark.parametrize(
    ("dtype", "products", "packs"),
    [
        (torch.float32, "float32", False),
        (torch.bfloat16, "float32", False),
        (torch.bfloat16, "bfloat16", False),
        (torch.bfloat16, "bfloat16", True),
    ],
    ids=["float32", "bfloat16-in-float32", "bfloat16", "packed"],
)


@PRODUCTS
@pytest.mark.parametrize("tokens", [2, 9, 17, 130, 300])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_losses_are_the_same_bits_whatever_the_chunk(
    architecture: str, tokens: int, dtype: torch.dtype, products: str, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(architecture)
    model.config.max_position_embeddings = 512
    stack = LayerStack(model.to(dtype), products=products)
    assert bool(stack.pack(2**30 if packs else 0)) == (packs and packing._multiplies())
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
    exact = not rows_matter(model.get_output_embeddings().weight.detach(), products)
    for other in found[1:]:
        assert all(same_or_near(a, b, exact) for a, b in zip(found[0], other, strict=True))


@PRODUCTS
@pytest.mark.parametrize("rows", [1, 15, 16, 47, 300, 1023])
def test_a_real_heads_products_do_not_depend_on_the_chunk(
    rows: int, dtype: torch.dtype, products: str, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    made = LinearHead((), embeddings((torch.randn(5000, 576) * 0.1).to(dtype)), products)
    made, taken = made.packed(2**30 if packs else 0)
    assert bool(taken) == bool(made.blocks) == (packs and packing._multiplies())
    exact = not rows_matter(made.weight, products)
    features, targets = torch.randn(rows, 576).to(dtype), torch.randint(0, 5000, (rows,))
    losses = []
    for chunk in CHUNKS:
        monkeypatch.setattr(head, "ROWS", chunk)
        with torch.inference_mode():
            losses.append(nll(made, features, targets))
    assert all(same_or_near(losses[0], other, exact) for other in losses)


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
    torch.testing.assert_close(found.double(), nll(made, features, targets), rtol=0, atol=1e-5)
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
        found = replace(made, products=products).fused_nll(features, torch.arange(20))
        assert (found is not None) == (len(liger["reductions"]) == 1) == (uses == 1)


def test_the_fused_kernel_is_launched_on_the_card_where_its_features_are(
    liger: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    current = 0

    def exchange(device: int) -> int:
        nonlocal current
        before, current = current, device
        return before

    monkeypatch.setattr("torch.cuda._exchange_device", exchange)
    monkeypatch.setattr("torch.cuda._maybe_exchange_device", exchange)
    on: list[int] = []
    functional: Any = sys.modules["liger_kernel.transformers.functional"]
    kernel = functional.liger_fused_linear_cross_entropy

    def launched(*given: Any, **options: Any) -> torch.Tensor:
        on.append(current)
        return kernel(*given, **options)  # type: ignore[no-any-return]

    functional.liger_fused_linear_cross_entropy = launched
    with FakeTensorMode():
        features, weight = (torch.empty(n, 64, dtype=torch.bfloat16, device="cuda:1") for n in (30, 100))
        targets = torch.zeros(30, dtype=torch.int64, device="cuda:1")
        assert LinearHead((), embeddings(weight), "bfloat16").fused_nll(features, targets) is not None
    assert on == [1]
    assert current == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_card_the_fused_kernel_gives_the_likelihoods_of_the_head(dtype: torch.dtype) -> None:
    pytest.importorskip("liger_kernel")
    made, features = a_head(40, dtype=dtype)
    rows, weight, targets = features.cuda(), made.weight.cuda(), torch.arange(40).cuda()
    fused = fused_cross_entropy("cuda")
    assert fused is not None
    expected = cross_entropy(linear(rows.double(), weight.double()), targets, reduction="none")
    near = 1e-4 if dtype == torch.float32 else 0.2  # it rounds logits, of up to 25 here, to 16 bits
    torch.testing.assert_close(fused(rows, weight, targets, None).double(), expected, rtol=0, atol=near)


class Products(TorchDispatchMode):
    """Notes every product of matrices: which it is, and the shape of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket is torch.ops.aten.mm:
            self.seen.append((function._overloadname, tuple(result.shape)))
        return result


def test_sums_of_16_bit_products_stay_in_float32_on_a_card() -> None:
    def used(device: str) -> str:
        with FakeTensorMode():  # of a card there is but the shape
            rows, weight = (torch.empty(n, 8, dtype=torch.bfloat16, device=device) for n in (30, 100))
            logits = torch.empty(30, 100, device=device)
            with Products() as products:
                head._multiply(rows, weight, logits)
        ((name, shape),) = products.seen
        assert shape == (30, 100)
        return name

    assert used("cuda") == "dtype_out"
    assert used("cpu") == "default"  # it has no such product


def test_blocks_are_as_large_as_is_right_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(head.COLUMNS, "meta", 2000)
    made, features = a_head(30)
    on_meta = LinearHead((), embeddings(made.weight.to("meta")))
    with Products() as products:
        on_meta.log_partition(features.to("meta"), torch.zeros(30, dtype=torch.int64, device="meta"))
    assert [shape for _, shape in products.seen] == [(30, 2000), (30, 1000)]


@pytest.mark.parametrize("columns", [1000, 3000, 8192])
def test_losses_agree_however_large_blocks_are(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made, features = a_head(30, bias=True)
    targets = torch.arange(30)
    expected = nll(made, features, targets)
    monkeypatch.setitem(head.COLUMNS, "cpu", columns)
    torch.testing.assert_close(nll(made, features, targets), expected, rtol=0, atol=1e-5)


def test_likelihood_and_kl_of_the_same_outputs_are_made_of_one_product() -> None:
    made, features = a_head(30)
    batch = Batch(torch.zeros(1, 31, dtype=torch.int64), torch.tensor([31]))
    dense, outputs = (LinearOutputs(made, batch, torch.cat([x, x[:1]])[None]) for x in (features, features + 0.1))
    outputs.token_kl(dense)  # what is kept of the dense model is made once for all masks
    again = LinearOutputs(made, batch, outputs.hidden)
    with Products() as products:
        again.token_nll()
        again.token_kl(dense)
    assert [shape for _, shape in products.seen] == [(30, 1024), (30, 1024), (30, 952)]
