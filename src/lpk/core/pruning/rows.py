"""What a row of a .jsonl file is: a document, or a prompt with its answers in one of the formats in use."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lpk.core.errors import UsageError


@dataclass(frozen=True)
class Prompted:
    """A prompt and its answer, or a question's options as such pairs.

    Attributes:
        options: (prompt, answer) each; of a worked solution or a chat there is one.
        gold: which is right.
        messages: (role, content) each, of a chat; the last is the answer.
    """

    options: tuple[tuple[str, str], ...]
    gold: int = 0
    messages: tuple[tuple[str, str], ...] = ()


def read_rows(source: str, text: str, field: str, role: str) -> tuple[str | Prompted, ...]:
    """Each line's text, or its prompt and answers; all lines are of the first one's kind.

    Raises:
        UsageError: a line is no JSON object, of no known kind or of another kind than those before, or lacks a right answer.
    """
    rows: list[str | Prompted] = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines(): JSON strings may hold U+2028
        if not line.strip():
            continue
        where = f"{role} {source}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{where}: not JSON ({error.msg})") from None
        if not isinstance(row, dict):
            raise UsageError(f"{where}: not an object with keys")
        read = _row(row, field, where)
        if rows and type(read) is not type(rows[0]):
            raise UsageError(f"{where}: not of the same kind as the lines before")
        rows.append(read)
    return tuple(rows)


def _row(row: Mapping[str, Any], field: str, where: str) -> str | Prompted:
    """A row's text if it has the field, else what its keys make of it."""
    if isinstance(row.get(field), str):
        return str(row[field])
    for keys, made in _FORMATS.items():
        if keys <= row.keys():
            try:
                prompted = made(row)
            except (KeyError, TypeError, IndexError, ValueError) as error:
                raise UsageError(f"{where}: {', '.join(sorted(keys))} are not as they should be ({error!r})") from None
            if not 0 <= prompted.gold < len(prompted.options):
                raise UsageError(f"{where}: gold is {prompted.gold}, and there are {len(prompted.options)} options")
            if not all(prompt and answer.strip() for prompt, answer in prompted.options):
                raise UsageError(f"{where}: an empty prompt or answer")
            return prompted
    formats = " or ".join("{" + ", ".join(sorted(keys)) + "}" for keys in _FORMATS)
    raise UsageError(f"{where}: no text in the field {field!r}, nor {formats}")


def _choices(row: Mapping[str, Any]) -> Prompted:
    return Prompted(tuple((_text(row["query"]), " " + _text(choice)) for choice in row["choices"]), int(row["gold"]))


def _contexts(row: Mapping[str, Any]) -> Prompted:
    """WinoGrande's: the options stand in the prompt, and what follows is the same."""
    answer = " " + _text(row["continuation"])
    return Prompted(tuple((_text(context), answer) for context in row["contexts"]), int(row["gold"]))


def _continuation(row: Mapping[str, Any]) -> Prompted:
    return Prompted(((_text(row["context"]), " " + _text(row["continuation"])),))


def _solution(row: Mapping[str, Any]) -> Prompted:
    return Prompted(((f"Question: {_text(row['question'])}\nAnswer:", " " + _text(row["answer"])),))


def _chat(row: Mapping[str, Any]) -> Prompted:
    """The last message answers the others. Where a tokenizer has no template, roles stand before their words."""
    messages = tuple((_text(message["role"]), _text(message["content"])) for message in row["messages"])
    *before, (role, answer) = messages
    prompt = "".join(f"{role}: {content}\n" for role, content in before)
    return Prompted(((f"{prompt}{role}:", " " + answer),), messages=messages)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


#: Keys of a row, and what makes an item of them; the first that fits counts.
_FORMATS: Mapping[frozenset[str], Callable[[Mapping[str, Any]], Prompted]] = {
    frozenset({"query", "choices", "gold"}): _choices,
    frozenset({"contexts", "continuation", "gold"}): _contexts,
    frozenset({"context", "continuation"}): _continuation,
    frozenset({"question", "answer"}): _solution,
    frozenset({"messages"}): _chat,
}
