"""The evaluator: right, whatever the order; and it runs exactly what it planned, each thing once."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stack import SharedState
from torch.utils._pytree import tree_leaves

from lpk.core.contracts import Executor, Layers, Objective, Options, Outputs
from lpk.core.errors import PluginError
from lpk.core.pruning.evaluator import Evaluator
from lpk.core.pruning.items import Sequences
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.memo import Memo
from lpk.core.pruning.schedule import Drop, Run, Schedule, Size, Trie, depth_first, layer_by_layer
from lpk.core.pruning.search import Tally
from lpk.core.pruning.stack import LayerStack
from lpk.core.registry import installed
from lpk.testing import random_sequences, tiny_model

ALL_MASKS = [LayerMask(6, c) for n in range(6) for c in itertools.combinations(range(6), n)]


@pytest.fixture(scope="module")
def stack() -> LayerStack:
    return LayerStack(tiny_model())


def objective(name: str) -> Objective:
    made = installed().find("objective", name).create()
    assert isinstance(made, Objective)
    return made


def evaluator(stack: LayerStack, memo: Memo, name: str = "perplexity", sequences: Sequences | None = None) -> Evaluator:
    return Evaluator(stack, objective(name), sequences or random_sequences(), memo, name)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Memo]:
    memo = Memo(tmp_path / "fresh.sqlite")
    yield memo
    memo.close()


def reference_nll(stack: LayerStack, mask: LayerMask, sequences: Sequences) -> float:
    """A whole forward for each sequence, transformers' own loss, the token mean over all sequences."""
    total = tokens = 0.0
    with stack._stubbed(lambda _index, hidden, _args, _kwargs: hidden, mask.removed), torch.inference_mode():
        for batch in sequences.batches():
            predicted = batch.ids.shape[1] - 1
            total += stack.model(batch.ids, labels=batch.ids).loss.item() * predicted
            tokens += predicted
    return total / tokens


def ragged() -> Sequences:
    ids = random_sequences(3, 24).ids
    return Sequences("ragged", (ids[0], ids[1][:9], ids[2][:2]))


@pytest.mark.parametrize(
    "sequences", [random_sequences(), ragged(), random_sequences(1, 300)], ids=["even", "ragged", "chunks"]
)
def test_perplexity_agrees_with_transformers_own_loss(sequences: Sequences, memo: Memo) -> None:
    model = tiny_model()
    model.config.max_position_embeddings = 512
    stack = LayerStack(model)
    masks = [LayerMask(6), LayerMask(6, (1, 4)), LayerMask(6, (0, 5))]
    for mask, loss in zip(masks, evaluator(stack, memo, sequences=sequences).losses(masks), strict=True):
        assert loss == pytest.approx(reference_nll(stack, mask, sequences), rel=1e-5)


def test_kl_of_the_dense_model_is_zero_and_agrees_with_its_definition(stack: LayerStack, memo: Memo) -> None:
    mask = LayerMask(6, (2, 3))
    sequences = random_sequences()
    dense_loss, loss = evaluator(stack, memo, "kl").losses([LayerMask(6), mask])
    assert dense_loss == pytest.approx(0, abs=1e-6)
    per_token = []
    with torch.inference_mode():
        for batch in sequences.batches():
            dense = stack.masked_logits(batch, LayerMask(6))[0, :-1].double().softmax(-1)
            pruned = stack.masked_logits(batch, mask)[0, :-1].double().softmax(-1)
            per_token.append((dense * (dense / pruned).log()).sum(-1))
    assert loss == pytest.approx(torch.cat(per_token).mean().item(), rel=1e-5)


@pytest.mark.parametrize("name", ["perplexity", "kl"])
def test_any_order_batch_or_memo_gives_the_same_bits(name: str, stack: LayerStack, tmp_path: Path) -> None:
    together = Memo(tmp_path / "together")
    losses = dict(zip(ALL_MASKS, evaluator(stack, together, name).losses(ALL_MASKS), strict=True))
    apart = Memo(tmp_path / "apart")
    measured = evaluator(stack, apart, name)
    for mask in reversed(ALL_MASKS):
        assert measured.losses([mask]) == [losses[mask]]
    uneven = evaluator(stack, Memo(tmp_path / "uneven"), name)
    for start in range(0, len(ALL_MASKS), 7):
        batch = ALL_MASKS[start : start + 7][::-1]
        assert uneven.losses([*batch, batch[0]]) == [losses[mask] for mask in [*batch, batch[0]]]


