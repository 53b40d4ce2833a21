"""What a plugin of each kind must be, and the small values that plugins and core exchange.

Importing this module imports neither torch nor numpy: a plugin module may import it at the top.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from lpk.core.pruning.mask import LayerMask

if TYPE_CHECKING:
    from torch import Tensor

    from lpk.core.pruning.recipe import CalibrationRecipe


# ---------------------------------------------------------------------------------------------------------------------
# Every plugin
# ---------------------------------------------------------------------------------------------------------------------


class Options(BaseModel):
    """A plugin's options: ``-O key=value``, the recipe's keys, and the table of ``lpk plugins show`` are its fields.

    Give each field a default and a ``Field(description=...)``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Component:
    """What a hook returns for each thing it offers: a description light enough to list.

    Attributes:
        name: lower case letters, digits and hyphens.
        summary: one line.
        target: ``"package.module:Class"``, imported only when the component is used.
        reference: the address of the paper, if there is one.
        options: the class of its options.
        extra: the pip requirement that brings what the target imports, e.g. ``"lpk[optuna]"``.
    """

    name: str
    summary: str
    target: str
    reference: str = ""
    options: type[Options] = Options
    extra: str = ""


OptionsT = TypeVar("OptionsT", bound=Options)


class Plugin(ABC, Generic[OptionsT]):
    """What every target class is made with: its validated options.

    Attributes:
        name: the qualified name it was asked for by, e.g. ``"lpk/angular"``.
    """

    name = "unnamed"

    def __init__(self, options: OptionsT) -> None:
        self.options = options


# ---------------------------------------------------------------------------------------------------------------------
# The data a model is measured on
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What is known of the sequences of a batch that are the options of one question.

    Attributes:
        gold: which of them is right.
        sizes: the length of each option's text, in UTF-8 bytes.
    """

    gold: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Token sequences, padded on the right to one length.

    No attention mask goes with them: the model is causal, so no real position ever sees a pad.

    Attributes:
        ids: token ids, (sequences, tokens), int64.
        lengths: real tokens of each sequence, (sequences,), int64.
        scored: which tokens a loss is about, (sequences, tokens), bool: those of an answer, not of its prompt. None if
            it is about all.
        question: there if the sequences are the options of one question.
    """

    ids: Tensor
    lengths: Tensor
    scored: Tensor | None = None
    question: Question | None = None

    def real(self) -> Tensor:
        """Which positions are not padding: (sequences, tokens), bool."""
        import torch

        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths[:, None]

    def predicted(self) -> Tensor:
        """Which positions have a next token that a loss is about: (sequences, tokens - 1), bool."""
        real = self.real()[:, 1:]
        return real if self.scored is None else real & self.scored[:, 1:]

    def rows(self) -> Iterator[Batch]:
        """Each sequence by itself, without padding."""
        for row, length in enumerate(self.lengths.tolist()):
            scored = None if self.scored is None else self.scored[row : row + 1, :length]
            yield Batch(self.ids[row : row + 1, :length], self.lengths[row : row + 1], scored)


class Calibration(Protocol):
    """The calibration items, as a scorer sees them."""

    def batches(self) -> Iterator[Batch]:
        """The sequences, in an order that never changes; of an objective on several data, those of all."""
        ...

    def losses(self, masks: Sequence[LayerMask], sequences: int | None = None) -> Sequence[Loss]:
        """The run's objective for each mask, over the first so many items (by default all). Remembered, like a search's."""
        ...


@dataclass(frozen=True)
class LayerGradient:
    """How the negative log-likelihood of one sequence, the mean of its predicted tokens in nats, changes with one layer.

    Attributes:
        layer: which.
        entering: its input, (1, tokens, hidden).
        leaving: its output, the same shape.
        hidden: the gradient at its output, the same shape.
        weights: the gradient of each of its parameters, by name.
        tokens: how many predicted tokens that mean is of.
    """

    layer: int
    entering: Tensor
    leaving: Tensor
    hidden: Tensor
    weights: Mapping[str, Tensor]
    tokens: int


