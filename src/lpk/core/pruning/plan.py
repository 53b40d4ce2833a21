"""What a run will cost, before anything is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lpk.core.errors import UsageError
from lpk.core.pruning.inputs import corpora_of, located
from lpk.core.pruning.parts import Parts, resolved
from lpk.core.pruning.precision import Precision
from lpk.core.pruning.recipe import Recipe
from lpk.core.pruning.search import forecast, made_up_scores
from lpk.core.registry import Registry

#: Seconds that forecasting the search may take.
PATIENCE = 60.0


def plan(recipe: Recipe, registry: Registry) -> dict[str, Any]:
    """What a run would do and cost. No weight is downloaded or loaded, nothing is written.

    Raises:
        LpkError: the run would be refused.
    """
    recipe = resolved(recipe, registry)
    parts = Parts.of(recipe, registry)
    given, other = corpora_of(recipe)
    given.check(parts.objective.items)
    spec = located(recipe)
    layers = spec.layer_count()
    problem = recipe.problem(layers)
    count, tokens = given.size(recipe.calibration.sequences, recipe.calibration.length)
    held_out, _ = other.size(recipe.held_out.sequences, recipe.calibration.length)
    scores = made_up_scores(layers) if parts.scorer else None
    searched = forecast(parts.searcher, replace(problem, scores=scores, sequences=count), PATIENCE)
    if searched is None:
        raise UsageError(f"searcher {parts.searcher.name}: its cost cannot be told within {PATIENCE:.0f} seconds")
    options = given.options(parts.objective.items)
    exact = Precision.decide(recipe.dtype, spec.device).exact
    again = layers + min(recipe.confirm, len(searched.masks)) * (layers - problem.budget)
    passes = count * options * (1 + bool(parts.scorer) + parts.objective.needs_dense)
    return {
        "recipe": recipe.model_dump(mode="json"),
        "plugins": {role: plugin for role, plugin in parts.described.items() if role != "reported"},
        "layers": layers,
        "budget": problem.budget,
        "protected": sorted(problem.protected),
        "calibration": {"sequences": count, "tokens": tokens},
        "masks": len(searched.masks),
        "layer_forwards": {
            "search": options * searched.cost.layer_forwards,
            "search, a full forward for each mask": options * searched.cost.naive_layer_forwards,
            "dense model on the calibration sequences": passes * layers,
            "finalists again in float32, at most": 0 if exact else count * options * again,
            "held-out perplexity, at most": held_out * (2 * layers - problem.budget),
        },
    }
