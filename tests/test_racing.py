"""Races: a fair test, the plain result when nothing is stopped, and a record of what was."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lpk.core.contracts import Loss, Problem
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.proposals import drawn, seeds, swapped
from lpk.core.pruning.racing import Racing, is_worse
from lpk.core.pruning.search import Outcome, drive
from lpk.core.registry import installed

LAYERS, BUDGET, SEQUENCES = 12, 4, 32
PROBLEM = Problem(LAYERS, BUDGET, frozenset({0}), sequences=SEQUENCES, workspace=Path())


class Losses:
    """Made-up losses with interactions, and noise that the masks of a sequence share."""

    def __init__(self, noise: float, seed: int = 0) -> None:
        self.noise, self.seed = noise, seed
        self.measured: dict[LayerMask, int] = {}

    def __call__(self, masks: Sequence[LayerMask], sequences: int) -> list[Loss]:
        for mask in masks:
            self.measured[mask] = max(sequences, self.measured.get(mask, 0))
        return [self.loss(mask, sequences) for mask in masks]

    def whole(self, mask: LayerMask) -> Loss:
        return self.loss(mask, SEQUENCES)

    def loss(self, mask: LayerMask, sequences: int) -> Loss:
        worth = random.Random(self.seed)
        alone = [worth.random() for _ in range(LAYERS)]
        true = sum(alone[layer] for layer in mask.removed) + 0.05 * sum(
            1 for a in mask.removed for b in mask.removed if b == a + 1
        )
        own = random.Random(f"{self.seed} {mask.removed}")
        items = [true + 3 * (item % 5) + self.noise * own.gauss() for item in range(sequences)]
        return Loss.mean(items, [1.0] * sequences)


def search(name: str, losses: Losses, **options: Any) -> Outcome:
    searcher: Any = installed().find("searcher", name).create(options)
    return drive(searcher, PROBLEM, losses)


def smaller(mask: LayerMask) -> list[LayerMask]:
    return [mask.drop(layer) for layer in mask.kept if layer != 0]


#: The searches as published, with every candidate measured in full: each gives the masks that it measures, in order.
Plain = Callable[[Losses], list[LayerMask]]


def greedy(losses: Losses) -> list[LayerMask]:
    mask, measured = LayerMask(LAYERS), list[LayerMask]()
    for _ in range(BUDGET):
        measured += smaller(mask)
        mask = min(smaller(mask), key=losses.whole)
    return [*measured, mask]


def beam(losses: Losses) -> list[LayerMask]:
    path, beam, measured = LayerMask(LAYERS), [LayerMask(LAYERS)], list[LayerMask]()
    for _ in range(BUDGET):
        candidates = [child for mask in beam for child in smaller(mask)]
        measured += dict.fromkeys([*candidates, *smaller(path)])
        path = min(smaller(path), key=losses.whole)
        best = sorted(dict.fromkeys(candidates), key=losses.whole)[:5]
        beam = best if path in best else [*best[:-1], path]
    return measured


def genetic(losses: Losses) -> list[LayerMask]:
    draw = PROBLEM.random()
    measured = seeds(PROBLEM, 16, 0.2, draw)
    population = sorted(measured, key=losses.whole)
    for _ in range(10):
        children = list[LayerMask]()
        while len(children) < 16 - 3:
            one, other = (set(population[min(draw.choices(range(16), k=2))].removed) for _ in range(2))
            inherited = draw.sample(sorted(one ^ other), BUDGET - len(one & other))
            child = PROBLEM.mask([*(one & other), *inherited])
            mutates = draw.random() < 0.15
            while mutates or child in measured or child in children:
                child, mutates = swapped(PROBLEM, child, draw), False
            children.append(child)
        measured += children
        population = sorted([*population[:3], *children], key=losses.whole)
    return measured


def evolutionary(losses: Losses) -> list[LayerMask]:
    draw = PROBLEM.random()
    measured = list(dict.fromkeys(drawn(PROBLEM, draw) for _ in range(64)))
    parent, waited = min(measured, key=losses.whole), 0
    tried = set(measured)
    while waited < 5:
        offspring = list[LayerMask]()
        for _ in range(20 * 32):  # of a space this small, all may have been tried before there are 32
            child = parent
            for _ in range(min(draw.randint(1, 3), draw.randint(1, 3))):
                child = swapped(PROBLEM, child, draw)
            if child not in tried and child not in offspring:
                offspring.append(child)
            if len(offspring) == 32:
                break
        measured += [parent, *offspring]
        tried.update(offspring)
        best = min([parent, *offspring], key=losses.whole)
        parent, waited = (best, 0) if losses.whole(best) < losses.whole(parent) else (parent, waited + 1)
    return measured


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=12).filter(
        lambda pairs: len({round(a - b, 3) for a, b in pairs}) > 1
    ),
    st.sampled_from([0.6, 0.9, 0.99]),
)
def test_worse_is_scipys_paired_t_test(pairs: list[tuple[float, float]], confidence: float) -> None:
    here, there = zip(*pairs, strict=True)
    ones = [1.0] * len(pairs)
    p_value = stats.ttest_rel(here, there, alternative="greater").pvalue
    if abs(p_value - (1 - confidence)) > 1e-6:
        worse = is_worse(Loss.mean(here, ones), Loss.mean(there, ones), confidence)
        assert worse == (p_value < 1 - confidence)


def test_a_sequence_weighs_as_much_as_its_tokens() -> None:
    few, many = [1.0, 1.0, 5.0], [1.0, 100.0, 1.0]
    assert Loss.mean(few, many) == pytest.approx(106 / 102)
    one, two = Loss.mean([2.0, 2.1, 0.0], many), Loss.mean([1.0, 1.0, 1.5], many)
    assert is_worse(one, two, 0.6)
    assert not is_worse(two, one, 0.6)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_an_equal_is_stopped_no_more_often_than_the_confidence_says(confidence: float) -> None:
    draw, trials, stopped = random.Random(4), 4000, 0
    for _ in range(trials):
        pair = [Loss.mean([draw.gauss() for _ in range(4)], [1.0] * 4) for _ in range(2)]
        stopped += is_worse(*pair, confidence)
    share = 1 - confidence
    assert stopped / trials == pytest.approx(share, abs=4 * (share / trials) ** 0.5)


@pytest.mark.parametrize("confidence", [0.51, 0.999])
def test_questions_answered_alike_show_nothing(confidence: float) -> None:
    wrong, right = Loss.mean([1.0, 1.0], [1.0, 1.0]), Loss.mean([0.0, 0.0], [1.0, 1.0])
    assert not is_worse(wrong, right, confidence)
    assert not is_worse(right, wrong, confidence)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("plain", [greedy, beam, genetic, evolutionary])
def test_without_racing_a_search_is_exactly_the_plain_one(plain: Plain, seed: int) -> None:
    losses, reference = Losses(0.3, seed), Losses(0.3, seed)
    outcome = search(plain.__name__, losses, confidence=1)
    assert {trial.sequences for trial in outcome.trials} == {SEQUENCES}
    assert not any(trial.stopped for trial in outcome.trials)
    measured = list(dict.fromkeys(plain(reference)))
    assert list(losses.measured) == measured
    assert outcome.best.mask == min((mask for mask in measured if len(mask) == BUDGET), key=reference.whole)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(["greedy", "beam", "lazy-greedy"]))
def test_races_without_noise_choose_what_the_plain_search_does(seed: int, name: str) -> None:
    plain, raced = Losses(0, seed), Losses(1e-6, seed)
    best = search(name, plain, confidence=1).best
    outcome = search(name, raced, confidence=0.9)
    assert outcome.best.mask == best.mask
    assert sum(raced.measured.values()) < 0.6 * sum(plain.measured.values())


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_beam_is_never_worse_than_greedy(seed: int, width: int) -> None:
    assert search("beam", Losses(0.3, seed), width=width).best.loss <= search("greedy", Losses(0.3, seed)).best.loss


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_lazy_greedy_with_endless_slack_is_greedy(seed: int) -> None:
    losses = Losses(0.3, seed)
    assert search("lazy-greedy", losses, confidence=1, slack=1e9).best.mask == greedy(losses)[-1]


def test_lazy_greedy_measures_fewer_masks_than_greedy() -> None:
    lazy, plain = Losses(0), Losses(0)
    assert search("lazy-greedy", lazy, confidence=1).best.mask == search("greedy", plain).best.mask
    assert len(lazy.measured) < 0.8 * len(plain.measured)


def test_a_layer_known_on_two_sequences_is_looked_at_again() -> None:
    """Layer 2 is the second to go, but on the first two sequences it seems to cost more than 3 and 4 do on eight."""
    rises = {
        1: [0.0, 1.6, *[0.0] * 14],
        2: [0.2, 1.81, *[0.15] * 14],
        3: [1.2, 0.9, *[0.5, 0.6] * 7],
        4: [1.2, 0.9, *[0.6, 0.5] * 7],
    }

    def losses(masks: Sequence[LayerMask], sequences: int) -> list[Loss]:
        every = [[sum(rises[layer][item] for layer in mask.removed) for item in range(sequences)] for mask in masks]
        return [Loss.mean(items, [1.0] * sequences) for items in every]

    searcher: Any = installed().find("searcher", "lazy-greedy").create({"batch": 2})
    outcome = drive(searcher, Problem(5, 2, frozenset({0}), sequences=16, workspace=Path()), losses)
    stopped = {trial.mask.removed: trial.sequences for trial in outcome.trials if trial.stopped and trial.step < 4}
    assert stopped == {(2,): 2, (3,): 8, (4,): 8}
    assert outcome.best.mask.removed == (1, 2)


@pytest.mark.parametrize("name", ["greedy", "beam", "lazy-greedy", "evolutionary", "genetic"])
def test_one_sequence_is_no_race(name: str) -> None:
    searcher: Any = installed().find("searcher", name).create({"confidence": 0.9})
    outcome = drive(searcher, Problem(6, 2, sequences=1, workspace=Path()), Losses(0.1))
    assert not any(trial.stopped for trial in outcome.trials)


@pytest.mark.parametrize("noise", [0.01, 0.3])
@pytest.mark.parametrize("name", ["greedy", "beam", "lazy-greedy", "evolutionary", "genetic", "swap"])
def test_the_record_says_who_lost_each_race_and_when(name: str, noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each race's masks, those that were not looked at on all sequences and did not win, at their last look."""
    lost: list[tuple[LayerMask, int]] = []
    races, race = 0, Racing.race

    def watched(racing: Racing, problem: Problem, masks: Sequence[LayerMask], keep: int = 1) -> Any:
        nonlocal races
        ranked = yield from race(racing, problem, masks, keep)
        if racing.races:
            races += 1
            assert {mask for mask, _ in ranked} == set(masks)
            lost.extend((mask, len(loss.items)) for mask, loss in ranked[keep:] if len(loss.items) < SEQUENCES)
        return ranked

    monkeypatch.setattr(Racing, "race", watched)
    outcome = search(name, Losses(noise), confidence=0.9, first=4)
    stopped = [(trial.mask, trial.sequences) for trial in outcome.trials if trial.stopped]
    assert sorted(stopped) == sorted(lost)
    assert races > 1
    assert len(lost) > races
    assert outcome.best.sequences == SEQUENCES


