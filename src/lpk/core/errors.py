"""What can go wrong, and the exit code that says so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum


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
        raise PluginError(f"{plugin} failed: {type(error).__name__}: {error}") from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'angular'?"``, or the known names when none is near."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