class Stack(Protocol):
    """A causal language model taken as embedding, layers and head."""

    @property
    def layers(self) -> int:
        """How many layers there are."""
        ...

    def states(self, batch: Batch) -> Iterator[Tensor]:
        """The dense model's residual stream, ``layers + 1`` tensors of (sequences, tokens, hidden).

        The ``l``-th is the input of layer ``l``; the last is the output of the last layer *before* the final norm.
        """
        ...

    def weights(self, layer: int) -> Mapping[str, Tensor]:
        """The parameters of one layer by name, e.g. ``"self_attn.q_proj.weight"``; not to be changed."""
        ...

    def outputs(self, batch: Batch, hidden: Tensor) -> Outputs:
        """What the head predicts from a hidden state, as if no layer came after it."""
        ...

    def gradients(self, batch: Batch) -> Iterator[LayerGradient]:
        """For each sequence by itself, without padding: of each layer of the dense model, the last layer first.

        Of a question's options that is the right one alone. One layer's gradients are held at a time.

        Raises:
            UsageError: the model's layers cannot be run one by one.
        """
        ...


# ---------------------------------------------------------------------------------------------------------------------
# Scorers
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerScores:
    """How much the model needs each layer, or each run of layers; the lowest score goes first.

    Attributes:
        layers: one score for each layer.
        runs: ``runs[l][n - 1]`` is the score of the ``n`` layers from ``l`` on; empty if the scorer has none.
        similarity: how alike two layers are, 1 for the same; a symmetric matrix over layers, or empty.
        interaction: a symmetric matrix Q such that removing layers x (0 or 1 for each) costs about x'Qx; or empty.
    """

    layers: tuple[float, ...]
    runs: tuple[tuple[float, ...], ...] = ()
    similarity: tuple[tuple[float, ...], ...] = ()
    interaction: tuple[tuple[float, ...], ...] = ()

    def run(self, start: int, length: int) -> float:
        """The score of layers ``start`` to ``start + length - 1`` removed together."""
        return self.runs[start][length - 1]

    @classmethod
    def from_pairs(cls, between: Sequence[Sequence[float]], alike: Sequence[Sequence[float]] = ()) -> LayerScores:
        """From distances between states: ``between[a][b]`` lies between the inputs of layers ``a`` and ``b``, a < b.

        ``alike`` says the same of states as ``similarity`` does of layers: two layers are as alike as their inputs.
        """
        last = len(between) - 1
        runs = tuple(tuple(float(between[start][end]) for end in range(start + 1, last + 1)) for start in range(last))
        similarity = tuple(tuple(map(float, row[:-1])) for row in alike[:-1])
        return cls(layers=tuple(run[0] for run in runs), runs=runs, similarity=similarity)


class Scorer(Plugin[OptionsT]):
    """Says how redundant each layer is."""

    #: What it looks at of every calibration item, for a plan to count: the dense model's states, every layer run once; its
    #: gradients, every layer run twice; or neither.
    looks_at: ClassVar[Literal["states", "gradients", "nothing"]] = "states"

    @abstractmethod
    def score(self, stack: Stack, calibration: Calibration) -> LayerScores:
        """Score every layer. The model must be left as it was."""

    def asks(self, layers: int, sequences: int) -> Sequence[Probe]:
        """The masks whose losses :meth:`score` asks for, by a number of layers and of calibration items; for a plan to count."""
        return ()


# ---------------------------------------------------------------------------------------------------------------------
# Objectives
# ---------------------------------------------------------------------------------------------------------------------


