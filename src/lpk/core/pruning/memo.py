"""The evaluator's memory: every measurement is written once, durably, and never computed again.

A measurement is (context, mask, item) -> loss: the context is the fingerprint of model, objective and precision, the
item that of the sequence's token ids. Resume is nothing but this: the search is replayed and finds its losses here.
Many runs, on many machines, may share one memo; what each of them spent is counted apart.

A loss is stored with a checksum of the whole measurement: one that a disk has changed is measured again.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpk.core.pruning.mask import LayerMask
from lpk.core.pruning.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass
class Cost:
    """What measuring took, or would take.

    Attributes:
        layer_forwards: one layer run on one sequence. An option of a question is one, wherever its prompt was computed.
        naive_layer_forwards: the same measurements, each by a full forward of its mask.
        head_tokens: next tokens whose likelihood was computed.
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


_KNOWN = "SELECT mask, item, loss, checksum FROM measurement WHERE context = :context AND mask IN :masks"
_ADD = "INSERT INTO measurement VALUES (:context, :mask, :item, :loss, :checksum) ON CONFLICT DO NOTHING"
_FORGET = "DELETE FROM measurement WHERE context = :context AND mask = :mask AND item = :item AND checksum = :checksum"
_SPEND = (
    "INSERT INTO cost VALUES (:run, :name, :value)"
    " ON CONFLICT (run, name) DO UPDATE SET value = cost.value + excluded.value"
)
_SPENT = "SELECT name, value FROM cost WHERE run = :run"

#: Masks asked for by one query; databases allow some 30,000 parameters.
_BATCH = 1000


class Memo:
    """Measurements in a database. Each is committed with the cost of getting it before the next one begins.

    Attributes:
        run: who pays: costs are kept under this name.
        found: measurements that were asked for and were there, made by an earlier process or another.
    """

    def __init__(self, where: Path | str, run: str = "", tell: Callable[[str], None] = lambda text: None) -> None:
        """Open or create the memo, in an SQLite file or at a database's address.

        Raises:
            LpkError: it cannot be used; see :class:`lpk.core.pruning.store.Store`.
        """
        self.run, self.found, self._tell = run, 0, tell
        self._store = Store(where)
        self._store.open(tell)
        self._seen: dict[tuple[str, LayerMask], dict[str, float]] = defaultdict(dict)

    def known(
        self, context: str, masks: Iterable[LayerMask], items: Collection[str]
    ) -> dict[LayerMask, dict[str, float]]:
        """The losses of these masks on these items, as far as they have been measured: ``{mask: {item: loss}}``.

        A loss never changes, so what was seen once is not asked for again. What is missing is, every time: another
        process may have measured it meanwhile.
        """
        from sqlalchemy import bindparam, text

        query = text(_KNOWN).bindparams(bindparam("masks", expanding=True))
        masks, asked = list(dict.fromkeys(masks)), set(items)
        wanted = {_key(mask): mask for mask in masks if not self._seen[context, mask].keys() >= asked}
        keys, damaged = list(wanted), list[dict[str, Any]]()
        for start in range(0, len(keys), _BATCH):
            with self._store.transaction() as database:
                rows = database.execute(query, {"context": context, "masks": keys[start : start + _BATCH]}).all()
            for key, item, loss, checksum in rows:
                seen = self._seen[context, wanted[key]]
                if item not in asked or item in seen:
                    continue
                if checksum is not None and checksum != _checksum(context, key, item, loss):
                    damaged.append({"context": context, "mask": key, "item": item, "checksum": checksum})
                    continue
                seen[item] = loss
                self.found += 1
        if damaged:
            self._forget(damaged)
        return {
            mask: {item: seen[item] for item in items if item in (seen := self._seen[context, mask])} for mask in masks
        }

    def add(self, context: str, mask: LayerMask, item: str, loss: float, cost: Cost) -> None:
        """Remember one loss and what it cost, both or neither. If another process was faster, its loss stays."""
        from sqlalchemy import text

        # SQLite would give -0.0 back as 0.0; so does this, for every database and before it is stored
        loss, key = float(loss) + 0.0, _key(mask)
        checksum = _checksum(context, key, item, loss)
        row = {"context": context, "mask": key, "item": item, "loss": loss, "checksum": checksum}

        def write(database: Connection, again: bool) -> bool:
            new = bool(database.execute(text(_ADD), row, execution_options={"preserve_rowcount": True}).rowcount)
            if new or not again:  # else both were committed before the connection was lost
                self._spend(database, cost)
            return new

        if self._store.commit(write):
            self._seen[context, mask][item] = loss

    def spend(self, cost: Cost) -> None:
        """Remember a cost that brought no measurement."""
        with self._store.transaction() as database:
            self._spend(database, cost)

    def cost(self) -> Cost:
        """Everything this run has spent so far, its processes that were killed included.

        But for what each of those ran after its last measurement: layer by layer, that may be nearly a whole pass.
        """
        from sqlalchemy import text

        with self._store.transaction() as database:
            return Cost(**{row.name: row.value for row in database.execute(text(_SPENT), {"run": self.run})})

    def close(self) -> None:
        """Close the database."""
        self._store.close()

    def _forget(self, damaged: list[dict[str, Any]]) -> None:
        from sqlalchemy import text

        with self._store.transaction() as database:
            database.execute(text(_FORGET), damaged)
        losses = f"{len(damaged)} loss{'es' if len(damaged) > 1 else ''}"
        self._tell(f"{self._store.name}: {losses} did not match the checksum; measuring again")

    def _spend(self, database: Connection, cost: Cost) -> None:
        from sqlalchemy import text

        rows = [{"run": self.run, "name": name, "value": value} for name, value in vars(cost).items() if value]
        if rows:
            database.execute(text(_SPEND), rows)


def _checksum(context: str, mask: str, item: str, loss: float) -> int:
    """Of a measurement as it is stored; a microsecond each, beside two to read it."""
    return zlib.crc32(f"{context} {mask} {item} {loss!r}".encode())


def _key(mask: LayerMask) -> str:
    return f"{mask.layers}:" + ",".join(map(str, mask.removed))
