"""Scorers of hidden states and of losses, each against a naive second computation or a closed form."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma
from scipy.stats import norm, rankdata
from test_evaluator import reference_nll
from torch import Tensor

import lpk.testing
from lpk.core.contracts import Batch, LayerScores, Loss
from lpk.core.errors import UsageError
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Measured, Sequences, Together
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.similarity import sampled_states
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed
from lpk.plugins.scorers.cka import cka
from lpk.plugins.scorers.lr_score import redundancy, slices
from lpk.plugins.scorers.mutual_information import gaussian, ksg, principal
from lpk.plugins.scorers.shapley import fitted, mean_marginals, rotations, stratified
from lpk.testing import random_sequences, tiny_model

LAYERS = 6
SCORERS = [
    entry.name for entry in installed().entries if entry.kind == "scorer" and entry.provider.distribution == "lpk"
]
EVERY_OPTION: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in SCORERS),
    ("cka", {"unbiased": False}),
    ("mutual-information", {"estimator": "ksg"}),
    ("logit-lens", {"measure": "kl"}),
]


@pytest.mark.parametrize(
    ("name", "check"),
    [(name, check) for name in SCORERS for check in lpk.testing.checks("scorer", name)],
    ids=lambda value: getattr(value, "name", value),
)
def test_conformance(name: str, check: lpk.testing.Check) -> None:
    check()


@pytest.fixture(scope="module")
def stack() -> LayerStack:
    return LayerStack(tiny_model(layers=LAYERS, seed=2))


@pytest.fixture(scope="module")
def sequences() -> Sequences:
    whole = random_sequences(5, 24, seed=3).ids
    return Sequences("ragged", tuple(ids[:length] for ids, length in zip(whole, (24, 9, 17, 24, 13), strict=True)))


@pytest.fixture(scope="module")
def calibration(
    stack: LayerStack, sequences: Sequences, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measured]:
    objective: Any = installed().find("objective", "perplexity").create()
    memo = Memo(tmp_path_factory.mktemp("scorers") / "memo")
    yield Measured(sequences, Evaluator(stack, objective, sequences, memo, "scorers").losses)
    memo.close()


@pytest.fixture(scope="module")
def states(stack: LayerStack, sequences: Sequences) -> list[Tensor]:
    """Of every real token, by transformers itself but for the last, which it gives after the norm: (tokens, hidden)."""
    with torch.inference_mode():
        whole = [stack.model(batch.ids, output_hidden_states=True).hidden_states[:-1] for batch in sequences.batches()]
        last = [list(stack.states(batch))[-1] for batch in sequences.batches()]
    depths = [torch.cat([states[depth][0] for states in whole]) for depth in range(LAYERS)]
    return [*depths, torch.cat([state[0] for state in last])]


def score(name: str, stack: LayerStack, calibration: Any, **options: Any) -> LayerScores:
    scorer: Any = installed().find("scorer", name).create(options)
    with torch.inference_mode():
        return scorer.score(stack, calibration)  # type: ignore[no-any-return]


def cosine(x: Tensor, y: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(x.double(), y.double(), dim=-1).mean().item()


# Every one of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), EVERY_OPTION, ids=str)
def test_padding_and_what_goes_together_do_not_count(
    name: str, options: dict[str, Any], stack: LayerStack, sequences: Sequences, calibration: Measured
) -> None:
    alone = score(name, stack, calibration, **options)
    for tokens in (50, 10_000):
        together = score(name, stack, Measured(Together(sequences, tokens), calibration.measure), **options)
        assert together.layers == pytest.approx(alone.layers, rel=1e-5, abs=1e-9)
        assert list(itertools.chain(*together.runs)) == pytest.approx(
            list(itertools.chain(*alone.runs)), rel=1e-5, abs=1e-9
        )


# Sampling ------------------------------------------------------------------------------------------------------------


def test_all_tokens_are_sampled_in_order(stack: LayerStack, calibration: Measured, states: list[Tensor]) -> None:
    with torch.inference_mode():
        for ours, theirs in zip(sampled_states(stack, calibration, 10_000, 0), states, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_sample_is_some_tokens_the_same_at_every_depth(
    stack: LayerStack, sequences: Sequences, calibration: Measured, states: list[Tensor]
) -> None:
    with torch.inference_mode():
        drawn = sampled_states(stack, calibration, 7, 0)
        again = sampled_states(stack, Measured(Together(sequences, 10_000), calibration.measure), 7, 0)
        other = sampled_states(stack, calibration, 7, 1)
    places = [torch.cdist(one, whole).argmin(1).tolist() for one, whole in zip(drawn[1:], states[1:], strict=True)]
    assert all(place == places[0] for place in places)
    assert len(set(places[0])) == 7
    assert all(map(torch.equal, drawn, again))
    assert not torch.equal(drawn[-1], other[-1])


# Cosines -------------------------------------------------------------------------------------------------------------


def test_similarity_is_the_mean_cosine_of_inputs(
    stack: LayerStack, calibration: Measured, states: list[Tensor]
) -> None:
    wanted = [[cosine(x, y) for y in states[:-1]] for x in states[:-1]]
    for name in ("block-influence", "locality"):
        found = score(name, stack, calibration).similarity
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_angular_similarity_is_one_less_the_angle(stack: LayerStack, calibration: Measured) -> None:
    scores = score("angular", stack, calibration, tokens="all")
    for a, b in itertools.combinations(range(LAYERS), 2):
        assert scores.similarity[a][b] == pytest.approx(1 - scores.run(a, b - a))
    np.testing.assert_allclose(np.diag(scores.similarity), 1, atol=1e-6)


def test_locality_is_the_mean_over_the_others(stack: LayerStack, calibration: Measured, states: list[Tensor]) -> None:
    wanted = [
        1 - sum(cosine(states[layer], states[m]) for m in range(LAYERS) if m != layer) / (LAYERS - 1)
        for layer in range(LAYERS)
    ]
    assert score("locality", stack, calibration).layers == pytest.approx(wanted, abs=1e-6)


def test_the_lr_score_is_block_influence_from_0_to_1(stack: LayerStack, calibration: Measured) -> None:
    influence = score("block-influence", stack, calibration).layers
    least, most = min(influence), max(influence)
    found = score("lr-score", stack, calibration).layers
    assert found == pytest.approx([(value - least) / (most - least) for value in influence])
    assert (min(found), max(found)) == (0, 1)
    assert redundancy([0.25, 0.5, 1.25]) == [1, 0.75, 0]
    assert redundancy([0.5, 0.5]) == [1, 1]


@given(
    influence=st.lists(st.floats(0, 2), min_size=1, max_size=40),
    cut=st.floats(0.05, 0.5),
    share=st.floats(0, 1),
)
def test_slices_keep_their_mean_and_the_order_of_layers(influence: list[float], cut: float, share: float) -> None:
    lr = redundancy(influence)
    found = slices(lr, cut, share * cut)
    assert sum(found) / len(found) == pytest.approx(cut)
    assert min(found) >= 0
    assert [found[i] for i in sorted(range(len(lr)), key=lr.__getitem__)] == sorted(found)
    assert slices(lr, cut, 0) == [cut] * len(lr)


def test_scores_of_a_mean_cut_are_what_is_left_of_layers(stack: LayerStack, calibration: Measured) -> None:
    left = score("lr-score", stack, calibration, mean_cut=0.3, amount=0.4).layers
    assert sum(left) / LAYERS == pytest.approx(0.7)
    redundant = [1 - value for value in score("lr-score", stack, calibration).layers]
    mean = sum(redundant) / LAYERS
    assert left == pytest.approx([1 - (value * 0.12 / mean + 0.18) for value in redundant])
    assert score("lr-score", stack, calibration, mean_cut=0.3) == score(
        "lr-score", stack, calibration, mean_cut=0.3, amount=1
    )
    alike = score("lr-score", stack, calibration, mean_cut=0.3, amount=0).layers
    assert alike == pytest.approx([0.7] * LAYERS)
    with pytest.raises(UsageError, match="option 'amount'"):
        score("lr-score", stack, calibration, mean_cut=0.3, amount=1.1)
    with pytest.raises(UsageError, match=r"a layer would lose 1\d\d% of itself; a lower amount"):
        score("lr-score", stack, calibration, mean_cut=0.9)


def test_slices_by_hand() -> None:
    assert slices([1, 0.5, 0], 0.25, 0.1) == pytest.approx([0.35, 0.25, 0.15])


# CKA -----------------------------------------------------------------------------------------------------------------


def naive_hsic(x: Tensor, y: Tensor, unbiased: bool) -> float:
    """From matrices of tokens x tokens, as the definitions have it (Gretton et al. 2005; Song et al. 2012, equation 4)."""
    k, m = x.double() @ x.double().T, y.double() @ y.double().T
    n = len(k)
    one = torch.ones(n, dtype=torch.float64)
    if not unbiased:
        h = torch.eye(n, dtype=torch.float64) - 1 / n
        return torch.trace(k @ h @ m @ h).item()
    k.fill_diagonal_(0)
    m.fill_diagonal_(0)
    parts = torch.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ m @ one
    return parts.item() / (n * (n - 3))


@pytest.mark.parametrize("unbiased", [True, False])
def test_cka_is_that_of_token_by_token_kernels(
    unbiased: bool, stack: LayerStack, calibration: Measured, states: list[Tensor]
) -> None:
    hsic = [[naive_hsic(x, y, unbiased) for y in states] for x in states]
    wanted = np.array(hsic) / np.sqrt(np.outer(np.diag(hsic), np.diag(hsic)))
    scores = score("cka", stack, calibration, unbiased=unbiased)
    np.testing.assert_allclose(scores.similarity, wanted[:-1, :-1], atol=1e-6)
    for a, b in itertools.combinations(range(LAYERS + 1), 2):
        assert scores.run(a, b - a) == pytest.approx(1 - wanted[a, b], abs=1e-6)


def test_cka_is_blind_to_rotation_scale_and_shift_and_0_for_strangers() -> None:
    torch.manual_seed(0)
    x, stranger = torch.randn(300, 40), torch.randn(300, 60)
    rotation = torch.linalg.qr(torch.randn(40, 40)).Q
    for unbiased in (True, False):
        assert cka([x, 3 * x @ rotation + 7], unbiased)[0, 1].item() == pytest.approx(1, abs=1e-5)
    assert abs(cka([x, stranger], True)[0, 1].item()) < 0.02
    assert cka([x, stranger], False)[0, 1].item() > 0.1  # what the unbiased one is for


def test_cka_needs_four_tokens(stack: LayerStack) -> None:
    with pytest.raises(UsageError, match="3 tokens in all"):
        score("cka", stack, random_sequences(1, 3))


# Mutual information --------------------------------------------------------------------------------------------------


def normal_pair(correlations: Sequence[float], tokens: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    rho = np.array(correlations)
    x = draw.standard_normal((tokens, len(rho)))
    return x, rho * x + np.sqrt(1 - rho**2) * draw.standard_normal((tokens, len(rho)))


def information(correlations: Sequence[float]) -> float:
    return -sum(math.log(1 - rho**2) for rho in correlations) / 2


def mixed(points: np.ndarray, seed: int) -> Tensor:
    """An invertible linear map: mutual information stays."""
    by = np.random.default_rng(seed).standard_normal((points.shape[1],) * 2) + 2 * np.eye(points.shape[1])
    return torch.from_numpy(points @ by)


@pytest.mark.parametrize("correlations", [(0.0,), (0.6,), (0.95,), (0.9, 0.5, 0.0, 0.3)])
def test_gaussian_information_is_the_closed_form(correlations: tuple[float, ...]) -> None:
    x, y = normal_pair(correlations, 40_000)
    found = gaussian([mixed(x, 1), mixed(y, 2)], 1e-6)[0][1]
    assert found == pytest.approx(information(correlations), abs=0.02)


def test_shrinkage_shrinks_every_correlation() -> None:
    x, y = normal_pair((0.9, 0.5), 40_000)
    found = gaussian([torch.from_numpy(x), torch.from_numpy(y)], 0.2)[0][1]
    assert found == pytest.approx(information((0.8 * 0.9, 0.8 * 0.5)), abs=0.02)
    same = gaussian([torch.from_numpy(x)] * 2, 0.2)[0][1]
    assert same == pytest.approx(information((0.8, 0.8)), abs=0.01)


def test_information_is_that_of_ranks() -> None:
    """One huge token, or any increasing function of a feature, changes nothing."""
    x, y = (torch.from_numpy(points) for points in normal_pair((0.8, 0.4), 2000))
    before = gaussian([x, y], 0.01)[0][1]
    assert gaussian([x.exp(), y**3], 0.01)[0][1] == pytest.approx(before, rel=1e-9)
    x[x[:, 0].argmax(), 0] = 1e6
    assert gaussian([x, y], 0.01)[0][1] == pytest.approx(before, rel=1e-9)


def test_gaussian_scores_are_those_of_determinants(
    stack: LayerStack, calibration: Measured, states: list[Tensor]
) -> None:
    """I = (log det R_x + log det R_y - log det R) / 2, R the correlation matrix of both together."""
    scores = [norm.ppf(rankdata(state.numpy(), axis=0) / (len(state) + 1)) for state in states]
    wanted = {}
    for a, b in itertools.combinations(range(LAYERS + 1), 2):
        r = 0.7 * np.corrcoef(np.hstack([scores[a], scores[b]]).T) + 0.3 * np.eye(64)
        parts = [np.linalg.slogdet(part)[1] for part in (r[:32, :32], r[32:, 32:], r)]
        wanted[a, b] = (parts[0] + parts[1] - parts[2]) / 2
    found = score("mutual-information", stack, calibration, shrinkage=0.3)
    for (a, b), value in wanted.items():
        assert found.run(a, b - a) == pytest.approx(-value, rel=1e-4)
    assert found.layers == tuple(found.run(layer, 1) for layer in range(LAYERS))


def naive_ksg(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """Kraskov et al., equation 8, from all distances."""
    apart = [np.abs(points[:, None] - points[None]).max(-1) for points in (x, y)]
    n = len(x)
    total = 0.0
    for i in range(n):
        kth = sorted(max(apart[0][i, j], apart[1][i, j]) for j in range(n) if j != i)[k - 1]
        nearer = [sum(bool(each[i, j] < kth) for j in range(n) if j != i) for each in apart]
        total += digamma(nearer[0] + 1) + digamma(nearer[1] + 1)
    return float(digamma(k) + digamma(n) - total / n)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_ksg_is_that_of_all_distances(k: int) -> None:
    x, y = normal_pair((0.7, 0.2), 120)
    assert ksg([x, y], k)[0][1] == pytest.approx(naive_ksg(x, y, k), rel=1e-12)
    x, y = x.round(0), y.round(0)  # many ties, and many in the same place
    assert ksg([x, y], k)[0][1] == pytest.approx(naive_ksg(x, y, k), rel=1e-12)


@pytest.mark.parametrize("correlations", [(0.0,), (0.6,), (0.9,), (0.8, 0.4)])
def test_ksg_finds_the_closed_form_of_normals(correlations: tuple[float, ...]) -> None:
    x, y = normal_pair(correlations, 4000)
    assert ksg([x, y], 3)[0][1] == pytest.approx(information(correlations), abs=0.05)


def test_principal_components_are_those_of_a_singular_value_decomposition(states: list[Tensor]) -> None:
    state = states[3]
    scores = norm.ppf(rankdata(state.numpy(), axis=0) / (len(state) + 1))
    scores = (scores - scores.mean(0)) / scores.std(0)
    left = np.linalg.svd(scores, full_matrices=False)[0][:, :4]
    found = principal(state, 4).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(left) * math.sqrt(len(state)), atol=1e-3)
    np.testing.assert_allclose(found.T @ found / len(state), np.eye(4), atol=1e-9)


def test_ksg_scores_are_those_of_all_distances(stack: LayerStack, calibration: Measured, states: list[Tensor]) -> None:
    points = [principal(state, 2).numpy() for state in states]
    found = score("mutual-information", stack, calibration, estimator="ksg", components=2, neighbours=4)
    for a, b in ((0, 1), (2, 3), (1, 6)):
        assert found.run(a, b - a) == pytest.approx(-naive_ksg(points[a], points[b], 4), abs=1e-3)


def test_too_few_tokens_for_so_many_neighbours(stack: LayerStack) -> None:
    with pytest.raises(UsageError, match="8 tokens have no 9 neighbours"):
        score("mutual-information", stack, random_sequences(1, 8), estimator="ksg", neighbours=9)


# The logit lens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["nll", "kl"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])  # Gemma's head is no single product
def test_the_lens_is_the_models_own_head(architecture: str, measure: str, sequences: Sequences) -> None:
    stack = LayerStack(tiny_model(architecture))
    model: Any = stack.model
    off, tokens = [0.0] * (stack.layers + 1), 0
    with torch.inference_mode():
        for batch in sequences.batches():
            final = model(batch.ids).logits[0, :-1].double().log_softmax(-1)
            for depth, state in enumerate(stack.states(batch)):
                logits = model.lm_head(model.model.norm(state))[0, :-1].double()
                if cap := getattr(model.config, "final_logit_softcapping", None):
                    logits = torch.tanh(logits / cap) * cap
                here = logits.log_softmax(-1)
                if measure == "nll":
                    off[depth] -= here[range(len(here)), batch.ids[0, 1:]].sum().item()
                else:
                    off[depth] += (final.exp() * (final - here)).sum().item()
            tokens += batch.ids.shape[1] - 1
    scores = score("logit-lens", stack, sequences, measure=measure)
    for a, b in itertools.combinations(range(stack.layers + 1), 2):
        assert scores.run(a, b - a) == pytest.approx((off[a] - off[b]) / tokens, rel=1e-4, abs=1e-4)
    assert scores.layers == tuple(run[0] for run in scores.runs)


def test_the_lens_looks_at_scored_tokens_only(stack: LayerStack, sequences: Sequences) -> None:
    """With all but the last two tokens a prompt, those two are all that counts."""

    @dataclass
    class Answers:
        def batches(self) -> Iterator[Batch]:
            for batch in sequences.batches():
                scored = batch.real()
                scored[:, :-2] = False
                yield Batch(batch.ids, batch.lengths, scored)

    with torch.inference_mode():
        nll = [
            torch.stack([stack.outputs(batch, state).token_nll()[0, -2:] for state in stack.states(batch)])
            for batch in sequences.batches()
        ]
    mean = torch.cat(nll, 1).double().mean(1)
    assert score("logit-lens", stack, Answers()).layers == pytest.approx((mean[:-1] - mean[1:]).tolist(), rel=1e-5)


# Losses --------------------------------------------------------------------------------------------------------------


def test_loss_drop_is_one_whole_forward_less_another(
    stack: LayerStack, sequences: Sequences, calibration: Measured
) -> None:
    def rise(*removed: int) -> float:
        return reference_nll(stack, LayerMask(LAYERS, removed), sequences) - reference_nll(
            stack, LayerMask(LAYERS), sequences
        )

    scores = score("loss-drop", stack, calibration)
    assert scores.layers == pytest.approx([rise(layer) for layer in range(LAYERS)], rel=1e-4, abs=1e-5)
    assert scores.runs == ()
    runs = score("loss-drop", stack, calibration, runs=True)
    assert runs.layers == scores.layers
    for start, length in ((0, LAYERS), (1, 3), (5, 1)):
        assert runs.run(start, length) == pytest.approx(rise(*range(start, start + length)), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["loss-drop", "shapley"])
def test_only_the_first_sequences_are_looked_at(
    name: str, stack: LayerStack, sequences: Sequences, calibration: Measured
) -> None:
    asked = set()

    def measure(masks: Sequence[LayerMask], count: int | None) -> Sequence[Loss]:
        asked.add(count)
        return calibration.measure(masks, count)

    first = score(name, stack, Measured(sequences, measure), sequences=2)
    assert asked == {2}
    assert first != score(name, stack, calibration, sequences=0)


# Shapley values ------------------------------------------------------------------------------------------------------


def game(layers: int, seed: int) -> Callable[[LayerMask], float]:
    """Made-up damage with interactions of every order; of the dense model none."""

    def damage(mask: LayerMask) -> float:
        draw = random.Random(f"{seed} {mask.removed}")
        return sum(mask.removed) / 7 + 0.3 * len(mask) ** 2 + draw.uniform(-1, 1) if len(mask) else 0.0

    return damage


def all_masks(layers: int, largest: int) -> list[LayerMask]:
    return [LayerMask(layers, c) for size in range(largest + 1) for c in itertools.combinations(range(layers), size)]


def exact(layers: int, largest: int, damage: Callable[[LayerMask], float]) -> list[float]:
    """By enumeration: the mean over sizes of the mean over sets of that size without the layer."""
    values = []
    for layer in range(layers):
        others = [other for other in range(layers) if other != layer]
        means = []
        for size in range(largest):
            sets = [LayerMask(layers, c) for c in itertools.combinations(others, size)]
            means.append(sum(damage(s.drop(layer)) - damage(s) for s in sets) / len(sets))
        values.append(sum(means) / largest)
    return values


@settings(max_examples=20)
@given(layers=st.integers(2, 6), seed=st.integers(0, 1000))
def test_a_fit_of_all_masks_is_the_shapley_values(layers: int, seed: int) -> None:
    damage = game(layers, seed)
    masks = stratified(LayerMask(layers), layers, 2**layers * layers, random.Random(0))
    assert sorted(masks) == sorted(all_masks(layers, layers)[1:])
    found = fitted(masks, {mask: damage(mask) for mask in [LayerMask(layers), *masks]})
    assert found == pytest.approx(exact(layers, layers, damage), rel=1e-9, abs=1e-9)
    assert sum(found) == pytest.approx(damage(LayerMask(layers, tuple(range(layers)))))


@settings(max_examples=20)
@given(layers=st.integers(2, 6), data=st.data(), seed=st.integers(0, 1000))
def test_marginals_over_all_orders_are_the_values_by_enumeration(layers: int, data: st.DataObject, seed: int) -> None:
    largest = data.draw(st.integers(1, layers))
    damage = game(layers, seed)
    orders = [list(order[:largest]) for order in itertools.permutations(range(layers))]
    found = mean_marginals(LayerMask(layers), orders, {mask: damage(mask) for mask in all_masks(layers, largest)})
    assert found == pytest.approx(exact(layers, largest, damage), rel=1e-9, abs=1e-9)


@given(layers=st.integers(2, 9), data=st.data(), rounds=st.integers(1, 3), seed=st.integers(0, 1000))
def test_rotations_put_each_layer_at_each_place_equally_often_and_lose_no_damage(
    layers: int, data: st.DataObject, rounds: int, seed: int
) -> None:
    largest = data.draw(st.integers(1, layers))
    orders = rotations(layers, largest, rounds * layers * largest, random.Random(seed))
    for place in range(largest):
        assert sorted(order[place] for order in orders) == sorted(list(range(layers)) * rounds)
    damage = game(layers, seed)
    found = mean_marginals(LayerMask(layers), orders, {mask: damage(mask) for mask in all_masks(layers, largest)})
    mean = sum(damage(LayerMask(layers, tuple(order))) for order in orders) / len(orders)
    assert sum(found) == pytest.approx(mean * layers / largest)


def test_marginals_are_right_on_average() -> None:
    """Over 400 draws of one order and its rotations, each value within 4 standard errors."""
    layers, largest = 7, 4
    damage = game(layers, 5)
    table = {mask: damage(mask) for mask in all_masks(layers, largest)}
    draws = [rotations(layers, largest, 1, random.Random(seed)) for seed in range(400)]
    found = np.array([mean_marginals(LayerMask(layers), orders, table) for orders in draws])
    error = found.std(0, ddof=1) / math.sqrt(len(draws))
    assert (error < 0.03).all()
    assert (np.abs(found.mean(0) - exact(layers, largest, damage)) < 4 * error).all()


def test_a_fit_of_more_masks_is_nearer_to_the_values() -> None:
    layers = 8
    damage = game(layers, 5)
    wanted = exact(layers, layers, damage)
    off = []
    for count in (30, 90, 180, 254):  # of the 255 there are
        draws = [stratified(LayerMask(layers), layers, count, random.Random(seed)) for seed in range(20)]
        found = [fitted(masks, {mask: damage(mask) for mask in masks}) for masks in draws]
        off.append(float(np.sqrt(np.mean((np.array(found) - wanted) ** 2))))
    assert off == sorted(off, reverse=True)
    assert off[-1] < 0.5 * off[0]


@settings(max_examples=30)
@given(layers=st.integers(3, 9), data=st.data(), seed=st.integers(0, 1000))
def test_damage_that_adds_up_is_found_from_any_masks_of_any_sizes(layers: int, data: st.DataObject, seed: int) -> None:
    largest = data.draw(st.integers(1, layers))
    worth = [random.Random(seed).uniform(-1, 3) for _ in range(layers)]
    masks = stratified(LayerMask(layers), largest, 6 * layers, random.Random(seed))
    assert len(set(masks)) == len(masks) <= 6 * layers
    assert max(map(len, masks)) == largest
    found = fitted(masks, {mask: sum(worth[layer] for layer in mask.removed) for mask in masks})
    assert found == pytest.approx(worth, rel=1e-6, abs=1e-6)


def test_shapley_of_a_model_is_that_of_whole_forwards(
    stack: LayerStack, sequences: Sequences, calibration: Measured
) -> None:
    losses = {mask: reference_nll(stack, mask, sequences) for mask in all_masks(LAYERS, LAYERS)}
    dense = losses[LayerMask(LAYERS)]
    options = {"largest": LAYERS, "masks": 1000, "sequences": 0}
    found = score("shapley", stack, calibration, **options).layers
    assert found == pytest.approx(exact(LAYERS, LAYERS, lambda mask: losses[mask] - dense), rel=1e-3, abs=1e-4)
    found = score("shapley", stack, calibration, value="ratio", **options).layers
    ratio = exact(LAYERS, LAYERS, lambda mask: 1 - math.exp(dense - losses[mask]))
    assert found == pytest.approx(ratio, rel=1e-3, abs=1e-4)
    found = score("shapley", stack, calibration, estimator="permutation", **options).layers
    assert sum(found) == pytest.approx(losses[LayerMask(LAYERS, tuple(range(LAYERS)))] - dense, rel=1e-4)


def test_too_few_masks_and_too_many_layers_are_refused(stack: LayerStack, calibration: Measured) -> None:
    with pytest.raises(UsageError, match="5 masks do not tell 6 layers apart"):
        score("shapley", stack, calibration, masks=5)
    with pytest.raises(UsageError, match="largest is 7; the model has 6 layers"):
        score("shapley", stack, calibration, largest=7)


def test_masks_come_from_the_seed(stack: LayerStack, calibration: Measured) -> None:
    options = {"masks": 18, "largest": 3}
    one = score("shapley", stack, calibration, seed=1, **options)
    assert one == score("shapley", stack, calibration, seed=1, **options)
    assert one != score("shapley", stack, calibration, seed=2, **options)