class Outputs(ABC):
    """What one masked model says about one batch. Logits come in chunks of positions, never whole.

    Attributes:
        hidden: the last hidden state before the final norm, (sequences, tokens, hidden); None where the model's head
            looks at more than that.
    """

    batch: Batch
    hidden: Tensor | None = None

    @abstractmethod
    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Predictions of the next token: (positions, logits), logits being float32 (sequences, positions, vocabulary).

        Covers positions ``0`` to ``tokens - 2``; the last one predicts nothing that is known.
        """

    def token_nll(self) -> Tensor:
        """Negative log-likelihood of each next token in nats: (sequences, tokens - 1), float32 or float64.

        What stands where :meth:`Batch.predicted` is false means nothing.
        """
        import torch
        from torch.nn.functional import cross_entropy

        def chunk(at: slice, logits: Tensor) -> Tensor:
            # Rows of the vocabulary must be contiguous: over a transposed dimension torch's float32 sum of 49,152
            # exponentials was off by 1.3e-4 nats a token, over rows by 8e-6.
            targets = self.batch.ids[:, 1:][:, at]
            return cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").reshape(targets.shape)

        return torch.cat([chunk(at, logits) for at, logits in self.chunks()], 1)

    def token_kl(self, dense: Outputs) -> Tensor:
        """KL(dense || this) of each next-token distribution in nats: the same shape and types, the same places."""
        import torch
        from torch.nn.functional import kl_div, log_softmax

        pairs = zip(self.chunks(), dense.chunks(), strict=True)
        return torch.cat(
            [
                kl_div(log_softmax(here, -1), log_softmax(there, -1), reduction="none", log_target=True).sum(-1)
                for (_, here), (_, there) in pairs
            ],
            1,
        )


class Objective(Plugin[OptionsT]):
    """What "the model still works" means: one number for each item, lower is better.

    An item is a sequence, or the options of one question.
    """

    #: Whether ``loss`` compares with the dense model's outputs.
    needs_dense: bool = False
    #: What it can be measured on: any sequences (of a question, the one with the right answer); answers that follow a
    #: prompt; or questions, a batch of which holds the options of one.
    items: Literal["sequences", "answers", "questions"] = "sequences"
    #: The names of other objectives that it is made of, and their options; :meth:`bind` gives them to it.
    made_of: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    def by_data(self, calibration: CalibrationRecipe) -> Mapping[CalibrationRecipe, Mapping[str, Any]]:
        """Where some of these name calibration data of their own: for each data the options of this objective with the parts
        that are measured there; the others are on ``calibration``. The loss is the sum of theirs. Else empty.
        """
        return {}

    def bind(self, parts: Sequence[Objective[Any]]) -> None:
        """Take the objectives that :attr:`made_of` names, before anything else is asked."""

    @abstractmethod
    def loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        """One loss for each item of the batch: (sequences,), of a question (1,). ``dense`` is given when ``needs_dense``."""

    def item_loss(self, outputs: Outputs, dense: Outputs | None) -> Tensor:
        """The same of a question as of one item: where ``loss`` gives each option's, the right one's."""
        losses, question = self.loss(outputs, dense), outputs.batch.question
        return losses if question is None or len(losses) == 1 else losses[question.gold :][:1]

    def weights(self, batch: Batch) -> Tensor:
        """What each item counts for in the mean: a sequence its predicted tokens, a question 1, unless overridden."""
        if batch.question is not None:
            return batch.lengths.new_ones(1)
        return batch.predicted().sum(1)

    @staticmethod
    def sequence_mean(per_token: Tensor, batch: Batch) -> Tensor:
        """The mean over each sequence's predicted tokens, in float64: (sequences, tokens - 1) -> (sequences,)."""
        here = batch.predicted()
        return per_token.double().masked_fill(~here, 0).sum(1) / here.sum(1)


# ---------------------------------------------------------------------------------------------------------------------
# Executors
# ---------------------------------------------------------------------------------------------------------------------


class Layers(Protocol):
    """A layer stack as an executor sees it."""

    @property
    def batches(self) -> bool:
        """Whether a layer can be called with several sequences at once."""
        ...

    def layer(self, index: int, hidden: Tensor, start: Any) -> Tensor:
        """The output of one layer: (sequences, tokens, hidden) in and out."""
        ...

    def layer_at_once(self, index: int, states: Sequence[Tensor], starts: Sequence[Any]) -> list[Tensor]:
        """The same for several states of one length, in one call."""
        ...


class Executor(Plugin[OptionsT]):
    """Runs layers for the evaluator; as it is, one state after the other.

    What an executor computes must agree with :meth:`Layers.layer`, bit for bit or within a tolerance that it states.

    Attributes:
        found: numbers that it found out on this machine and that its rounding depends on, by what they are of. Losses
            are told apart by them, and a run that goes on gives back those that it began with.
    """

    def __init__(self, options: OptionsT) -> None:
        super().__init__(options)
        self.found: dict[str, int] = {}

    def at_once(self, layers: Layers, state: Tensor, start: Any) -> int:
        """How many states like this one, the embedding's output of one sequence, should go through a layer together.

        If it is 1, masks are walked depth first with few states alive; else layer by layer, within the memory given.
        """
        return 1

    def run(self, layers: Layers, index: int, states: Sequence[Tensor], starts: Sequence[Any]) -> list[Tensor]:
        """The output of one layer for each state; lengths may differ."""
        return [layers.layer(index, state, start) for state, start in zip(states, starts, strict=True)]


