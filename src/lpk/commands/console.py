"""What a person sees: tables on stdout, progress on stderr. Rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any

import click

from lpk.core.errors import UsageError
from lpk.core.progress import Progress


def table(head: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Aligned columns; on a terminal the second to last wraps where it must, in a pipe a row is one line."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    if sys.stdout.isatty():
        wide = max(range(len(head)), key=lambda column: widths[column])
        others = sum(widths) - widths[wide] + 2 * (len(head) - 1) + len(indent)
        widths[wide] = max(20, min(widths[wide], shutil.get_terminal_size().columns - others))
    for number, row in enumerate([head, *rows]):
        cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for line in range(max(map(len, cells))):
            parts = [(c[line] if line < len(c) else "").ljust(width) for c, width in zip(cells, widths, strict=True)]
            text = indent + "  ".join(parts).rstrip()
            click.echo(click.style(text, bold=True) if number == 0 and "NO_COLOR" not in os.environ else text)


def key_values(options: Sequence[str]) -> dict[str, str]:
    """What ``-O KEY=VALUE`` says.

    Raises:
        UsageError: one has no ``=``.
    """
    values = {}
    for option in options:
        key, sign, value = option.partition("=")
        if not sign:
            raise UsageError(f"-O {option!r}: write KEY=VALUE")
        values[key.strip().replace("-", "_")] = value
    return values


def progress(quiet: bool) -> Progress:
    """Progress on stderr for whoever is reading there."""
    if quiet:
        return Quiet()
    return Bars() if sys.stderr.isatty() else Lines()


class Quiet(Progress):
    """No progress; notes are not that."""

    def note(self, text: str) -> None:
        print(f"lpk: note: {text}", file=sys.stderr, flush=True)


class Lines(Quiet):
    """A line when a stage begins, when it is over, and every ten seconds in between."""

    EVERY = 10.0

    def __init__(self) -> None:
        self._title, self._total, self._done, self._note = "", 0, 0, ""
        self._begin = self._said = time.monotonic()

    def stage(self, title: str, total: int | None = None) -> None:
        self._end()
        self._title, self._total, self._done, self._note = title, total or 0, 0, ""
        self._begin = self._said = time.monotonic()
        self._say(f"{title} ...")

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        self._note = note or self._note
        if self._total and time.monotonic() - self._said >= self.EVERY:
            self._said = time.monotonic()
            share = min(99, 100 * self._done // self._total)
            self._say(f"{self._title}: {share}%" + (f", {self._note}" if self._note else ""))

    def done(self) -> None:
        self._end()
        self._title = ""

    def _end(self) -> None:
        seconds = time.monotonic() - self._begin
        if self._title and (seconds >= 1 or self._note):
            self._say(f"{self._title}: done in {seconds:.0f} s" + (f", {self._note}" if self._note else ""))

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bars(Progress):
    """A bar for each stage, with the time that is left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", style="cyan", markup=False),
        )
        self._bars = RichProgress(*columns, console=Console(stderr=True))
        self._task: Any = None

    def stage(self, title: str, total: int | None = None) -> None:
        self._end()
        self._bars.start()
        self._task = self._bars.add_task(title, total=total, note="")

    def advance(self, amount: int = 1, note: str = "") -> None:
        if self._task is not None:
            fields: dict[str, Any] = {"note": note} if note else {}
            self._bars.update(self._task, advance=amount, **fields)

    def note(self, text: str) -> None:
        self._bars.console.print(f"lpk: note: {text}", markup=False, highlight=False, soft_wrap=True)

    def done(self) -> None:
        self._end()
        self._bars.stop()

    def _end(self) -> None:
        if self._task is not None:
            task = self._bars.tasks[self._task]
            self._bars.update(self._task, total=max(task.completed, 1), completed=max(task.completed, 1))
            self._task = None
