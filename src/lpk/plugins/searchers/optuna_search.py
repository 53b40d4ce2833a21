"""Any Optuna sampler of continuous spaces, over masks of exactly the budget.

Optuna has no set-valued parameter. Here each removable layer has a key in [0, 1], and the ``budget`` layers with the
lowest keys go: every trial is a valid mask, every mask is as likely as any other under random keys, and samplers that
want a continuous space (TPE, GP, CMA-ES, NSGA-II) have one. A scorer's masks are tried first, then masks from its
ranking with noise, in place of uniformly random ones: of 20 uniform masks of 8 of 30 layers of SmolLM2-135M the best
had a perplexity of 744, where the ranking alone gives 124. "Rethinking Layer Redundancy" (2604.24938) gives its Bayesian
optimisation 200 trials, 10 of them random: ``trials=200 startup=10``.

The study stands in a plain Optuna journal, each trial's layers in its user attributes; ``optuna-dashboard`` opens it.
Proposals that had been measured already stand there as failed trials without layers.

``pareto`` is the same search with an objective of several parts: the study has a direction for each. What it finds is
the front of all masks that it tried, which the core keeps of every search for such an objective. The answer is still the
lowest loss, the parts together.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher
from lpk.core.errors import EnvironmentMissing, UsageError, did_you_mean
from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.proposals import count, swapped

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

#: Samplers of finite spaces, or of part of one; keys between 0 and 1 are no such space.
_OTHER_SPACES = ("BruteForceSampler", "GridSampler", "PartialFixedSampler")
#: Where the study stands in the searcher's workspace.
STORAGE = "optuna.log"


class OptunaOptions(Options):
    trials: int = Field(32, ge=1, description="how many different masks to try")
    startup: int = Field(
        10,
        ge=0,
        description="how many of them before the sampler decides, where it has such a beginning (TPE, GP, CMA-ES; NSGA's "
        "generations are as large): the scorer's and noisy copies, without a scorer random ones",
    )
    noise: float = Field(0.2, ge=0, description="standard deviation of that noise; the keys lie in [0, 1]")
    batch: int = Field(
        1, ge=1, description="how many masks to ask for at once after that; more share more of the model's first layers"
    )
    sampler: str = Field("TPESampler", description="a class of optuna.samplers, with or without its ending")
    sampler_options: dict[str, Any] = Field({}, description="its arguments, as JSON")

    @field_validator("sampler_options", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value


class ParetoOptions(OptunaOptions):
    trials: int = Field(200, ge=1, description="how many different masks to try")
    startup: int = Field(
        20, ge=2, description="how many of them before the sampler decides; of NSGA-II also the size of a generation"
    )
    batch: int = Field(
        20,
        ge=1,
        description="how many masks to ask for at once after that; more share more of the model's first layers",
    )
    sampler: str = Field("NSGAIISampler", description="a class of optuna.samplers that takes several objectives")


class OptunaSearch(Searcher[OptunaOptions]):
    scores = "optional"

    def search(self, problem: Problem) -> Search:
        yield from self._study(problem)

    def _study(self, problem: Problem, parts: int = 1) -> Search:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # The memo is what a resumed run goes on from: replayed from the first trial, the sampler decides the same again.
        for old in problem.workspace.glob(f"{STORAGE}*"):
            old.unlink()
        storage = JournalStorage(JournalFileBackend(str(problem.workspace / STORAGE)))
        space: dict[str, BaseDistribution] = {
            _parameter(layer): optuna.distributions.FloatDistribution(0, 1) for layer in problem.candidates
        }
        rank, random = _ranking(problem), problem.random()
        sampler = self._sampler(problem.seed)
        study = optuna.create_study(storage=storage, sampler=sampler, study_name="lpk", directions=["minimize"] * parts)
        first = self._first_masks(problem, rank, random)
        for mask in first:
            study.enqueue_trial(dict(zip(space, _encode(problem, mask, rank), strict=True)))
        known: set[LayerMask] = set()
        wanted = min(self.options.trials, count(problem))
        while len(known) < wanted:
            # The first masks do not depend on each other's losses; asked for together, they share layers.
            size = min(self.options.batch if known else max(len(first), self.options.batch), wanted - len(known))
            batch: dict[LayerMask, Trial] = {}
            while len(batch) < size:
                trial = study.ask(space)
                mask = _decode(problem, [trial.params[name] for name in space])
                if mask in known or mask in batch:
                    # A mask is measured once. Told again and again, it would also draw the sampler to itself alone:
                    # of 450 proposals for 12 layers 441 were of 9 masks. So a neighbour is tried in its place.
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                    while mask in known or mask in batch:
                        mask = swapped(problem, mask, random)
                    study.enqueue_trial(dict(zip(space, _encode(problem, mask, rank), strict=True)))
                    trial = study.ask(space)
                trial.set_user_attr("removed", list(mask.removed))
                batch[mask] = trial
            losses = yield list(batch)
            for (mask, trial), loss in zip(batch.items(), losses, strict=True):
                study.tell(trial, loss if parts == 1 else loss.parts)
                known.add(mask)

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna import samplers

        others = ("BaseGASampler", "BaseSampler", *_OTHER_SPACES)
        names = [name for name in dir(samplers) if name.endswith("Sampler") and name not in others]
        plain = {name.lower().removesuffix("sampler"): name for name in names}
        name = plain.get(self.options.sampler.lower().removesuffix("sampler"))
        if name is None:
            raise UsageError(
                f"searcher 'optuna': no sampler {self.options.sampler!r}{did_you_mean(self.options.sampler, names)}"
            )
        startup = self.options.startup
        arguments: dict[str, Any] = {"seed": seed}
        match name:
            case "TPESampler":
                # Explicit, since Optuna's defaults for these have changed between its versions.
                arguments |= {"n_startup_trials": startup, "n_ei_candidates": 24, "multivariate": True}
                arguments |= {"group": False, "constant_liar": self.options.batch > 1, "prior_weight": 1.0}
                arguments |= {"consider_magic_clip": True, "consider_endpoints": False}
            case "CmaEsSampler":
                arguments |= {"n_startup_trials": startup}
            case "GPSampler":
                arguments |= {"n_startup_trials": startup, "deterministic_objective": True}
            case "NSGAIISampler" | "NSGAIIISampler":
                # What the others' startup is; Optuna's own 50 would be all of 32 trials. Of 60 masks of 16 layers the
                # best was among the best 0.3 % with 10, 0.6 % with 50, as of random ones.
                arguments |= {"population_size": max(2, startup)}
        try:
            with warnings.catch_warnings(action="ignore"):  # that some samplers are experimental
                return getattr(samplers, name)(**arguments | self.options.sampler_options)  # type: ignore[no-any-return]
        except ImportError as error:
            raise EnvironmentMissing(f"searcher 'optuna': {name} needs a package that is not here: {error}") from error
        except (TypeError, ValueError) as error:
            raise UsageError(f"searcher 'optuna': {name} refuses its arguments: {error}") from None

    def _first_masks(self, problem: Problem, rank: Sequence[float], random: Random) -> list[LayerMask]:
        """The scorer's best layers, its three best runs, and then its ranking with noise; without a scorer nothing.

        Three runs: the best by angular distance of 8 layers of SmolLM2-135M, 11-18, has a perplexity of 368 where its
        neighbour 12-19 has 134.
        """
        if problem.scores is None:
            return []
        runs = problem.scores.runs
        first = [problem.lowest(problem.scores.layers)]
        if runs:
            first += sorted(problem.windows(), key=lambda mask: runs[mask.removed[0]][problem.budget - 1])[:3]
        # Not proposals.seeds: its noise comes in another order and goes on until all masks differ, so recorded runs of one
        # seed would try other masks.
        while len(first) < self.options.startup:
            first.append(_decode(problem, [key + random.gauss(0, self.options.noise) for key in rank]))
        return list(dict.fromkeys(first[: self.options.trials]))


class Pareto(OptunaSearch):
    def search(self, problem: Problem) -> Search:
        (dense,) = yield [problem.dense]  # which has been measured before any search: it says how many parts there are
        parts = max(1, len(dense.parts))
        if parts > 1 and self.options.sampler.lower().startswith("cmaes"):
            raise UsageError(
                "searcher 'pareto': CmaEsSampler takes one objective, no parts; NSGAIISampler takes several"
            )
        yield from self._study(problem, parts)


def _ranking(problem: Problem) -> list[float]:
    """Each removable layer's place in the scorer's order, from 0 to 1; without a scorer they are all in the middle."""
    if problem.scores is None:
        return [0.5] * len(problem.candidates)
    scores = problem.scores.layers
    order = sorted(problem.candidates, key=lambda layer: (scores[layer], layer))
    return [order.index(layer) / len(order) for layer in problem.candidates]


def _encode(problem: Problem, mask: LayerMask, rank: Sequence[float]) -> list[float]:
    """Keys of a mask: those of removed layers lie below 0.5, those of kept ones above, in the order of the ranking."""
    return [(key + (layer not in mask.removed)) / 2 for layer, key in zip(problem.candidates, rank, strict=True)]


def _parameter(layer: int) -> str:
    return f"layer_{layer:03d}"


def _decode(problem: Problem, keys: Sequence[float]) -> LayerMask:
    """The mask of the layers with the lowest keys."""
    order = sorted(zip(keys, problem.candidates, strict=True))
    return problem.mask(layer for _, layer in order[: problem.budget])


@hookimpl
def lpk_searchers() -> Iterable[Component]:
    yield Component(
        "optuna",
        "Any Optuna sampler of continuous spaces (TPE by default), seeded with the scorer's masks",
        f"{__name__}:OptunaSearch",
        reference="https://arxiv.org/abs/1907.10902",
        options=OptunaOptions,
        extra="lpk[optuna]",
    )
    yield Component(
        "pareto",
        "The masks that no other one beats in every part of the objective, by NSGA-II or another Optuna sampler",
        f"{__name__}:Pareto",
        reference="https://doi.org/10.1109/4235.996017",
        options=ParetoOptions,
        extra="lpk[optuna]",
    )
