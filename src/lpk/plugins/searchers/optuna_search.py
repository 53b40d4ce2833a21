"""Any Optuna sampler over masks of exactly the budget.

Optuna has no set-valued parameter. Here each removable layer has a key in [0, 1], and the ``budget`` layers with the
lowest keys go: every trial is a valid mask, every mask is as likely as any other under random keys, and samplers that
want a continuous space (TPE, GP, CMA-ES, NSGA-II) have one. A scorer's masks are tried first, then masks from its
ranking with noise, in place of uniformly random ones: of 20 uniform masks of 8 of 30 layers of SmolLM2-135M the best
had a perplexity of 744, where the ranking alone gives 124.

The study stands in a plain Optuna journal, each trial's layers in its user attributes; ``optuna-dashboard`` opens it.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from lpk import hookimpl
from lpk.core.contracts import Component, Options, Problem, Search, Searcher
from lpk.core.errors import EnvironmentMissing, UsageError, did_you_mean
from lpk.core.pruning.mask import LayerMask

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

#: Where the study stands in the searcher's workspace.
STORAGE = "optuna.log"
#: A sampler that keeps proposing what it has tried is asked this many times for each mask that is wanted.
PATIENCE = 5


class OptunaOptions(Options):
    trials: int = Field(32, ge=1, description="how many different masks to try")
    startup: int = Field(
        10, ge=0, description="how many of them before the sampler decides: the scorer's, then noisy copies"
    )
    noise: float = Field(0.2, ge=0, description="standard deviation of that noise; the keys lie in [0, 1]")
    batch: int = Field(
        1, ge=1, description="how many masks to ask for at once after that; more share more of the model's first layers"
    )
    sampler: str = Field("TPESampler", description="a class of optuna.samplers")
    sampler_options: dict[str, Any] = Field({}, description="its arguments, as JSON")

    @field_validator("sampler_options", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value


class OptunaSearch(Searcher[OptunaOptions]):
    scores = "optional"

    def search(self, problem: Problem) -> Search:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # The memo is what a resumed run goes on from: replayed from the first trial, the sampler decides the same again.
        for old in problem.workspace.glob(f"{STORAGE}*"):
            old.unlink()
        storage = JournalStorage(JournalFileBackend(str(problem.workspace / STORAGE)))
        study = optuna.create_study(storage=storage, sampler=self._sampler(problem.seed), study_name="lpk")
        space: dict[str, BaseDistribution] = {
            _parameter(layer): optuna.distributions.FloatDistribution(0, 1) for layer in problem.candidates
        }
        first = list(islice(self._first_keys(problem), self.options.trials))
        for keys in first:
            study.enqueue_trial(dict(zip(space, keys, strict=True)))
        known: dict[LayerMask, float] = {}
        wanted = min(self.options.trials, math.comb(len(problem.candidates), problem.budget))
        # The first masks do not depend on each other's losses; asked for together, they share layers.
        asked, batch = 0, max(len(first), self.options.batch)
        while len(known) < wanted and asked < PATIENCE * wanted:
            trials = [study.ask(space) for _ in range(min(batch, wanted - len(known)))]
            masks = [_decode(problem, [trial.params[name] for name in space]) for trial in trials]
            new = [mask for mask in dict.fromkeys(masks) if mask not in known]
            if new:
                losses = yield new
                known |= dict(zip(new, losses, strict=True))
            for trial, mask in zip(trials, masks, strict=True):
                trial.set_user_attr("removed", list(mask.removed))
                study.tell(trial, known[mask])
            asked, batch = asked + len(trials), self.options.batch

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna import samplers

        names = [name for name in dir(samplers) if name.endswith("Sampler") and name != "BaseSampler"]
        plain = {name.lower().removesuffix("sampler"): name for name in names}
        name = plain.get(self.options.sampler.lower().removesuffix("sampler"))
        if name is None:
            raise UsageError(
                f"searcher 'optuna': no sampler {self.options.sampler!r}{did_you_mean(self.options.sampler, names)}"
            )
        arguments: dict[str, Any] = {"seed": seed}
        if name == "TPESampler":
            # Explicit, since Optuna's defaults for these have changed between its versions.
            arguments |= {"n_startup_trials": self.options.startup, "n_ei_candidates": 24, "multivariate": True}
            arguments |= {"group": False, "constant_liar": self.options.batch > 1, "prior_weight": 1.0}
            arguments |= {"consider_magic_clip": True, "consider_endpoints": False}
        try:
            with warnings.catch_warnings(action="ignore"):  # that some samplers are experimental
                return getattr(samplers, name)(**arguments | self.options.sampler_options)  # type: ignore[no-any-return]
        except ImportError as error:
            raise EnvironmentMissing(f"searcher 'optuna': {name} needs a package that is not here: {error}") from error
        except (TypeError, ValueError) as error:
            raise UsageError(f"searcher 'optuna': {name} refuses its arguments: {error}") from None

    def _first_keys(self, problem: Problem) -> Iterable[list[float]]:
        """Keys of the scorer's best layers, of its best run of layers, and then of its ranking with noise."""
        if problem.scores is None:
            return
        layers, runs = problem.scores.layers, problem.scores.runs
        ranking = sorted(problem.candidates, key=lambda layer: (layers[layer], layer))
        rank = [ranking.index(layer) / len(ranking) for layer in problem.candidates]
        seeds = [problem.lowest(layers)]
        if runs:
            seeds += sorted(problem.windows(), key=lambda mask: runs[mask.removed[0]][problem.budget - 1])[:1]
        for mask in seeds:
            yield [(key + (layer not in mask.removed)) / 2 for layer, key in zip(problem.candidates, rank, strict=True)]
        random = problem.random()
        for _ in range(len(seeds), self.options.startup):
            yield [min(1.0, max(0.0, key + random.gauss(0, self.options.noise))) for key in rank]


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
        "Any Optuna sampler (TPE by default), seeded with the scorer's masks",
        f"{__name__}:OptunaSearch",
        reference="https://arxiv.org/abs/1907.10902",
        options=OptunaOptions,
        extra="lpk[optuna]",
    )