def test_another_process_gives_the_same_bits(stack: LayerStack, memo: Memo, tmp_path: Path) -> None:
    code = """
from pathlib import Path; import sys, torch
from test_evaluator import ALL_MASKS, evaluator
from lpk.core.pruning.memo import Memo; from lpk.core.pruning.stack import LayerStack; from lpk.testing import tiny_model
torch.set_num_threads(int(sys.argv[2]))
print([x.hex() for x in evaluator(LayerStack(tiny_model()), Memo(Path(sys.argv[1]))).losses(ALL_MASKS[::-3])])
"""
    command = [sys.executable, "-c", code, tmp_path / "other", torch.get_num_threads()]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    assert done.stdout.strip() == str([x.hex() for x in evaluator(stack, memo).losses(ALL_MASKS[::-3])])


@settings(max_examples=25)
@given(st.lists(st.sampled_from(ALL_MASKS), min_size=1, max_size=20), st.lists(st.sampled_from(ALL_MASKS), max_size=5))
def test_what_runs_is_what_was_planned(
    tmp_path_factory: pytest.TempPathFactory, masks: list[LayerMask], before: list[LayerMask]
) -> None:
    stack = test_what_runs_is_what_was_planned.stack = getattr(
        test_what_runs_is_what_was_planned, "stack", None
    ) or LayerStack(tiny_model())
    ran = 0

    def count(*_: object) -> None:
        nonlocal ran
        ran += 1

    memo = Memo(tmp_path_factory.mktemp("planned") / "memo.sqlite")
    measured = evaluator(stack, memo)
    measured.losses(before or masks[:1])
    spent = memo.cost().layer_forwards
    planned = measured.plan(masks).cost
    hooks = [
        module.self_attn.register_forward_hook(count) for module in stack.modules
    ]  # inside the layer: stubs do not count
    try:
        measured.losses(masks)
    finally:
        for hook in hooks:
            hook.remove()
    assert ran == planned.layer_forwards == memo.cost().layer_forwards - spent
    assert planned.layer_forwards <= planned.naive_layer_forwards
    assert measured.plan(masks).cost.layer_forwards == 0
    measured.losses(masks)
    assert memo.cost().layer_forwards - spent == planned.layer_forwards
    memo.close()


@given(st.lists(st.sampled_from(ALL_MASKS), min_size=1, max_size=30))
def test_the_trie_has_one_edge_for_each_distinct_prefix(masks: list[LayerMask]) -> None:
    prefixes = {mask.kept[: length + 1] for mask in masks for length in range(len(mask.kept))}
    assert Trie.of(masks).edges() == len(prefixes)


class Follower:
    """Follows a schedule with made-up states, and counts those that are really alive."""

    def __init__(self, masks: list[LayerMask], schedule: Callable[[Trie], Schedule]) -> None:
        self.root = Trie.of(masks)
        self.alive, self.most, self.ran, self.layers_in_order = 1, 1, 0, True
        states: dict[Trie, tuple[int, ...]] = {self.root: ()}
        self.measured: list[LayerMask] = []
        last = 0
        for step in schedule(self.root):
            if isinstance(step, Run):
                for state, result in step.pairs:
                    states[result] = (*states[state], step.layer)
                self.ran += len(step.pairs)
                self.most = max(self.most, len(states))
                self.layers_in_order &= step.layer >= last
                last = step.layer
            elif isinstance(step, Drop):
                del states[step.state]
            else:
                assert step.state.mask is not None
                assert states[step.state] == step.state.mask.kept
                self.measured.append(step.state.mask)
        self.left = len(states)


some_masks = st.lists(st.sampled_from(ALL_MASKS), min_size=1, max_size=40)


