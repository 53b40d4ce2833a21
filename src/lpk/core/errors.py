"""What can go wrong, and the exit code that says so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


class ExitCode(IntEnum):
    """Exit codes of every ``lpk`` command."""

    #: Done.
    OK = 0
    #: A defect in lpk itself; ``--debug`` shows the traceback.
    INTERNAL = 1
    #: Bad input: a wrong flag, file, budget, name or option, or no room to write.
    USAGE = 2
    #: A plugin is broken, ambiguous, or did what its contract forbids.
    PLUGIN = 3
    #: Something outside is missing: an optional dependency, the network.
    ENVIRONMENT = 4
    #: Stopped by Ctrl-C; run the same command again to go on.
    INTERRUPTED = 130


class LpkError(Exception):
    """An error a person can act on: one line that says what, where, and what would be right."""

    exit_code = ExitCode.USAGE


class UsageError(LpkError):
    """Bad input."""


class PluginError(LpkError):
    """A plugin is broken, ambiguous or breaks its contract."""

    exit_code = ExitCode.PLUGIN


class EnvironmentMissing(LpkError):
    """An optional dependency or the network is missing."""

    exit_code = ExitCode.ENVIRONMENT


def in_words(error: BaseException) -> str:
    """An error in one line: of one that nobody worded for people, what it is too."""
    said = " ".join(str(error).split())
    return said if isinstance(error, (LpkError, OSError)) else f"{type(error).__name__}: {said}"


@contextmanager
def blaming(plugin: str) -> Iterator[None]:
    """Within this context a plugin's own code runs; what goes wrong there is its fault, and is told as such.

    Raises:
        PluginError: the plugin raised something that is neither lpk's nor the operating system's.
    """
    try:
        yield
    except (LpkError, OSError):
        raise
    except Exception as error:
        raise PluginError(f"{plugin} failed: {in_words(error)}") from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'angular'?"``, or the known names when none is near."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


#: Characters of a wrong value that a message shows.
_SHOWN = 80


#: What pydantic names by its Python types.
_WANTED = {"tuple_type": "wanted a list", "model_type": "wanted keys and values", "dict_type": "wanted keys and values"}


def first_wrong(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """What a model finds wrong first: ``"no key 'calibration.sauce'; did you mean 'source'?"``."""
    found = error.errors(include_url=False)
    mistyped = [each for each in found if each["type"] == "extra_forbidden"]  # else what it meant is told as missing
    first = [*mistyped, *found][0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        *inside, last = first["loc"]
        return f"no key {key!r}{did_you_mean(str(last), _keys(model, inside))}"
    if first["type"] == "missing":
        return f"{key} is missing"
    said, value = first["msg"].removeprefix("Value error, "), repr(first["input"])
    said = _WANTED.get(first["type"], f"{said[:1].lower()}{said[1:]}")
    if value not in said and str(first["input"]).strip():
        said += f", not {value}" if len(value) <= _SHOWN else f", not {value[:_SHOWN]}..."
    return f"{key}: {said}" if key else said


def _keys(model: type[BaseModel] | None, inside: Sequence[int | str]) -> Iterable[str]:
    """The keys that a model has at a place within it."""
    for part in inside:
        if model and part in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation) or model
    return model.model_fields if model else ()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as ``tuple[Model, ...]`` or ``Model | None`` speaks of."""
    if hasattr(annotation, "model_fields"):
        found: type[BaseModel] = annotation
        return found
    return next(filter(None, map(_model_in, get_args(annotation))), None)
