"""``events.jsonl``: everything that was ever written to a ledger, one event a line, each bound to those before it.

An event names by hash the events that it follows, and its own hash is over all it says; so a line that was changed or
taken out is found, and the line is told. Two people's branches are two events that follow the same one: git's union
merge keeps the lines of both (``.gitattributes`` asks for it), and the next event follows both. What is folded does not
depend on the order of lines: events are taken in the order of what they follow, then of time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from lpk.core.errors import UsageError, first_wrong
from lpk.core.evidence.records import RECORDS, Record, digest
from lpk.core.files import room

#: Seconds that a writer waits for another one.
PATIENCE = 60.0


@dataclass(frozen=True)
class Event:
    """One line.

    Attributes:
        id: SHA-256 of all the rest.
        previous: ids of the events that it follows: one, none for the first, several after a merge.
        at: when, UTC, ``2026-05-20T12:00:00Z``.
        by: who.
        kind: the kind of record in ``data``.
    """

    id: str
    previous: tuple[str, ...]
    at: str
    by: str
    kind: str
    data: dict[str, Any]

    @classmethod
    def of(cls, record: Record, previous: Sequence[str], at: str, by: str) -> Event:
        """The event that writes a record down."""
        said = cls("", tuple(previous), at, by, record.KIND, record.canonical())
        return cls(said.hash(), said.previous, at, by, said.kind, said.data)

    def hash(self) -> str:
        """What its id must be."""
        return digest([list(self.previous), self.at, self.by, self.kind, self.data])

    def line(self) -> str:
        """As it stands in the file."""
        values = {
            "id": self.id, "previous": list(self.previous), "at": self.at, "by": self.by,
            "kind": self.kind, "data": self.data,
        }  # fmt: skip
        return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"

    @cached_property
    def record(self) -> Record:
        """What was written down."""
        return RECORDS[self.kind].model_validate(self.data)


class EventLog:
    """The file of events of one ledger.

    Attributes:
        path: ``events.jsonl``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self) -> str:
        """As it stands in the file; empty before the first event."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    def read(self) -> list[Event]:
        """All events, each after those that it follows.

        A last line that was torn by a crash is passed over; the next append cuts it off.

        Raises:
            UsageError: a line was changed, removed or is of a newer version; it says which.
        """
        return in_order(self._checked(self._whole_lines()[0]))

    def append(self, records: Iterable[Record], by: str, at: str | None = None) -> list[Event]:
        """Write records down, all in one piece on the disk; what others write meanwhile waits.

        Raises:
            UsageError: as for :meth:`read`, another process holds the ledger for a minute, or the disk is full.
        """
        records = list(records)
        if not records:  # a ledger that may only be read can be looked at
            return []
        try:
            with room(self.path), FileLock(self.path.with_name(".events.lock"), timeout=PATIENCE):
                lines, whole = self._whole_lines()
                events = self._checked(lines)
                following, heads = {event.id for event in events}, heads_of(events)
                written = []
                for record in records:
                    event = Event.of(record, heads, at or now(), by)
                    if event.id not in following:
                        written.append(event)
                        heads = [event.id]
                self._write(whole, "".join(event.line() for event in written))
                return written
        except Timeout:
            raise UsageError(f"{self.path}: another process is writing to this ledger; try again") from None

    def _write(self, whole: int, text: str) -> None:
        """Append at the end of what is whole, and see it on the disk."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if whole:  # an editor may have taken the last line's end
                os.lseek(descriptor, whole - 1, os.SEEK_SET)
                text = text if os.read(descriptor, 1) == b"\n" else "\n" + text
            os.ftruncate(descriptor, whole)
            os.lseek(descriptor, whole, os.SEEK_SET)
            data = text.encode()
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, whole)
                raise
        finally:
            os.close(descriptor)

    def _whole_lines(self) -> tuple[list[tuple[int, Any]], int]:
        """(line number, JSON value) of each line, and how many bytes hold whole ones."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return [], 0
        found, begin = [], 0
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            last = begin + len(line) == len(data)
            try:
                text = line.decode()
                if text.strip():
                    found.append((number, json.loads(text)))
            except (ValueError, RecursionError):
                if last and not line.endswith(b"\n"):
                    return found, begin
                raise UsageError(f"{self.path}: line {number}{_damage(line)}") from None
            begin += len(line)
        return found, len(data)

    def _checked(self, lines: Iterable[tuple[int, Any]]) -> list[Event]:
        """Events whose hashes are right and whose predecessors are there; of a line that is there twice, one."""
        events, at_line = dict[str, Event](), dict[str, int]()
        for number, value in lines:
            event = self._event(number, value)
            events[event.id] = event
            at_line.setdefault(event.id, number)
        for event in events.values():
            missing = [name for name in event.previous if name not in events]
            if missing:
                raise UsageError(
                    f"{self.path}: line {at_line[event.id]} follows event {missing[0][:12]}, which is not there: "
                    "a line was removed; take the file from git again"
                )
        first = [event for event in events.values() if not event.previous]
        if len(first) > 1:
            raise UsageError(
                f"{self.path}: lines {at_line[first[0].id]} and {at_line[first[1].id]} both begin a ledger: "
                "two ledgers were joined, or lines before one of them removed"
            )
        return list(events.values())

    def _event(self, number: int, value: Any) -> Event:
        try:
            event = Event(
                str(value["id"]), tuple(value["previous"]), value["at"], value["by"], value["kind"], value["data"]
            )
            hashed = event.hash()
        except (KeyError, TypeError, ValueError):  # no such keys; or a number or a letter that no event can have
            raise UsageError(f"{self.path}: line {number} is no event of a ledger") from None
        if hashed != event.id:
            raise UsageError(
                f"{self.path}: line {number} was changed after it was written (its hash does not fit); "
                "take the file from git again"
            )
        if event.kind not in RECORDS:
            raise UsageError(f"{self.path}: line {number} is a {event.kind!r}: written by a newer lpk; update lpk")
        try:
            event.record  # noqa: B018
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if first["type"] == "extra_forbidden":  # its hash fits, so nobody mistyped it
                newer = f"line {number} is a {event.kind!r} with {'.'.join(map(str, first['loc']))!r}"
                raise UsageError(f"{self.path}: {newer}: written by a newer lpk; update lpk") from None
            said = first_wrong(error, RECORDS[event.kind])
            raise UsageError(f"{self.path}: line {number}: {event.kind} {said}") from None
        return event


def _damage(line: bytes) -> str:
    if line.startswith((b"<<<<<<<", b"=======", b">>>>>>>")):
        return " is a merge conflict: keep the lines of both sides and delete git's marks"
    return " is damaged: not JSON in UTF-8"


def heads_of(events: Sequence[Event]) -> list[str]:
    """The events that no other follows: what the next one follows."""
    followed = {name for event in events for name in event.previous}
    return sorted(event.id for event in events if event.id not in followed)


def in_order(events: Sequence[Event]) -> list[Event]:
    """Each event after those that it follows; of those that could be next, the earliest."""
    by_id = {event.id: event for event in events}
    waiting = {event.id: len(event.previous) for event in events}
    after: dict[str, list[str]] = {}
    for event in events:
        for name in event.previous:
            after.setdefault(name, []).append(event.id)
    ready = [(event.at, event.id) for event in events if not event.previous]
    heapify(ready)
    ordered = []
    while ready:
        _, name = heappop(ready)
        ordered.append(by_id[name])
        for following in after.get(name, ()):
            waiting[following] -= 1
            if not waiting[following]:
                heappush(ready, (by_id[following].at, following))
    return ordered


def now() -> str:
    """The time, to the second, UTC; what SOURCE_DATE_EPOCH says where that is set (reproducible-builds.org)."""
    try:
        seconds = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    except ValueError:
        raise UsageError("SOURCE_DATE_EPOCH must be seconds since 1970") from None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