@given(some_masks, st.integers(0, 6))
def test_depth_first_measures_every_mask_once_within_its_states(masks: list[LayerMask], kept: int) -> None:
    done = Follower(masks, lambda root: depth_first(root, kept))
    assert sorted(done.measured) == sorted(set(masks))
    assert done.left == 1  # the embedding's output
    assert done.most <= kept + 3
    assert Size.of(depth_first(done.root, kept)) == Size(done.ran, done.most)
    assert done.ran >= done.root.edges()
    enough = math.floor(math.log2(len(set(masks))))
    assert Follower(masks, lambda root: depth_first(root, enough)).ran == done.root.edges()
    less = [Size.of(depth_first(done.root, k)).layer_forwards for k in range(enough + 1)]
    assert less == sorted(less, reverse=True)
    assert less[0] <= sum(len(mask.kept) for mask in set(masks))


@given(some_masks, st.integers(1, 5))
def test_layer_by_layer_measures_every_mask_once_and_needs_each_layer_once(masks: list[LayerMask], most: int) -> None:
    done = Follower(masks, lambda root: layer_by_layer(root, 6, most))
    assert sorted(done.measured) == sorted(set(masks))
    assert done.layers_in_order
    assert done.left <= 1
    assert done.ran == done.root.edges()
    assert Size.of(layer_by_layer(done.root, 6, most)) == Size(done.ran, done.most)
    alone = Size.of(layer_by_layer(done.root, 6)).states
    assert alone <= done.most <= alone + most - 1


def test_greedys_candidates_need_one_state_at_branching_points() -> None:
    singles = [LayerMask(30, (layer,)) for layer in range(1, 29)]
    assert Size.of(depth_first(Trie.of(singles), 1)) == Size(Trie.of(singles).edges(), 4)
    twice = Size.of(depth_first(Trie.of(singles), 0))
    assert twice.states == 3
    assert twice.layer_forwards > Trie.of(singles).edges()


