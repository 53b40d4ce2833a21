"""Token sequences to measure on: from text, from JSONL, or as ids that another tool has used too."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.contracts import Batch, Loss
from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

    Ids = np.ndarray[tuple[int], np.dtype[np.int32]]

#: What ``--calibration wikitext2`` names: a slice of WikiText-2 (raw, test split), shipped in the package.
EMBEDDED = "wikitext2"
#: The last part of a text is never calibrated on; perplexity is reported there.
HELD_OUT_SHARE = 0.25


@dataclass(frozen=True)
class Sequences:
    """Token sequences, one by one.

    Attributes:
        source: where they come from, for people.
        ids: one int32 array of token ids for each sequence; lengths may differ.
        device: where batches are put.
        role: what they are for, as messages say it.
    """

    source: str
    ids: tuple[Ids, ...]
    device: str = "cpu"
    role: str = "calibration"

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """A fingerprint of each sequence's ids."""
        return tuple(hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()[:32] for ids in self.ids)

    @property
    def fingerprint(self) -> str:
        """A fingerprint of all ids in order."""
        return hashlib.sha256("".join(self.keys).encode()).hexdigest()

    @property
    def tokens(self) -> int:
        """Tokens in all sequences together."""
        return sum(len(ids) for ids in self.ids)

    def describe(self) -> dict[str, Any]:
        """What a run's record says of them."""
        return {
            "source": self.source,
            "sequences": len(self.ids),
            "tokens": self.tokens,
            "fingerprint": self.fingerprint,
        }

    def check(self, config: PreTrainedConfig) -> None:
        """Compare ids with a model's vocabulary, and lengths with its positions.

        Raises:
            UsageError: an id is beyond the one (the ids are another tokenizer's), or a sequence beyond the other.
        """
        positions = getattr(config, "max_position_embeddings", None)
        longest = max(map(len, self.ids), default=0)
        if positions and longest > positions:
            raise UsageError(
                f"{self.role} {self.source}: a sequence of {longest} tokens; the model has {positions} positions"
            )
        vocabulary = config.vocab_size
        highest = max((int(ids.max()) for ids in self.ids), default=0)
        if highest >= vocabulary:
            raise UsageError(
                f"{self.role} {self.source}: token id {highest}, but the model's vocabulary has {vocabulary}"
            )

    def batch(self, item: int) -> Batch:
        """One sequence as a batch of one."""
        import torch

        ids = torch.from_numpy(self.ids[item].astype("int64"))[None].to(self.device)
        return Batch(ids, torch.tensor([ids.shape[1]], device=self.device))

    def batches(self) -> Iterator[Batch]:
        """Each sequence as a batch of one, in order."""
        return (self.batch(item) for item in range(len(self.ids)))


@dataclass(frozen=True)
class Together:
    """The same sequences in few large batches: a model that is read from the disk for each should be read seldom.

    Attributes:
        tokens: positions that a batch may have, padding included; a sequence that is longer is a batch by itself.
    """

    sequences: Sequences
    tokens: int

    def batches(self) -> Iterator[Batch]:
        """See :meth:`lpk.core.contracts.Calibration.batches`."""
        rows: list[Batch] = []
        for batch in self.sequences.batches():
            if rows and (len(rows) + 1) * max(row.ids.shape[1] for row in [*rows, batch]) > self.tokens:
                yield _beside(rows)
                rows = []
            rows.append(batch)
        if rows:
            yield _beside(rows)


@dataclass(frozen=True)
class Measured:
    """Sequences, and what the objective makes of masks on them: a scorer's :class:`lpk.core.contracts.Calibration`."""

    sequences: Sequences | Together
    measure: Callable[[Sequence[LayerMask], int | None], Sequence[Loss]]

    def batches(self) -> Iterator[Batch]:
        """See :meth:`lpk.core.contracts.Calibration.batches`."""
        return self.sequences.batches()

    def losses(self, masks: Sequence[LayerMask], sequences: int | None = None) -> Sequence[Loss]:
        """See :meth:`lpk.core.contracts.Calibration.losses`."""
        return self.measure(masks, sequences)


