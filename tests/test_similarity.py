"""Distances between depths: exact, padding and all."""

from __future__ import annotations

import math

import pytest
import torch

from lpk.core.pruning.similarity import cosines


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tokens", [1, 31, 32, 33, 100])
def test_cosines_are_those_of_float64(tokens: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    state = torch.randn(3, tokens, 48)
    states = []
    for _ in range(7):
        state = state + 1e-3 * torch.randn(3, tokens, 48)  # near 1, where float32 would not do
        states.append((state * 100).to(dtype))
    positions = torch.rand(3, tokens) < 0.7
    positions[0, 0] = True
    each = list(cosines(iter(states), positions))
    assert [one.shape[-1] for one in each] == positions.sum(1).tolist()
    found = torch.cat(each, -1)
    assert found.shape == (7, 7, int(positions.sum()))
    assert found.dtype == torch.float64
    for a in range(7):
        for b in range(7):
            x, y = (states[depth][positions].double() for depth in (a, b))
            wanted = (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))
            torch.testing.assert_close(found[a, b], wanted, rtol=0, atol=1e-14)
    assert found.arccos().isfinite().all()


def test_a_state_of_zeros_is_like_none_and_angles_keep_their_digits() -> None:
    angle = 1e-5
    states = [torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[math.cos(angle), math.sin(angle)]]]), torch.zeros(1, 1, 2)]
    (found,) = (each[..., 0] for each in cosines(states, torch.ones(1, 1, dtype=torch.bool)))
    assert found[0, 1].arccos().item() == pytest.approx(angle, rel=1e-2)  # in float32 it would be 0
    assert found[2, :2].tolist() == [0, 0]