def test_published_stages_say_who_did_not_survive_the_first() -> None:
    outcome = search("evolutionary", Losses(0.2), selection="stages", initial=10, offspring=8)
    assert any(trial.stopped for trial in outcome.trials)
    for _, batch in itertools.groupby(outcome.trials, lambda trial: trial.step):
        look = list(batch)
        kept = {trial.mask for trial in sorted(look, key=lambda trial: trial.loss)[:2]}
        assert all(trial.stopped == (trial.sequences < SEQUENCES and trial.mask not in kept) for trial in look)


def test_evolution_keeps_its_parent_and_tries_nothing_twice() -> None:
    losses = Losses(0.2)
    outcome = search("evolutionary", losses, patience=3)
    whole = [trial for trial in outcome.trials if trial.sequences == SEQUENCES]
    assert outcome.best.loss == min(trial.loss for trial in whole)
    looks = [list(look) for _, look in itertools.groupby(outcome.trials, lambda trial: trial.step)]
    first, *generations = [[trial.mask for trial in look] for look in looks if look[0].sequences == 2]
    offspring = [mask for _, *masks in generations for mask in masks]  # each begins with its parent
    assert len(generations) > 3
    assert len(offspring) >= 16 * 3
    assert len({*first, *offspring}) == len(first) + len(offspring)
    assert all(len(mask) == BUDGET for mask in offspring)


