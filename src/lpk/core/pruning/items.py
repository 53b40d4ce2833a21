"""What a model is measured on, item by item: token sequences, or the options of questions."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from lpk.core.contracts import Batch, Loss, Question
from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedConfig

    Ids = np.ndarray[tuple[int], np.dtype[np.int32]]


class Items(ABC):
    """Items in an order that never changes; each is one batch, measured as a whole.

    Attributes:
        source: where they come from, for people.
        device: where batches are put.
        role: what they are for, as messages say it.
    """

    source: str
    device: str
    role: str

    @abstractmethod
    def __len__(self) -> int:
        """How many items there are."""

    @abstractmethod
    def rows(self, item: int) -> tuple[Ids, ...]:
        """The token sequences of an item."""

    @abstractmethod
    def on(self, device: str) -> Self:
        """The same items on a device."""

    @abstractmethod
    def _key(self, item: int) -> bytes:
        """All that a loss on this item depends on."""

    @abstractmethod
    def batch(self, item: int) -> Batch:
        """One item as a batch."""

    def batches(self) -> Iterator[Batch]:
        """Each item as a batch, in order."""
        return (self.batch(item) for item in range(len(self)))

    def shape(self, item: int) -> tuple[int, int]:
        """The sequences of an item, and the tokens of the longest."""
        rows = self.rows(item)
        return len(rows), max(map(len, rows))

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """A fingerprint of each item."""
        return tuple(hashlib.sha256(self._key(item)).hexdigest()[:32] for item in range(len(self)))

    @property
    def fingerprint(self) -> str:
        """A fingerprint of all items in order."""
        return hashlib.sha256("".join(self.keys).encode()).hexdigest()

    @property
    def sequences(self) -> int:
        """Sequences in all items together."""
        return sum(len(self.rows(item)) for item in range(len(self)))

    @property
    def tokens(self) -> int:
        """Tokens in all items together, padding included."""
        return sum(rows * tokens for rows, tokens in map(self.shape, range(len(self))))

    def describe(self) -> dict[str, Any]:
        """What a run's record says of them."""
        return {
            "source": self.source,
            "sequences": len(self),
            "tokens": self.tokens,
            "fingerprint": self.fingerprint,
        }

    def check(self, config: PreTrainedConfig) -> None:
        """Compare ids with a model's vocabulary, and lengths with its positions.

        Raises:
            UsageError: an id is beyond the one (the ids are another tokenizer's), or a sequence beyond the other.
        """
        positions = getattr(config, "max_position_embeddings", None)
        longest = max((self.shape(item)[1] for item in range(len(self))), default=0)
        if positions and longest > positions:
            other = ", --held-out FILE is read instead" if self.role == "held-out" else ""
            raise UsageError(
                f"{self.role} {self.source}: a sequence of {longest} tokens; the model has {positions} positions "
                f"(--length {positions} cuts a text to that{other})"
            )
        vocabulary = config.vocab_size
        highest = max((int(row.max()) for item in range(len(self)) for row in self.rows(item)), default=0)
        if highest >= vocabulary:
            raise UsageError(
                f"{self.role} {self.source}: token id {highest}, but the model's vocabulary has {vocabulary}"
            )


@dataclass(frozen=True)
class Sequences(Items):
    """Token sequences, one an item.

    Attributes:
        ids: one int32 array of token ids for each sequence; lengths may differ.
        begins: where in each sequence the tokens begin that a loss is about, the answer after its prompt; empty if it
            is about all.
    """

    source: str
    ids: tuple[Ids, ...]
    device: str = "cpu"
    role: str = "calibration"
    begins: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, item: int) -> tuple[Ids, ...]:
        """See :meth:`Items.rows`."""
        return (self.ids[item],)

    def batch(self, item: int) -> Batch:
        """See :meth:`Items.batch`."""
        return _padded(self.rows(item), self.begins[item : item + 1], self.device)

    def on(self, device: str) -> Self:
        """See :meth:`Items.on`."""
        return replace(self, device=device)

    def _key(self, item: int) -> bytes:
        begin = f" answer from {self.begins[item]}".encode() if self.begins else b""
        return self.ids[item].astype("<i4").tobytes() + begin


@dataclass(frozen=True)
class Choices:
    """The options of a question: each a prompt and an answer.

    Attributes:
        ids: token ids of each.
        begins: where in each the answer begins.
        sizes: UTF-8 bytes of each answer.
        gold: which is right.
    """

    ids: tuple[Ids, ...]
    begins: tuple[int, ...]
    sizes: tuple[int, ...]
    gold: int


@dataclass(frozen=True)
class Questions(Items):
    """Multiple-choice questions, one an item."""

    source: str
    choices: tuple[Choices, ...]
    device: str = "cpu"
    role: str = "calibration"

    def __len__(self) -> int:
        return len(self.choices)

    def rows(self, item: int) -> tuple[Ids, ...]:
        """See :meth:`Items.rows`."""
        return self.choices[item].ids

    def batch(self, item: int) -> Batch:
        """See :meth:`Items.batch`."""
        asked = self.choices[item]
        return _padded(asked.ids, asked.begins, self.device, Question(asked.gold, asked.sizes))

    def on(self, device: str) -> Self:
        """See :meth:`Items.on`."""
        return replace(self, device=device)

    def _key(self, item: int) -> bytes:
        asked = self.choices[item]
        about = repr((asked.begins, asked.sizes, asked.gold)).encode()
        return b" or ".join(row.astype("<i4").tobytes() for row in asked.ids) + about


