"""What a run will cost, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Probe, Problem
from lpk.core.errors import UsageError
from lpk.core.memory import available_memory
from lpk.core.pruning.catalog import CATALOG
from lpk.core.pruning.inputs import check_unchanged, corpora_of, located
from lpk.core.pruning.parts import DrawSize, Parts, resolved
from lpk.core.pruning.precision import Precision
from lpk.core.pruning.racing import idle
from lpk.core.pruning.recipe import Recipe
from lpk.core.pruning.run_directory import RunDirectory
from lpk.core.pruning.search import forecasts, tally_of
from lpk.core.pruning.store import Store
from lpk.core.registry import Registry

if TYPE_CHECKING:
    from lpk.core.pruning.calibration import Corpus
    from lpk.core.pruning.models import ModelSpec

#: Seconds that forecasting the search may take.
PATIENCE = 60.0
#: Hidden states of a sequence that must fit into memory for masks to share one: at the least that can be done three do.
SHARING = 4
DENSE = "dense model on the calibration sequences"
#: What the same would take otherwise: no part of the sum.
NAIVE, UNSTOPPED = ", a full forward for each mask", ", if its races stop nothing"


def plan(
    recipe: Recipe,
    registry: Registry,
    out: Path | None = None,
    store: str | None = None,
    *,
    stream: str = "auto",
    memory: int | None = None,
) -> dict[str, Any]:
    """What a run would do and cost if nothing is known yet. No weight is downloaded or loaded, nothing is written.

    ``exact`` says whether the search asks for as many masks, at this cost, whatever the losses and scores will be. The
    arguments are those of :func:`lpk.core.pruning.run.execute`.

    Raises:
        LpkError: the run would be refused, or what its search costs cannot be told in time.
    """
    recipe = resolved(recipe, registry)
    parts = Parts.of(recipe, registry)
    precision = _begun(recipe, parts, out)
    given, other = corpora_of(recipe, parts.terms)
    spec = located(recipe)
    precision = precision or Precision.decide(recipe.dtype, spec.device)
    spec, memory = replace(spec, dtype=precision.dtype), memory or available_memory(spec.device)
    if store:
        Store(store).check()
    layers = spec.layer_count()
    problem = recipe.problem(layers)
    lengths = [term.calibration.length for term in parts.terms]
    state = _checked(spec, [*given, other], [*lengths, recipe.calibration.length])
    weights = _weights(spec, stream, memory)
    held_out, _ = other.size(recipe.held_out.sequences, recipe.calibration.length)
    costs = _costs(recipe, parts, problem, given, again=not precision.exact)
    costs["layer_forwards"]["held-out perplexity, at most"] = held_out * (2 * layers - problem.budget)
    shares = SHARING * state <= memory // 2
    return {
        "recipe": recipe.model_dump(mode="json"),
        "plugins": {role: plugin for role, plugin in parts.described.items() if role != "reported"},
        "precision": vars(precision),
        "weights": weights,
        "layers": layers,
        "budget": problem.budget,
        "protected": sorted(problem.protected),
        **costs,
        "exact": costs["exact"] and shares,
        "shares": shares,
    }


def _costs(recipe: Recipe, parts: Parts, problem: Problem, given: Sequence[Corpus], *, again: bool) -> dict[str, Any]:
    """The calibration data, and what scorer, search and finalists cost on it.

    Args:
        recipe: the recipe.
        parts: the plugins.
        problem: the problem, without sequences and scores.
        given: the texts, one for each term of the objective.
        again: whether finalists are measured in float32 once more.
    """
    drawn = [term.size(corpus) for term, corpus in zip(parts.terms, given, strict=True)]
    size = DrawSize(*map(sum, zip(*drawn, strict=True)))
    compared = sum(each.sequences for term, each in zip(parts.terms, drawn, strict=True) if term.objective.needs_dense)
    forwards, masks, exact = _searching(parts, replace(problem, sequences=size.items), size, compared)
    finalists = size.sequences * (problem.layers + min(recipe.confirm, masks) * (problem.layers - problem.budget))
    forwards["finalists again in float32, at most"] = again * (finalists + compared * problem.layers)
    return {
        "calibration": {
            "source": " and ".join(dict.fromkeys(corpus.source for corpus in given)),
            "sequences": size.items,
            "tokens": size.tokens,
        },
        "masks": masks,
        "exact": exact,
        "racing": idle(parts.searcher.options, size.items),
        "layer_forwards": forwards,
    }


def _begun(recipe: Recipe, parts: Parts, out: Path | None) -> Precision | None:
    """The precision that a run in this folder began with, if one did.

    Raises:
        UsageError: the folder is not free for this recipe.
    """
    if out is None:
        return None
    with RunDirectory(out, recipe) as directory:
        if directory.finished is not None:
            check_unchanged(out, directory.finished["cost"].get("input_files", {}), recipe, parts.terms)
        begun = (directory.before or {}).get("precision")
    return Precision(**begun) if begun else None


def _checked(spec: ModelSpec, corpora: Sequence[Corpus], lengths: Sequence[int]) -> int:
    """Compare data and model, as far as they are known without tokenizer and weights.

    Returns:
        The bytes of the hidden state of the longest sequence that is calibrated on; 0 if that is not known.

    Raises:
        UsageError: ids, lengths or files are not what they must be.
    """
    import torch

    if spec.name in CATALOG:  # of which no more than its depth is known before it is here
        return 0
    config = spec.config().get_text_config()
    known = [corpus.known(length) for corpus, length in zip(corpora, lengths, strict=True)]
    for items in known:
        items.check(config)
    longest = max((items.shape(item)[1] for items in known[:-1] for item in range(len(items))), default=0)
    width: int = getattr(config, "hidden_size", 0)
    state: int = longest * width * getattr(torch, spec.dtype).itemsize
    return state


def _weights(spec: ModelSpec, stream: str, memory: int) -> str:
    """Where the weights will be, in words.

    Raises:
        UsageError: one of their files is missing, or they cannot be streamed as asked.
    """
    from lpk.core.pruning.loading import check_exact

    path = Path(spec.name).expanduser()
    if spec.name not in CATALOG and not path.exists():
        return "streamed: as asked" if stream == "always" else "not here yet: that says whether they are streamed"
    if stream == "always" or ("pickle" not in spec.allow and any(path.glob("*.safetensors"))):
        try:
            spec.weight_files()
        except UsageError as error:
            raise UsageError(f"model {spec.name}: {error}") from None
    check_exact(spec, stream, memory)
    reason = spec.why_streamed(stream, memory)
    return f"streamed: {reason}" if reason else "in memory"


def _searching(parts: Parts, problem: Problem, size: DrawSize, compared: int) -> tuple[dict[str, int], int, bool]:
    """Layer-forwards up to the search's end, what for; how many masks that asks for; and whether both are exact.

    Args:
        parts: the plugins.
        problem: the problem, without scores.
        size: the calibration data's.
        compared: sequences on which masks are compared with the dense model.
    """
    layers, items = problem.layers, problem.sequences
    asked, dense = parts.scored(layers, items), Probe([problem.dense], items)
    found, contrary = forecasts(parts.searcher, problem, PATIENCE, [*asked, dense], scored=bool(parts.scorer))
    if found is None:
        raise UsageError(f"searcher {parts.searcher.name}: its cost cannot be told within {PATIENCE:.0f} seconds")

    def rows(forwards: int) -> int:  # a tally counts a question once, whose options are several sequences
        return size.sequences * forwards // items

    scored, before = tally_of(asked).cost, tally_of([*asked, dense]).cost
    passed = layers * parts.passes(size)
    passed += layers * compared * max((look.sequences for look in asked), default=0) // items
    forwards: dict[str, int] = {}
    if parts.scorer:
        forwards["scorer"] = passed + rows(scored.layer_forwards)
        forwards["scorer" + NAIVE] = passed + rows(scored.naive_layer_forwards)
    forwards |= {
        "search": rows(found.cost.layer_forwards),
        "search" + NAIVE: rows(found.cost.naive_layer_forwards),
        DENSE: rows(before.layer_forwards - scored.layer_forwards) + compared * layers,
    }
    if contrary and any(sequences < items for _, sequences in found.looks):
        forwards["search" + UNSTOPPED] = rows(contrary.cost.layer_forwards)
    return forwards, len(found.masks), found.agrees(contrary)