def test_published_stages_let_two_offspring_meet_the_parent_on_all_sequences() -> None:
    """A look at a sixteenth, the two lowest of it and the parent on all; who wins is the next parent."""
    losses = Losses(0.2)
    outcome = search("evolutionary", losses, selection="stages", patience=4, initial=10, offspring=8)
    steps = [list(batch) for _, batch in itertools.groupby(outcome.trials, lambda trial: trial.step)]
    parents = list[LayerMask]()
    for look, final, again in zip(steps[::3], steps[1::3], steps[2::3], strict=True):
        assert {trial.sequences for trial in look} == {SEQUENCES // 16}
        survivors = [trial.mask for trial in sorted(look, key=lambda trial: trial.loss)[:2]]
        assert [trial.mask for trial in final] == [*parents[-1:], *survivors]
        best = min(final, key=lambda trial: trial.loss)
        assert (again[0].mask, again[0].sequences) == (best.mask, SEQUENCES)
        parents.append(best.mask)
    assert len(parents) > 4
    assert parents[-1] == outcome.best.mask


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_a_generation_that_races_keeps_the_same_elite_for_less(seed: int) -> None:
    """The elite of the first one is the plain search's; and the answer has been measured on all sequences."""
    plain, raced = Losses(0, seed), Losses(1e-6, seed)
    best = search("genetic", plain, generations=0).best
    outcome = search("genetic", raced, generations=0, confidence=0.9)
    assert [trial.mask for trial in outcome.trials][-3:] == sorted(
        plain.measured, key=lambda mask: plain.loss(mask, 4)
    )[:3]
    assert outcome.best.mask == best.mask
    assert sum(raced.measured.values()) < 0.6 * sum(plain.measured.values())


def test_a_genetic_search_that_races_ends_with_its_best_on_all_sequences() -> None:
    plain, raced = Losses(0.2), Losses(0.2)
    search("genetic", plain)
    outcome = search("genetic", raced, confidence=0.9)
    assert any(trial.stopped for trial in outcome.trials)
    assert outcome.best.sequences == SEQUENCES
    assert sum(raced.measured.values()) < 0.8 * sum(plain.measured.values())
    assert len(raced.measured) == len(plain.measured) == 16 + 10 * 13


def test_evolution_finds_the_optimum_of_a_small_space() -> None:
    losses = Losses(0)
    best = search("exhaustive", losses).best
    assert search("evolutionary", losses, patience=20, offspring=32).best.mask == best.mask


def test_a_probe_is_asked_of_the_first_sequences_and_doubled() -> None:
    problem = Problem(LAYERS, 1, sequences=20)
    masks = [LayerMask(LAYERS, (layer,)) for layer in range(3)]
    race = Racing(confidence=0.9, first=3).race(problem, masks)
    asked: Any = next(race)
    looks, ranked = [], None
    while ranked is None:
        looks.append(asked.sequences)
        ones = [1.0] * asked.sequences
        try:
            asked = race.send([Loss.mean([1.0 + 1e-9 * i for _ in ones], ones) for i in range(3)])
        except StopIteration as done:
            ranked = done.value
    assert looks in ([3], [3, 6, 12, 20])
    assert [mask for mask, _ in ranked] == masks