@dataclass(frozen=True)
class Joined(Items):
    """The items of several calibration data by turns: among the first so many, each has its share."""

    source: str
    groups: tuple[Items, ...]
    device: str = "cpu"
    role: str = "calibration"

    @classmethod
    def of(cls, groups: Iterable[Items]) -> Joined:
        """Join them; of one, the items are that one's."""
        groups = tuple(groups)
        sources = dict.fromkeys(group.source for group in groups)
        return cls(" and ".join(sources), groups, groups[0].device, groups[0].role)

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Of each item, which group it is of and which of that group's items it is; the first items are one of each."""
        every = [(item / len(group), at, item) for at, group in enumerate(self.groups) for item in range(len(group))]
        return tuple((at, item) for _, at, item in sorted(every))

    def counts(self, items: int | None = None) -> list[int]:
        """How many of the first so many items, by default of all, are of each group; of each there is one at least."""
        first = self.places if items is None else self.places[: max(items, len(self.groups))]
        return [sum(group == at for group, _ in first) for at in range(len(self.groups))]

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def rows(self, item: int) -> tuple[Ids, ...]:
        """See :meth:`Items.rows`."""
        group, own = self.places[item]
        return self.groups[group].rows(own)

    def batch(self, item: int) -> Batch:
        """See :meth:`Items.batch`."""
        group, own = self.places[item]
        return self.groups[group].batch(own)

    def on(self, device: str) -> Self:
        """See :meth:`Items.on`."""
        return replace(self, groups=tuple(group.on(device) for group in self.groups), device=device)

    def describe(self) -> dict[str, Any]:
        """See :meth:`Items.describe`; of several groups each is described, too."""
        groups = {"groups": [group.describe() for group in self.groups]} if len(self.groups) > 1 else {}
        return {**super().describe(), **groups}

    def check(self, config: PreTrainedConfig) -> None:
        """See :meth:`Items.check`."""
        for group in self.groups:
            group.check(config)

    def _key(self, item: int) -> bytes:
        group, own = self.places[item]
        return self.groups[group]._key(own)


def _padded(rows: Sequence[Ids], begins: Sequence[int], device: str, question: Question | None = None) -> Batch:
    """Sequences padded on the right to one length; of each, the tokens from ``begins`` on are scored, or all."""
    import torch

    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    for row, given in enumerate(rows):
        ids[row, : len(given)] = torch.from_numpy(given.astype("int64"))
    lengths = torch.tensor([len(row) for row in rows], device=device)
    scored = torch.arange(width, device=device) >= torch.tensor(begins, device=device)[:, None] if begins else None
    return Batch(ids.to(device), lengths, scored, question)


@dataclass(frozen=True)
class Together:
    """The same items in few large batches: a model that is read from the disk for each should be read seldom.

    Attributes:
        tokens: positions that a batch may have, padding included; an item that is longer is a batch by itself.
    """

    items: Items
    tokens: int

    def batches(self) -> Iterator[Batch]:
        """The items in order; a question stays a batch by itself."""
        rows: list[Batch] = []
        for batch in self.items.batches():
            alone, together = batch.question is not None, [*rows, batch]
            width = max(row.ids.shape[1] for row in together)
            if rows and (alone or sum(len(row.ids) for row in together) * width > self.tokens):
                yield _beside(rows)
                rows = []
            if alone:
                yield batch
            else:
                rows.append(batch)
        if rows:
            yield _beside(rows)


def _beside(parts: list[Batch]) -> Batch:
    """Batches as one, the shorter sequences padded on the right."""
    import torch
    from torch.nn.functional import pad

    width = max(part.ids.shape[1] for part in parts)

    def wide(tensor: torch.Tensor) -> torch.Tensor:
        return pad(tensor, (0, width - tensor.shape[1]))

    scored = None
    if any(part.scored is not None for part in parts):
        scored = torch.cat([wide(part.real() if part.scored is None else part.scored) for part in parts])
    return Batch(torch.cat([wide(part.ids) for part in parts]), torch.cat([part.lengths for part in parts]), scored)


@dataclass(frozen=True)
class Measured:
    """Items, and what the objective makes of masks on them: a scorer's :class:`lpk.core.contracts.Calibration`."""

    items: Items | Together
    measure: Callable[[Sequence[LayerMask], int | None], Sequence[Loss]]

    def batches(self) -> Iterator[Batch]:
        """See :meth:`lpk.core.contracts.Calibration.batches`."""
        return self.items.batches()

    def losses(self, masks: Sequence[LayerMask], sequences: int | None = None) -> Sequence[Loss]:
        """See :meth:`lpk.core.contracts.Calibration.losses`."""
        return self.measure(masks, sequences)
