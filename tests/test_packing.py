"""Packed weights: the same bits as the model's own products, whoever asks, and only where they may be used."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluator import ALL_MASKS, objective
from torch import nn
from torch.nn.functional import linear

from lpk.core.pruning import packing
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.stack import LayerStack
from lpk.testing import random_sequences, tiny_model
from lpk.testing.tiny import ARCHITECTURES

PLENTY = 2**30

pytestmark = pytest.mark.skipif(not packing._multiplies(), reason="oneDNN multiplies no bfloat16 on this processor")


def packed_linear(columns: int, inner: int, bias: bool) -> nn.Linear:
    module = nn.Linear(inner, columns, bias, dtype=torch.bfloat16)
    assert packing.pack([module], PLENTY) == module.weight.nbytes
    assert isinstance(module.forward, packing.PackedProduct)
    return module


def plain(module: nn.Linear, rows: torch.Tensor) -> torch.Tensor:
    return linear(rows, module.weight, module.bias)


@given(st.integers(1, 700), st.integers(1, 300), st.integers(1, 300), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=20)
def test_a_packed_product_is_the_plain_one_bit_for_bit(
    rows: int, inner: int, columns: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    module = packed_linear(columns, inner, bias)
    given_rows = torch.randn(1, rows, inner).to(torch.bfloat16)
    with torch.inference_mode():
        assert torch.equal(module(given_rows), plain(module, given_rows))


def test_a_weight_that_was_changed_or_replaced_is_what_counts() -> None:
    module, rows = packed_linear(32, 64, bias=True), torch.randn(5, 64).to(torch.bfloat16)
    with torch.no_grad():
        before = module(rows)
        module.weight.mul_(2)
        assert torch.equal(module(rows), plain(module, rows))
        assert not torch.equal(module(rows), before)
        module.weight.data = torch.randn(32, 64).to(torch.bfloat16)
        assert torch.equal(module(rows), plain(module, rows))
        other = {"weight": torch.zeros(32, 64, dtype=torch.bfloat16)}
        assert torch.equal(torch.func.functional_call(module, other, (rows,)), module.bias.expand(5, -1))


def test_gradients_are_those_of_the_weight_itself() -> None:
    module, rows = packed_linear(32, 64, bias=False), torch.randn(5, 64).to(torch.bfloat16)
    module(rows).sum().backward()
    (expected,) = torch.autograd.grad(plain(module, rows).sum(), module.weight)
    assert torch.equal(module.weight.grad, expected)


def test_no_rows_give_no_rows() -> None:
    module = packed_linear(32, 64, bias=True)
    with torch.inference_mode():
        assert module(torch.empty(0, 64, dtype=torch.bfloat16)).shape == (0, 32)


def test_only_bfloat16_is_packed_and_all_of_it_or_nothing() -> None:
    narrow, wide = nn.Linear(8, 8, dtype=torch.bfloat16), nn.Linear(8, 8)
    assert packing.pack([narrow, narrow, wide], narrow.weight.nbytes) == 0
    assert packing.pack([wide], PLENTY) == 0
    assert packing.pack([narrow, wide], narrow.weight.nbytes) == narrow.weight.nbytes
    assert "forward" not in vars(wide)


def test_a_shape_whose_bits_differ_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Off(packing.PackedProduct):
        def __call__(self, input: torch.Tensor) -> torch.Tensor:
            return super().__call__(input) * (1 + 2**-7)

    monkeypatch.setattr(packing, "PackedProduct", Off)
    module = nn.Linear(64, 32, dtype=torch.bfloat16)
    assert packing.pack([module], PLENTY) == 0
    assert "forward" not in vars(module)


def test_copies_go_with_the_model() -> None:
    module = packed_linear(8, 8, bias=False)
    copy: Any = weakref.ref(module.forward)
    gc.disable()
    try:
        del module
        assert copy() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_in_bfloat16_are_the_same_packed_and_plain(architecture: str, tmp_path: Path) -> None:
    def losses(packed: bool) -> list[tuple[float, ...]]:
        stack = LayerStack(tiny_model(architecture).to(torch.bfloat16), products="bfloat16")
        linears = any(isinstance(m, nn.Linear) for layer in stack.modules for m in layer.modules())  # GPT-2 has none
        assert bool(stack.pack(PLENTY if packed else 0)) == (packed and linears)
        memo = Memo(tmp_path / f"{packed}.sqlite")
        measured = Evaluator(stack, objective("kl"), random_sequences(1, 33), memo, "x")
        return [loss.items for loss in measured.losses(ALL_MASKS[::21])]

    assert losses(packed=True) == losses(packed=False)


def test_what_runs_in_float32_is_not_packed() -> None:
    assert LayerStack(tiny_model()).pack(PLENTY) == 0
