"""Where items to measure on come from: a text, JSONL of documents, questions, chats or worked solutions, or ready ids."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lpk.core.errors import UsageError
from lpk.core.pruning.items import Choices, Items, Questions, Sequences
from lpk.core.pruning.rows import Prompted, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lpk.core.pruning.items import Ids

#: The text that is calibrated on by default: a slice of WikiText-2 (raw, test split), shipped in the package.
EMBEDDED = "wikitext2"
#: All that ``--calibration`` knows by name; their licences stand beside them.
SHIPPED = {EMBEDDED: "wikitext2.txt", "arc-easy": "arc-easy.jsonl", "piqa": "piqa.jsonl", "gsm8k": "gsm8k.jsonl"}
#: The endings of files of ready token ids, all of which are calibrated on, whatever the seed.
READY = (".npy", ".safetensors")
#: The last part of a file, in tokens of a text or in rows, is never calibrated on; perplexity is reported there. Where it
#: begins depends on the file alone: items of two lengths or kinds are held apart too.
HELD_OUT_SHARE = 0.25


#: What an objective can be measured on, see :attr:`lpk.core.contracts.Objective.items`.
Kind = Literal["sequences", "answers", "questions"]


@dataclass(frozen=True)
class Corpus:
    """What a calibration file holds, before any tokenizer.

    Attributes:
        text: one text to cut windows from; or
        documents: texts, each of which gives one sequence; or
        prompted: prompts with answers, each of which gives an item; or
        ids: ready sequences.
    """

    source: str
    text: str = ""
    documents: tuple[str, ...] = ()
    prompted: tuple[Prompted, ...] = ()
    ids: tuple[Ids, ...] = ()
    role: str = "calibration"

    @classmethod
    def read(cls, source: str, field: str = "text", role: str = "calibration") -> Corpus:
        """Read what lpk ships by name, a text, ``.jsonl``, or ids as ``.npy`` or ``.safetensors``.

        Raises:
            UsageError: the file is missing, empty, binary, or not what its ending says.
        """
        if source in SHIPPED:
            with as_file(files("lpk") / "data" / SHIPPED[source]) as path:
                return replace(cls.read(str(path), field, role), source=source)
        path = Path(source).expanduser()
        if path.is_dir():
            raise UsageError(f"{role} {source}: this is a folder; wanted a file: text, .jsonl, .npy or .safetensors")
        if not path.is_file():
            raise UsageError(f"{role} {source}: no such file (and none of what lpk ships: {', '.join(SHIPPED)})")
        if path.stat().st_size == 0:
            raise UsageError(f"{role} {source}: the file is empty")
        if path.suffix in READY:
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
            rows = read_rows(source, text, field, role)
            if rows and isinstance(rows[0], Prompted):
                return cls(source, prompted=rows, role=role)  # type: ignore[arg-type]
            return cls(source, documents=rows, role=role)  # type: ignore[arg-type]
        return cls(source, text=text, role=role)

    def size(self, sequences: int, length: int) -> tuple[int, int]:
        """How many sequences and tokens a draw has, told without a tokenizer: of a text, what is asked for."""
        if self.ids:
            return len(self.ids), sum(map(len, self.ids))
        return sequences, sequences * length

    def known(self, length: int) -> Items:
        """What is known of the items without a tokenizer: ready ids; that windows of a text have so many tokens; or none."""
        import numpy as np

        window = (np.zeros(length, dtype=np.int32),) if self.text else ()
        return Sequences(self.source, self.ids or window, role=self.role)

    def options(self, kind: Kind) -> int:
        """How many sequences an item has, rounded up from the mean."""
        if kind != "questions" or not self.prompted:
            return 1
        return -(-sum(len(each.options) for each in self.prompted) // len(self.prompted))

    def check(self, kind: Kind) -> None:
        """Find out whether it holds what an objective is measured on.

        Raises:
            UsageError: it does not.
        """
        if kind != "sequences" and not self.prompted:
            raise UsageError(
                f"{self.role} {self.source}: this objective is measured on {kind}, and here is {self._holds}; give a "
                'file of lines such as {"query": ..., "choices": [...], "gold": 0}'
            )
        if kind == "questions" and (odd := next((each for each in self.prompted if len(each.options) < 2), None)):
            raise UsageError(
                f"{self.role} {self.source}: this objective compares options, and {odd.options[0][0][:40]!r} has one answer"
            )

    @property
    def _holds(self) -> str:
        return "ready token ids" if self.ids else "text"

    def draw(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        count: int,
        length: int,
        seed: int,
        kind: Kind = "sequences",
    ) -> Items:
        """Items to calibrate on, drawn by ``seed`` from all but the last quarter; ready ids all, in order.

        Of a question, an objective of sequences or answers gets the prompt with the right answer.

        Raises:
            UsageError: there are fewer, there is no tokenizer, or it holds nothing of this kind.
        """
        self.check(kind)
        if self.ids:
            return Sequences(self.source, self.ids, role=self.role)
        pool = self._enough(self._pool(tokenizer, length, kind), length, whole=False).calibration
        if len(pool) < count:
            raise UsageError(
                f"{self.role} {self.source}: {count} sequences wanted, {len(pool)} there are ({length} tokens each, the last "
                f"quarter held out); give a longer file, or ask for {len(pool)} sequences"
            )
        chosen = sorted(random.Random(seed).sample(range(len(pool)), count))
        return self._items([pool[index] for index in chosen], kind)

    def held_out(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        count: int,
        length: int,
        *,
        whole: bool,
        kind: Kind = "sequences",
    ) -> Items:
        """At most ``count`` evenly spaced items of the last quarter, which no seed draws, or of all; ready ids all.

        Raises:
            UsageError: there is less than one, there is no tokenizer, or it holds nothing of this kind.
        """
        self.check(kind)
        if self.ids:
            return Sequences(self.source, self.ids, role=self.role)
        found = self._enough(self._pool(tokenizer, length, kind), length, whole=whole)
        pool = found.every if whole else found.held_out
        count = min(count, len(pool))
        return self._items([pool[index * len(pool) // count] for index in range(count)], kind)

    def _items(self, drawn: list[Choices], kind: Kind) -> Items:
        if kind == "questions":
            return Questions(self.source, tuple(drawn), role=self.role)
        begins = tuple(each.begins[0] for each in drawn) if self.prompted else ()
        return Sequences(self.source, tuple(each.ids[0] for each in drawn), role=self.role, begins=begins)

    def _enough(self, pool: _Pool, length: int, *, whole: bool) -> _Pool:
        """The same pool, if it has an item to calibrate on and one held out, or as a whole any."""
        if (whole and pool.every) or (pool.calibration and pool.held_out):
            return pool
        have = {0: "less than one sequence", 1: "one sequence"}.get(len(pool.every), f"{len(pool.every)} sequences")
        lack = "" if whole else ", and there must be one before the last quarter, which is held out, and one in it"
        raise UsageError(
            f"{self.role} {self.source}: {have} of {length} tokens{lack}; give a longer file or a smaller --length"
        )

    def _pool(self, tokenizer: PreTrainedTokenizerBase | None, length: int, kind: Kind) -> _Pool:
        """All items there are: neighbouring windows of a text, the beginning of each document, prompts with answers."""
        import numpy as np

        if tokenizer is None:
            raise UsageError(
                f"{self.role} {self.source}: text needs a tokenizer, and the model has none; give token ids, such as ids.npy"
            )
        # A model trained to see a first token (Gemma's <bos>) must see it in every window, not only in the first.
        prefix = [i for i in tokenizer("").input_ids if i == tokenizer.bos_token_id]
        room = length - len(prefix)
        if room < 2:
            raise UsageError(f"--length {length} leaves no room for 2 tokens of text")
        if self.prompted:
            encoder = _Encoder(tokenizer, prefix, length)
            return _Pool.of_rows([encoder.item(each, kind) for each in self.prompted])

        def tokenize(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False, verbose=False).input_ids  # type: ignore[no-any-return]

        def item(tokens: list[int]) -> Choices:
            return Choices((np.array(prefix + tokens, dtype=np.int32),), (0,), (0,), 0)

        if self.documents:
            pieces = [tokenize(document)[:room] for document in self.documents]
            return _Pool.of_rows([item(piece) if len(piece) >= 2 else None for piece in pieces])
        tokens = tokenize(self.text)
        windows = [range(begin, begin + room) for begin in range(0, len(tokens) - room + 1, room)]
        return _Pool([(place, item(tokens[place.start : place.stop])) for place in windows], len(tokens))


@dataclass(frozen=True)
class _Pool:
    """All items of a file.

    Attributes:
        placed: each with where it is: tokens of the text, or its row.
        size: tokens or rows of the whole file.
    """

    placed: list[tuple[range, Choices]]
    size: int

    @classmethod
    def of_rows(cls, items: list[Choices | None]) -> _Pool:
        """An item a row; None of a row that gives none, which still counts for where the last quarter begins."""
        return cls([(range(row, row + 1), item) for row, item in enumerate(items) if item], len(items))

    @property
    def every(self) -> list[Choices]:
        return [item for _, item in self.placed]

    @property
    def calibration(self) -> list[Choices]:
        """Those wholly before the last quarter."""
        return [item for place, item in self.placed if place.stop <= self._boundary]

    @property
    def held_out(self) -> list[Choices]:
        """Those that begin in the last quarter; a window that reaches into it from before is in neither part."""
        return [item for place, item in self.placed if place.start >= self._boundary]

    @property
    def _boundary(self) -> int:
        return int((1 - HELD_OUT_SHARE) * self.size)


@dataclass(frozen=True)
class _Encoder:
    """Prompts and answers as token ids of at most ``length``, ``prefix`` before them."""

    tokenizer: PreTrainedTokenizerBase
    prefix: list[int]
    length: int

    def item(self, given: Prompted, kind: Kind) -> Choices | None:
        """Cut where it is too long; None if nothing of an answer is left."""
        if kind != "questions":
            prompt, answer = self._chat(given.messages) or given.options[given.gold]
            ids, begin = self._pair(prompt, answer)
            if begin >= self.length:
                return None
            return Choices((_array(ids[: self.length]),), (begin,), (len(answer.encode()),), 0)
        rows, begins = [], []
        for prompt, answer in given.options:
            ids, begin = self._pair(prompt, answer)
            cut = max(0, len(ids) - self.length)  # a prompt loses its beginning: the question stands at its end
            if begin - cut <= len(self.prefix):
                return None
            rows.append(_array(self.prefix + ids[cut + len(self.prefix) :]) if cut else _array(ids))
            begins.append(begin - cut)
        sizes = tuple(len(answer.strip().encode()) for _, answer in given.options)
        return Choices(tuple(rows), tuple(begins), sizes, given.gold)

    def _chat(self, messages: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
        """Prompt and answer in the tokenizer's own chat template, if it has one; its <bos> is ours to put."""
        if not messages or not self.tokenizer.chat_template:
            return None
        before = [{"role": role, "content": content} for role, content in messages[:-1]]
        prompt: Any = self.tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
        return prompt.removeprefix(self.tokenizer.bos_token or ""), messages[-1][1]

    def _pair(self, prompt: str, answer: str) -> tuple[list[int], int]:
        """Ids of both together, and where the answer begins: after as many tokens as the prompt alone has.

        Spaces at the prompt's end belong to the answer's first token, as in lm-evaluation-harness.
        """
        stripped = prompt.rstrip(" ")
        answer = prompt[len(stripped) :] + answer
        alone, both = (
            self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
            for text in (stripped, stripped + answer)
        )
        return self.prefix + both, len(self.prefix) + min(len(alone), len(both) - 1)


def _array(ids: list[int]) -> Ids:
    import numpy as np

    return np.array(ids, dtype=np.int32)


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
