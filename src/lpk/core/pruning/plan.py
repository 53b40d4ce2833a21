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
    given, other = corpora_of(recipe, parts.terms)
    spec = located(recipe)
    layers = spec.layer_count()
    problem = recipe.problem(layers)
    drawn = [term.size(corpus) for term, corpus in zip(parts.terms, given, strict=True)]
    count, rows, tokens = (sum(each) for each in zip(*drawn, strict=True))
    held_out, _ = other.size(recipe.held_out.sequences, recipe.calibration.length)
    scores = made_up_scores(layers) if parts.scorer else None
    searched = forecast(parts.searcher, replace(problem, scores=scores, sequences=count), PATIENCE)
    if searched is None:
        raise UsageError(f"searcher {parts.searcher.name}: its cost cannot be told within {PATIENCE:.0f} seconds")
    exact = Precision.decide(recipe.dtype, spec.device).exact
    again = layers + min(recipe.confirm, len(searched.masks)) * (layers - problem.budget)
    passes = rows * (1 + bool(parts.scorer))
    passes += sum(size.sequences for term, size in zip(parts.terms, drawn, strict=True) if term.objective.needs_dense)
    sources = " and ".join(dict.fromkeys(corpus.source for corpus in given))
    return {
        "recipe": recipe.model_dump(mode="json"),
        "plugins": {role: plugin for role, plugin in parts.described.items() if role != "reported"},
        "layers": layers,
        "budget": problem.budget,
        "protected": sorted(problem.protected),
        "calibration": {"source": sources, "sequences": count, "tokens": tokens},
        "masks": len(searched.masks),
        "layer_forwards": {
            "search": rows * searched.cost.layer_forwards // count,
            "search, a full forward for each mask": rows * searched.cost.naive_layer_forwards // count,
            "dense model on the calibration sequences": passes * layers,
            "finalists again in float32, at most": 0 if exact else rows * again,
            "held-out perplexity, at most": held_out * (2 * layers - problem.budget),
        },
    }