# ---------------------------------------------------------------------------------------------------------------------
# Searchers
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Remove exactly ``budget`` of ``layers`` layers, none of them protected.

    Attributes:
        scores: a scorer's opinion, when there is one.
        sequences: how many calibration sequences a loss is the mean of; a :class:`Probe` may ask for fewer.
        seed: everything random must come from it.
        workspace: a folder for what the searcher wants to leave behind.
        rehearsed: whether the losses are made up, to count what the search asks for: as many masks must be asked for, but
            those need not be chosen with much work.
    """

    layers: int
    budget: int
    protected: frozenset[int] = frozenset()
    scores: LayerScores | None = None
    sequences: int = 1
    seed: int = 0
    workspace: Path = field(default_factory=Path)
    rehearsed: bool = False

    @property
    def dense(self) -> LayerMask:
        """The mask that removes nothing."""
        return LayerMask(self.layers)

    @property
    def candidates(self) -> tuple[int, ...]:
        """The layers that may be removed."""
        return self.removable(self.dense)

    def removable(self, mask: LayerMask) -> tuple[int, ...]:
        """The layers that may still be removed."""
        return tuple(layer for layer in mask.kept if layer not in self.protected)

    def mask(self, removed: Iterable[int]) -> LayerMask:
        """The mask that removes these layers."""
        return LayerMask(self.layers, tuple(removed))

    def lowest(self, scores: Sequence[float]) -> LayerMask:
        """The mask of the ``budget`` removable layers with the lowest scores; ties go to the earlier layer."""
        return self.mask(sorted(self.candidates, key=lambda layer: (scores[layer], layer))[: self.budget])

    def windows(self) -> list[LayerMask]:
        """Every mask that removes ``budget`` neighbouring layers, from the first to the last."""
        starts = range(self.layers - self.budget + 1)
        runs = (range(start, start + self.budget) for start in starts)
        return [self.mask(run) for run in runs if self.protected.isdisjoint(run)]

    def accepts(self, mask: LayerMask) -> bool:
        """Whether this mask could be the answer."""
        return mask.layers == self.layers and len(mask) == self.budget and self.protected.isdisjoint(mask.removed)

    def random(self) -> random.Random:
        """A fresh generator seeded with ``seed``."""
        return random.Random(self.seed)


class Loss(float):
    """A mask's loss: the weighted mean over the sequences that were asked for, in the objective's unit.

    Attributes:
        items: the loss on each of those sequences, in their order.
        weights: what each of them counts for.
        parts: where the objective is made of others, the loss under each of them.
        terms: where it is a sum over several calibration data, the loss on each. Then ``items`` are scaled and weighed so
            that their mean is the sum.
    """

    items: tuple[float, ...]
    weights: tuple[float, ...]
    parts: tuple[float, ...] = ()
    terms: tuple[Loss, ...] = ()

    @classmethod
    def mean(cls, items: Iterable[float], weights: Iterable[float], parts: Iterable[float] = ()) -> Loss:
        """From the losses of single sequences; the sum is exactly rounded, so their order does not matter."""
        items, weights = tuple(items), tuple(weights)
        total = math.fsum(item * weight for item, weight in zip(items, weights, strict=True))
        loss = cls(total / math.fsum(weights))
        loss.items, loss.weights, loss.parts = items, weights, tuple(parts)
        return loss


@dataclass(frozen=True)
class Probe:
    """A cheaper look: masks on the first ``sequences`` sequences only. To ask for all of them later costs the rest.

    Attributes:
        stopped: those that this look has ruled out; the searcher adds them once it has the losses. They are recorded so.
    """

    masks: Sequence[LayerMask]
    sequences: int
    stopped: set[LayerMask] = field(default_factory=set)


#: Yields batches of masks, or a :class:`Probe` of some, and is sent their losses in the same order. Masks below the
#: budget may be asked for too, never above it.
Search = Generator[Sequence[LayerMask] | Probe, Sequence[Loss], None]


class Searcher(Plugin[OptionsT]):
    """Says which masks to try next.

    The answer of a search is the mask with the lowest loss among those of exactly the budget that it asked for on all
    sequences; of equals, the one asked for first. So a searcher never does worse than any mask it tries, its seeds included.
    """

    #: What it does with a scorer's scores.
    scores: ClassVar[Literal["ignored", "optional", "required"]] = "ignored"

    @abstractmethod
    def search(self, problem: Problem) -> Search:
        """Yield masks, receive losses. The same problem and losses must give the same masks."""