def _beside(rows: list[Batch]) -> Batch:
    """Batches of one sequence each as one batch, the shorter ones padded on the right."""
    import torch
    from torch.nn.functional import pad

    width = max(row.ids.shape[1] for row in rows)
    ids = [pad(row.ids, (0, width - row.ids.shape[1])) for row in rows]
    return Batch(torch.cat(ids), torch.cat([row.lengths for row in rows]))


@dataclass(frozen=True)
class Corpus:
    """What a calibration file holds, before any tokenizer.

    Attributes:
        text: one text to cut windows from; or
        documents: texts, each of which gives one sequence; or
        ids: ready sequences.
    """

    source: str
    text: str = ""
    documents: tuple[str, ...] = ()
    ids: tuple[Ids, ...] = ()
    role: str = "calibration"

    @classmethod
    def read(cls, source: str, field: str = "text", role: str = "calibration") -> Corpus:
        """Read ``wikitext2`` (shipped), a text, ``.jsonl`` with a text field, or ids as ``.npy`` or ``.safetensors``.

        Raises:
            UsageError: the file is missing, empty, binary, or not what its ending says.
        """
        if source == EMBEDDED:
            return cls(source, text=(files("lpk") / "data" / "wikitext2.txt").read_text(encoding="utf-8"), role=role)
        path = Path(source).expanduser()
        if not path.is_file():
            raise UsageError(f"{role} {source}: no such file (and not {EMBEDDED!r}, the text that lpk ships)")
        if path.stat().st_size == 0:
            raise UsageError(f"{role} {source}: the file is empty")
        if path.suffix in (".npy", ".safetensors"):
            return cls(source, ids=_read_ids(path, role), role=role)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{role} {source}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{role} {source}: not UTF-8 text (byte {error.start}); wanted text, .jsonl, .npy or .safetensors"
            ) from None
        if "\0" in text:
            raise UsageError(f"{role} {source}: a binary file; wanted text, .jsonl, .npy or .safetensors")
        if not text.strip():
            raise UsageError(f"{role} {source}: nothing but white space")
        if path.suffix == ".jsonl":
            return cls(source, documents=_read_documents(source, text, field, role), role=role)
        return cls(source, text=text, role=role)

    def size(self, sequences: int, length: int) -> tuple[int, int]:
        """How many sequences and tokens a draw has, told without a tokenizer: of a text, what is asked for."""
        if self.ids:
            return len(self.ids), sum(map(len, self.ids))
        return sequences, sequences * length

    def draw(self, tokenizer: PreTrainedTokenizerBase | None, count: int, length: int, seed: int) -> Sequences:
        """Sequences to calibrate on, drawn by ``seed`` from all but the last quarter; ready ids all, in order.

        Raises:
            UsageError: there are fewer, or no tokenizer.
        """
        if self.ids:
            return Sequences(self.source, self.ids, role=self.role)
        pool, _ = self._parts(tokenizer, length)
        if len(pool) < count:
            raise UsageError(
                f"{self.role} {self.source}: {count} sequences wanted, {len(pool)} there are ({length} tokens each, the last "
                f"quarter held out); give a longer file, or --sequences {len(pool)}"
            )
        chosen = sorted(random.Random(seed).sample(range(len(pool)), count))
        return Sequences(self.source, tuple(pool[index] for index in chosen), role=self.role)

    def held_out(self, tokenizer: PreTrainedTokenizerBase | None, count: int, length: int, *, whole: bool) -> Sequences:
        """At most ``count`` evenly spaced sequences of the last quarter, which no seed draws, or of the whole text; ready ids all.

        Raises:
            UsageError: there is less than one sequence, or no tokenizer.
        """
        if self.ids:
            return Sequences(self.source, self.ids, role=self.role)
        first, last = self._parts(tokenizer, length)
        pool = first + last if whole else last
        count = min(count, len(pool))
        return Sequences(self.source, tuple(pool[index * len(pool) // count] for index in range(count)), role=self.role)

    def _parts(self, tokenizer: PreTrainedTokenizerBase | None, length: int) -> tuple[list[Ids], list[Ids]]:
        """All sequences there are: those to calibrate on, and the last quarter."""
        if tokenizer is None:
            raise UsageError(
                f"{self.role} {self.source}: text needs a tokenizer, and the model has none; give token ids: --{self.role} ids.npy"
            )
        pool = self._pool(tokenizer, length)
        if len(pool) < 2:
            have = "less than one sequence" if not pool else "one sequence"
            raise UsageError(
                f"{self.role} {self.source}: {have} of {length} tokens; two are needed, one of them held out: "
                "give a longer file or a smaller --length"
            )
        kept_back = max(1, round(len(pool) * HELD_OUT_SHARE))
        return pool[:-kept_back], pool[-kept_back:]

    def _pool(self, tokenizer: PreTrainedTokenizerBase, length: int) -> list[Ids]:
        """All sequences there are: neighbouring windows of a text, or the beginning of each document."""
        import numpy as np

        # A model trained to see a first token (Gemma's <bos>) must see it in every window, not only in the first.
        prefix = [i for i in tokenizer("").input_ids if i == tokenizer.bos_token_id]
        room = length - len(prefix)
        if room < 2:
            raise UsageError(f"--length {length} leaves no room for 2 tokens of text")

        def tokenize(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False, verbose=False).input_ids  # type: ignore[no-any-return]

        if self.documents:
            pieces = [tokens[:room] for tokens in map(tokenize, self.documents) if len(tokens) >= 2]
        else:
            tokens = tokenize(self.text)
            pieces = [tokens[begin : begin + room] for begin in range(0, len(tokens) - room + 1, room)]
        return [np.array(prefix + piece, dtype=np.int32) for piece in pieces]


def _read_documents(source: str, text: str, field: str, role: str) -> tuple[str, ...]:
    documents = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines(): JSON strings may hold U+2028
        if line.strip():
            try:
                row = json.loads(line)
                document = row[field]
                if not isinstance(document, str):
                    raise TypeError
            except json.JSONDecodeError as error:
                raise UsageError(f"{role} {source}, line {number}: not JSON ({error.msg})") from None
            except (KeyError, TypeError):
                raise UsageError(f"{role} {source}, line {number}: no text in the field {field!r}") from None
            documents.append(document)
    return tuple(documents)


def _read_ids(path: Path, role: str) -> tuple[Ids, ...]:
    import numpy as np

    try:
        if path.suffix == ".npy":
            arrays = {"": np.load(path, allow_pickle=False)}
        else:
            from safetensors.numpy import load_file

            arrays = load_file(path)
    except Exception as error:
        raise UsageError(f"{role} {path}: not a readable {path.suffix} file ({error})") from None
    if len(arrays) != 1:
        raise UsageError(f"{role} {path}: {len(arrays)} arrays ({', '.join(arrays)}); wanted one of token ids")
    (array,) = arrays.values()
    if array.ndim != 2 or array.dtype.kind not in "iu" or 0 in array.shape:
        raise UsageError(
            f"{role} {path}: {array.dtype} of shape {array.shape}; wanted integers of shape (sequences, length)"
        )
    if array.shape[1] < 2:
        raise UsageError(f"{role} {path}: sequences of 1 token; a next token to predict needs 2")
    if array.max() >= 2**31:
        raise UsageError(f"{role} {path}: token id {array.max()}; no vocabulary is that large")
    if array.min() < 0:
        raise UsageError(f"{role} {path}: negative token ids; padding is not allowed here")
    return tuple(row.astype(np.int32) for row in array)
