"""The evaluator's memory: every measurement is written once, durably, and never computed again.

A measurement is (context, mask, item) -> loss: the context is the fingerprint of model, objective and precision, the
item that of the sequence's token ids. Resume is nothing but this: the search is replayed and finds its losses here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lpk.core.errors import UsageError
from lpk.core.pruning.mask import LayerMask


@dataclass
class Cost:
    """What measuring took, or would take.

    Attributes:
        layer_forwards: one layer run on one sequence.
        naive_layer_forwards: the same measurements, each by a full forward of its mask.
        head_tokens: positions whose logits were computed.
        measurements: losses of one mask on one sequence.
    """

    layer_forwards: int = 0
    naive_layer_forwards: int = 0
    head_tokens: int = 0
    measurements: int = 0

    def __iadd__(self, other: Cost) -> Cost:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


_SCHEMA = """
CREATE TABLE IF NOT EXISTS measurement (
    context TEXT NOT NULL, mask TEXT NOT NULL, item TEXT NOT NULL, loss REAL NOT NULL,
    PRIMARY KEY (context, mask, item)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cost (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Memo:
    """Measurements in an SQLite file. Each is committed with the cost of getting it before the next one begins."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            UsageError: it is no memo, or the disk is full.
        """
        self.path = path
        self._cache: dict[tuple[str, LayerMask], dict[str, float]] = {}
        with self._explained():
            self._database = sqlite3.connect(path, isolation_level=None, timeout=60)
            # Write-ahead logging survives SIGKILL; only a power cut could take the last rows, never tear one.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_SCHEMA)

    def known(self, context: str, mask: LayerMask) -> dict[str, float]:
        """The losses of this mask, by item."""
        if (context, mask) not in self._cache:
            query = "SELECT item, loss FROM measurement WHERE context = ? AND mask = ?"
            with self._explained():
                self._cache[context, mask] = dict(self._database.execute(query, (context, _key(mask))))
        return self._cache[context, mask]

    def add(self, context: str, mask: LayerMask, item: str, loss: float, cost: Cost) -> None:
        """Remember one loss and what it cost, both or neither."""
        with self._explained(), self._transaction():
            row = (context, _key(mask), item, loss)
            self._database.execute("INSERT OR IGNORE INTO measurement VALUES (?, ?, ?, ?)", row)
            self._spend(cost)
        self.known(context, mask)[item] = loss

    def spend(self, cost: Cost) -> None:
        """Remember a cost that brought no measurement."""
        with self._explained(), self._transaction():
            self._spend(cost)

    def cost(self) -> Cost:
        """Everything spent so far, runs that were killed included."""
        with self._explained():
            return Cost(**dict(self._database.execute("SELECT name, value FROM cost")))

    def close(self) -> None:
        """Close the file; its write-ahead log is folded into it."""
        with self._explained():
            self._database.close()

    def _spend(self, cost: Cost) -> None:
        query = "INSERT INTO cost VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
        self._database.executemany(query, vars(cost).items())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if "full" in str(error) or "I/O" in str(error):
                message = f"no space left on the disk of {self.path}; free some and run the same command again"
                raise UsageError(message) from error
            raise UsageError(f"{self.path}: {error}; move the file away to measure anew") from error


def _key(mask: LayerMask) -> str:
    return f"{mask.layers}:" + ",".join(map(str, mask.removed))