@pytest.mark.parametrize("states", [1, 3, 4, 100])
@pytest.mark.parametrize("streams", [False, True])
def test_a_budget_of_memory_changes_cost_and_nothing_else(
    states: int, streams: bool, stack: LayerStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = evaluator(stack, Memo(tmp_path / "plain"), "kl").losses(ALL_MASKS)
    sequences = random_sequences()
    monkeypatch.setattr(stack, "streams", streams)  # the order of a streamed model, over one in memory
    budget = states * max(map(len, sequences.ids)) * stack.token_bytes
    memo = Memo(tmp_path / "tight")
    tight = Evaluator(stack, objective("kl"), sequences, memo, "kl", memory=budget)
    planned = tight.plan(ALL_MASKS)
    assert tight.losses(ALL_MASKS) == plain
    assert memo.cost() == planned.cost
    assert planned.cost.naive_layer_forwards == len(sequences.ids) * sum(len(mask.kept) for mask in ALL_MASKS)
    kept_for_kl = sequences.tokens * (
        4 * stack.token_bytes + 8
    )  # float64 of a state; the state, its norm, an expectation
    least = 3 * budget // states + tight._layouts[0].call_bytes + kept_for_kl
    assert planned.peak_state_bytes <= max(budget, least)


class Counting(Executor[Options]):
    """Counts the states that are alive while a layer runs: those that enter and leave it, and any from before."""

    def __init__(self) -> None:
        super().__init__(Options())
        self.alive = set[int]()
        self.most = 0

    def run(self, layers: Layers, index: int, states: Sequence[torch.Tensor], starts: Sequence[Any]) -> Any:
        leaving = super().run(layers, index, states, starts)
        for state in (*states, *leaving):
            if id(state) not in self.alive:
                self.alive.add(id(state))
                weakref.finalize(state, self.alive.discard, id(state))
        self.most = max(self.most, len(self.alive))
        return leaving


@pytest.mark.parametrize("states", [3, 4, 5, 100])
@pytest.mark.parametrize("streams", [False, True])
def test_no_more_states_are_alive_than_planned(
    states: int, streams: bool, stack: LayerStack, memo: Memo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "streams", streams)
    executor, items, state = Counting(), random_sequences(1, 24), 24 * stack.token_bytes
    measured = Evaluator(stack, objective("perplexity"), items, memo, "x", states * state, executor=executor)
    masks = [LayerMask(6, (layer,)) for layer in range(1, 5)]
    planned = measured.plan(masks).peak_state_bytes - measured._layouts[0].call_bytes
    measured.losses(masks)
    assert executor.most == planned // state


class Beside:
    """Counts the bytes of what layers are called with, as long as anything holds it."""

    def __init__(self, stack: LayerStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive: dict[int, int] = {}
        self.most = 0
        monkeypatch.setattr(stack.modules[0], "forward", self._counting(stack.modules[0].forward))

    def _counting(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def counting(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            for value in tree_leaves((args, kwargs)):
                if isinstance(value, torch.Tensor) and id(value) not in self.alive:
                    self.alive[id(value)] = value.nbytes
                    weakref.finalize(value, self.alive.pop, id(value))
            self.most = max(self.most, sum(self.alive.values()))
            return forward(hidden, *args, **kwargs)

        return counting


def test_masks_are_held_once_for_all_items_of_a_shape_and_are_planned(
    memo: Memo, fresh: Memo, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    model.set_attn_implementation("eager")  # calls each layer with a mask, in float32
    stack, sequences = LayerStack(model), random_sequences(6, 24)
    monkeypatch.setattr(stack, "streams", True)
    measured, beside = evaluator(stack, memo, sequences=sequences), Beside(stack, monkeypatch)
    masks = ALL_MASKS[1:7]
    planned = measured.plan(masks).peak_state_bytes
    measured.losses(masks)
    states = 6 * measured._states(Trie.of(masks)) * 24 * stack.token_bytes
    assert 24 * 24 * 4 < beside.most <= planned - states < 2 * beside.most
    plain = evaluator(LayerStack(model), fresh, sequences=sequences)  # one item after the other
    assert measured.losses(masks) == plain.losses(masks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_kept_to_compare_with_is_within_the_plan_and_the_budget(dtype: torch.dtype, memo: Memo) -> None:
    stack, sequences = LayerStack(tiny_model().to(dtype)), random_sequences(6, 24)
    budget = 60 * 24 * stack.token_bytes
    measured = Evaluator(stack, objective("kl"), sequences, memo, "kl", memory=budget)
    states = Evaluator(stack, objective("perplexity"), sequences, memo, "nll").plan(ALL_MASKS).peak_state_bytes
    planned = measured.plan(ALL_MASKS)
    measured.losses(ALL_MASKS)
    outputs = [vars(output).values() for output in measured._dense_outputs.values()]
    tensors = [t for of in outputs for t in of if isinstance(t, torch.Tensor) and t.is_floating_point()]
    held = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())
    assert held <= planned.peak_state_bytes - states < 1.1 * held
    assert planned.peak_state_bytes <= budget
    assert memo.cost() == planned.cost
    assert measured.plan(ALL_MASKS).cost.layer_forwards == 0


def test_a_look_at_fewer_sequences_costs_those_alone_and_the_rest_later(
    stack: LayerStack, memo: Memo, fresh: Memo
) -> None:
    measured = evaluator(stack, memo)
    masks = [LayerMask(6, (1,)), LayerMask(6, (3,))]
    (few,) = measured.losses(masks[:1], 1)
    once = memo.cost()
    assert once.measurements == 1
    whole = measured.losses(masks)
    assert memo.cost().measurements == 2 * len(measured.sequences.ids)
    assert whole[0].items[:1] == few.items
    assert [float(loss) for loss in whole] == evaluator(stack, fresh).losses(masks)
    assert whole[0] == pytest.approx(sum(whole[0].items) / len(whole[0].items))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.lists(st.sampled_from(ALL_MASKS), min_size=1, max_size=6), st.integers(1, 4)), max_size=5))
def test_a_tally_counts_what_an_evaluator_spends(
    stack: LayerStack, tmp_path_factory: pytest.TempPathFactory, looks: list[tuple[list[LayerMask], int]]
) -> None:
    """Whatever was looked at before, on however many sequences."""
    memo, tally = Memo(tmp_path_factory.mktemp("tally") / "memo.sqlite"), Tally()
    measured = evaluator(stack, memo, sequences=random_sequences(4, 8))
    for masks, sequences in looks:
        measured.losses(masks, sequences)
        tally.add(masks, sequences)
    assert replace(memo.cost(), head_tokens=0) == tally.cost
    memo.close()


def test_greedys_candidates_cost_half_of_a_forward_each() -> None:
    # SLEB removes 8 of 30 layers, the first and the last protected: 5,040 layer-forwards a sequence without sharing.
    mask, naive, shared = LayerMask(30), 0, 0
    for _ in range(8):
        candidates = [mask.drop(layer) for layer in mask.kept if layer not in (0, 29)]
        naive += sum(len(candidate.kept) for candidate in candidates)
        shared += Trie.of(candidates).edges()
        mask = candidates[len(candidates) // 2]
    assert naive * 16 == 80_640  # the published code's count for 16 sequences
    assert shared < 0.56 * naive


def test_whole_forwards_are_planned_and_counted_too(memo: Memo) -> None:
    stack = LayerStack(SharedState().eval())  # type: ignore[arg-type]
    measured = evaluator(stack, memo)
    masks = [LayerMask(4, (layer,)) for layer in range(4)]
    planned = measured.plan(masks).cost
    losses = measured.losses(masks)
    assert losses == pytest.approx([whole_nll(stack, mask, measured.sequences) for mask in masks], rel=1e-5)
    assert planned.layer_forwards == memo.cost().layer_forwards == 4 * 4 * 3


def whole_nll(stack: LayerStack, mask: LayerMask, sequences: Sequences) -> float:
    with torch.inference_mode():
        per_token = [
            torch.nn.functional.cross_entropy(stack.masked_logits(batch, mask)[0, :-1], batch.ids[0, 1:])
            for batch in sequences.batches()
        ]
    return float(torch.stack(per_token).mean())


def test_whole_forwards_make_no_whole_logits_and_the_dense_one_once(memo: Memo) -> None:
    stack = LayerStack(SharedState().eval())  # type: ignore[arg-type]
    measured = evaluator(stack, memo, "kl")
    heads = list[int]()
    stack.model.head.register_forward_hook(lambda *_: heads.append(1))
    for masks, layer_forwards in (([LayerMask(4)], 4 + 4), ([LayerMask(4, (1,)), LayerMask(4, (3,))], 3 + 3)):
        before, planned = memo.cost().layer_forwards, measured.plan(masks)
        assert all(map(math.isfinite, measured.losses(masks)))
        assert memo.cost().layer_forwards - before == planned.cost.layer_forwards == 4 * layer_forwards
    assert measured.losses([LayerMask(4)]) == pytest.approx([0], abs=1e-6)
    assert heads == []


def test_a_head_that_looks_past_the_last_layers_output_gets_whole_logits(memo: Memo) -> None:
    class Looking(SharedState):
        def forward(self, ids: torch.Tensor, use_cache: bool = False) -> Any:
            whole = super().forward(ids)
            whole.logits = whole.logits + self.head(self.notes["sum"])
            return whole

    stack = LayerStack(Looking().eval())  # type: ignore[arg-type]
    assert not stack.ends_in_head
    measured = evaluator(stack, memo)
    masks = [LayerMask(4), LayerMask(4, (3,))]
    expected = [whole_nll(stack, mask, measured.sequences) for mask in masks]
    assert measured.losses(masks) == pytest.approx(expected, rel=1e-5)
    planned = evaluator(stack, memo, "kl").plan(masks).cost
    evaluator(stack, memo, "kl").losses(masks)
    assert memo.cost().layer_forwards == 4 * 7 + planned.layer_forwards == 4 * (7 + 7 + 4)


def test_a_loss_that_is_no_number_is_refused_and_not_remembered(stack: LayerStack, memo: Memo) -> None:
    class Nonsense(Objective):  # type: ignore[type-arg]
        def loss(self, outputs: Outputs, dense: Outputs | None) -> torch.Tensor:
            return torch.tensor([math.nan])

    measured = Evaluator(stack, Nonsense(None), random_sequences(), memo, "nonsense")
    with pytest.raises(PluginError, match="gave nan"):
        measured.losses([LayerMask(6)])
    assert memo.known("nonsense", [LayerMask(6)], measured.sequences.keys) == {LayerMask(6): {}}
